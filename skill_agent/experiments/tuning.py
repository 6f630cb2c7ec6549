"""A search for good settings by Optuna, on any tasks, which can be stopped and goes on (needs the extra ``tune``)."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from skill_agent import config, playing
from skill_agent.divergence import TrainingDiverged
from skill_agent.experiments import progress, tables, train
from skill_agent.experiments.sums import LOCK, alone_in
from skill_agent.experiments.tables import Run
from skill_agent.files import read_json, write_json
from skill_envs import checks

PLAN, JOURNAL = "tune.json", "study.log"  # in the folder of a search
OBJECTIVES = ("success", "return")
MOST_TRIALS, MOST_SEEDS = 100_000, 100
_DIVERGED = "diverged"


class Range(NamedTuple):
    """Where a setting is looked for; integers where both ends are."""

    low: float
    high: float
    log: bool = False  #: whether factors count, not differences


SEARCH = {
    "embedding_dim": Range(2, 8),
    "embedding_entropy_coef": Range(0.003, 10.0, log=True),
    "inference_coef": Range(0.001, 1.0, log=True),
    "policy_entropy_coef": Range(0.0003, 0.3, log=True),
    "embedding_mean_bound": Range(1.0, 6.0),
    "segment": Range(1, 10),
    "window": Range(3, 20),
    "target_period": Range(10, 100, log=True),
    "n_critics": Range(1, 2),
    "z_gain": Range(1.0, 6.0),
    "saturation_coef": Range(0.001, 0.1, log=True),
}


@dataclass(frozen=True)
class Plan:
    """What a search looks for; going on with it asks for the same.

    Attributes:
        env_ids: the tasks, as for ``skill-embed train``.
        steps: environment steps of one training.
        search: names of settings, of `SEARCH`.
        objective: "success" or "return", the mean over the tasks; it is to be large.
        episodes: of each task, played after a training.
        seeds: trainings of each trial, with the seeds ``seed``, ``seed + 1`` and so on; their mean counts.
        seed: of the first training, and of the search.
        n_envs: environments stepped together; None is the default.
        settings: settings that stay as they are.
    """

    env_ids: tuple[str, ...]
    steps: int
    search: tuple[str, ...] = tuple(SEARCH)
    objective: str = "success"
    episodes: int = 20
    seeds: int = 1
    seed: int = 0
    n_envs: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be checked before anything is trained.

        Raises:
            ValueError: a value that is not valid; the message names it.
        """
        for name, least, most in (("steps", 1, 10**12), ("episodes", 1, 10**6), ("seeds", 1, MOST_SEEDS)):
            checks.integer(name, getattr(self, name), least, most)
        checks.integer("seed", self.seed, 0, 2**31)
        checks.one_of("objective", self.objective, OBJECTIVES)
        if not self.search:
            raise ValueError(f"search={self.search!r} is not valid; choose from {list(SEARCH)}")
        for name in self.search:
            checks.one_of("search", name, list(SEARCH))
        twice = sorted(set(self.search) & set(self.settings))
        if twice:
            raise ValueError(f"{twice} are given, and are not looked for then; leave them out of search")
        config.make_config(self.settings)

    def run(self, settings: dict[str, Any]) -> Run:
        """The training of a trial with these settings."""
        run = tables.default_run(" ".join(self.env_ids))
        n_envs = run.n_envs if self.n_envs is None else self.n_envs
        return replace(run, total_timesteps=self.steps, settings=run.settings | self.settings | settings, n_envs=n_envs)

    def content(self) -> dict[str, Any]:
        """The JSON that the folder keeps."""
        kept = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        settings = {name: list(v) if isinstance(v, tuple) else v for name, v in self.settings.items()}
        return kept | {"settings": settings}


class Trial(NamedTuple):
    """A trial that has ended."""

    number: int
    value: float | None  #: the objective; None if the training diverged
    settings: dict[str, Any]


