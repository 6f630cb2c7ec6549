"""Observations of every environment over whole episodes, to compare two versions of MuJoCo: ``make mujoco4``.

``python tests/observations.py FILE`` writes them, or compares with those in the file if it is there.
"""

import sys
from pathlib import Path

import gymnasium
import mujoco
import numpy as np

from skill_envs import ENVIRONMENTS


def episodes(env_id):
    """(steps, environments, S) of an episode and the start of the next, with seeded actions."""
    env = gymnasium.make_vec(env_id, num_envs=4, num_threads=1)
    rng = np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    shown = []
    for _ in range(ENVIRONMENTS[env_id].horizon + 2):
        shown.append(observation["observation"] if isinstance(observation, dict) else observation)
        observation, *_ = env.step(rng.uniform(-1.0, 1.0, env.action_space.shape))
    return np.stack(shown)


def difference(before, now):
    """In words: how far two of them are apart."""
    if np.array_equal(before, now):
        return "identical"
    return f"differs by up to {np.abs(before - now).max():.1g}"


def main(path):
    """Write or compare."""
    print(f"MuJoCo {mujoco.__version__}")
    found = {env_id: episodes(env_id) for env_id in ENVIRONMENTS}
    if not path.exists():
        np.savez(path, **found)
        return
    with np.load(path) as before:
        for env_id, now in found.items():
            print(f"{env_id}: {difference(before[env_id], now)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
