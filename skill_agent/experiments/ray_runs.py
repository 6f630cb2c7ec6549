"""Runs as tasks of Ray: on as many machines as a cluster has, which all see one folder."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import cloudpickle

from skill_agent.experiments.progress import Progress, progress, reported_to
from skill_agent.experiments.work import Work
from skill_agent.ray_cluster import LOCAL, connect

RETRIES = 3  # of a run whose process or machine is lost
_POLL = 0.5  # time between two looks at the steps [s]


def work_all(stages: Sequence[Sequence[Work]], jobs: int, address: str) -> Iterator[Progress]:
    """Work the jobs of each stage in parallel, one stage after the other.

    Every task works in the present folder, which all machines have to share. There its run goes on from the newest
    checkpoint if the task is tried again, on whatever machine.

    Args:
        stages: the jobs.
        jobs: how many are worked at once.
        address: of the cluster; "local" for one on this machine alone.

    Yields:
        Progress, at every end of a run and about twice a second.

    Raises:
        ConnectionError: there is no cluster at this address.
        ImportError: Ray is not installed.
        RuntimeError: a run was lost, and lost again when it was tried again.
    """
    everything = list(chain(*stages))
    if not everything:
        return
    ray, started = connect(address, jobs)
    running: dict[Any, int] = {}
    try:
        board = ray.remote(num_cpus=0)(_Board).remote(len(everything))
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_work)
        paths = list(sys.path) if address == LOCAL else []
        budgets, done = [job.steps for job in everything], 0
        for stage in stages:
            waiting = [everything.index(job) for job in stage]
            while waiting or running:
                # No more are submitted than run, so that none begins after one has failed or was interrupted.
                while waiting and len(running) < jobs:
                    index = waiting.pop(0)
                    running[task.remote(cloudpickle.dumps(everything[index]), index, board, os.getcwd(), paths)] = index
                ended, _ = ray.wait(list(running), num_returns=1, timeout=_POLL)
                finished = ""
                for reference in ended:
                    job = everything[running[reference]]
                    _get(ray, reference)
                    del running[reference]
                    done, finished = done + 1, job.name
                yield progress(budgets, ray.get(board.taken.remote()), done, finished)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        if started:
            ray.shutdown()


def _get(ray: Any, reference: Any) -> None:
    """The end of a task; its own errors come as they were raised."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise RuntimeError(
            f"a training was killed, {RETRIES + 1} times; finished runs are kept: {str(error).splitlines()[0]}"
        ) from error


class _Board:
    """The steps that all runs have taken."""

    def __init__(self, count: int) -> None:
        self._taken = [0] * count

    def note(self, index: int, steps: int) -> None:
        self._taken[index] = steps

    def taken(self) -> list[int]:
        return self._taken


def _work(job: bytes, index: int, board: Any, folder: str, paths: list[str]) -> None:
    """Work one job in a folder, and tell the board of its steps."""
    sys.path += [path for path in paths if path not in sys.path]
    os.chdir(folder)
    made: Work = pickle.loads(job)

    def note(steps: int) -> None:
        board.note.remote(index, steps)

    with reported_to(note):
        made.do()
    note(made.steps)
