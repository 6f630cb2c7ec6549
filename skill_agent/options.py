"""The options of the command line: one dataclass a command, each option with its words."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

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


_ALIASES = {"n_workers": ("--workers",)}
Address = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[ADDRESS]")]


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
            # A wrong choice is the config's to refuse, in one line and with the nearest one.
            metavar = "{" + ",".join(choices) + "}" if choices else None
            aliases = _ALIASES.get(setting.name, ())
            words = tyro.conf.arg(help=config.words(setting), metavar=metavar, aliases=aliases)
            options[setting.name] = Annotated[str if choices else hints[setting.name], words]
        group: Any = TypedDict(title, options, total=False)  # type: ignore[misc]
        group.__doc__ = "Unset, they are as in the experiments with the environment."
        nested.append((title, group, field(default_factory=dict)))
    return make_dataclass("Settings", nested, frozen=True)


if TYPE_CHECKING:

    class Settings:
        """Made from the config when the module is loaded; see `_settings_class`."""

else:
    Settings = _settings_class()


def given(settings: Settings) -> dict[str, Any]:
    """The settings that the command line gave, by name."""
    found: dict[str, Any] = {}
    for group in vars(settings).values():
        found.update(group)
    return found


@dataclass(frozen=True)
class Train:
    """Train skills, with the settings of the experiments, or go on with a run: train --resume RUN."""

    env_ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """For example SkillEmbed/PointMassFourGoals-v0; or several ids of one task each, of the suite or of Gymnasium."""
    resume: Path | None = None
    """Folder of a run that was stopped; it goes on to its end with its own settings."""
    out: Path = Path("runs/train")
    """Folder for model, logs and record; must not exist."""
    timesteps: int | None = None
    """Environment steps, over all environments; by default 280,000 of the point mass, 1 to 3 million of others."""
    seed: int = 0
    """Seed of everything."""
    n_envs: int | None = None
    """Environments stepped together, at most 10,000; by default 64 of the suite, 16 of others."""
    checkpoint_minutes: float = 2.0
    """Time between two checkpoints [min]."""
    keep: int = 3
    """Checkpoints kept."""
    force: bool = False
    """Replace the folder if it exists."""
    ray: Address = None
    """Have the workers be actors of Ray: on the cluster at this address, without one on this machine alone."""
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Tune:
    """Look for good settings by Optuna; the same command goes on where it was stopped."""

    env_ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """The tasks, as for train."""
    out: Path = Path("runs/tune")
    """Folder of the search; new, or of a search for the same."""
    trials: int = 50
    """Settings that are tried, those of earlier calls included."""
    steps: int | None = None
    """Environment steps of one training, over all environments; by default a tenth of those of train."""
    search: tuple[str, ...] = ()
    """Settings that are looked for; by default all that have a range."""
    objective: str = "success"
    """What is to be large, on average over the tasks: success or return."""
    episodes: int = 20
    """Episodes of each task that are played after a training."""
    seeds: int = 1
    """Trainings with the same settings, whose mean counts."""
    seed: int = 0
    """Seed of the first training and of the search."""
    n_envs: int | None = None
    """Environments stepped together, as for train."""
    settings: Settings = field(default_factory=Settings)


def _figures() -> Any:
    """The figures that there are, looked up when the command line is read."""
    from skill_agent.experiments import FIGURES

    # A wrong one is refused by the runner.
    return Annotated[str, tyro.conf.arg(metavar="{" + ",".join(FIGURES) + "}")]


@dataclass(frozen=True)
class Reproduce:
    """Train what a figure needs and has no record of yet, then draw the figure."""

    figure: Annotated[tyro.conf.Positional[str], tyro.conf.arg(constructor_factory=_figures)]
    """The paper's figure, or pre-training of the arm's skills and their transfer (section 7.2)."""
    variants: tuple[str, ...] = ()
    """Which of its runs; by default all."""
    seeds: int | None = None
    """The number of seeds, which are 0, 1 and so on; by default each figure has its own number."""
    jobs: int = 2
    """Trainings at a time, one thread of torch each."""
    ray: Address = None
    """Have them be tasks of Ray: on the cluster at this address, whose machines share this folder, or on this one."""
    records: Path = Path("records")
    """Folder of the raw records; finished runs are skipped."""
    figures: Path = Path("docs/figures")
    """Folder of the drawn figure."""


@dataclass(frozen=True)
class Benchmark:
    """Work every run of the transfer benchmark that has no record yet, with the pre-trainings that it needs."""

    families: tyro.conf.Positional[tuple[str, ...]] = ()
    """Families of tasks: springwall, lwall, railpush; by default all."""
    methods: tuple[str, ...] = ()
    """Which methods, such as ours or task-id; by default all."""
    seeds: int | None = None
    """The number of seeds of each method, which are 0, 1 and so on; by default the protocol's."""
    layouts: tuple[str, ...] = ("test",)
    """Where the fixtures are: test, development, or numbers of layouts."""
    jobs: int = 2
    """Jobs at a time, one thread of torch each."""
    ray: Address = None
    """Have them be tasks of Ray: on the cluster at this address, whose machines share this folder, or on this one."""
    records: Path = Path("records/benchmark")
    """Folder of the records and of the skills; finished runs are skipped."""


