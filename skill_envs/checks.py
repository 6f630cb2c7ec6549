"""Checks of what a caller passes: every error names the bad value and the valid ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skill_envs.physics import Float, Int


def one_of(name: str, value: object, valid: Sequence[object]) -> None:
    """Raise a ValueError unless ``value`` is one of ``valid``."""
    if value not in valid:
        raise ValueError(f"{name}={value!r} is not valid; choose from {list(valid)}")


def at_least_one(name: str, value: int) -> None:
    """Raise a ValueError unless ``value`` is 1 or more."""
    if value < 1:
        raise ValueError(f"{name}={value!r} is not valid; choose at least 1")


def no_unknown(unknown: dict[str, Any], valid: Sequence[str]) -> None:
    """Raise a TypeError if there are ``unknown`` keyword arguments."""
    if unknown:
        raise TypeError(f"unknown keyword arguments {sorted(unknown)}; valid ones are {list(valid)}")


def task_indices(task: Any, num_tasks: int, num_envs: int) -> Int:
    """(num_envs,) task indices from one index or num_envs of them; else a ValueError."""
    index = np.asarray(task)
    in_range = index.dtype.kind in "iu" and ((index >= 0) & (index < num_tasks)).all()
    if index.shape not in ((), (num_envs,)) or not in_range:
        raise ValueError(
            f"options['task']={task!r} is not valid; choose an integer from 0 to {num_tasks - 1}, or {num_envs} of them"
        )
    return np.broadcast_to(index, num_envs).astype(np.int64)


def finite_actions(actions: Any, shape: tuple[int, ...]) -> Float:
    """``actions`` as an array of ``shape`` (num_envs, action size) of finite numbers; else a ValueError."""
    array = np.asarray(actions, np.float64)
    if array.shape != shape:
        raise ValueError(f"action of shape {array.shape} is not valid; the shape is {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"action {array[~np.isfinite(array).all(axis=1)][0]} is not finite")
    return array
