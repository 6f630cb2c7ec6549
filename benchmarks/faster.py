"""Options of the learner on `LWallPretrain`: wall clock until both tasks are at 90 %, and the area under that curve.

    python benchmarks/faster.py                     # all that is missing, one run after another; a day
    python benchmarks/faster.py --only layer_norm   # the runs of one row
    python benchmarks/faster.py --steps 20000 --seeds 1 --set '{"compile": false}' --folder /tmp/try   # a short one

Rows of the table differ from L-wall's settings in what they name. Runs follow one another seed by seed, so that what a
machine does in the meantime meets all rows alike. Each leaves a file in benchmarks/faster/, and a run that has one is
not made again; those of whole length make benchmarks/faster.json. Time is that of the training alone, without its
evaluations. CPU seconds stand beside it, as machines are shared; those of workers are known at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from skill_agent.experiments.sums import write_listed
from skill_agent.experiments.tables import PRETRAIN, Run
from skill_agent.experiments.train import build, describe
from skill_agent.files import read_json, write_whole
from skill_agent.policy import SkillPolicy
from skill_agent.rollouts import rollout, success_rate
from skill_envs import checks

FOLDER = Path(__file__).with_suffix("")
BASE = PRETRAIN["lwall"]
SEEDS, EVERY, EPISODES = 5, 51_200, 32  # seeds; steps between two evaluations; episodes of each task in one
BAR = 0.9  # success of both tasks
# Rewards of up to 1 a step, discounted by 0.97, come to 33 at most. What z shows of itself adds up to a2 times 10 a
# step, which is 100 in all; a third of that is what there is at the end of a training.
BY_CLASSES: dict[str, Any] = {"critic_loss": "hl_gauss", "critic_support": (-30.0, 130.0)}
ROWS: dict[str, dict[str, Any]] = {
    "today": {},
    "small_batches": {"batch_size": 32, "gradient_steps": 2 * BASE.settings["gradient_steps"]},
    "layer_norm": {"critic_norm": "layer"},
    "rms_norm": {"critic_norm": "rms"},
    "hl_gauss": BY_CLASSES,
    "layer_norm_hl_gauss": {"critic_norm": "layer", **BY_CLASSES},
    # The warm-up is over as soon as the tasks have been solved for a quarter of the training.
    "adaptive": {"versatility_success": 0.9, "versatility_warmup": 0.25},
    "one_worker": {"n_workers": 1},
}


class Curve(BaseCallback):
    """Evaluates now and then, with the training's clocks stopped."""

    def __init__(self, run: Run, every: int, episodes: int) -> None:
        """Evaluate ``episodes`` of each task every ``every`` steps, and at the end."""
        super().__init__()
        self._run, self._every, self._episodes = run, every, episodes
        self.points: list[dict[str, Any]] = []
        self._wall = self._cpu = 0.0

    def _on_training_start(self) -> None:
        self._clocks = time.perf_counter(), time.process_time()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._every * len(self.points):
            self._point()

    def _on_training_end(self) -> None:
        self._point()

    def _point(self) -> None:
        """Add a point: steps, seconds and each task's success."""
        wall, cpu = self._clocks
        self._wall += time.perf_counter() - wall
        self._cpu += time.process_time() - cpu
        policy = self.model.policy
        assert isinstance(policy, SkillPolicy)
        found = rollout(policy, self._run.env_id, self._episodes, seed=10_000 + len(self.points))
        success = success_rate(found, policy.n_tasks)
        point = {"steps": self.num_timesteps, "seconds": round(self._wall, 2), "cpu_seconds": round(self._cpu, 2)}
        self.points.append({**point, "success": success})
        print(self.points[-1], flush=True)
        self._clocks = time.perf_counter(), time.process_time()


def train(row: str, seed: int, steps: int, settings: dict[str, Any], episodes: int) -> dict[str, Any]:
    """One run and its curve."""
    run = replace(BASE, total_timesteps=steps, settings={**BASE.settings, **ROWS[row], **settings})
    agent = build(run, seed)
    before = _of_children()
    curve = Curve(run, min(EVERY, steps), episodes)
    agent.learn(steps, callback=curve)
    assert agent.env is not None
    agent.env.close()
    record = describe(run, seed, agent, curve.points[-1]["seconds"])
    return {**record, "row": row, "cpu_seconds_of_workers": round(_of_children() - before, 2), "curve": curve.points}


