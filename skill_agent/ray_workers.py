"""Workers as actors of Ray, on this machine or on others."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from skill_agent.collector import Collector, Recipe, Segment, Weights, seed_process
from skill_agent.ray_cluster import LOCAL, connect
from skill_agent.workers import LOOK, START_LIMIT, Crew, Report, first_reports

_BEAT = "beat"  # group of the calls that are answered while an actor collects


class _Actor:
    """A collector, which also says how many steps it has taken."""

    def __init__(self, recipe: Recipe, seed: tuple[int, ...], paths: list[str]) -> None:
        sys.path += [path for path in paths if path not in sys.path]
        self._recipe, self._seed = recipe, seed
        self._collector: Collector | None = None
        self._steps = 0

    def collect(self, weights: Weights, version: int, steps: int) -> Segment:
        torch.set_num_threads(1)  # of this thread: Ray makes one for each group of calls
        if self._collector is None:  # made here, since errors of a constructor lose their cause
            seed_process(self._seed)
            self._collector = Collector(self._recipe, self._seed)
        return self._collector.collect(weights, version, steps, self._count)

    def steps(self) -> int | None:
        """The steps taken; None before there are environments."""
        return None if self._collector is None else self._steps

    def _count(self) -> None:
        self._steps += 1


class _Pulse:
    """What is known of a worker's heartbeats: its steps, and when they last were more than before."""

    def __init__(self) -> None:
        self.question: Any = None
        self.asked = self.since = time.monotonic()
        self.steps: int | None = None
        self.ready = False


class RayActors(Crew):
    """An actor for each worker. Weights go to the object store, once a version."""

    in_flight = 2  # the next request is there when a segment has left

    def __init__(self, recipe: Recipe, timeout: float, address: str) -> None:
        """Connect to a cluster, or start one.

        Args:
            recipe: of the collectors.
            timeout: without a step of the environments for so long, a worker hangs [s].
            address: of the cluster; "local" for one on this machine alone.

        Raises:
            ImportError: Ray is not installed.
            ConnectionError: there is no cluster at this address.
        """
        self._ray, self._started = connect(address)
        self._timeout = timeout
        # On one machine more workers than CPUs may be wanted; elsewhere each has a CPU to itself.
        cpus = 0 if address == LOCAL else 1
        self._kind = self._ray.remote(num_cpus=cpus, max_restarts=0, concurrency_groups={_BEAT: 1})(_Actor)
        # What the learner's script can import, actors on its machine can too.
        self._paths = list(sys.path) if address == LOCAL else []
        self._recipe = self._ray.put(recipe)
        self._weights: dict[int, Any] = {}
        self._actors: dict[int, Any] = {}
        self._requests: dict[int, list[Any]] = {}  # of each worker, oldest first
        self._pulses: dict[int, _Pulse] = {}

    def begin(self, worker: int, seed: Sequence[int]) -> None:
        """See `Crew.begin`."""
        self._actors[worker] = self._kind.remote(self._recipe, tuple(seed), self._paths)
        self._requests[worker], self._pulses[worker] = [], _Pulse()

    def publish(self, version: int, weights: Weights, needed: int) -> None:
        """See `Crew.publish`."""
        self._weights = {v: reference for v, reference in self._weights.items() if v >= needed}
        self._weights[version] = self._ray.put(weights)

    def request(self, worker: int, version: int, steps: int) -> None:
        """See `Crew.request`."""
        if not self._requests[worker]:
            self._pulses[worker].since = time.monotonic()
        # As an argument of its own, the reference is resolved before the call.
        self._requests[worker].append(self._actors[worker].collect.remote(self._weights[version], version, steps))

    def wait(self, seconds: float) -> list[Report]:
        """See `Crew.wait`."""
        return first_reports(self._look, seconds)

    def close(self) -> None:
        """See `Crew.close`."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors, self._requests, self._weights, self._recipe = {}, {}, {}, None
        if self._started:
            self._ray.shutdown()

    def _look(self, seconds: float) -> list[Report]:
        oldest = {requests[0]: worker for worker, requests in self._requests.items() if requests}
        if not oldest:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(oldest), num_returns=1, timeout=seconds)
        if ready:
            return [self._answer(oldest[ready[0]])]
        return [Report(worker, lost=words) for worker in oldest.values() if (words := self._hangs(worker))]

    def _answer(self, worker: int) -> Report:
        reference = self._requests[worker].pop(0)
        try:
            segment = self._ray.get(reference)
            pulse = self._pulses[worker]
            pulse.ready, pulse.since = True, time.monotonic()
            return Report(worker, segment)
        except self._ray.exceptions.RayTaskError as error:
            return Report(worker, error=error.cause)
        except self._ray.exceptions.RayError as error:  # the actor or its machine is gone
            self._drop(worker)
            return Report(worker, lost=str(error).splitlines()[0])

    def _hangs(self, worker: int) -> str:
        """How a worker hangs, which is ended then; empty if it does not."""
        pulse, now = self._pulses[worker], time.monotonic()
        if pulse.question is None:
            if now - pulse.asked >= min(LOOK, self._timeout / 4):
                pulse.question = self._actors[worker].steps.options(concurrency_group=_BEAT).remote()
                pulse.asked = now
        elif self._ray.wait([pulse.question], timeout=0)[0]:
            try:
                steps = self._ray.get(pulse.question)
            except self._ray.exceptions.RayError:
                return ""  # its request says more
            if steps != pulse.steps:
                pulse.steps, pulse.since, pulse.ready = steps, now, True
            pulse.question = None
        limit, words = self._timeout, f"it took no step for {self._timeout:g} s"
        if not pulse.ready:
            limit = START_LIMIT
            words = f"it was not ready after {limit:g} s; the cluster may have too few CPUs"
        # That it took no step is known until it was asked last; or it does not even answer.
        if (now if pulse.question is not None else pulse.asked) - pulse.since <= limit:
            return ""
        self._drop(worker)
        return words

    def _drop(self, worker: int) -> None:
        self._ray.kill(self._actors.pop(worker))
        self._requests[worker] = []
