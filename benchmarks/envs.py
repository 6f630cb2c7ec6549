"""Speed and memory of the batched environment against the alternatives: prints a table, writes envs.json."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np

import skill_envs
from skill_envs import ENVIRONMENTS, SkillVectorEnv

BATCH = 64


def rate(step: Callable[[], Any], steps_per_call: int, seconds: float) -> float:
    """Control steps per second of a callable that does ``steps_per_call`` of them."""
    for _ in range(3):
        step()
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        step()
        calls += 1
    return calls * steps_per_call / (time.perf_counter() - start)


def vector_rate(env: Any, num_envs: int, seconds: float, *, sb3: bool = False) -> float:
    """Control steps per second of a vector env, Gymnasium's or SB3's, under random actions; closes it."""
    if sb3:
        env.seed(0)
        env.reset()
    else:
        env.reset(seed=0)
    size = env.action_space.shape[-1]
    actions = cycle(np.random.default_rng(0).uniform(-1, 1, (200, num_envs, size)).astype(np.float32))
    result = rate(lambda: env.step(next(actions)), num_envs, seconds)
    env.close()
    return result


def batched(id_: str, num_threads: int) -> Any:
    """The batched environment."""
    return gymnasium.make_vec(id_, num_envs=BATCH, num_threads=num_threads)


def bare_loop_rate(id_: str, seconds: float) -> float:
    """Control steps per second of one thread calling mj_step on the same models, starts, horizon and actions."""
    task = skill_envs.TASKS[ENVIRONMENTS[id_].tasks[0]]
    model = task.compile()
    data = [mujoco.MjData(model) for _ in range(BATCH)]
    rng = [np.random.default_rng(i) for i in range(BATCH)]
    actions = np.random.default_rng(0).uniform(-1, 1, (200, BATCH, 7))
    count = 0

    def step() -> None:
        nonlocal count
        for i, d in enumerate(data):
            if count % task.horizon == 0:
                mujoco.mj_resetData(model, d)
                d.qpos[:], d.qvel[:] = task.start(rng[i])
            d.ctrl[:] = actions[count % 200, i]
            mujoco.mj_step(model, d, nstep=task.substeps)
        count += 1

    return rate(step, BATCH, seconds)


def python_share(id_: str, steps: int = 300) -> dict[str, float]:
    """Time of a batched step, on one thread, and the part of it that is not the physics call."""
    env = batched(id_, 1).unwrapped
    env.reset(seed=0)
    inside = 0.0
    physics_step = env.physics._batch.step

    def timed(*args: Any, **kwargs: Any) -> None:
        nonlocal inside
        start = time.perf_counter()
        physics_step(*args, **kwargs)
        inside += time.perf_counter() - start

    object.__setattr__(env.physics._batch, "step", timed)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, BATCH, 7))
    start = time.perf_counter()
    for action in actions:
        env.step(action)
    total = time.perf_counter() - start
    return {
        "step_ms": round(1e3 * total / steps, 3),
        "outside_physics_ms": round(1e3 * (total - inside) / steps, 3),
        "outside_physics_share": round((total - inside) / total, 4),
    }


def identical_at_any_thread_count(id_: str, steps: int = 1000) -> bool:
    """Whether two runs of one seed agree bit by bit, on one thread and on several."""
    envs = [SkillVectorEnv(ENVIRONMENTS[id_].tasks, 8, max_episode_steps=100, num_threads=n) for n in (1, 2, 4)]
    first = [env.reset(seed=0)[0] for env in envs]
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 8, 7))
    same = all(np.array_equal(first[0], other) for other in first[1:])
    for action in actions:
        observations = [env.step(action)[0] for env in envs]
        same &= all(np.array_equal(observations[0], other) for other in observations[1:])
    return bool(same)


def resident_gigabytes(id_: str, num_envs: int = 1024) -> float:
    """Peak resident memory of a fresh process with that many environments, 20 steps in."""
    code = (
        "import gymnasium, numpy as np, resource, skill_envs\n"
        f"env = gymnasium.make_vec({id_!r}, num_envs={num_envs})\n"
        "env.reset(seed=0)\n"
        "for _ in range(20): env.step(env.action_space.sample())\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return round(int(output) / 2**20, 3)


def candidates(id_: str, seconds: float, counts: list[int]) -> dict[str, Callable[[], float]]:
    """What is compared, by name: the batched env, a bare loop, and the usual vector envs at each count."""
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    def thunks(n: int) -> list[Callable[[], Any]]:
        return [lambda: gymnasium.make(id_) for _ in range(n)]

    usual: dict[str, tuple[Callable[[Any], Any], bool]] = {
        "async": (gymnasium.vector.AsyncVectorEnv, False),
        "sync": (gymnasium.vector.SyncVectorEnv, False),
        "sb3_subproc": (SubprocVecEnv, True),
        "sb3_dummy": (DummyVecEnv, True),
    }
    found: dict[str, Callable[[], float]] = {
        "batched_one_thread": lambda: vector_rate(batched(id_, 1), BATCH, seconds),
        "batched_two_threads": lambda: vector_rate(batched(id_, 2), BATCH, seconds),
        "bare_loop": lambda: bare_loop_rate(id_, seconds),
    }
    for name, (make, sb3) in usual.items():
        for n in counts:
            found[f"{name}_{n}"] = partial(
                lambda make, n, sb3: vector_rate(make(thunks(n)), n, seconds, sb3=sb3), make, n, sb3
            )
    return found


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--id", default="SkillEmbed/LWall-v0", choices=list(ENVIRONMENTS))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="taken in turn; the best counts, the least disturbed")
    parser.add_argument("--workers", type=int, nargs="*", default=[2, 4, 8])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    load = os.getloadavg()[0]
    measured: dict[str, float] = {}
    for _ in range(args.rounds):
        for name, measure in candidates(args.id, args.seconds, args.workers).items():
            measured[name] = max(measured.get(name, 0.0), measure())
    one, two, bare = (measured[name] for name in ("batched_one_thread", "batched_two_threads", "bare_loop"))
    usual = max(rate for name, rate in measured.items() if not name.startswith(("batched", "bare")))
    record = {
        "id": args.id,
        "cpus": os.cpu_count(),
        "load_average_before": round(load, 2),
        "steps_per_second": {name: round(rate) for name, rate in measured.items()},
        "over_best_alternative": round(max(one, two) / usual, 2),
        "over_bare_loop": round(one / bare, 3),
        "two_threads_over_one": round(two / one, 2),
        **python_share(args.id),
        "gigabytes_of_1024": resident_gigabytes(args.id),
        "identical_at_any_thread_count": identical_at_any_thread_count(args.id),
    }
    for key, value in record.items():
        print(f"{key:32s} {value}")
    from skill_agent.experiments.sums import write_listed  # torch comes with it, after all is measured

    write_listed(args.out, (json.dumps(record, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
