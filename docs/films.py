"""Write the films of the pages: docs/envs/TASK.webp, each task solved by its script, and figures/transfer.webp.

``python docs/films.py PointMassTour`` writes those of some tasks alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from generate import named
from numpy.typing import NDArray

from skill_agent import load_policy
from skill_agent.rollouts import film
from skill_envs import TASKS, SkillVectorEnv, demonstrate
from skill_envs.demonstrate import ROUTES

FOLDER = Path(__file__).with_name("envs")
SIDE = 200  # [pixel]
EVERY = 2  # of the frames are shown
RATE = 20  # of the arm's frames [Hz]
FILMED = {"springwall": "SpringWall", "lwall": "LWall", "railpush": "RailPush"}  # policies and their tasks


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


def write_animation(path: Path, seed: int = 0) -> None:
    """Film the transferred policies that come with the package side by side, as an animated WebP."""
    films = []
    for name in FILMED:
        frames, rate = film(load_policy(name), f"SkillEmbed/{FILMED[name]}-v0", 1, seed)
        films.append([named(frame, FILMED[name]) for frame in frames])
    every = 2
    shown = [np.concatenate(frames, axis=1) for frames in list(zip(*films, strict=True))[::every]]
    shown += [shown[-1]] * (rate // every)  # a second to see how it ended
    iio.imwrite(path, np.stack(shown), duration=round(1000 * every / rate), loop=0, quality=60, method=6)


def main() -> None:
    """Write a film of every task, or of those that are named; films of tasks that are gone go too."""
    for old in FOLDER.glob("*.webp"):
        if old.stem not in TASKS:
            old.unlink()
    for task in sys.argv[1:] or TASKS:
        shown = frames_of(task)[::EVERY]
        path = FOLDER / f"{task}.webp"
        iio.imwrite(path, shown, duration=1000 * EVERY // RATE, loop=0, quality=50, method=6)
        print(path)
    write_animation(FOLDER.parent / "figures" / "transfer.webp")


if __name__ == "__main__":
    main()
