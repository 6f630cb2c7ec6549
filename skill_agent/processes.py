"""Workers as processes of this machine.

Weights and segments go through files of a folder that ends with the training, and only their names through pipes. So
nobody ever waits for the other end: a process that was stopped in the middle of a message would hold up the learner.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple

import torch

from skill_agent.collector import Collector, Recipe, Segment, Weights, seed_process
from skill_agent.workers import START_LIMIT, Crew, Report, first_reports

_HINT = ", as of a script without \"if __name__ == '__main__':\" before what it does"
_PATIENCE = 2.0  # time that workers have to end by themselves [s]


class _Member(NamedTuple):
    """A worker's process, the learner's end of its pipe, and the time of its last sign of life."""

    process: Any
    pipe: connection.Connection
    beat: Any  # () float, `time.monotonic`; 0 until it is ready
    began: float


class Processes(Crew):
    """A process for each worker, from a server that has imported what they need, where there are no threads."""

    def __init__(self, recipe: Recipe, timeout: float) -> None:
        """Start none yet.

        Args:
            recipe: of the collectors.
            timeout: without a step of the environments for so long, a worker hangs [s].
        """
        self._recipe, self._timeout = recipe, timeout
        self._context = get_context("forkserver")
        ours = [name for name in sys.modules if name.split(".")[0] in ("skill_agent", "skill_envs")]
        # The last one is what the first optimiser imports, which a policy has.
        self._context.set_forkserver_preload([*ours, "torch._dynamo"])
        self._folder = Path(tempfile.mkdtemp(prefix="skill-embed-workers-"))
        self._ending = self._context.RawValue("b", 0)  # workers look at it after every step
        self._members: dict[int, _Member] = {}
        self._asked: dict[int, float] = {}  # workers with a request, and since when
        self._versions: list[int] = []
        self._count = 0  # of all that were ever started

    def begin(self, worker: int, seed: Sequence[int]) -> None:
        """See `Crew.begin`."""
        ours, theirs = self._context.Pipe()
        beat = self._context.RawValue("d", 0.0)
        self._count += 1
        segments = str(self._folder / f"segment-{self._count}")
        arguments = (self._recipe, tuple(seed), theirs, beat, self._ending, segments)
        process = self._context.Process(target=_work, args=arguments, daemon=True, name=f"worker {worker}")
        process.start()
        theirs.close()
        self._members[worker] = _Member(process, ours, beat, time.monotonic())

    def publish(self, version: int, weights: Weights, needed: int) -> None:
        """See `Crew.publish`."""
        with open(self._weights(version), "wb") as file:
            pickle.dump(weights, file, protocol=5)
        for old in [v for v in self._versions if v < needed]:
            self._weights(old).unlink()
            self._versions.remove(old)
        self._versions.append(version)

    def request(self, worker: int, version: int, steps: int) -> None:
        """See `Crew.request`."""
        self._asked[worker] = time.monotonic()
        try:
            self._members[worker].pipe.send((str(self._weights(version)), version, steps))
        except OSError:
            pass  # it is dead, which `wait` reports

    def wait(self, seconds: float) -> list[Report]:
        """See `Crew.wait`."""
        return first_reports(self._look, seconds)

    def close(self) -> None:
        """See `Crew.close`."""
        self._ending.value = 1
        for member in self._members.values():
            member.pipe.close()
        end = time.monotonic() + _PATIENCE
        for member in self._members.values():
            member.process.join(max(0.0, end - time.monotonic()))
            self._end(member)
        self._members = {}
        shutil.rmtree(self._folder, ignore_errors=True)

    def _weights(self, version: int) -> Path:
        return self._folder / f"weights-{version}"

    def _look(self, seconds: float) -> list[Report]:
        pipes = {member.pipe: worker for worker, member in self._members.items()}
        spoken = {pipes[pipe] for pipe in connection.wait(list(pipes), seconds)}  # type: ignore[index]
        reports = []
        for worker in list(self._members):
            found = self._heard(worker) if worker in spoken else self._hangs(worker)
            if found is not None:
                reports.append(found)
        return reports

    def _heard(self, worker: int) -> Report | None:
        member = self._members[worker]
        beat = member.beat.value
        try:
            said = member.pipe.recv()
        except (EOFError, OSError):
            member.process.join(_PATIENCE)
            return self._lost(worker, f"its process ended, exit code {member.process.exitcode}" + _HINT * (not beat))
        self._asked.pop(worker, None)
        if isinstance(said, BaseException):
            return Report(worker, error=said)
        path = Path(said)
        with open(path, "rb") as file:
            segment: Segment = pickle.load(file)
        path.unlink()
        return Report(worker, segment)

    def _hangs(self, worker: int) -> Report | None:
        """What to report if a worker has shown no life for too long."""
        member, now = self._members[worker], time.monotonic()
        beat = member.beat.value
        if not beat:
            if now - member.began > START_LIMIT:
                return self._lost(worker, f"it was not ready after {START_LIMIT:g} s")
            return None
        if worker in self._asked and now - max(beat, self._asked[worker]) > self._timeout:
            return self._lost(worker, f"it took no step for {self._timeout:g} s")
        return None

    def _lost(self, worker: int, words: str) -> Report:
        member = self._members.pop(worker)
        self._asked.pop(worker, None)
        member.pipe.close()
        self._end(member)
        return Report(worker, lost=words)

    @staticmethod
    def _end(member: _Member) -> None:
        if member.process.is_alive():
            member.process.kill()  # it may be stopped, or hang where it hears nothing
        member.process.join()
        member.process.close()


# In a worker --------------------------------------------------------------------------------------


class _Ended(Exception):
    """The training is over."""


def _work(
    recipe: Recipe, seed: tuple[int, ...], pipe: connection.Connection, beat: Any, ending: Any, segments: str
) -> None:
    """Collect what is asked for, until the learner closes its end of the pipe or is gone."""
    # An interrupt by the keyboard reaches all processes; the learner decides what comes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_learner, daemon=True).start()
    torch.set_num_threads(1)

    def on_step() -> None:
        beat.value = time.monotonic()
        if ending.value:
            raise _Ended

    try:
        seed_process(seed)
        collector = Collector(recipe, seed)
        on_step()
        number = 0
        while True:
            path, version, steps = pipe.recv()
            on_step()
            with open(path, "rb") as file:
                weights: Weights = pickle.load(file)
            segment = collector.collect(weights, version, steps, on_step)
            number += 1
            with open(f"{segments}-{number}", "wb") as written:
                pickle.dump(segment, written, protocol=5)
            pipe.send(f"{segments}-{number}")
    except (EOFError, BrokenPipeError, ConnectionResetError, _Ended):
        pass
    except Exception as error:
        _tell(pipe, error)


def _tell(pipe: connection.Connection, error: Exception) -> None:
    """Send an error to the learner, or its words where it can't be sent; and wait until the learner has it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    try:
        pipe.send(error)
        pipe.recv()
    except (EOFError, OSError):
        pass


def _end_with_learner() -> None:
    """End with the process that began this one, however that ends."""
    learner = parent_process()
    assert learner is not None
    connection.wait([learner.sentinel])
    os._exit(1)
