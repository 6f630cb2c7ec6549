"""Kills a tiny training with SIGKILL, again and again, and resumes it each time: writes kills.json.

Half of the kills come while a checkpoint is being written, the others at any moment, the start included. Every
resumed training must lose at most one interval, and the last checkpoint must be that of a training left alone.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback

from skill_agent import RunCheckpoint, load_latest
from skill_agent.checkpoint import list_checkpoints
from skill_agent.experiments import GAUSSIAN, POINT_MASS, Run, build

INTERVAL = 800  # steps
TINY = {"policy_kwargs": {"net_arch": [16, 16]}, "train_freq": 10, "gradient_steps": 5, "batch_size": 16}
ENV_ID = "SkillEmbed/PointMassTwoGoals-v0"


class Report(BaseCallback):
    """Prints the step at every rollout's start."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        print(self.model.num_timesteps, flush=True)


def child(folder: Path, steps: int) -> None:
    """Train in ``folder`` from where the newest checkpoint is."""
    torch.set_num_threads(1)
    model = build(Run(ENV_ID, steps, {**POINT_MASS, **GAUSSIAN, **TINY, "learning_starts": 400}, n_envs=8), seed=0)
    load_latest(model, folder)
    callbacks = [Report(), RunCheckpoint(folder, every_steps=INTERVAL, keep=3)]
    model.learn(steps - model.num_timesteps, callbacks, reset_num_timesteps=model._last_obs is None)


def _spawn(folder: Path, steps: int, log: Path) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-W", "always", __file__, "--child", str(folder), "--steps", str(steps)]
    with open(log, "wb") as out, open(log.with_suffix(".err"), "wb") as err:
        return subprocess.Popen(arguments, stdout=out, stderr=err)


def _saving(folder: Path) -> bool:
    return any(folder.glob(".tmp-step-*"))


def _wait_and_kill(process: subprocess.Popen[bytes], folder: Path, log: Path, kind: str, rng: random.Random) -> None:
    """Kill at a moment of the given kind: "starting", "any" or "saving"."""
    if kind == "starting":
        time.sleep(rng.uniform(0, 6))
    else:
        while log.stat().st_size == 0 and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        while kind == "saving" and not _saving(folder) and process.poll() is None:
            time.sleep(0.0003)
        if kind == "saving":
            time.sleep(rng.uniform(0, 0.01))
    process.kill()
    process.wait()


def measure(kills: int, steps: int, seed: int = 0) -> dict[str, Any]:
    """Kill a training ``kills`` times, let it end, and compare it with one that was left alone."""
    rng, start = random.Random(seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folder, alone = root / "killed", root / "alone"
        folder.mkdir()
        kinds = ["saving"] * ((kills + 1) // 2) + ["any"] * (kills - (kills + 1) // 2 - kills // 10)
        kinds += ["starting"] * (kills - len(kinds))
        rng.shuffle(kinds)
        during_saving = unstarted = reached = 0
        lost, messages = [], ""
        for i, kind in enumerate([*kinds, None]):
            log = root / f"{i}.log"
            process = _spawn(folder, steps, log)
            if kind is not None:
                _wait_and_kill(process, folder, log, kind, rng)
                during_saving += _saving(folder)
            process.wait()
            messages += log.with_suffix(".err").read_text(encoding="utf-8")
            if process.returncode != (0 if kind is None else -9):
                raise RuntimeError(f"training {i} was to be {kind} and ended with {process.returncode}: {messages}")
            if reports := [int(line) for line in log.read_text(encoding="utf-8").split("\n")[:-1]]:
                lost.append(reached - reports[0])
                reached = reports[-1]
            unstarted += not reports
        if _spawn(alone, steps, root / "alone.log").wait() != 0:
            raise RuntimeError((root / "alone.err").read_text(encoding="utf-8"))
        ends = [list_checkpoints(path)[-1] for path in (folder, alone)]
        arrays = [(end / "arrays.safetensors").read_bytes() for end in ends]
        return {
            "kills": len(kinds),
            "during_saving": during_saving,
            "before_the_first_step": unstarted,
            "trainings_that_went_on": len(lost) - 1,
            "interval_steps": INTERVAL,
            "most_steps_lost": max(lost),
            "steps_lost_in_all": sum(lost),
            "steps": [int(end.name.removeprefix("step-")) for end in ends],
            "end_bit_identical_to_an_unbroken_training": ends[0].name == ends[1].name and arrays[0] == arrays[1],
            "warnings": messages,
            "seconds": round(time.perf_counter() - start),
        }


def main() -> None:
    """Run the measurement from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=150_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        child(args.child, args.steps)
        return
    result = measure(args.kills, args.steps)
    print(json.dumps(result, indent=2))
    args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
