"""The command line: ``skill-embed demo | train | reproduce | film | view | report``."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from skill_agent.options import Demo, Film, Report, Reproduce, Train, View, given
from skill_agent.terminal import TRACEBACK, one_line, show_every_letter, with_paths

_MOST_ENVS = 10_000  # in a training; more fill the memory before the first update

if TYPE_CHECKING:
    from skill_agent.experiments.reproduce import Progress


Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[tyro.conf.OmitArgPrefixes[Train], tyro.conf.subcommand("train")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[Film, tyro.conf.subcommand("film")]
    | Annotated[View, tyro.conf.subcommand("view")]
    | Annotated[Report, tyro.conf.subcommand("report")]
)


def _check_env_id(env_id: str) -> None:
    from skill_envs import ENVIRONMENTS, checks

    checks.one_of("env_id", env_id, list(ENVIRONMENTS))


def _check_drawing(env_id: str) -> None:
    """Raise unless an environment can be drawn: better now than after a training."""
    import gymnasium

    env = gymnasium.make(env_id, render_mode="rgb_array", width=16, height=16)
    try:
        env.reset(seed=0)
        env.render()
    finally:
        env.close()


def _start(run: Any, seed: int, out: Path, **options: Any) -> None:
    """Train in a folder; an interrupted training says how to go on."""
    from skill_agent.experiments import folder

    try:
        folder.start(run, seed, out, **options)
    except KeyboardInterrupt:
        sys.exit(f"skill-embed: interrupted{_going_on(out, run, seed)}")


def _going_on(out: Path, run: Any, seed: int) -> str:
    """How to go on with a run that was interrupted, if the folder is this run's already."""
    from skill_agent.experiments import folder

    try:
        begun = folder.run_of(out) == (run, seed) and not (out / folder.RECORD).exists()
    except (OSError, ValueError, RuntimeError):  # there is no run yet
        begun = False
    return f"; go on with: {shlex.join(['skill-embed', 'train', '--resume', str(out)])}" if begun else ""


def _success(out: Path) -> str:
    """The success of each task that a finished run reached."""
    from skill_agent.experiments import folder
    from skill_agent.files import read_json
    from skill_envs import ENVIRONMENTS

    record = read_json(out / folder.RECORD)
    tasks = ENVIRONMENTS[record["env_id"]].tasks
    rates = [f"{task} {rate:.0%}" for task, rate in zip(tasks, record["final"]["success"], strict=True)]
    return f"success: {', '.join(rates)}, after {record['train_seconds']:.0f} s of training"


def demo(args: Demo) -> None:
    """Train, draw, film and say where everything is."""
    from skill_agent.experiments import EXPERIMENTS, figures
    from skill_agent.files import read_json
    from skill_envs.film import check_video

    run = EXPERIMENTS["fig2"]["with"]
    if args.timesteps is not None:
        run = replace(run, total_timesteps=args.timesteps)
    video = args.out / "skills.mp4"
    check_video(video)
    _check_drawing(run.env_id)
    _start(run, args.seed, args.out, force=args.force)
    figures.save(figures.demo(read_json(args.out / "record.json")), args.out / "trajectories.png")
    film(Film(run.env_id, skills=str(args.out / "skills.safetensors"), out=video, seed=args.seed))
    print(_success(args.out))
    for name in ("trajectories.png", "record.json", "model.zip", "skills.safetensors", "progress.csv"):
        print(f"  {args.out / name}")


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
            elif name != "resume" and value != getattr(usual, name):
                extra.append(name)
        if extra:
            raise ValueError(f"--resume goes on with the run's own settings; leave out {extra}")
        out = args.resume
        _resume(out)
    else:
        _check_env_id(args.env_id)
        checks.integer("n_envs", args.n_envs, least=1, most=_MOST_ENVS)
        out = args.out
        run = tables.default_run(args.env_id)
        steps = run.total_timesteps if args.timesteps is None else args.timesteps
        run = replace(run, total_timesteps=steps, settings=run.settings | given(args.settings), n_envs=args.n_envs)
        _start(run, args.seed, out, checkpoint_minutes=args.checkpoint_minutes, keep=args.keep, force=args.force)
    print(_success(out))
    print(f"model, skills, record and logs are in {out}")


