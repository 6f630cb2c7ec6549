"""Workers beside the learner: wall clock, kills, one learner's limit, and up to 256 workers simulated; workers.json.

Each part is one of the positional arguments; without any, all are measured. Ratios are of one run, taken in turn.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import pickle
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from skill_agent import SkillEmbedding, make_skill_vec_env
from skill_agent.collector import Collector, Recipe, Segment, Weights, weights_of
from skill_agent.experiments.sums import write_listed
from skill_agent.experiments.tables import ARM, POINT_MASS, VERSATILE
from skill_agent.workers import Crew, Report, Workers

ARM_ID, POINT_MASS_ID = "SkillEmbed/LWallPretrain-v0", "SkillEmbed/PointMassTwoGoals-v0"
N_ENVS, STEPS, UPDATES = 64, 20, 20  # a fifth of a round of the experiments, at their ratio of updates to steps
NETWORK, LATENCY = 1.25e9, 0.5e-3  # of the simulated cluster: 10 Gbit/s [byte/s], one way [s]


def arm_model(n_workers: int, **settings: Any) -> SkillEmbedding:
    """The learner of the arm's experiments, uncompiled and in float32, with shorter rounds."""
    env = make_skill_vec_env(ARM_ID, N_ENVS, seed=0, num_threads=1)
    given = {**ARM, **VERSATILE, "compile": False, "bf16": False, "train_freq": STEPS, "gradient_steps": UPDATES}
    given |= {"learning_starts": 0, "batch_size": 64, "n_workers": n_workers, "worker_timeout": 60.0, **settings}
    return SkillEmbedding("MultiInputPolicy", env, 1e-3, seed=0, device="cpu", **given)


# Wall clock ---------------------------------------------------------------------------------------


class Clock(BaseCallback):
    """Wall clock and the learner's own CPU time at the end of every rollout."""

    def __init__(self) -> None:
        """Nothing was measured yet."""
        super().__init__()
        self.times: list[float] = []
        self.cpu: list[float] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.times.append(time.perf_counter())
        self.cpu.append(time.process_time())


def clock(rounds: int = 4, turns: int = 2) -> dict[str, Any]:
    """Seconds of a round with 0, 1 and 2 workers, in turn; the first round, in which workers start, is left out."""
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {"0": [], "1": [], "2": []}
    cpu: dict[str, list[float]] = {"0": [], "1": [], "2": []}
    for _, k in itertools.product(range(turns), seconds):
        measured = Clock()
        arm_model(int(k)).learn((rounds + 2) * STEPS * N_ENVS, callback=measured)
        seconds[k].append((measured.times[-1] - measured.times[1]) / rounds)
        cpu[k].append((measured.cpu[-1] - measured.cpu[1]) / rounds)
    walls = {k: statistics.median(values) for k, values in seconds.items()}
    cpus = {k: statistics.median(values) for k, values in cpu.items()}
    return {
        "id": ARM_ID,
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "seconds_of_a_round": {k: round(value, 3) for k, value in walls.items()},
        "over_none": {k: round(walls[k] / walls["0"], 2) for k in ("1", "2")},
        "cpu_over_none": {k: round(cpus[k] / cpus["0"], 2) for k in ("1", "2")},
        "turns": turns,
    }


# Kills --------------------------------------------------------------------------------------------


class Kill(BaseCallback):
    """Kills a worker as soon as the last one was replaced and all have delivered again, until it was enough."""

    def __init__(self, kills: int, rng: random.Random) -> None:
        """Kill ``kills`` times."""
        super().__init__()
        self.left, self.rng = kills, rng
        self.before = self.killed = self.lost = 0

    def _on_step(self) -> bool:
        return True

    def _on_training_start(self) -> None:
        self.before = self.killed = self.lost  # a kill in the last round is nobody's concern

    def _on_rollout_start(self) -> None:
        workers: Any = self.model._collection.workers  # type: ignore[attr-defined]
        self.lost = self.before + len(workers.lost)
        if self.left and self.lost == self.killed and not any(workers._new):
            member = self.rng.choice(list(workers._crew._members.values()))
            member.process.kill()
            self.killed += 1
            self.left -= 1


