"""Commands that train: ``train`` and ``transfer``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

from skill_agent.commands import common
from skill_agent.options import Train, Transfer, given

_EPISODES = 50  # played at the end of a transfer


def train(args: Train) -> None:
    """Train one agent with the settings given, or go on with a run."""
    from skill_agent.experiments import tables
    from skill_envs import checks

    if args.resume is not None:
        usual = Train()
        extra: list[str] = []
        for name, value in vars(args).items():
            if name == "settings":
                extra += given(value)
            elif name not in ("resume", "ray") and value != getattr(usual, name):
                extra.append(name)
        if extra:
            raise ValueError(f"--resume goes on with the run's own settings; leave out {extra}")
        out = args.resume
        _resume(out, common.ray_address(args.ray))
    else:
        env_ids = common.check_ids(args.env_ids)
        out = args.out
        run = tables.default_run(" ".join(env_ids))
        steps = run.total_timesteps if args.timesteps is None else args.timesteps
        n_envs = run.n_envs if args.n_envs is None else checks.integer("n_envs", args.n_envs, 1, common.MOST_ENVS)
        run = replace(run, total_timesteps=steps, settings=run.settings | given(args.settings), n_envs=n_envs)
        kept = {"checkpoint_minutes": args.checkpoint_minutes, "keep": args.keep, "force": args.force}
        common.start(run, args.seed, out, ray=common.ray_address(args.ray), **kept)
    print(common.success(out))
    print(f"model, skills, record and logs are in {out}")


def _resume(out: Path, ray: str | None) -> None:
    from skill_agent.experiments import folder

    try:
        if not folder.resume(out, ray):
            print(f"{out} is finished")
    except KeyboardInterrupt:
        run, seed = folder.run_of(out)
        sys.exit(f"skill-embed: interrupted{common.going_on(out, run, seed)}")


def transfer(args: Transfer) -> None:
    """Learn a task with frozen skills, write the policy, and say what it reaches."""
    import torch
    from tqdm import tqdm

    from skill_agent.commands.acting import played
    from skill_agent.experiments import progress
    from skill_agent.skills import SUFFIX
    from skill_agent.transferring import transfer as learn
    from skill_envs import checks

    # All that can be refused is, before anything is learned.
    if args.out.suffix != SUFFIX:
        raise ValueError(f"out={str(args.out)!r} is not valid; choose a file that ends in {SUFFIX}")
    common.check_file(args.out, args.force, "--out")
    ids = common.check_ids([args.env_id] if args.env_id else [])
    checks.integer("n_envs", args.n_envs, least=1, most=common.MOST_ENVS)
    skills = common.load_one({"skills": args.skills})
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # more only get in each other's way in networks of this size
    with tqdm(total=args.timesteps, desc=args.env_id, unit="step", unit_scale=True) as bar:

        def report(steps: int) -> None:
            bar.update(min(steps, args.timesteps) - bar.n)

        with progress.reported_to(report):
            policy = learn(
                skills,
                args.env_id,
                args.timesteps,
                n_envs=args.n_envs,
                seed=args.seed,
                hold=args.hold,
                layout=args.layout,
                callback=progress.Steps(args.hold),
            )
    common.check_file(args.out, args.force, "--out")  # the name may have been taken meanwhile
    policy.save(args.out, force=True)
    played(policy, ids, _EPISODES, seed=20_000 + args.seed, layout=args.layout)
    of_layout = ["--layout", str(args.layout)] if args.layout else []
    way = shlex.join(["skill-embed", "film", *ids, "--policy", str(args.out), *of_layout])
    print(f"{args.out}; film it with: {way}")
