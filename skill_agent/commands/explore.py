"""The command ``explore``."""

from __future__ import annotations

from skill_agent.commands import common
from skill_agent.options import Explore


def explore(args: Explore) -> None:
    """Serve the page until Ctrl-C."""
    from importlib.util import find_spec

    from skill_agent import exploring
    from skill_envs import checks

    for package in ("viser", "mjviser"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    checks.integer("arms", args.arms, 1, exploring.MOST_ARMS)
    checks.integer("seed", args.seed, least=0)
    checks.integer("port", args.port, 1, 65_535)
    skills = common.load_one({"skills": args.skills})
    scenes = exploring.scenes_of([args.env] if args.env else exploring.default_ids(skills))
    from skill_agent.explorer import Page

    page = Page(skills, scenes, arms=args.arms, seed=args.seed, port=args.port)
    print(f"{page.url} shows the skills {args.skills}; Ctrl-C ends it", flush=True)
    try:
        page.run()
    except KeyboardInterrupt:
        page.stop()
        page.run()  # which closes it
