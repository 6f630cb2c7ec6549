"""The runner of the figures' runs: what is missing is trained, several at a time, and what they leave is kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain
from multiprocessing import active_children, get_context
from multiprocessing import connection as pipes
from pathlib import Path
from typing import Any

from skill_agent.experiments import ray_runs
from skill_agent.experiments.progress import Progress, progress, reported_to
from skill_agent.experiments.records import RECORDS, is_kept
from skill_agent.experiments.registry import FIGURES
from skill_agent.experiments.work import SKILLS, Job, Work
from skill_envs import checks

POLL = 0.5  # time between two looks at the workers' steps [s]


def reproduce(
    figure: str,
    seeds: int,
    jobs: int,
    records: Path = RECORDS,
    variants: Sequence[str] = (),
    ray: str | None = None,
) -> Generator[Progress]:
    """Train every run of a figure that has no record yet, and the skills it needs, ``jobs`` at a time.

    Each run has one thread. Long ones have a folder below `RUNS`, and go on there where they were stopped. Records
    are never replaced. A run with a record is trained again only for its networks, where they are needed and not
    kept. The runs end with this process, however it ends, and when the iterator is closed.

    Args:
        figure: a key of `FIGURES`.
        seeds: seeds 0 to ``seeds - 1``.
        jobs: runs at a time.
        records: folder of the records.
        variants: which of the figure's runs; empty for all.
        ray: has runs be tasks of Ray, see `skill_agent.experiments.ray_runs`; None for processes of this machine.

    Yields:
        Progress, at every end of a run and about twice a second.

    Raises:
        RuntimeError: a training was killed.
        ValueError: an unknown figure or variant, or fewer than one seed or job.
    """
    checks.one_of("figure", figure, list(FIGURES))
    valid = list(FIGURES[figure].runs)
    unknown = sorted(set(variants) - set(valid))
    if unknown:
        meant = checks.did_you_mean(unknown, valid)
        raise ValueError(f"variants={unknown} are not valid; choose from {valid}{meant}")
    if seeds < 1 or jobs < 1:
        raise ValueError(f"seeds={seeds}, jobs={jobs} is not valid; choose at least 1")
    wanted = _wanted(figure, seeds, records, variants)
    stages: list[Sequence[Work]] = [_skills_for(wanted), wanted]  # what is transferred is trained first
    yield from work_all(stages, jobs, ray)


def work_all(stages: Sequence[Sequence[Work]], jobs: int, ray: str | None = None) -> Iterator[Progress]:
    """Work the jobs of each stage in parallel, one stage after the other; see `reproduce`."""
    return _in_processes(stages, jobs) if ray is None else ray_runs.work_all(stages, jobs, ray)


def _wanted(figure: str, seeds: int, records: Path, variants: Sequence[str]) -> list[Job]:
    """The runs of a figure that are not done."""
    entry = FIGURES[figure]
    wanted = []
    for seed in range(seeds):
        for variant in variants or entry.runs:
            job = Job(entry.records or figure, variant, entry.runs[variant], seed, records, entry.work)
            if not is_kept(job.record) or (entry.networks and not job.networks.exists()):
                wanted.append(job)
    return wanted


def _skills_for(wanted: list[Job]) -> list[Job]:
    """The trainings of the skills that jobs transfer, where the networks are not there."""
    entry = FIGURES[SKILLS]
    found: dict[tuple[int, str], Job] = {}
    for job in wanted:
        name = job.run.skills
        if name:
            skills = Job(SKILLS, name, entry.runs[name], job.seed, job.records, entry.work)
            if not skills.networks.exists():
                found[job.seed, name] = skills
    return [found[key] for key in sorted(found)]


def _in_processes(stages: Sequence[Sequence[Work]], jobs: int) -> Iterator[Progress]:
    """The same in processes of this machine."""
    all_jobs = list(chain(*stages))
    if not all_jobs:
        return
    context = get_context("spawn")
    # A number for each job, which its worker alone writes. It needs no lock, which a kill could leave locked.
    taken = context.RawArray("q", len(all_jobs))
    # Nobody writes to this pipe. Its writing end is this process's alone, so that workers see when that is gone.
    reader, writer = context.Pipe(duplex=False)
    done = 0
    others = {process.pid for process in active_children()}  # this process's, but not of the pool
    try:
        with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(reader, taken)) as pool:
            try:
                for stage in stages:
                    for ended in _work_stage(pool, stage, all_jobs, jobs, others):
                        if ended is not None:
                            done += 1
                            taken[ended] = all_jobs[ended].steps
                        finished = "" if ended is None else all_jobs[ended].name
                        yield progress([job.steps for job in all_jobs], taken, done, finished)
            except (KeyboardInterrupt, SystemExit, GeneratorExit, BrokenProcessPool):
                # The workers end in the middle of their runs. After an error in one run, the others come to their end.
                # A broken pool terminates its workers too, but a worker may outlast that, and would be waited for.
                writer.close()
                raise
    except BrokenProcessPool as error:
        raise RuntimeError("a training was killed, or memory did not suffice; finished runs are kept") from error
    finally:
        writer.close()
        reader.close()


def _work_stage(
    pool: ProcessPoolExecutor, stage: Sequence[Work], all_jobs: list[Work], jobs: int, others: set[int | None]
) -> Iterator[int | None]:
    """Work the jobs of one stage; yields the place of each finished one in ``all_jobs``, and now and then None."""
    waiting = [all_jobs.index(job) for job in stage]
    running: dict[Future[None], int] = {}
    workers: set[Any] = set()
    while waiting or running:
        # No more are submitted than run, so that none begins after one has failed or was interrupted.
        while waiting and len(running) < jobs:
            index = waiting.pop(0)
            running[pool.submit(_work, all_jobs[index], index)] = index
        ended, _ = wait(running, timeout=POLL, return_when=FIRST_COMPLETED)
        for future in ended:
            index = running.pop(future)
            future.result()
            yield index
        if not ended:
            # The pool itself now and then does not see that a worker was killed, and would wait forever.
            if not all(worker.is_alive() for worker in workers):
                raise BrokenProcessPool("a worker ended")
            workers.update(worker for worker in active_children() if worker.pid not in others)
            yield None


# In a worker: where to write the steps of its jobs.
_taken: Any = None


def _begin(reader: pipes.Connection, taken: Any) -> None:
    """Make this process a worker, which ends with the process that began it."""
    global _taken
    _taken = taken
    # An interrupt by the keyboard reaches all processes. The one that began the workers decides what comes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(reader,), daemon=True).start()


def _end_with_parent(reader: pipes.Connection) -> None:
    """Wait until the other end of the pipe is gone: closed, or its process dead of whatever."""
    pipes.wait([reader])
    os._exit(1)


def _work(job: Work, index: int) -> None:
    """Work one job, and keep what it leaves."""
    with reported_to(partial(_note, index)):
        job.do()


def _note(index: int, steps: int) -> None:
    if _taken is not None:
        _taken[index] = steps
