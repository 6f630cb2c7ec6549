"""Write docs/envs/TASK.webp, of all tasks of the suite or of those that are named: each is solved by its script."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from skill_envs import TASKS, SkillVectorEnv, demonstrate
from skill_envs.demonstrate import ROUTES

FOLDER = Path(__file__).with_name("envs")
SIDE = 200  # [pixel]
EVERY = 2  # of the frames are shown
RATE = 20  # of the arm's frames [Hz]


def goal_of(task: str, step: int, observation: Any) -> NDArray[np.float64]:
    """The goal (1, 2) that counts at a step, or the first one [m]."""
    about = TASKS[task]
    if about.parameters is not None:
        return about.parameters.goal(observation["task"])
    turn = min(step // about.turn, len(about.goals) - 1) if about.turn else 0
    return np.array([about.goals[turn]])


def steered(task: str) -> NDArray[np.uint8]:
    """Frames of the point mass, which a spring and a damper lead to the task's goals."""
    env = SkillVectorEnv((task,), render_mode="rgb_array", width=SIDE, height=SIDE, autoreset_mode="Disabled")
    observation, _ = env.reset(seed=0)
    frames = []
    for step in range(TASKS[task].horizon):
        frames += env.render() or ()
        state = observation["observation"] if isinstance(observation, dict) else observation
        force = goal_of(task, step, observation) - state[:, :2] - state[:, 2:4]
        observation, *_ = env.step(force)
    frames += env.render() or ()
    env.close()
    return np.stack(frames)


def frames_of(task: str) -> NDArray[np.uint8]:
    """Frames (n, SIDE, SIDE, 3) of one episode that solves the task."""
    if task not in ROUTES:
        return steered(task)
    (episode,) = demonstrate(task, render=True, width=SIDE, height=SIDE)
    assert episode.frames is not None
    return episode.frames


def main() -> None:
    """Write a film of every task; films of tasks that are gone go too."""
    for old in FOLDER.glob("*.webp"):
        if old.stem not in TASKS:
            old.unlink()
    for task in sys.argv[1:] or TASKS:
        shown = frames_of(task)[::EVERY]
        path = FOLDER / f"{task}.webp"
        iio.imwrite(path, shown, duration=1000 * EVERY // RATE, loop=0, quality=50, method=6)
        print(path)


if __name__ == "__main__":
    main()