def _resume(out: Path) -> None:
    from skill_agent.experiments import folder

    try:
        if not folder.resume(out):
            print(f"{out} is finished")
    except KeyboardInterrupt:
        run, seed = folder.run_of(out)
        sys.exit(f"skill-embed: interrupted{_going_on(out, run, seed)}")


def reproduce(args: Reproduce) -> None:
    """Train what is missing, with progress and time left, then draw."""
    from contextlib import closing

    from skill_agent.experiments import FIGURES, registry, report
    from skill_agent.experiments import reproduce as runner

    if args.figure not in FIGURES:
        raise ValueError(f"figure={args.figure!r} is not valid; choose from {list(FIGURES)}")
    entry = FIGURES[args.figure]
    if args.figure == "fig6":
        _check_drawing("SkillEmbed/LWall-v0")
    seeds = entry.seeds if args.seeds is None else args.seeds
    if entry.networks:  # it films them
        _check_drawing(next(iter(entry.runs.values())).env_id)
    # A terminated process ends its trainings and says how to go on, as an interrupted one does.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with closing(runner.reproduce(args.figure, seeds, args.jobs, args.records, args.variants)) as runs:
            _show(args.figure, runs)
    except KeyboardInterrupt:
        command = shlex.join(["skill-embed", *sys.argv[1:]])
        sys.exit(f"skill-embed: interrupted; what is finished is kept. Go on with: {command}")
    finally:
        signal.signal(signal.SIGTERM, before)
    print(f"records in {args.records / (entry.records or args.figure)}")
    drawn = list(report.draw(args.records, args.figures, [args.figure]))
    if drawn:
        print(f"figure in {drawn[0]}")
    else:
        absent = entry.missing(registry.records_of(args.figure, args.records)) or list(entry.runs)
        print(f"not drawn: there are no records of {absent}")


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _show(figure: str, runs: Iterable[Progress]) -> None:
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


def film(args: Film) -> None:
    """Film skills, a policy or a model."""
    import gymnasium

    from skill_agent.agent import SkillEmbedding
    from skill_agent.policy import SkillPolicy
    from skill_agent.rollouts import show_film
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
    _check_env_id(args.env_id)
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


def view(args: View) -> None:
    """Open a window, in which skills, a policy or nothing acts."""
    import torch

    from skill_agent.policy import SkillPolicy
    from skill_agent.skills import load_skills
    from skill_agent.transferred import load_policy
    from skill_envs import ENVIRONMENTS, checks
    from skill_envs import view as viewer

    _check_env_id(args.env_id)
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


def report(args: Report) -> None:
    """Draw and write."""
    from skill_agent.experiments.report import write_report

    for path in write_report(args.records, args.readme, args.docs):
        print(path)


def _arguments() -> list[str]:
    """The command line; the older name of a command is taken, with a word on the new one."""
    given = sys.argv[1:]
    if given[:1] == ["record"]:
        print("skill-embed: record is called film now", file=sys.stderr)
        given[0] = "film"
    return given


def main() -> None:
    """Run one command; an error is one line, without a traceback unless SKILL_EMBED_TRACEBACK is set."""
    handlers: dict[type, Callable[[Any], None]] = {
        Demo: demo,
        Train: train,
        Reproduce: reproduce,
        Film: film,
        View: view,
        Report: report,
    }
    show_every_letter()
    command: Any = tyro.cli(
        Command, args=_arguments(), prog="skill-embed", description="Learn an embedding space of robot skills."
    )
    try:
        handlers[type(command)](with_paths(command))
    except KeyboardInterrupt:
        sys.exit("skill-embed: interrupted")
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        sys.exit(f"skill-embed: {one_line(error)}")


if __name__ == "__main__":
    main()
