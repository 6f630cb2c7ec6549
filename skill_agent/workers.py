"""Workers that collect while the learner updates: who is asked for what, whose segment comes next, who is replaced."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from skill_agent.collector import Segment, Weights
from skill_agent.divergence import TrainingDiverged

LOOK = 0.1  # time between two looks at the heartbeats [s]
POLL = 0.5  # longest time between two looks at the workers [s]
START_LIMIT = 300.0  # time in which a worker imports what it needs and makes its environments [s]
MOST_LOSSES = 3  # times that a worker may be lost one after the other, without a segment in between


class Report(NamedTuple):
    """What has become of a worker's request: a segment, an error in it, or the words of how the worker was lost."""

    worker: int
    segment: Segment | None = None
    error: BaseException | None = None
    lost: str = ""


class Crew(ABC):
    """Workers by their numbers, wherever they run. What they do is `skill_agent.collector.Collector`.

    Attributes:
        in_flight: requests that a worker may have at once.
    """

    in_flight = 1

    @abstractmethod
    def begin(self, worker: int, seed: Sequence[int]) -> None:
        """Start a worker, or another one in the place of one that was lost."""

    @abstractmethod
    def publish(self, version: int, weights: Weights, needed: int) -> None:
        """Put weights where all workers find them, once; those of versions before ``needed`` can go."""

    @abstractmethod
    def request(self, worker: int, version: int, steps: int) -> None:
        """Ask a worker for a segment with weights that were published; this never waits."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Report]:
        """Reports, as soon as there are any, or none after a while. A worker that was lost or hangs is ended."""

    @abstractmethod
    def close(self) -> None:
        """End all workers, whatever they do."""


def first_reports(look: Callable[[float], list[Report]], seconds: float) -> list[Report]:
    """What a crew's ``look``, which waits for a time at most, finds first; or nothing after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        reports = look(max(0.0, min(LOOK, end - time.monotonic())))
        if reports or time.monotonic() >= end:
            return reports


class _Request(NamedTuple):
    worker: int
    version: int
    segment: Segment | None = None  # once it is there
    goes_on: bool = False  # where this worker's last segment ended


class Delivery(NamedTuple):
    """A segment, whose it is, and whether it goes on where this worker's last one ended."""

    worker: int
    segment: Segment
    goes_on: bool
    lag: int  # rounds of updates since its weights


