"""How hard the layouts are for skills that no mapping leads: prints a table, writes layouts.json.

z is drawn at random from the skills' marginal over tasks, and held for 20 steps. A layout tells ways of learning apart
where some draws solve it, and most do not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skill_agent import load_skills
from skill_agent.experiments.sums import write_listed
from skill_agent.policy import SkillPolicy
from skill_agent.skill_space import act
from skill_envs import TASKS, SkillVectorEnv

SKILLS = {"SpringWall": "springwall", "LWall": "lwall", "RailPush": "railpush"}  # by the task that they are for
ROOT = Path(__file__).parents[1]


@torch.no_grad()
def random_skills(skills: SkillPolicy, task: str, layout: int, episodes: int, hold: int, seed: int) -> dict[str, float]:
    """Share of episodes that are in the goal region at any step, and at their last."""
    env = SkillVectorEnv([task], episodes, layout=layout, autoreset_mode="Disabled", reward_type="sparse")
    observation, _ = env.reset(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    any_success, success = np.zeros(episodes, np.bool_), np.zeros(episodes, np.bool_)
    for step in range(TASKS[task].horizon):
        if step % hold == 0:
            drawn = torch.randint(skills.n_tasks, (episodes,), generator=generator)
            code = skills.embedding_distribution.code(skills.draw_latent(drawn, generator))
        observation, *_, info = env.step(act(skills, observation, code, generator))
        success = info["is_success"]
        any_success |= success
    return {"any_step": round(float(any_success.mean()), 3), "last_step": round(float(success.mean()), 3)}


def screened(task: str, files: Sequence[Path], episodes: int, hold: int, seed: int) -> list[dict[str, Any]]:
    """For each layout of a task, what `random_skills` says of each file of skills, by its name."""
    skills = {file.stem: load_skills(file) for file in files}
    rows = []
    for layout in range(1 + len(TASKS[task].others)):
        rows.append({name: random_skills(skills[name], task, layout, episodes, hold, seed) for name in skills})
        shares = "  ".join(f"{row['any_step']:4.0%} ({row['last_step']:.0%})" for row in rows[-1].values())
        print(f"{task:12s} layout {layout:2d}   any step (last step): {shares}", flush=True)
    return rows


def main() -> None:
    """Run the measurement from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--episodes", type=int, default=128)
    parser.add_argument("--hold", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=ROOT / "records" / "pretrain", help="FAMILY-seedN.safetensors")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {name: getattr(args, name) for name in ("episodes", "hold", "seed")}
    record["tasks"] = {}
    for task, family in SKILLS.items():
        files = sorted(args.folder.glob(f"{family}-seed*.safetensors"))
        record["tasks"][task] = screened(task, files, args.episodes, args.hold, args.seed)
    write_listed(args.out, (json.dumps(record, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
