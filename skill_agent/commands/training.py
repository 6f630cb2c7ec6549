"""Commands that train: ``train``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from skill_agent.commands import common
from skill_agent.options import Train, given

_MOST_ENVS = 10_000  # in a training; more fill the memory before the first update


def train(args: Train) -> None:
    """Train one agent with the settings given, or go on with a run."""
    from skill_agent.experiments import tables
    from skill_envs import ENVIRONMENTS, checks

    if args.resume is not None:
        usual = Train()
        extra: list[str] = []
        for name, value in vars(args).items():
            if name == "settings":
                extra += given(value)
            elif name != "resume" and value != getattr(usual, name):
                extra.append(name)
        if extra:
            raise ValueError(f"--resume goes on with the run's own settings; leave out {extra}")
        out = args.resume
        _resume(out)
    else:
        checks.one_of("env_id", args.env_id, list(ENVIRONMENTS))
        checks.integer("n_envs", args.n_envs, least=1, most=_MOST_ENVS)
        out = args.out
        run = tables.default_run(args.env_id)
        steps = run.total_timesteps if args.timesteps is None else args.timesteps
        run = replace(run, total_timesteps=steps, settings=run.settings | given(args.settings), n_envs=args.n_envs)
        common.start(run, args.seed, out, checkpoint_minutes=args.checkpoint_minutes, keep=args.keep, force=args.force)
    print(common.success(out))
    print(f"model, skills, record and logs are in {out}")


def _resume(out: Path) -> None:
    from skill_agent.experiments import folder

    try:
        if not folder.resume(out):
            print(f"{out} is finished")
    except KeyboardInterrupt:
        run, seed = folder.run_of(out)
        sys.exit(f"skill-embed: interrupted{common.going_on(out, run, seed)}")
