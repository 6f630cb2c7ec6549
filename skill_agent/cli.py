"""The command line: ``skill-embed demo | train | reproduce | record | report``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import tyro

from skill_agent import config


@dataclass(frozen=True)
class Demo:
    """Train the two-goal point-mass skills (about a minute); leaves a figure, a video and a record."""

    out: Path = Path("runs/demo")
    """Folder for the results; must not exist."""
    seed: int = 0
    """Seed of everything."""
    timesteps: int | None = None
    """Environment steps; by default the budget of figure 2."""
    force: bool = False
    """Replace the folder if it exists."""


def _settings_class() -> Any:
    """The settings of the method as options, in their groups: names, choices and words are the config's.

    Each group is a dict that holds only what the command line gave.
    """
    hints = config.types()
    nested: list[tuple[str, Any, Any]] = []
    for title, settings in config.groups().items():
        options: dict[str, Any] = {}
        for setting in settings:
            choices = setting.metadata["valid"].choices
            kind: Any = Literal[choices] if choices else hints[setting.name]
            options[setting.name] = Annotated[kind, tyro.conf.arg(help=config.words(setting))]
        group: Any = TypedDict(title, options, total=False)  # type: ignore[misc]
        group.__doc__ = "Unset, they are as in the experiments with the environment."
        nested.append((title, group, field(default_factory=dict)))
    return make_dataclass("Settings", nested, frozen=True)


if TYPE_CHECKING:

    class Settings:
        """Made from the config when the module is loaded; see `_settings_class`."""

else:
    Settings = _settings_class()


def _given(settings: Settings) -> dict[str, Any]:
    """The settings that the command line gave, by name."""
    found: dict[str, Any] = {}
    for group in vars(settings).values():
        found.update(group)
    return found


@dataclass(frozen=True)
class Train:
    """Train skills on an environment, with the settings of the experiments, or go on with a run: train --resume RUN."""

    env_id: tyro.conf.Positional[str] = ""
    """For example SkillEmbed/PointMassFourGoals-v0."""
    resume: Path | None = None
    """Folder of a run that was stopped; it goes on to its end with its own settings."""
    out: Path = Path("runs/train")
    """Folder for model, logs and record; must not exist."""
    timesteps: int | None = None
    """Environment steps, over all environments; by default 280,000 of the point mass, 1 to 3 million of the arm."""
    seed: int = 0
    """Seed of everything."""
    n_envs: int = 64
    """Environments stepped together."""
    checkpoint_minutes: float = 2.0
    """Time between two checkpoints [min]."""
    keep: int = 3
    """Checkpoints kept."""
    force: bool = False
    """Replace the folder if it exists."""
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Reproduce:
    """Train what a figure needs and has no record of yet, then draw the figure."""

    figure: tyro.conf.Positional[Literal["fig2", "fig3", "pretrain", "fig4", "fig5", "fig6"]]
    """The paper's figure, or pre-training of the arm's skills and their transfer (section 7.2)."""
    variants: tuple[str, ...] = ()
    """Which of its runs; by default all."""
    seeds: int | None = None
    """Seeds 0 to this less 1; by default as many as the figure has: 10 of the point mass, 3 of the arm, 5 of fig4."""
    jobs: int = 2
    """Trainings at a time, one thread of torch each."""
    records: Path = Path("records")
    """Folder of the raw records; finished runs are skipped."""
    figures: Path = Path("docs/figures")
    """Folder of the drawn figure."""


@dataclass(frozen=True)
class Record:
    """Record a video of trained skills, one episode for each task and z, or of a transferred policy."""

    env_id: tyro.conf.Positional[str]
    """The environment."""
    skills: str = ""
    """Skills: a name such as lwall, or the skills.safetensors that train or demo left."""
    policy: str = ""
    """A transferred policy: a name such as lwall, or a file left by reproduce fig5."""
    model: str = ""
    """A model.zip left by train or demo; loading a stranger's runs its pickles."""
    out: Path = Path("runs/video.mp4")
    """The video; must not exist."""
    episodes: int = 3
    """Draws of z for each task."""
    seed: int = 0
    """Seed of start states, z and actions."""
    force: bool = False
    """Replace the video if it exists."""


@dataclass(frozen=True)
class Report:
    """Draw all figures and write the tables of the README and the docs from the kept records."""

    records: Path = Path("records")
    """Folder of the raw records."""
    readme: Path = Path("README.md")
    """File with the markers between which tables go."""
    docs: Path = Path("docs")
    """Folder of pages with such markers, and of the figures."""


Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[tyro.conf.OmitArgPrefixes[Train], tyro.conf.subcommand("train")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[Record, tyro.conf.subcommand("record")]
    | Annotated[Report, tyro.conf.subcommand("report")]
)


def _check_env_id(env_id: str) -> None:
    from skill_envs import ENVIRONMENTS

    if env_id not in ENVIRONMENTS:
        raise ValueError(f"env_id={env_id!r} is not valid; choose from {list(ENVIRONMENTS)}")


