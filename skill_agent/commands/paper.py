"""Commands of the paper's figures: ``demo``, ``reproduce`` and ``report``."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from skill_agent.commands import common
from skill_agent.commands.acting import film
from skill_agent.options import Demo, Film, Report, Reproduce

if TYPE_CHECKING:
    from skill_agent.experiments.progress import Progress

_DEMO_ID = "SkillEmbed/PointMassTwoGoals-v0"


def demo(args: Demo) -> None:
    """Train, draw, film and say where everything is."""
    # Said, and tried, before PyTorch is imported, which takes a while.
    print(f"two skills of a point mass are learned (about a minute), drawn and filmed, in {args.out}", flush=True)
    common.check_drawing(_DEMO_ID)
    from skill_agent.experiments import EXPERIMENTS, figures
    from skill_agent.files import read_json
    from skill_envs.film import check_video

    run = EXPERIMENTS["fig2"]["with"]
    if args.timesteps is not None:
        run = replace(run, total_timesteps=args.timesteps)
    video = args.out / "skills.mp4"
    check_video(video)
    common.start(run, args.seed, args.out, force=args.force)
    figures.save(figures.demo(read_json(args.out / "record.json")), args.out / "trajectories.png")
    film(Film((run.env_id,), skills=str(args.out / "skills.safetensors"), out=video, seed=args.seed))
    print(common.success(args.out))
    for name in ("trajectories.png", "record.json", "model.zip", "skills.safetensors", "progress.csv"):
        print(f"  {args.out / name}")


def reproduce(args: Reproduce) -> None:
    """Train what is missing, with progress and time left, then draw."""
    from contextlib import closing

    from skill_agent.experiments import FIGURES, registry, report
    from skill_agent.experiments import reproduce as runner
    from skill_envs import checks

    checks.one_of("figure", args.figure, list(FIGURES))
    entry = FIGURES[args.figure]
    if args.figure == "fig6":
        common.check_drawing("SkillEmbed/LWall-v0")
    seeds = entry.seeds if args.seeds is None else args.seeds
    if entry.networks:  # it films them
        common.check_drawing(next(iter(entry.runs.values())).env_id)
    ray = common.ray_address(args.ray)
    runs = runner.reproduce(args.figure, seeds, args.jobs, args.records, args.variants, ray)
    with interruptible(), closing(runs):
        show(args.figure, runs)
    print(f"records in {args.records / (entry.records or args.figure)}")
    drawn = list(report.draw(args.records, args.figures, [args.figure]))
    if drawn:
        print(f"figure in {drawn[0]}")
    else:
        absent = entry.missing(registry.records_of(args.figure, args.records)) or list(entry.runs)
        print(f"not drawn: there are no records of {absent}")


@contextmanager
def interruptible() -> Iterator[None]:
    """A terminated process ends its trainings and says how to go on, as an interrupted one does."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        command = shlex.join(["skill-embed", *sys.argv[1:]])
        sys.exit(f"skill-embed: interrupted; what is finished is kept. Go on with: {command}")
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def show(figure: str, runs: Iterable[Progress]) -> None:
    """A bar of the steps of all runs, with the time left."""
    from tqdm import tqdm

    bar: tqdm[None] | None = None
    try:
        for progress in runs:
            if bar is None:  # there is something to do
                bar = tqdm(total=progress.steps, desc=figure, unit="step", unit_scale=True)
            bar.set_postfix_str(f"{progress.done} of {progress.runs} runs", refresh=False)
            bar.update(progress.steps_done - bar.n)
            if progress.finished:
                bar.write(f"finished: {progress.finished}", file=sys.stderr)
    finally:
        if bar is not None:
            bar.close()


def report(args: Report) -> None:
    """Draw and write."""
    from skill_agent.experiments.report import write_report

    for path in write_report(args.records, args.readme, args.docs):
        print(path)
