"""Success of uniform random actions in every layout: prints a table, writes random_success.json.

An episode succeeds if it *ends* in the goal region ("last_step"); "any_step" counts the episodes that touch it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from skill_envs import SkillVectorEnv
from skill_envs.arm import TASKS
from skill_envs.layouts import named_layouts


def random_success(task: str, layout: int, episodes: int, seed: int) -> dict[str, float]:
    """Share of random episodes that are in the goal region at any step, and at their last."""
    env = SkillVectorEnv((task,), episodes, layout=layout, autoreset_mode="Disabled", reward_type="sparse")
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    any_success = np.zeros(episodes, np.bool_)
    diverged = np.zeros(episodes, np.bool_)
    info: dict[str, np.ndarray] = {}
    for _ in range(TASKS[task].horizon):
        *_, info = env.step(rng.uniform(-1, 1, env.action_space.shape))
        any_success |= info["is_success"]
        diverged |= info.get("physics_error", diverged)
    result = {"any_step": any_success.mean(), "last_step": info["is_success"].mean(), "diverged": diverged.mean()}
    return {key: round(float(value), 4) for key, value in result.items()}


def main() -> None:
    """Run the measurement from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    table = {}
    for name, (task, layout) in named_layouts(args.tasks).items():
        table[name] = row = random_success(task, layout, args.episodes, args.seed)
        print(f"{name:24s} any step {row['any_step']:7.2%}   last step {row['last_step']:7.2%}   {row['diverged']:.1%}")
    record = {"episodes": args.episodes, "seed": args.seed, "tasks": table}
    from skill_agent.experiments.sums import write_listed  # torch comes with it, after all is measured

    write_listed(args.out, (json.dumps(record, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
