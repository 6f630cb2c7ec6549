"""How a run of a figure is worked: trained, transferred or measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from skill_agent.experiments import folder as run_folder
from skill_agent.experiments import measure, ring, solutions, train
from skill_agent.experiments.records import Record, networks_path, record_path, write_record
from skill_agent.experiments.tables import Run
from skill_agent.files import read_json
from skill_agent.policy import SkillPolicy
from skill_agent.skills import load_skills
from skill_agent.transferred import export_policy

RUNS = Path("runs")
SKILLS = "pretrain"  # the figure whose runs leave the skills that others transfer


class Result(NamedTuple):
    """What a job left: its record, and the content of a safetensors file of its networks, if any is kept."""

    record: Record
    networks: bytes | None = None


class Work(Protocol):
    """What the runner works: it is picklable, and compared by what it holds."""

    @property
    def name(self) -> str:
        """What it is called where it is shown."""

    @property
    def steps(self) -> int:
        """Its steps of the environment."""

    def do(self) -> None:
        """Do it with one thread, and keep what it leaves."""


class Job(NamedTuple):
    """One run of a figure with one seed; ``records`` is the folder of the records, ``work`` does it."""

    figure: str
    variant: str
    run: Run
    seed: int
    records: Path
    work: Callable[[Job], Result]

    @property
    def name(self) -> str:
        """What it is called where it is shown."""
        return f"{self.figure} {self.variant} seed {self.seed}"

    @property
    def steps(self) -> int:
        """Its steps of the environment."""
        return self.run.total_timesteps

    def do(self) -> None:
        """Work it with one thread, and keep what it leaves."""
        torch.set_num_threads(1)
        record, networks = self.work(self)
        write_record(self.record, {"figure": self.figure, "variant": self.variant, **record}, networks)

    @property
    def record(self) -> Path:
        """Where its record goes."""
        return record_path(self.records, self.figure, self.variant, self.seed)

    @property
    def networks(self) -> Path:
        """Where the networks that it leaves go."""
        return networks_path(self.records, self.figure, self.variant, self.seed)


def short(job: Job) -> Result:
    """Train in one go; the networks are not kept."""
    _, record = train.train(job.run, job.seed)
    return Result(record)


def arcs(job: Job) -> Result:
    """Train in one go on tasks with parameters, and measure on those that were left out."""
    agent, record = train.train(job.run, job.seed)
    return Result({**record, "arcs": ring.measure(agent.policy, job.run, job.seed)})


def paths(job: Job) -> Result:
    """Measure what trained skills do."""
    return Result(measure.paths(job.run, job.seed, skills_of(job)))


def arm(job: Job) -> Result:
    """Transfer skills where the run has any; otherwise train in a folder, where a stopped run goes on."""
    if job.run.skills:
        return _transfer(job)
    folder = RUNS / job.figure / f"{job.variant}-seed{job.seed}"
    if (folder / run_folder.SETTINGS).exists():
        if run_folder.run_of(folder) != (job.run, job.seed):
            raise ValueError(f"{folder} is of other settings than seed {job.seed} of {job.run}; move it away")
        run_folder.resume(folder)
    else:
        run_folder.start(job.run, job.seed, folder)
    path = folder / run_folder.RECORD
    try:
        record = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return Result(record, (folder / "skills.safetensors").read_bytes())


def several(job: Job) -> Result:
    """Train on one task, and measure how many solutions it has."""
    record, networks = arm(job)
    skills = load_skills(RUNS / job.figure / f"{job.variant}-seed{job.seed}" / "skills.safetensors")
    return Result({**record, "solutions": solutions.measure(skills, job.run, job.seed)}, networks)


def _transfer(job: Job) -> Result:
    policy, record = train.transfer(job.run, job.seed, skills_of(job))
    with tempfile.TemporaryDirectory() as folder:
        networks = export_policy(policy, Path(folder) / "policy").read_bytes()
    return Result(record, networks)


def skills_of(job: Job) -> SkillPolicy:
    """The skills of the same seed that a job's run transfers.

    Raises:
        FileNotFoundError: they were not trained.
    """
    path = networks_path(job.records, SKILLS, job.run.skills, job.seed)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run: skill-embed reproduce {SKILLS} --variants {job.run.skills}")
    return load_skills(path)