def demo(args: Demo) -> None:
    """Train, draw, film and say where everything is."""
    from skill_agent.experiments import figures, folder, tables
    from skill_agent.files import read_json

    run = tables.FIGURES["fig2"]["with"]
    if args.timesteps is not None:
        run = replace(run, total_timesteps=args.timesteps)
    folder.start(run, args.seed, args.out, force=args.force)
    record = read_json(args.out / "record.json")
    figures.save(figures.demo(record), args.out / "trajectories.png")
    skills = str(args.out / "skills.safetensors")
    video(Record(run.env_id, skills=skills, out=args.out / "skills.mp4", seed=args.seed))
    success = ", ".join(f"{s:.0%}" for s in record["final"]["success"])
    print(f"success of the two tasks: {success}, after {record['train_seconds']:.0f} s of training")
    for name in ("trajectories.png", "skills.mp4", "record.json", "model.zip", "skills.safetensors", "progress.csv"):
        print(f"  {args.out / name}")


def train(args: Train) -> None:
    """Train one agent with the settings given, or go on with a run."""
    from skill_agent.experiments import folder, tables

    if args.resume is not None:
        usual = Train()
        extra: list[str] = []
        for name, value in vars(args).items():
            if name == "settings":
                extra += _given(value)
            elif name != "resume" and value != getattr(usual, name):
                extra.append(name)
        if extra:
            raise ValueError(f"--resume goes on with the run's own settings; leave out {extra}")
        went_on = folder.resume(args.resume)
        print(f"model, skills, record and logs are in {args.resume}" if went_on else f"{args.resume} is finished")
        return
    _check_env_id(args.env_id)
    run = tables.default_run(args.env_id)
    steps = run.total_timesteps if args.timesteps is None else args.timesteps
    run = replace(run, total_timesteps=steps, settings=run.settings | _given(args.settings), n_envs=args.n_envs)
    folder.start(run, args.seed, args.out, checkpoint_minutes=args.checkpoint_minutes, keep=args.keep, force=args.force)
    print(f"model, skills, record and logs are in {args.out}")


def reproduce(args: Reproduce) -> None:
    """Train what is missing, with progress and time left, then draw."""
    from tqdm import tqdm

    from skill_agent.experiments import report, tables
    from skill_agent.experiments import reproduce as runner

    seeds = tables.SEEDS[args.figure] if args.seeds is None else args.seeds
    figure, variants = args.figure, args.variants
    if figure == "fig6":  # frames of the policies that figure 5 leaves
        figure, variants = "fig5", variants or tuple(tables.FAMILIES)
    bar: tqdm[None] | None = None
    for name, done, total in runner.reproduce(figure, seeds, args.jobs, args.records, variants):
        bar = bar or tqdm(total=total, desc=args.figure, unit="run")
        bar.set_postfix_str(name)
        bar.update(done - bar.n)
    print(f"records in {args.records / figure}")
    drawn = list(report.draw(args.records, args.figures, [args.figure]))
    print(
        f"figure in {drawn[0]}"
        if drawn
        else f"not drawn: there are no records of {report.missing(args.records, figure)}"
    )


def video(args: Record) -> None:
    """Film a saved model."""
    import imageio.v2 as imageio

    from skill_agent.agent import SkillEmbedding
    from skill_agent.rollouts import film
    from skill_agent.skills import load_policy, load_skills

    loaders: dict[str, Callable[[str], Any]] = {
        "skills": load_skills,
        "policy": load_policy,
        "model": lambda path: SkillEmbedding.load(path, device="cpu").policy,
    }
    _check_env_id(args.env_id)
    given = [name for name in loaders if getattr(args, name)]
    if len(given) != 1:
        raise ValueError(f"{given} is not valid; give one of --skills, --policy and --model")
    if args.out.is_dir() or (args.out.exists() and not args.force):
        raise FileExistsError(f"{args.out} exists; choose another --out, or pass --force to replace a video")
    policy = loaders[given[0]](getattr(args, given[0]))
    frames, fps = film(policy, args.env_id, args.episodes, args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.out.with_name(f".{args.out.name}")
    imageio.mimwrite(temporary, frames, fps=fps, macro_block_size=8)  # type: ignore[arg-type]
    os.replace(temporary, args.out)


def report(args: Report) -> None:
    """Draw and write."""
    from skill_agent.experiments.report import write_report

    for path in write_report(args.records, args.readme, args.docs):
        print(path)


def main() -> None:
    """Run one command; errors of the user's are one line, without a traceback."""
    args = tyro.cli(Command, prog="skill-embed", description="Learn an embedding space of robot skills.")
    handlers: dict[type, Callable[[Any], None]] = {
        Demo: demo,
        Train: train,
        Reproduce: reproduce,
        Record: video,
        Report: report,
    }
    try:
        handlers[type(args)](args)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"skill-embed: {error}")
    except KeyboardInterrupt:
        sys.exit("skill-embed: interrupted")


if __name__ == "__main__":
    main()