def kills(count: int = 50, trainings: int = 5, n_workers: int = 2) -> dict[str, Any]:
    """Kill workers of tiny trainings, and look whether these end as they should."""
    rng, began = random.Random(0), time.perf_counter()
    torch.set_num_threads(1)
    finished = lost = wrong = steps = 0
    for _ in range(trainings):
        env = make_skill_vec_env(POINT_MASS_ID, 8, seed=0)
        given = {**POINT_MASS, "policy_kwargs": {"net_arch": [16, 16]}, "batch_size": 16, "buffer_size": 100_000}
        given |= {"train_freq": 10, "gradient_steps": 2, "learning_starts": 400, "n_workers": n_workers}
        model = SkillEmbedding("MultiInputPolicy", env, seed=0, device="cpu", **given)
        kill = Kill(count // trainings, rng)
        while kill.left:  # a training is as long as the kills need
            model.learn(8_000, callback=kill, reset_num_timesteps=model.num_timesteps == 0)
        model.learn(8_000, reset_num_timesteps=False)  # and to an end without any
        lost += kill.lost
        rounds = model.num_timesteps // 80
        finished += model.num_timesteps % 8_000 == 0 and model._n_updates == 2 * (rounds - 5)
        wrong += wrong_rows(model)
        steps += model.num_timesteps
    return {
        "kills": count,
        "workers_replaced": lost,
        "trainings": trainings,
        "finished": finished,
        "steps": steps,
        "wrong_steps_in_replay": wrong,
        "seconds": round(time.perf_counter() - began),
    }


def wrong_rows(model: SkillEmbedding) -> int:
    """Steps of replay that do not follow from the one before, though they are said to be of one stretch."""
    replay: Any = model.replay_buffer
    assert not replay._lane_full.any(), "the first row has none before it"
    before, after = replay.stretch[:-1], replay.stretch[1:]
    same = (before == after) & (before >= 0)
    follows = (replay.next_observations[:-1] == replay.observations[1:]).all(-1)
    follows &= (replay.age[1:] == replay.age[:-1] + 1) & (replay.latent[1:] == replay.latent[:-1]).all(-1)
    return int((same & ~follows).sum() + (~np.isfinite(replay.log_prob)).sum())


# One learner's limit ------------------------------------------------------------------------------


class Canned(Crew):
    """Artificial collectors, which have the same segment at once, whatever they are asked."""

    in_flight = 2

    def __init__(self, segment: Segment) -> None:
        """Serve ``segment``."""
        self.segment = segment
        self.asked: list[tuple[int, int]] = []

    def begin(self, worker: int, seed: Sequence[int]) -> None:
        """Nobody is started."""

    def publish(self, version: int, weights: Weights, needed: int) -> None:
        """Nobody reads them."""

    def request(self, worker: int, version: int, steps: int) -> None:
        """Note it."""
        self.asked.append((worker, version))

    def wait(self, seconds: float) -> list[Report]:
        """All at once."""
        asked, self.asked = self.asked, []
        return [Report(worker, self.segment._replace(version=version)) for worker, version in asked]

    def close(self) -> None:
        """Nothing is left."""


def limit(rounds: int = 4) -> dict[str, Any]:
    """Steps that one learner takes, and one worker gives, in a second of CPU: other programs change little about it."""
    from skill_agent import collecting

    torch.set_num_threads(1)
    model = arm_model(4)
    weights = weights_of(model.policy, None)
    collector = Collector(Recipe.of(model.env, model.policy), (0,))
    segment = collector.collect(weights, 0, STEPS)
    began = time.process_time()
    for _ in range(rounds):
        collector.collect(weights, 0, STEPS)
    worker = (time.process_time() - began) / rounds

    real, measured = collecting.Processes, Clock()
    collecting.Processes = lambda *_: Canned(segment)  # type: ignore[misc, assignment]
    try:
        model.learn((rounds + 2) * STEPS * N_ENVS, callback=measured)
    finally:
        collecting.Processes = real  # type: ignore[misc]
    learner = (measured.cpu[-1] - measured.cpu[1]) / rounds
    return {
        "id": ARM_ID,
        "steps_per_update": STEPS * N_ENVS // UPDATES,
        "learner_steps_per_second": round(STEPS * N_ENVS / learner),
        "worker_steps_per_second": round(STEPS * N_ENVS / worker),
        "segment_bytes": len(pickle.dumps(segment, protocol=5)),
        "weights_bytes": len(pickle.dumps(weights, protocol=5)),
    }


# Up to 256 workers --------------------------------------------------------------------------------


class Simulated(Crew):
    """Workers in simulated time: they collect, and share the learner's network and its object store."""

    in_flight = 2

    def __init__(self, segment: Segment, seconds: float, sizes: tuple[int, int], store: float, seed: int = 0) -> None:
        """Collect for about ``seconds``; sizes are those of a segment and of weights, ``store`` is in bytes/s."""
        self.segment, self.seconds, self.sizes, self.store = segment, seconds, sizes, store
        self.rng = np.random.default_rng(seed)
        self.now = self.network_free = self.store_free = 0.0
        self.network_busy = self.store_busy = 0.0
        self.idle_at: dict[int, float] = {}
        self.arriving: list[tuple[float, int, int, int]] = []
        self.count = 0

    def begin(self, worker: int, seed: Sequence[int]) -> None:
        """It is there at once."""
        self.idle_at[worker] = 0.0

    def publish(self, version: int, weights: Weights, needed: int) -> None:
        """Into the store."""
        self._through_store(self.now, self.sizes[1])

    def request(self, worker: int, version: int, steps: int) -> None:
        """The whole way of a request: weights out, collection, segment back, each when it is its turn."""
        there = self._through_network(self.now, self.sizes[1]) + LATENCY
        done = max(there, self.idle_at[worker]) + self.seconds * self.rng.lognormal(0, 0.1)
        self.idle_at[worker] = done
        self.count += 1
        heapq.heappush(self.arriving, (done + LATENCY, self.count, worker, version))

    def wait(self, seconds: float) -> list[Report]:
        """The next segment; time goes on until it is there."""
        done, _, worker, version = heapq.heappop(self.arriving)
        sent = self._through_network(done, self.sizes[0])
        self.now = max(self.now, self._through_store(sent, self.sizes[0]))
        return [Report(worker, self.segment._replace(version=version))]

    def close(self) -> None:
        """Nothing is left."""

    def _through_network(self, begin: float, size: int) -> float:
        took = size / NETWORK
        self.network_free, self.network_busy = max(begin, self.network_free) + took, self.network_busy + took
        return self.network_free

    def _through_store(self, begin: float, size: int) -> float:
        took = size / self.store
        self.store_free, self.store_busy = max(begin, self.store_free) + took, self.store_busy + took
        return self.store_free


def scale(measured: dict[str, Any], rounds: int = 1500) -> dict[str, Any]:
    """Where learner, network and object store saturate, from 1 to 256 workers, for a slow and for quick learners."""
    per_round = STEPS * N_ENVS
    store = store_bandwidth(measured["segment_bytes"])
    worker = per_round / measured["worker_steps_per_second"]
    learner = per_round / measured["learner_steps_per_second"]
    empty: Any = Segment(0, None, None, [], 0.0)  # type: ignore[arg-type]
    rows = []
    for faster, count in itertools.product((1, 100, 10_000), (1, 2, 4, 8, 16, 32, 64, 128, 256)):
        crew = Simulated(empty, worker, (measured["segment_bytes"], measured["weights_bytes"]), store)
        workers = Workers(crew, count, STEPS, 2 * count, seed=0)
        waited, lags = 0.0, []
        for done in range(rounds):
            began = crew.now
            lags.append(workers.next(lambda: empty, rounds - done).lag)
            waited += crew.now - began
            crew.now += learner / faster
        rows.append(
            {
                "learner_faster": faster,
                "workers": count,
                "steps_per_second": round(rounds * per_round / crew.now),
                "learner_waits": round(waited / crew.now, 3),
                "network_busy": round(min(1.0, crew.network_busy / crew.now), 3),
                "store_busy": round(min(1.0, crew.store_busy / crew.now), 3),
                "mean_lag": round(statistics.mean(lags), 1),
            }
        )
    return {"store_bytes_per_second": round(store), "network_bytes_per_second": round(NETWORK), "rows": rows}


def store_bandwidth(size: int) -> float:
    """Bytes per second into and out of Ray's object store, of segments of ``size`` bytes."""
    from skill_agent.ray_cluster import connect

    ray, started = connect("local", 1)
    try:
        data = np.zeros(size, np.uint8)
        times = []
        for _ in range(20):
            began = time.perf_counter()
            np.array(ray.get(ray.put(data)))
            times.append(time.perf_counter() - began)
        return size / statistics.median(times)
    finally:
        if started:
            ray.shutdown()


def main() -> None:
    """Measure from the command line; parts that were not chosen stay as they are in the file."""
    out = Path(__file__).with_suffix(".json")
    parts: dict[str, Callable[[], dict[str, Any]]] = {"clock": clock, "kills": kills, "limit": limit}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join([*parts, 'scale'])}; by default all")
    args = parser.parse_args()
    chosen = args.parts or [*parts, "scale"]
    found = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    for name in chosen:
        found[name] = scale(found["limit"]) if name == "scale" else parts[name]()
        print(name, json.dumps(found[name], indent=2))
        write_listed(out, (json.dumps(found, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
