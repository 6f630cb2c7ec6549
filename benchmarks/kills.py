"""Kills a tiny training with SIGKILL, again and again, and resumes it each time: writes kills.json.

Half of the kills come while a checkpoint is being written, the others at any moment, the start included. Every
resumed training must lose at most one interval, and the last checkpoint must be that of a training left alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import signal
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback

from skill_agent import RunCheckpoint, load_latest
from skill_agent.checkpoint import list_checkpoints
from skill_agent.experiments.sums import write_listed
from skill_agent.experiments.tables import POINT_MASS, Run
from skill_agent.experiments.train import build

INTERVAL = 800  # steps
VERSATILITY = {"inference_coef": 0.1, "embedding_entropy_coef": 1.5}
TINY = {"policy_kwargs": {"net_arch": [16, 16]}, "train_freq": 10, "gradient_steps": 5, "batch_size": 16}
ENV_ID = "SkillEmbed/PointMassTwoGoals-v0"


class Report(BaseCallback):
    """Writes the step to a file at every rollout's start."""

    def __init__(self, log: Path) -> None:
        """Write to ``log``."""
        super().__init__()
        self.log = log

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"{self.model.num_timesteps}\n")


def child(folder: Path, steps: int, log: Path) -> None:
    """Train in ``folder`` from where the newest checkpoint is."""
    warnings.simplefilter("error")  # a checkpoint that was passed over ends the training
    torch.set_num_threads(1)
    model = build(Run(ENV_ID, steps, {**POINT_MASS, **VERSATILITY, **TINY, "learning_starts": 400}, n_envs=8), seed=0)
    load_latest(model, folder)
    callbacks = [Report(log), RunCheckpoint(folder, every_steps=INTERVAL, keep=3)]
    model.learn(steps - model.num_timesteps, callbacks, reset_num_timesteps=model._last_obs is None)


def _spawn(folder: Path, steps: int, log: Path) -> Any:
    """A process forked from one that has only imported the packages, which saves seconds each time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["skill_agent.experiments"])
    process = context.Process(target=child, args=(folder, steps, log))
    log.touch()
    process.start()
    return process


def _reports(log: Path) -> list[int]:
    return [int(line) for line in log.read_text(encoding="utf-8").split("\n")[:-1]]


def _saving(folder: Path) -> bool:
    return any(folder.glob(".tmp-step-*"))


def _wait_and_kill(process: Any, folder: Path, log: Path, kind: str, rng: random.Random) -> None:
    """Kill at a moment of the given kind: "starting", "any" or "saving"."""
    if kind == "starting":
        time.sleep(rng.uniform(0, 0.3))
    else:
        rollouts = rng.randint(1, 20)
        while len(_reports(log)) < rollouts and process.is_alive():
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.02))
        while kind == "saving" and process.is_alive():
            if _saving(folder):
                time.sleep(rng.uniform(0, 0.003))
                if _saving(folder):
                    break
            time.sleep(0.0003)
    process.kill()


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
        lost = []
        for i, kind in enumerate([*kinds, None]):
            log = root / f"{i}.log"
            process = _spawn(folder, steps, log)
            if kind is not None:
                _wait_and_kill(process, folder, log, kind, rng)
            process.join()
            if process.exitcode != (0 if kind is None else -signal.SIGKILL):
                raise RuntimeError(f"training {i}, to be killed {kind}, ended with {process.exitcode}")
            if reports := _reports(log):
                lost.append(reached - reports[0])
                reached = reports[-1]
                during_saving += _saving(folder)  # what an earlier kill left is gone since the first report
            unstarted += not reports
        process = _spawn(alone, steps, root / "alone.log")
        process.join()
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
            "seconds": round(time.perf_counter() - start),
        }


def main() -> None:
    """Run the measurement from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=80_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    result = measure(args.kills, args.steps)
    print(json.dumps(result, indent=2))
    write_listed(args.out, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
