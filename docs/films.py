"""Write docs/envs/TASK.webp: each task of the suite, solved by its script."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from skill_envs import TASKS, demonstrate
from skill_envs.demonstrate import ROUTES

FOLDER = Path(__file__).with_name("envs")
SIDE = 200  # [pixel]
EVERY = 2  # of the frames are shown
RATE = 20  # of the arm's frames [Hz]


def steered(task: str) -> NDArray[np.uint8]:
    """Frames of the point mass, which a spring and a damper lead to the task's first goal."""
    env = gymnasium.make_vec(
        "SkillEmbed/PointMassTwoGoals-v0",
        num_envs=1,
        tasks=(task,),
        render_mode="rgb_array",
        width=SIDE,
        height=SIDE,
        autoreset_mode="Disabled",
    )
    observation, _ = env.reset(seed=0)
    frames = [env.render()[0]]
    for _ in range(TASKS[task].horizon):
        position, velocity = observation[:, :2], observation[:, 2:]
        observation, *_ = env.step(np.array(TASKS[task].goals[:1]) - position - velocity)
        frames.append(env.render()[0])
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
    for task in TASKS:
        shown = frames_of(task)[::EVERY]
        path = FOLDER / f"{task}.webp"
        iio.imwrite(path, shown, duration=1000 * EVERY // RATE, loop=0, quality=50, method=6)
        print(path)


if __name__ == "__main__":
    main()
