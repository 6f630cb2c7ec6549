"""Commands that show what was learned: ``film``, ``play`` and ``view``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from skill_agent.options import Film, Play, View


def film(args: Film) -> None:
    """Film skills, a policy or a model."""
    import gymnasium

    from skill_agent.agent import SkillEmbedding
    from skill_agent.filming import show_film
    from skill_agent.policy import SkillPolicy
    from skill_agent.skills import load_skills
    from skill_agent.transferred import load_policy
    from skill_envs import ENVIRONMENTS, checks
    from skill_envs.film import check_size, check_video, video
    from skill_envs.render import MAX_SIDE

    loaders: dict[str, Callable[[str], Any]] = {
        "skills": load_skills,
        "policy": load_policy,
        "model": lambda path: SkillEmbedding.load(path, device="cpu", trust=True).policy,
    }
    checks.one_of("env_id", args.env_id, list(ENVIRONMENTS))
    given = [name for name in loaders if getattr(args, name)]
    if len(given) != 1:
        raise ValueError(f"{given} is not valid; give one of --skills, --policy and --model")
    checks.integer("episodes", args.episodes, least=1)
    checks.integer("seed", args.seed, least=0)
    for side in ("width", "height"):
        checks.integer(side, getattr(args, side), least=1, most=MAX_SIDE)
    check_video(args.out, force=args.force)
    policy = loaders[given[0]](getattr(args, given[0]))
    n_tasks = policy.n_tasks if isinstance(policy, SkillPolicy) else 1
    check_size(args.out, n_tasks * args.width, args.height)
    fps = gymnasium.make(args.env_id).unwrapped.metadata["render_fps"]
    total = args.episodes * ENVIRONMENTS[args.env_id].horizon
    with video(args.out, fps, total, force=args.force) as add:
        show_film(add, policy, args.env_id, args.episodes, args.seed, width=args.width, height=args.height)
    print(args.out)


def play(args: Play) -> None:
    """Show a policy at the task that its file names: in a window, or in a video of one episode."""
    import gymnasium

    from skill_agent.filming import show_film
    from skill_agent.transferred import load_policy
    from skill_envs import ENVIRONMENTS, checks, opengl
    from skill_envs.film import check_video, video

    checks.integer("seed", args.seed, least=0)
    out = args.out or Path("runs") / f"play-{Path(args.policy).stem}.mp4"
    check_video(out, force=args.out is None)
    policy = load_policy(args.policy)
    env_id = "" if policy.origin is None else policy.origin.environment
    if env_id not in ENVIRONMENTS:
        raise ValueError(
            f"policy={args.policy!r} names no environment of the suite; if you know it: "
            f"skill-embed film ID --policy {args.policy}"
        )
    if args.out is None and opengl.has_display():
        print(f"{env_id} in a window; close it to end")
        view(View(env_id, policy=args.policy, seed=args.seed))
        return
    # Every second frame, since drawing without a GPU takes most of the time.
    steps_per_second = gymnasium.make(env_id).unwrapped.metadata["render_fps"]
    total = -(-ENVIRONMENTS[env_id].horizon // 2)
    with video(out, steps_per_second / 2, total, force=args.out is None) as add:
        show_film(add, policy, env_id, 1, args.seed, every=2)
    print(out)


def view(args: View) -> None:
    """Open a window, in which skills, a policy or nothing acts."""
    import torch

    from skill_agent.policy import SkillPolicy
    from skill_agent.skills import load_skills
    from skill_agent.transferred import load_policy
    from skill_envs import ENVIRONMENTS, checks
    from skill_envs import view as viewer

    checks.one_of("env_id", args.env_id, list(ENVIRONMENTS))
    checks.integer("seed", args.seed, least=0)
    task = int(args.task) if args.task.isdecimal() else args.task or None
    if args.skills and args.policy:
        raise ValueError("['skills', 'policy'] is not valid; give one of --skills and --policy")
    policy: Any = None
    if args.skills or args.policy:
        policy = load_skills(args.skills) if args.skills else load_policy(args.policy)
        n_tasks = policy.n_tasks if isinstance(policy, SkillPolicy) else 1
        found = len(ENVIRONMENTS[args.env_id].tasks)
        if found != n_tasks:
            raise ValueError(f"{args.env_id} has {found} tasks; the policy has {n_tasks}")
    torch.manual_seed(args.seed)
    viewer.view(args.env_id, policy, seed=args.seed, task=task)
