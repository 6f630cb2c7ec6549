"""How large the networks of a file may be, and which numbers they act with.

A file may come from a stranger. Its description is checked against these limits before anything is made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from skill_agent.config import DEEPEST, WIDEST, SkillConfig
from skill_envs import checks

MAX_PARAMETERS = 2**26  # of all networks together, critics included [256 MiB]
MAX_STATE = 65_536  # entries of an observation
MAX_ACTION = 1024  # entries of an action
MAX_TASKS = 4096
MAX_PARAMETERS_OF_A_TASK = 1024
MAX_DIM = 1024  # of z
MAX_TABLE = 65_536  # tasks times the size of z
MAX_STEPS = 1_000_000  # between two draws of z
# Beyond these, float32 gives infinities, and their differences are no numbers.
MAX_LOG_STD = 20.0  # in size
SMALLEST, LARGEST = 1e-6, 1e6  # of the bound of the embedding's mean, and of the temperature
_SIZES = {"embedding_dim": MAX_DIM, "segment": 1024, "window": 10_000, "n_critics": 16}


def check_settings(config: SkillConfig) -> None:
    """Check the settings that sizes of networks follow from, and those that acting computes with.

    Raises:
        ValueError: one is beyond its limit.
    """
    for name, most in _SIZES.items():
        checks.integer(name, getattr(config, name), 1, most)
    if config.z_period is not None:
        checks.integer("z_period", config.z_period, 1, MAX_STEPS)
    for name in ("embedding_mean_bound", "temperature"):
        checks.number(name, getattr(config, name), SMALLEST, LARGEST)
    for name in ("embedding_log_std", "inference_log_std", "policy_log_std"):
        for bound in getattr(config, name):
            checks.number(name, bound, -MAX_LOG_STD, MAX_LOG_STD)


def check_widths(name: str, widths: object) -> list[int]:
    """Hidden layers as a file describes them.

    Raises:
        ValueError: they are no list of integers, or beyond the limits.
    """
    if not isinstance(widths, list) or len(widths) > DEEPEST:
        raise ValueError(f"net_arch of {name} is not valid; choose at most {DEEPEST} layers")
    return [checks.integer(f"a width in net_arch of {name}", width, 1, WIDEST) for width in widths]


def check_tasks(n_tasks: object, config: SkillConfig) -> int:
    """The number of tasks as a file describes it.

    Raises:
        ValueError: it is no integer from 1 on, or the table of p(z|t) would be too large.
    """
    found = checks.integer("n_tasks", n_tasks, 1, MAX_TASKS)
    # With the task id, z has the number of tasks as its size.
    z_dim = found if config.embedding == "task_id" else config.embedding_dim
    if found * z_dim > MAX_TABLE:
        raise ValueError(f"n_tasks={found} is not valid with z of size {z_dim}; their product is at most {MAX_TABLE:,}")
    return found


def box_of(name: str, low: NDArray[Any], high: NDArray[Any], most: int) -> spaces.Box:
    """The space between two arrays of bounds.

    Raises:
        ValueError: they span no box, or one of more than ``most`` entries.
    """
    if low.shape != high.shape or low.dtype != high.dtype or not 1 <= low.size <= most:
        raise ValueError(f"the bounds of the {name} are {low.shape} {low.dtype} and {high.shape} {high.dtype}")
    # Not "any above": a comparison with NaN is False.
    if not (low <= high).all():
        raise ValueError(f"the lower bounds of the {name} are not below the upper ones")
    return spaces.Box(low, high, dtype=low.dtype.type)


def check_actions(box: spaces.Box) -> None:
    """Check that actions can be scaled to the bounds.

    Raises:
        ValueError: a bound, or the width between two, is not finite.
    """
    with np.errstate(over="ignore"):
        # In the type of the bounds, as they are scaled: float32 overflows to infinity, int8 to a negative number.
        width = box.high - box.low
    if not (np.isfinite(box.low) & np.isfinite(box.high) & np.isfinite(width) & (width >= 0)).all():
        raise ValueError("the bounds of the action are not finite, or too far apart")


def check_arrays(arrays: dict[str, NDArray[Any]], expected: dict[str, Sequence[int]]) -> None:
    """Check that a file has the arrays that its networks need: their names, shapes, type and finite numbers.

    Raises:
        ValueError: it has not.
    """
    if arrays.keys() != expected.keys():
        missing, unknown = sorted(expected.keys() - arrays.keys()), sorted(arrays.keys() - expected.keys())
        raise ValueError(f"arrays {missing} are missing, {unknown} unknown")
    for name, array in arrays.items():
        needed = tuple(expected[name])
        if array.shape != needed or array.dtype != np.float32:
            raise ValueError(f"{name} is {array.shape} {array.dtype}; the networks need {needed} float32")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has entries that are not finite")