@dataclass(frozen=True)
class Envs:
    """List the environments of the suite: ids, tasks, shapes and horizon."""


@dataclass(frozen=True)
class Demos:
    """Write scripted demonstrations of a task of the arm as a Minari dataset."""

    env_id: tyro.conf.Positional[str]
    """The environment, of one task, such as SkillEmbed/LWall-v0."""
    minari: str = ""
    """The dataset's name, such as lwall/scripted-v0; by default skill-embed/TASK/scripted-v0."""
    episodes: int = 100
    """Episodes, each from a start of its own."""
    seed: int = 0
    """Seed of the first episode's start; the next ones count on."""
    layout: int = 0
    """Where the fixtures of SpringWall, LWall or RailPush are: one of their layouts."""
    force: bool = False
    """Replace the dataset if it exists."""


@dataclass(frozen=True)
class _Acting:
    """What acts, and where; several commands have these options."""

    env_ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """The environment: an id of the suite or of Gymnasium, or several of one task each; by default that of the run."""
    skills: str = ""
    """Skills: a name such as lwall, the folder of a run of train or demo, a file of skills, or hf:OWNER/NAME."""
    policy: str = ""
    """A transferred policy: a name such as lwall, a file left by transfer or by reproduce fig5, or hf:OWNER/NAME."""
    model: str = ""
    """A model.zip left by train or demo, or the run's folder; loading a stranger's runs its pickles."""
    layout: int = 0
    """Where the fixtures of SpringWall, LWall or RailPush are: one of their layouts."""


@dataclass(frozen=True)
class Film(_Acting):
    """Film trained skills, one episode for each task and z, or a transferred policy."""

    out: Path = Path("runs/video.mp4")
    """The video; must not exist. The suffix selects the format, such as .mp4 or .gif."""
    episodes: int = 3
    """Draws of z for each task."""
    seed: int = 0
    """Seed of start states, z and actions."""
    caption: bool = True
    """Write the task, z and the success on each picture."""
    width: int = 320
    """Width of each task's picture [pixel]."""
    height: int = 320
    """Height of each task's picture [pixel]."""
    force: bool = False
    """Replace the video if it exists."""


@dataclass(frozen=True)
class Play:
    """Show a policy at its own task: in a window where there is a display, else in a short video."""

    policy: tyro.conf.Positional[str]
    """A transferred policy: a name such as lwall, a file left by reproduce fig5, or hf:OWNER/NAME."""
    out: Path | None = None
    """The video, also where there is a display; must not exist. By default runs/play-NAME.mp4, which is replaced."""
    seed: int = 0
    """Seed of start state, z and actions."""