class Workers:
    """Keeps a crew busy: no more than asked for, none too stale, and nobody missing.

    Version ``v`` are the weights after ``v`` rounds of updates. Each round takes one segment, so that the ratio of
    updates to steps is kept: workers that are ahead have to wait for the learner, and the learner for workers.

    Attributes:
        lost: how each worker was lost that was replaced.
    """

    def __init__(self, crew: Crew, count: int, steps: int, most_lag: int, seed: int) -> None:
        """Start the workers.

        Args:
            crew: who works; it is closed by `close`.
            count: number of workers.
            steps: of every environment in a segment.
            most_lag: rounds of updates that a segment's weights may be behind; at least ``count``.
            seed: of all; a worker's seed is made of this, its number, and how many were lost before it.
        """
        self._crew, self._steps, self._seed = crew, steps, seed
        self._most_lag = most_lag
        self._in_flight = max(1, min(crew.in_flight, most_lag // count))
        self._incarnations = [0] * count
        self._losses = [0] * count  # since the last segment
        self._new = [True] * count  # whether the worker's next segment begins new episodes
        self._requests: list[_Request] = []  # oldest first
        self._version, self._published = -1, -1
        self.lost: list[str] = []
        self._since = time.perf_counter()
        self._waited = self._busy = 0.0
        self._lags: list[int] = []
        try:
            for worker in range(count):
                crew.begin(worker, self._seed_of(worker))
        except BaseException:
            crew.close()
            raise

    def next(self, weights: Callable[[], Weights], rounds_left: int) -> Delivery:
        """The segment of the next round of updates; new ones are asked for before this returns.

        Args:
            weights: gives those after all rounds so far; called once at most.
            rounds_left: rounds to come, this one included; no more segments than that are asked for.

        Raises:
            TrainingDiverged: a number was not finite.
            RuntimeError: an environment raised an error in a worker, which is the cause; or a worker was lost again
                and again.
        """
        self._version += 1
        began = time.perf_counter()
        self._ask(weights, rounds_left)
        while (ready := self._ready()) is None:
            for report in self._crew.wait(POLL):
                self._take(report)
            self._ask(weights, rounds_left)
        self._waited += time.perf_counter() - began
        self._requests.remove(ready)
        assert ready.segment is not None
        lag = self._version - ready.version
        self._lags.append(lag)
        self._busy += ready.segment.seconds
        self._ask(weights, rounds_left - 1)
        return Delivery(ready.worker, ready.segment, ready.goes_on, lag)

    def log(self) -> dict[str, float]:
        """What has happened since the last call, by the keys of the log."""
        passed = max(time.perf_counter() - self._since, 1e-9)
        count = len(self._incarnations)
        found = {
            "workers/learner_waits": self._waited / passed,
            "workers/workers_wait": max(0.0, 1 - self._busy / (count * passed)),
            "workers/lost": float(len(self.lost)),
        }
        if self._lags:
            found |= {"workers/mean_lag": sum(self._lags) / len(self._lags), "workers/most_lag": max(self._lags)}
        self._since, self._waited, self._busy, self._lags = time.perf_counter(), 0.0, 0.0, []
        return found

    def close(self) -> None:
        """End all workers."""
        self._crew.close()

    def _seed_of(self, worker: int) -> tuple[int, int, int]:
        return self._seed, worker, self._incarnations[worker]

    def _ask(self, weights: Callable[[], Weights], rounds: int) -> None:
        """Ask those for a segment who have too few requests, as long as segments are needed."""
        asked = Counter(request.worker for request in self._requests)
        for turn in range(1, self._in_flight + 1):
            for worker in range(len(self._incarnations)):
                if asked[worker] < turn and len(self._requests) < rounds:
                    self._publish(weights)
                    self._crew.request(worker, self._version, self._steps)
                    self._requests.append(_Request(worker, self._version))
                    asked[worker] += 1

    def _publish(self, weights: Callable[[], Weights]) -> None:
        if self._published < self._version:
            needed = min((request.version for request in self._requests), default=self._version)
            self._crew.publish(self._version, weights(), needed)
            self._published = self._version

    def _ready(self) -> _Request | None:
        """The oldest segment that is there, unless it would make one too stale that is not."""
        versions = [request.version for request in self._requests]
        for request in self._requests[: candidates(versions, self._version, self._most_lag)]:
            if request.segment is not None:
                return request
        return None

    def _take(self, report: Report) -> None:
        worker = report.worker
        if isinstance(report.error, TrainingDiverged):
            raise report.error
        if report.error is not None:
            raise RuntimeError(f"worker {worker}: {type(report.error).__name__}: {report.error}") from report.error
        if report.segment is not None:
            self._losses[worker] = 0
            # A worker answers in the order in which it was asked.
            place = next(i for i, r in enumerate(self._requests) if r.worker == worker and r.segment is None)
            version = self._requests[place].version
            self._requests[place] = _Request(worker, version, report.segment, goes_on=not self._new[worker])
            self._new[worker] = False
            return
        self._replace(worker, report.lost)

    def _replace(self, worker: int, lost: str) -> None:
        """Put another worker in the place of one that was lost; what is there of it already is kept."""
        self.lost.append(lost)
        self._losses[worker] += 1
        if self._losses[worker] > MOST_LOSSES:
            raise RuntimeError(
                f"worker {worker} was lost {self._losses[worker]} times, and collected nothing in between: {lost}"
            )
        self._requests = [r for r in self._requests if r.worker != worker or r.segment is not None]
        self._incarnations[worker] += 1
        self._new[worker] = True
        self._crew.begin(worker, self._seed_of(worker))


def candidates(versions: Sequence[int], now: int, most_lag: int) -> int:
    """How many of the oldest requests the next segment may be of, so that none is ever taken too late.

    A round takes one segment. So request ``j``, counted from the oldest, is taken in round ``now + j`` at the latest
    if the oldest always comes first. As soon as that is the last round in which it is not too stale, none that was
    asked for after it may be taken before it.

    Args:
        versions: of the requests, oldest first.
        now: the round.
        most_lag: the most rounds that a segment may be behind.
    """
    for j, version in enumerate(versions):
        if now + j - version >= most_lag:
            return j + 1
    return len(versions)
