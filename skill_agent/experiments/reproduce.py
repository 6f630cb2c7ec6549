"""The runner of the experiments, and the raw records that it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skill_agent import rollouts
from skill_agent.experiments import folder as run_folder
from skill_agent.experiments import measure, train
from skill_agent.experiments.records import RECORDS, record_path
from skill_agent.experiments.tables import EXPERIMENTS, FAMILIES, FIGURES, Run
from skill_agent.files import read_json, write_json, write_whole
from skill_agent.policy import SkillPolicy
from skill_agent.skills import load_policy, load_skills

RUNS = Path("runs")
LEAVE_NETWORKS = ("pretrain", "fig5")  # figures whose runs leave skills or a policy beside the record


def _work(figure: str, variant: str, seed: int, records: str) -> str:
    torch.set_num_threads(1)
    run, path = EXPERIMENTS[figure][variant], record_path(Path(records), figure, variant, seed)
    if figure == "fig4":
        record = measure.paths(run, seed, skills_of(Path(records), run, seed))
    elif run.skills:
        record = train.transfer(run, seed, skills_of(Path(records), run, seed), path.with_suffix(".safetensors"))
    elif figure in FIGURES:
        _, record = train.train(run, seed)
    else:
        record = _long(run, seed, RUNS / figure / path.stem, path.with_suffix(".safetensors"))
    write_json(path, {"figure": figure, "variant": variant, **record})
    return f"{figure} {variant} seed {seed}"


def skills_of(records: Path, run: Run, seed: int) -> SkillPolicy:
    """The skills of the same seed that ``run`` transfers.

    Raises:
        FileNotFoundError: they were not trained.
    """
    path = record_path(records, "pretrain", run.skills, seed).with_suffix(".safetensors")
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run: skill-embed reproduce pretrain --variants {run.skills}")
    return load_skills(path)


def films(
    records: Path = RECORDS, seed: int = 0, shown: Sequence[int] = (0, 6, 12, 18, 28, 44, 99)
) -> dict[str, tuple[list[int], list[NDArray[np.uint8]]]]:
    """What figure 6 shows: steps and frames of one episode of each family's transferred policy that there is.

    Args:
        records: folder of the records, with the policies.
        seed: of policy and episode.
        shown: steps.
    """
    found = {}
    for family, (name, *_) in FAMILIES.items():
        path = record_path(records, "fig5", family, seed).with_suffix(".safetensors")
        if path.exists():
            frames, _ = rollouts.film(load_policy(path), f"SkillEmbed/{name}-v0", 1, seed)
            found[name] = (list(shown), [frames[step] for step in shown])
    return found


def _long(run: Run, seed: int, folder: Path, skills: Path) -> Any:
    """Train in a run's folder, going on where it was stopped; keep the skills, and return the record.

    Raises:
        ValueError: the folder is that of another run, such as of the same name before its settings were changed.
    """
    if (folder / run_folder.SETTINGS).exists():
        if run_folder.run_of(folder) != (run, seed):
            raise ValueError(f"{folder} is of other settings than seed {seed} of {run}; move it away")
        run_folder.resume(folder)
    else:
        run_folder.start(run, seed, folder)
    write_whole(skills, (folder / "skills.safetensors").read_bytes())
    return read_json(folder / run_folder.RECORD)


def reproduce(
    figure: str, seeds: int, jobs: int, records: Path = RECORDS, variants: Sequence[str] = ()
) -> Iterator[tuple[str, int, int]]:
    """Train every run of a figure that has no record yet, and the skills it needs, ``jobs`` at a time.

    Each run has one thread. Long ones have a folder below `RUNS`, and go on there where they were stopped.

    Args:
        figure: a key of `EXPERIMENTS`.
        seeds: seeds 0 to ``seeds - 1``.
        jobs: processes.
        records: folder of the records.
        variants: which of the figure's runs; empty for all.

    Yields:
        The name of a finished run, how many are done and how many there are.

    Raises:
        ValueError: an unknown figure or variant, or fewer than one seed or job.
    """
    if figure not in EXPERIMENTS:
        raise ValueError(f"figure={figure!r} is not valid; choose from {list(EXPERIMENTS)}")
    if unknown := sorted(set(variants) - set(EXPERIMENTS[figure])):
        raise ValueError(f"variants={unknown} are not valid; choose from {list(EXPERIMENTS[figure])}")
    if seeds < 1 or jobs < 1:
        raise ValueError(f"seeds={seeds}, jobs={jobs} is not valid; choose at least 1")
    chosen = variants or list(EXPERIMENTS[figure])
    skills = sorted({EXPERIMENTS[figure][variant].skills for variant in chosen} - {""})
    stages = [
        [
            (name, variant, seed, str(records))
            for seed in range(seeds)
            for variant in wanted
            if not _done(name, record_path(records, name, variant, seed))
        ]
        for name, wanted in (("pretrain", skills), (figure, chosen))  # what is transferred is trained first
    ]
    done, total = 0, sum(map(len, stages))
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for stage in stages:
            running: set[Future[str]] = set()
            while stage or running:
                # No more are submitted than run, so that none begins after one has failed or was interrupted.
                while stage and len(running) < jobs:
                    running.add(pool.submit(_work, *stage.pop(0)))
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done += 1
                    yield future.result(), done, total


def _done(figure: str, record: Path) -> bool:
    """Whether a run left its record, and the networks that go with it."""
    return record.exists() and (figure not in LEAVE_NETWORKS or record.with_suffix(".safetensors").exists())