def tune(plan: Plan, trials: int, folder: Path, done: Callable[[Trial], object] | None = None) -> list[Trial]:
    """Look for settings until ``trials`` of them were tried, those of earlier calls included.

    The first trial has the settings that ``skill-embed train`` has without any, as far as the ranges allow. What was
    begun and not ended is tried again.

    Args:
        plan: what is looked for.
        trials: trials in all.
        folder: keeps the plan and Optuna's journal; new, or of the same plan.
        done: called with the trials of earlier calls, and with each new one when it has ended.

    Returns:
        The trials, the best ones first.

    Raises:
        FileExistsError: the folder holds something else.
        ModuleNotFoundError: Optuna is not installed.
        RuntimeError: another process works in the folder.
        ValueError: an invalid setting, a search of another plan, or success where the environments don't tell it.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    checks.integer("trials", trials, 1, MOST_TRIALS)
    _check_folder(plan, folder)
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)  # more only get in each other's way in networks of this size
    with alone_in(folder, "searches there"):
        write_json(folder / PLAN, plan.content())
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        study = optuna.create_study(
            storage=storage, study_name="skill-embed", direction="maximize", load_if_exists=True
        )
        _take_up(study, plan)
        # A sampler is not kept. Of equal seeds, those that went on would look again where they began.
        study.sampler = optuna.samplers.TPESampler(seed=plan.seed + len(study.trials))
        for earlier in _ended(study):
            if done is not None:
                done(earlier)
        while len(_ended(study)) < trials:
            trial = _try(study, plan)
            if done is not None:
                done(trial)
        return sorted(_ended(study), key=lambda trial: -np.inf if trial.value is None else trial.value, reverse=True)


def command(plan: Plan, trial: Trial) -> str:
    """The command that trains with a trial's settings, for the whole budget."""
    words = ["skill-embed", "train", *plan.env_ids]
    if plan.n_envs is not None:
        words += ["--n-envs", str(plan.n_envs)]
    for name, value in (plan.settings | trial.settings).items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", *(str(part) for part in (value if isinstance(value, list | tuple) else [value]))]
    return shlex.join(words)


# One trial -----------------------------------------------------------------------------------------


def _try(study: Any, plan: Plan) -> Trial:
    """Train and play with settings that the study asks for."""
    import optuna

    asked = study.ask()
    settings = {name: _suggest(asked, name) for name in plan.search}
    asked.set_user_attr("settings", settings)
    try:
        value = float(np.mean([_value(plan, settings, plan.seed + k) for k in range(plan.seeds)]))
    except TrainingDiverged:
        asked.set_user_attr(_DIVERGED, True)
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
        return Trial(asked.number, None, settings)
    study.tell(asked, value)
    return Trial(asked.number, value, settings)


def _suggest(asked: Any, name: str) -> int | float:
    """A value of a setting, with as many digits as it is shown with."""
    low, high, log = SEARCH[name]
    if isinstance(low, int) and isinstance(high, int):
        return int(asked.suggest_int(name, low, high, log=log))
    return float(f"{asked.suggest_float(name, low, high, log=log):.3g}")


def _value(plan: Plan, settings: dict[str, Any], seed: int) -> float:
    """The objective after one training."""
    agent = train.build(plan.run(settings), seed)
    try:
        agent.learn(plan.steps, callback=progress.Steps())
        results = playing.evaluate(agent.policy, list(plan.env_ids), plan.episodes, seed=10_000 + seed)
    finally:
        if agent.env is not None:
            agent.env.close()
    if plan.objective == "return":
        return float(np.mean([result.returns.mean() for result in results]))
    shares = [result.success.mean() for result in results if result.success is not None]
    if len(shares) < len(results):
        raise ValueError(
            f"{', '.join(plan.env_ids)}: these environments don't tell of success; choose objective return"
        )
    return float(np.mean(shares))


# The study -----------------------------------------------------------------------------------------


def _ended(study: Any) -> list[Trial]:
    """Trials with a value, and those that diverged."""
    ended = []
    for kept in study.trials:
        if kept.value is not None or _DIVERGED in kept.user_attrs:
            ended.append(Trial(kept.number, kept.value, kept.user_attrs["settings"]))
    return ended


def _take_up(study: Any, plan: Plan) -> None:
    """Ask for the usual settings first, and again for what was begun and not ended."""
    import optuna

    known = config.types()
    usual = vars(config.make_config({name: v for name, v in plan.run({}).settings.items() if name in known}))
    if not study.trials:
        begin = {}
        for name in plan.search:
            low, high, _ = SEARCH[name]
            begin[name] = min(max(usual[name], low), high)
        study.enqueue_trial(begin)
    for kept in study.trials:
        if kept.state == optuna.trial.TrialState.RUNNING:
            study.tell(kept.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(kept.params)


def _check_folder(plan: Plan, folder: Path) -> None:
    """Check that a folder is new, or of a search of the same plan.

    Raises:
        FileExistsError: it holds something else.
        ValueError: it is of another plan.
    """
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    if not names - {LOCK}:
        return
    if PLAN not in names:
        raise FileExistsError(f"{folder} exists and is no folder of a search; choose another --out")
    kept = read_json(folder / PLAN)
    wanted = plan.content()
    if not isinstance(kept, dict):
        raise ValueError(f"{folder / PLAN} is damaged")
    different = [
        f"{name}: {kept.get(name)} there, {mine} here" for name, mine in wanted.items() if kept.get(name) != mine
    ]
    if different:
        raise ValueError(f"{folder} is of another search ({'; '.join(different)}); choose another --out")