@dataclass(frozen=True)
class Evaluate(_Acting):
    """Play whole episodes, and print success and return of each task with their 95 % intervals."""

    episodes: int = 100
    """Episodes of each task."""
    seed: int = 0
    """Seed of start states, z and actions."""
    deterministic: bool = False
    """The mode of z and mean actions, in place of draws."""
    json: Path | None = None
    """Write the numbers to this file too, with the return and success of every episode; must not exist."""
    force: bool = False
    """Replace that file if it exists."""


@dataclass(frozen=True)
class Transfer:
    """Learn a new task with frozen skills: what is learned chooses z (section 6 of the paper)."""

    env_id: tyro.conf.Positional[str] = ""
    """The new task: an id of the suite or of Gymnasium, with the observations and actions of the skills."""
    skills: str = ""
    """Skills: a name such as lwall, the folder of a run of train or demo, a file of skills, or hf:OWNER/NAME."""
    out: Path = Path("runs/policy.safetensors")
    """The policy; must not exist."""
    timesteps: int = 512_000
    """Environment steps, over all environments."""
    seed: int = 0
    """Seed of everything."""
    hold: int = 5
    """Steps for which a z is held."""
    layout: int = 0
    """Where the fixtures of SpringWall, LWall or RailPush are: one of their layouts."""
    n_envs: int = 64
    """Environments stepped together, at most 10,000."""
    force: bool = False
    """Replace the policy if it exists."""


@dataclass(frozen=True)
class View:
    """Watch an environment in a window and push its block with the mouse; skills or a policy act, or nothing does."""

    env_id: tyro.conf.Positional[str]
    """The environment."""
    skills: str = ""
    """Skills: a name such as lwall, the folder of a run of train or demo, a file of skills, or hf:OWNER/NAME."""
    policy: str = ""
    """A transferred policy: a name such as lwall, a file left by transfer or by reproduce fig5, or hf:OWNER/NAME."""
    task: str = ""
    """The task of all episodes, by its name or its number; by default one is drawn for each."""
    layout: int = 0
    """Where the fixtures of SpringWall, LWall or RailPush are: one of their layouts."""
    seed: int = 0
    """Seed of start states, tasks, z and actions."""


@dataclass(frozen=True)
class Explore:
    """Move z by sliders on a web page, and see what the skills do, several arms side by side."""

    skills: tyro.conf.Positional[str]
    """Skills: a name such as lwall, the folder of a run of train or demo, a file of skills, or hf:OWNER/NAME."""
    env: str = ""
    """The environment; by default that of the skills."""
    arms: int = 3
    """Copies of the scene, each with a z of its own; at most 8."""
    seed: int = 0
    """Seed of the start state, which is the same for all arms."""
    port: int = 8080
    """Port of the page on this machine; the next free one is taken where it is in use."""


@dataclass(frozen=True)
class Push:
    """Put skills or a policy on the Hugging Face Hub, with a card; load_skills("hf:OWNER/NAME") loads them."""

    repository: tyro.conf.Positional[str]
    """The repository, such as OWNER/NAME; it is made if it does not exist."""
    skills: str = ""
    """Skills: a name such as lwall, the folder of a run of train or demo, or a file of skills."""
    policy: str = ""
    """A transferred policy: a name such as lwall, or a file left by transfer or by reproduce fig5."""
    record: Path | None = None
    """What was measured: a record.json, or a file of evaluate --json; by default that of the run's folder."""
    license: str | None = None
    """The licence of the networks by its name on the Hub, such as mit."""
    private: bool = False
    """Make a new repository for yourself alone."""
    force: bool = False
    """Replace the file if the repository has one."""


@dataclass(frozen=True)
class Report:
    """Draw all figures and write the tables of the README and the docs from the kept records."""

    records: Path = Path("records")
    """Folder of the raw records."""
    readme: Path = Path("README.md")
    """File with the markers between which tables go."""
    docs: Path = Path("docs")
    """Folder of pages with such markers, and of the figures."""
