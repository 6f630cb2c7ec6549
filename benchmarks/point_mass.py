"""Control steps per second of the batched environment against the usual vector environments.

All are measured in one run on one machine, taking turns, so that their ratios mean something; the
numbers go to benchmarks/point_mass.json.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import stable_baselines3
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

import skill_envs

ENV_ID = "SkillEmbed/PointMassTwoGoals-v0"
BATCH = 64
WORKERS = (2, 4, 8)  # the best is reported
SECONDS = 1.0  # per measurement
ROUNDS = 3  # the best of them counts, the one least disturbed by other work
Maker = Callable[[int], Any]


def make() -> gymnasium.Env[Any, Any]:
    """One environment; imported here, since worker processes start from nothing."""
    import skill_envs  # noqa: F401

    return gymnasium.make(ENV_ID)


def steps_per_second(env: Any, n: int, sb3: bool) -> float:
    """Control steps per second with random actions drawn beforehand."""
    actions = np.random.default_rng(0).uniform(-1, 1, (100, n, 2)).astype(np.float32)
    if not sb3:
        env.reset(seed=0)
    else:
        env.reset()
    for action in actions[:10]:
        env.step(action)
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < SECONDS:
        for action in actions:
            env.step(action)
        count += len(actions) * n
    return count / elapsed


def candidates() -> list[tuple[str, int, Maker, bool]]:
    """Name, number of environments, maker, and whether it is an SB3 one."""
    found: list[tuple[str, int, Maker, bool]] = [
        ("make_vec", BATCH, lambda n: gymnasium.make_vec(ENV_ID, num_envs=n), False),
        ("make_vec, 1 thread", BATCH, lambda n: gymnasium.make_vec(ENV_ID, num_envs=n, num_threads=1), False),
        ("gymnasium SyncVectorEnv", BATCH, lambda n: gymnasium.vector.SyncVectorEnv([make] * n), False),
        ("SB3 DummyVecEnv", BATCH, lambda n: DummyVecEnv([make] * n), True),
    ]
    for n in WORKERS:
        found.append(("gymnasium AsyncVectorEnv", n, lambda n: gymnasium.vector.AsyncVectorEnv([make] * n), False))
        found.append(("SB3 SubprocVecEnv", n, lambda n: SubprocVecEnv([make] * n, start_method="forkserver"), True))
    return found


def main() -> None:
    """Measure, print a table and write the JSON file."""
    load = os.getloadavg()[0]  # far above 0: something else was running, measure again
    best: dict[str, dict[str, float]] = {}
    for _ in range(ROUNDS):
        for name, n, maker, sb3 in candidates():
            env = maker(n)
            rate = steps_per_second(env, n, sb3)
            env.close()
            if rate > best.get(name, {}).get("steps_per_second", 0.0):
                best[name] = {"num_envs": n, "steps_per_second": round(rate)}
    reference = best["make_vec"]["steps_per_second"]
    for entry in best.values():
        entry["make_vec_is_faster_by"] = round(reference / entry["steps_per_second"], 2)
    print(f"{'':26}{'envs':>6}{'steps/s':>12}{'make_vec / it':>15}")
    for name, entry in best.items():
        print(
            f"{name:26}{entry['num_envs']:>6}{entry['steps_per_second']:>12,.0f}{entry['make_vec_is_faster_by']:>15.1f}"
        )
    print(f"load average at the start: {load:.2f}")
    machine = {"cpus": os.cpu_count(), "architecture": platform.machine(), "python": platform.python_version()}
    record = {
        "env_id": ENV_ID,
        "command": "make bench",
        "machine": {**machine, "load_average_at_start": round(load, 2)},
        "versions": {m.__name__: m.__version__ for m in (skill_envs, gymnasium, mujoco, stable_baselines3, np)},
        "results": best,
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
