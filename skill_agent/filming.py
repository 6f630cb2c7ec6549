"""Films of policies: the tasks side by side, with or without words on them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from skill_agent.playing import (
    Model,
    Moment,
    environments,
    number_of_tasks,
    of_layout,
    of_suite,
    play,
    player,
    task_names,
)
from skill_agent.tasks import Tasks
from skill_envs import checks
from skill_envs.pictures import Picture, captioned, fitted
from skill_envs.render import SHADOW_SIZE

_FPS = 30  # of environments that don't say


def film(model: Model, tasks: Tasks, episodes: int, seed: int) -> tuple[list[Picture], int]:
    """Frames (320, 320 * T, 3) of `show_film`, and frames per second."""
    frames: list[Picture] = []
    fps = show_film(frames.append, model, tasks, episodes, seed)
    return frames, fps


def show_film(
    show: Callable[[Picture], object],
    model: Model,
    tasks: Tasks,
    episodes: int,
    seed: int,
    *,
    width: int = 320,
    height: int = 320,
    caption: bool = False,
    shadow_size: int = SHADOW_SIZE,
    begin: Callable[[int], object] | None = None,
    every: int = 1,
    layout: int = 0,
) -> int:
    """Play ``episodes`` episodes for every task, each with a fresh z, and show the T tasks side by side.

    Where episodes end one before the other, the last picture of the shorter ones stays.

    Args:
        show: called with every frame, (height, width * T, 3), one before each control step, or each ``every`` steps.
        model: skills, a transferred policy, or any algorithm or policy of SB3 with the environment's spaces.
        tasks: an id, or ids, callables or environments as of `make_task_vec_env`.
        episodes: episodes one after the other, for every task at once.
        seed: seeds start states, z and actions; torch's global generator is left as it was.
        width: width of each task's picture [pixel].
        height: height of the pictures [pixel].
        caption: write the task, z and the success on each picture.
        shadow_size: as of `skill_envs.SkillVectorEnv`; of the suite alone.
        begin: called with the control steps per second before the first frame.
        every: steps from one frame to the next.
        layout: where the fixtures are, of tasks of the suite that have several layouts.

    Returns:
        Control steps per second: ``every`` times the frames.

    Raises:
        RuntimeError: no OpenGL backend is available.
        TypeError: a model or a task of another kind.
        ValueError: the environment has another number of tasks or tasks with other parameters, can't be drawn, or an
            argument is out of range.
    """
    checks.integer("episodes", episodes, least=1)
    checks.integer("seed", seed, least=0)
    checks.boolean("caption", caption)
    checks.integer("every", every, least=1)
    policy = player(model)
    n_tasks = number_of_tasks(policy)
    drawn: dict[str, Any] = {"render_mode": "rgb_array", **of_layout(layout, tasks)}
    if of_suite(tasks):
        drawn |= {"width": width, "height": height, "shadow_size": shadow_size}
    with environments(policy, tasks, n_tasks, **drawn) as env, torch.random.fork_rng():
        said: Any = env.metadata.get("render_fps")
        fps = round(said or _FPS)
        if begin is not None:
            begin(fps)
        pictures = _Pictures(env, task_names(env, n_tasks), width, height, caption)
        torch.manual_seed(seed)
        for episode in range(episodes):
            pictures.last.clear()
            first = seed + episode * n_tasks
            moments = itertools.count()

            def film(moment: Moment, moments: Iterator[int] = moments) -> None:
                if next(moments) % every == 0:
                    show(pictures.of(moment))

            play(policy, env, first, range(n_tasks), show=film)
    return fps


class _Pictures:
    """The last picture of each task, from an episode's start on."""

    def __init__(self, env: VecEnv, names: list[str], width: int, height: int, caption: bool) -> None:
        self.env, self.names, self.size, self.caption = env, names, (width, height), caption
        self.last: list[Picture] = []

    def of(self, moment: Moment) -> Picture:
        """The tasks side by side (height, width * T, 3) at a moment."""
        for i, drawn in enumerate(self.env.get_images()):
            if i < len(self.last) and moment.over[i]:
                continue
            if drawn is None:
                raise ValueError(f"{self.names[i]} can't be drawn: it gives no picture for render_mode='rgb_array'")
            picture = fitted(np.asarray(drawn), *self.size)
            if self.caption:
                picture = captioned(picture, words(self.names[i], moment, i))
            self.last[i : i + 1] = [picture]
        frame: NDArray[np.uint8] = np.concatenate(self.last, axis=1)
        return frame


def words(task: str, moment: Moment, i: int) -> list[str]:
    """What is said of environment ``i`` at a moment: its task, z and whether it is a success."""
    said = [task.removeprefix("SkillEmbed/")]
    if moment.code is not None:
        digits = 2 if len(moment.code[i]) <= 3 else 1
        said.append("z " + "  ".join(f"{value:+.{digits}f}" for value in moment.code[i]))
    if moment.success is not None:
        said.append("success" if moment.success[i] else "no success yet")
    return said
