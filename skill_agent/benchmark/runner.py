"""The runner of the benchmark: skills that are missing are trained, and then every run that has no record."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from stable_baselines3.common.vec_env import VecEnv

from skill_agent.benchmark import protocol, runs
from skill_agent.benchmark.learners import LEARNERS, Learner
from skill_agent.benchmark.protocol import METHODS
from skill_agent.benchmark.records import RECORDS, record_path, write_record
from skill_agent.experiments import tables
from skill_agent.experiments import work as pretraining
from skill_agent.experiments.progress import Progress
from skill_agent.experiments.records import is_kept, networks_path
from skill_agent.experiments.reproduce import work_all
from skill_agent.experiments.tables import FAMILIES
from skill_agent.policy import SkillPolicy
from skill_agent.skills import load_skills


@dataclass(frozen=True)
class Runs:
    """The runs of one seed of a method in a family, one layout after the other.

    Attributes:
        family: a key of `FAMILIES`.
        method: a key of `METHODS`.
        seed: s of the protocol.
        layouts: those that have no record yet.
        records: folder of the records.
    """

    family: str
    method: str
    seed: int
    layouts: tuple[int, ...]
    records: Path

    @property
    def name(self) -> str:
        """What it is called where it is shown."""
        return f"{self.family} {self.method} seed {self.seed}"

    @property
    def steps(self) -> int:
        """Steps of all of its runs."""
        return len(self.layouts) * METHODS[self.method].budget(self.family)

    def do(self) -> None:
        """Work them with one thread; each leaves its record when it ends."""
        torch.set_num_threads(1)
        about = METHODS[self.method]
        budget, variant = about.budget(self.family), about.variant(self.family)
        skills = load_skills(skills_path(self.records, variant, self.seed)) if variant else None
        factory = partial(_learner, about.learner, skills)
        for i, layout in enumerate(self.layouts):
            record = runs.work(
                factory,
                self.family,
                self.method,
                self.seed,
                layout,
                budget=budget,
                n_envs=protocol.N_ENVS,
                skills=variant,
                before=i * budget,
            )
            write_record(self.records, record)


def _learner(name: str, skills: SkillPolicy | None, env: VecEnv, seed: int) -> Learner:
    """A learner of the table, with the skills of a run."""
    return LEARNERS[name](env, seed, skills)


def benchmark(
    families: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    seeds: int | None = None,
    layouts: tuple[str, ...] = ("test",),
    jobs: int = 2,
    records: Path = RECORDS,
    ray: str | None = None,
) -> Generator[Progress]:
    """Work every run of the benchmark that has no record yet, and the pre-trainings that it needs, ``jobs`` at a time.

    Records are never replaced, so that the same call goes on where it was stopped. Pre-trainings go on within. A
    transfer that was stopped begins again; those that its job had finished are kept.

    Args:
        families: keys of `FAMILIES`; empty for all.
        methods: keys of `METHODS`; empty for all.
        seeds: seeds 0 to ``seeds - 1`` of each method; None for those of the protocol.
        layouts: "test", "development", or numbers of layouts.
        jobs: how many are worked at a time, with one thread each.
        records: folder of the records.
        ray: has jobs be tasks of Ray, see `skill_agent.experiments.ray_runs`; None for processes of this machine.

    Yields:
        Progress, at every end of a job and about twice a second.

    Raises:
        RuntimeError: a job was killed.
        TrainingDiverged: a number of a pre-training was not finite.
        ValueError: an unknown family, method or layout, or fewer than one seed or job.
    """
    families = protocol.check_names("family", families, list(FAMILIES))
    methods = protocol.check_names("method", methods, list(METHODS))
    chosen = protocol.layouts_of(layouts)
    if jobs < 1 or (seeds is not None and seeds < 1):
        raise ValueError(f"seeds={seeds}, jobs={jobs} is not valid; choose at least 1")
    wanted = _wanted(families, methods, seeds, chosen, records)
    yield from work_all([_pretrainings(wanted), wanted], jobs, ray)


def _wanted(
    families: tuple[str, ...], methods: tuple[str, ...], seeds: int | None, layouts: tuple[int, ...], records: Path
) -> list[Runs]:
    """The runs that have no record, method by method."""
    wanted = []
    for family in families:
        for method in methods:
            about = METHODS[method]
            for seed in range(about.n_seeds(family) if seeds is None else seeds):
                missing = tuple(
                    layout
                    for layout in layouts
                    if (not about.layouts or layout in about.layouts)
                    and not is_kept(record_path(records, family, method, seed, layout))
                )
                if missing:
                    wanted.append(Runs(family, method, seed, missing, records))
    return wanted


def _pretrainings(wanted: list[Runs]) -> list[pretraining.Job]:
    """The trainings of the skills that runs transfer, where they are not there with their record."""
    variants = tables.pretrain_runs()
    found: dict[tuple[int, str], pretraining.Job] = {}
    for runs_of_seed in wanted:
        variant = METHODS[runs_of_seed.method].variant(runs_of_seed.family)
        if not variant:
            continue
        seed = protocol.pretraining_seed(runs_of_seed.seed)
        job = pretraining.Job(
            pretraining.SKILLS, variant, variants[variant], seed, runs_of_seed.records, pretraining.arm
        )
        if not (is_kept(job.record) and job.networks.exists()):
            found[seed, variant] = job
    return [found[key] for key in sorted(found)]


def skills_path(records: Path, variant: str, s: int) -> Path:
    """Where the skills of pre-training s are kept."""
    return networks_path(records, pretraining.SKILLS, variant, protocol.pretraining_seed(s))
