"""Observations with and without a task: what their spaces may be, and checks of what `SkillPolicy.predict` is given."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from torch import Tensor

from skill_agent import arguments


def split_observation_space(space: spaces.Space[Any]) -> tuple[spaces.Box, int]:
    """The Box part of an observation space and its number of tasks.

    Raises:
        ValueError: the space is neither a Box nor a Dict of "observation" and "task", or it has images.
    """
    box, n_tasks = space, 1
    if isinstance(space, spaces.Dict):
        task = space.spaces.get("task")
        if set(space.spaces) != {"observation", "task"} or not isinstance(task, spaces.Discrete):
            raise ValueError(f"{space} is not valid; a Dict needs 'observation' (Box) and 'task' (Discrete)")
        if task.start != 0:
            raise ValueError(f"task={task} is not valid; tasks are numbered from start=0")
        box, n_tasks = space.spaces["observation"], int(task.n)
    if not isinstance(box, spaces.Box):
        raise ValueError(f"observation_space={space} is not valid; an observation is a Box, alone or in a Dict")
    if is_image_space(box):
        raise ValueError(f"{box} is an image, which these networks can't see; choose observations of vectors")
    return box, n_tasks


def check_kind(observation: Any, space: spaces.Space[Any]) -> None:
    """Check that an observation is a finite array where the space is a Box, and has the keys of a Dict.

    Raises:
        ValueError: it is anything else.
    """
    if isinstance(observation, tuple):
        raise ValueError("observation is a tuple; with gymnasium, unpack first: obs, info = env.reset()")
    valid = sorted(space.spaces) if isinstance(space, spaces.Dict) else []
    given = sorted(map(str, observation)) if isinstance(observation, dict) else []
    if given != valid:
        raise ValueError(f"an observation with keys {given} is not valid; choose {valid or space}")
    if isinstance(observation, dict):
        arguments.array("observation['observation']", observation["observation"])
        arguments.whole_numbers("observation['task']", observation["task"])
    else:
        arguments.array("observation", observation)


def check_tasks(task: Tensor, n_tasks: int) -> None:
    """Check task indices (n,).

    Raises:
        ValueError: one is out of range.
    """
    if len(task) and (task.min() < 0 or task.max() >= n_tasks):
        raise ValueError(f"task={task.tolist()} is not valid; choose integers from 0 to {n_tasks - 1}")


def check_lengths(count: int, lengths: dict[str, int]) -> None:
    """Check that what comes with ``count`` observations is as long as they are many.

    Raises:
        ValueError: something has another length.
    """
    if set(lengths.values()) != {count}:
        raise ValueError(f"lengths {lengths} are not valid with {count} observations; choose as many of each")
