"""Observations with and without a task: what their spaces may be, and checks of what `SkillPolicy.predict` is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from skill_agent import arguments

_EXAMPLES = 256  # of parameters

TaskSpace = spaces.Discrete | spaces.Box  # of an index t, or of continuous parameters c


def split_observation_space(space: spaces.Space[Any]) -> tuple[spaces.Box, TaskSpace]:
    """The Box part of an observation space, and the space of its tasks: of one task where there is no other part.

    Raises:
        ValueError: the space is neither a Box nor a Dict of "observation" and "task", the latter can't be learned, or
            there are images.
    """
    box: spaces.Space[Any] = space
    task: TaskSpace = spaces.Discrete(1)
    if isinstance(space, spaces.Dict):
        task = _task_space(space)
        box = space.spaces["observation"]
    if not isinstance(box, spaces.Box):
        raise ValueError(f"observation_space={space} is not valid; an observation is a Box, alone or in a Dict")
    if is_image_space(box):
        raise ValueError(f"{box} is an image, which these networks can't see; choose observations of vectors")
    return box, task


def _task_space(space: spaces.Dict) -> TaskSpace:
    """The space of the tasks of a Dict; else a ValueError."""
    task = space.spaces.get("task")
    if set(space.spaces) != {"observation", "task"} or not isinstance(task, spaces.Discrete | spaces.Box):
        raise ValueError(f"{space} is not valid; a Dict needs 'observation' (Box) and 'task' (Discrete or Box)")
    if isinstance(task, spaces.Discrete):
        if task.start != 0:
            raise ValueError(f"task={task} is not valid; tasks are numbered from start=0")
        return task
    if len(task.shape) != 1 or task.dtype.kind != "f":
        raise ValueError(f"task={task} is not valid; parameters of tasks are a vector of floats, such as shape (2,)")
    # The networks see parameters scaled by their bounds.
    with np.errstate(over="ignore"):
        width = np.float32(task.high) - np.float32(task.low)
    if not (np.isfinite(width) & (width > 0)).all():
        raise ValueError(f"task={task} is not valid; parameters of tasks need finite bounds, the lower below the upper")
    return task


def example_tasks(space: TaskSpace, device: torch.device) -> Tensor:
    """Tasks that stand for all: every index (T,), or parameters (n, C) that are spread evenly over their bounds."""
    if isinstance(space, spaces.Discrete):
        return torch.arange(int(space.n), device=device)
    share = np.random.default_rng(0).random((_EXAMPLES, *space.shape))
    spread = space.low + share * (space.high.astype(np.float64) - space.low)
    return torch.as_tensor(spread.astype(np.float32), device=device)


def check_normalised(env: VecNormalize | None) -> None:
    """Check that parameters of tasks reach the networks as the environment gives them.

    Raises:
        ValueError: a VecNormalize changes them, and from step to step in another way.
    """
    if env is None or not env.norm_obs or not isinstance(env.observation_space, spaces.Dict):
        return
    if "task" in (env.norm_obs_keys or []):
        raise ValueError(
            f"norm_obs_keys={env.norm_obs_keys} is not valid with parameters of tasks; choose ['observation']"
        )


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
        task = space["task"] if isinstance(space, spaces.Dict) else None
        if isinstance(task, spaces.Box):
            given_task = arguments.array("observation['task']", observation["task"])
            if given_task.shape[-1:] != task.shape:
                raise ValueError(f"observation['task'] of shape {given_task.shape} is not valid; choose a c in {task}")
        else:
            arguments.whole_numbers("observation['task']", observation["task"])
    else:
        arguments.array("observation", observation)


def check_tasks(task: Tensor, space: TaskSpace) -> None:
    """Check task indices (n,), or parameters (n, C).

    Raises:
        ValueError: one is out of range.
    """
    if isinstance(space, spaces.Box):
        low, high = torch.as_tensor(space.low).to(task), torch.as_tensor(space.high).to(task)
        outside = ((task < low) | (task > high)).any(1)
        if outside.any():
            raise ValueError(f"task={task[outside][0].tolist()} is not valid; choose parameters in {space}")
        return
    n_tasks = int(space.n)
    if len(task) and (task.min() < 0 or task.max() >= n_tasks):
        raise ValueError(f"task={task.tolist()} is not valid; choose integers from 0 to {n_tasks - 1}")


def check_lengths(count: int, lengths: dict[str, int]) -> None:
    """Check that what comes with ``count`` observations is as long as they are many.

    Raises:
        ValueError: something has another length.
    """
    if set(lengths.values()) != {count}:
        raise ValueError(f"lengths {lengths} are not valid with {count} observations; choose as many of each")
