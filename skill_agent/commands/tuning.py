"""The command ``tune``."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from skill_agent.commands import common
from skill_agent.options import Tune, given

if TYPE_CHECKING:
    from skill_agent.experiments import tuning

_SHOWN = 5  # of the best trials


def tune(args: Tune) -> None:
    """Search with a bar, print the best trials, and the command that trains with the best settings."""
    from tqdm import tqdm

    from skill_agent.experiments import progress, tables, tuning
    from skill_envs import checks

    ids = common.check_ids(args.env_ids)
    checks.integer("trials", args.trials, 1, tuning.MOST_TRIALS)
    if args.n_envs is not None:
        checks.integer("n_envs", args.n_envs, 1, common.MOST_ENVS)
    fixed = given(args.settings)
    search = args.search or tuple(name for name in tuning.SEARCH if name not in fixed)
    usual = tables.default_run(" ".join(ids)).total_timesteps // 10
    plan = tuning.Plan(
        env_ids=tuple(ids),
        steps=usual if args.steps is None else args.steps,
        search=search,
        objective=args.objective,
        episodes=args.episodes,
        seeds=args.seeds,
        seed=args.seed,
        n_envs=args.n_envs,
        settings=fixed,
    )
    with tqdm(total=args.trials, unit="trial") as bar:
        best: float | None = None

        def count(steps: int) -> None:
            bar.set_postfix_str(f"{steps:,} of {plan.steps:,} steps", refresh=False)
            bar.update(0)

        def show(trial: tuning.Trial) -> None:
            nonlocal best
            best = max((value for value in (best, trial.value) if value is not None), default=None)
            bar.set_description(f"best {args.objective} {'none yet' if best is None else f'{best:.4g}'}", refresh=False)
            bar.update()

        try:
            with progress.reported_to(count):
                trials = tuning.tune(plan, args.trials, args.out, done=show)
        except KeyboardInterrupt:
            command = shlex.join(["skill-embed", *sys.argv[1:]])
            sys.exit(f"skill-embed: interrupted; ended trials are kept. Go on with: {command}")
    rows = [_row(trial) for trial in trials[:_SHOWN]]
    common.print_table(["trial", args.objective, "settings"], rows)
    if trials[0].value is None:
        raise RuntimeError(f"every training diverged; {args.out} has what was tried")
    print(f"train with the best: {tuning.command(plan, trials[0])}")


def _row(trial: tuning.Trial) -> list[str]:
    """A trial's line in the table."""
    value = "diverged" if trial.value is None else f"{trial.value:.4g}"
    return [str(trial.number), value, ", ".join(f"{name}={found}" for name, found in trial.settings.items())]