def _of_children() -> float:
    """CPU time of processes that were started and have ended [s]."""
    times = os.times()
    return times.children_user + times.children_system


def seconds_until(curve: list[dict[str, Any]], clock: str, bar: float = BAR) -> float | None:
    """Time at the first point whose tasks are all at the bar; None if there is none.

    Args:
        curve: points with "success", a number a task.
        clock: "seconds" or "cpu_seconds".
        bar: share of successes.
    """
    for point in curve:
        if min(point["success"]) >= bar:
            return float(point[clock])
    return None


def area(curve: list[dict[str, Any]], clock: str, until: float) -> float:
    """Mean over time, from 0 to ``until``, of the success of the worse task, straight between the points.

    Beyond its last point a curve stays where it was.
    """
    times = np.array([point[clock] for point in curve])
    worse = np.array([min(point["success"]) for point in curve])
    inside = times[(times > 0) & (times < until)]
    at = np.concatenate(([0.0], inside, [until]))
    level = np.interp(at, times, worse)
    return float(((level[1:] + level[:-1]) / 2 * np.diff(at)).sum() / until)


def summary(records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each row's times and areas by seed, and their medians over those of today's settings with the same seed.

    Areas run until the end of today's run of that seed. A run that never reaches the bar has no time, and is counted.
    """
    rows: dict[str, Any] = {}
    for row, changed in ROWS.items():
        own = {r["seed"]: r["curve"] for r in records.values() if r["row"] == row}
        today = {r["seed"]: r["curve"] for r in records.values() if r["row"] == "today" and r["seed"] in own}
        if not own or own.keys() != today.keys():
            continue
        found: dict[str, Any] = {"settings": changed, "seeds": sorted(own)}
        for clock in ("seconds", "cpu_seconds"):
            until = {seed: today[seed][-1][clock] for seed in own}
            reached = {seed: seconds_until(own[seed], clock) for seed in sorted(own)}
            usual = {seed: seconds_until(today[seed], clock) for seed in sorted(own)}
            ratios = [a / b for a, b in zip(reached.values(), usual.values(), strict=True) if a and b]
            found[clock] = {
                "until_both_tasks": list(reached.values()),
                "never": sum(each is None for each in reached.values()),
                "over_today": round(statistics.median(ratios), 3) if ratios else None,
                "area": [round(area(own[seed], clock, until[seed]), 4) for seed in sorted(own)],
            }
        rows[row] = found
    return {"env_id": BASE.env_id, "steps": BASE.total_timesteps, "bar": BAR, "rows": rows}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(ROWS), help="one row of the table")
    parser.add_argument("--steps", type=int, default=BASE.total_timesteps)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--episodes", type=int, default=EPISODES, help="of each task, in one evaluation")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--set", default="{}", help="JSON of other settings, for all rows")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    args = parser.parse_args()
    for name in ("steps", "seeds", "episodes", "threads"):
        checks.integer(f"--{name}", getattr(args, name), 1)
    settings = json.loads(args.set)
    if args.folder == FOLDER and (args.steps != BASE.total_timesteps or settings):
        parser.error("other steps or settings need another --folder, so that no record is mixed with them")
    torch.set_num_threads(args.threads)
    args.folder.mkdir(parents=True, exist_ok=True)
    rows = [args.only] if args.only else list(ROWS)
    for seed in range(args.seeds):
        for row in rows:
            out = args.folder / f"{row}-{seed}.json"
            if not out.exists():
                record = train(row, seed, args.steps, settings, args.episodes)
                write_whole(out, (json.dumps(record, indent=1) + "\n").encode())
    records = {path.stem: read_json(path) for path in sorted(args.folder.glob("*.json"))}
    found = {**summary(records), "steps": args.steps}
    write_listed(args.folder.with_suffix(".json"), (json.dumps(found, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
