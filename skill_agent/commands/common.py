"""What several commands share: checks before anything is done, and a run's folder."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any


def check_drawing(env_id: str) -> None:
    """Raise unless an environment can be drawn: better now than after a training."""
    import gymnasium

    env = gymnasium.make(env_id, render_mode="rgb_array", width=16, height=16)
    try:
        env.reset(seed=0)
        env.render()
    finally:
        env.close()


def start(run: Any, seed: int, out: Path, **options: Any) -> None:
    """Train in a folder; an interrupted training says how to go on."""
    from skill_agent.experiments import folder

    try:
        folder.start(run, seed, out, **options)
    except KeyboardInterrupt:
        sys.exit(f"skill-embed: interrupted{going_on(out, run, seed)}")


def going_on(out: Path, run: Any, seed: int) -> str:
    """How to go on with a run that was interrupted, if the folder is this run's already."""
    from skill_agent.experiments import folder

    try:
        begun = folder.run_of(out) == (run, seed) and not (out / folder.RECORD).exists()
    except (OSError, ValueError, RuntimeError):  # there is no run yet
        begun = False
    return f"; go on with: {shlex.join(['skill-embed', 'train', '--resume', str(out)])}" if begun else ""


def success(out: Path) -> str:
    """The success of each task that a finished run reached."""
    from skill_agent.experiments import folder
    from skill_agent.files import read_json
    from skill_envs import ENVIRONMENTS

    record = read_json(out / folder.RECORD)
    tasks = ENVIRONMENTS[record["env_id"]].tasks
    rates = [f"{task} {rate:.0%}" for task, rate in zip(tasks, record["final"]["success"], strict=True)]
    return f"success: {', '.join(rates)}, after {record['train_seconds']:.0f} s of training"
