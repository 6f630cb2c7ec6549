"""SB3's own SAC over shipped skills: choose z on `LWall`, a task that the skills were not trained on.

    python benchmarks/sac.py

Writes success and return of the final policies to benchmarks/sac.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from stable_baselines3 import SAC

from skill_agent import SkillSpaceVecEnv, load_skills, make_skill_vec_env
from skill_agent.experiments.sums import write_listed

EPISODES, HORIZON = 100, 100


def make_env(n_envs: int, seed: int) -> SkillSpaceVecEnv:
    """`LWall` behind the shipped skills, whose z is held for 5 steps."""
    return SkillSpaceVecEnv(make_skill_vec_env("SkillEmbed/LWall-v0", n_envs, seed=seed), load_skills("lwall"), 5, seed)


def run(seed: int, timesteps: int) -> dict[str, float]:
    """Train once, with as many steps and updates as figure 5's transfers have, and measure the final policy."""
    start = time.perf_counter()
    model = SAC(
        "MlpPolicy", make_env(64, seed), gamma=0.95, learning_starts=1_280, train_freq=20, gradient_steps=40, seed=seed
    ).learn(timesteps)
    seconds = time.perf_counter() - start
    env = make_env(EPISODES, 20_000 + seed)
    observation, total = env.reset(), np.zeros(EPISODES)
    for _ in range(HORIZON // env.hold):
        z, _ = model.predict(observation)
        observation, reward, _, infos = env.step(z)
        total += reward
    success = float(np.mean([info["is_success"] for info in infos]))
    return {"seed": seed, "success": success, "return": round(float(total.mean()), 2), "seconds": round(seconds, 1)}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--timesteps", type=int, default=102_400, help="choices of z, each held for 5 steps")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs = [run(seed, args.timesteps) for seed in range(args.seeds)]
    for found in runs:
        print(found)
    record = {
        "id": "SkillEmbed/LWall-v0",
        "skills": "lwall",
        "steps": 5 * args.timesteps,
        "episodes": EPISODES,
        "runs": runs,
    }
    write_listed(args.out, (json.dumps(record, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
