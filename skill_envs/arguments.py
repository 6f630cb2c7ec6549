"""The environments' arguments, checked one by one: every error names the bad value and the valid ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from skill_envs import checks
from skill_envs.render import RENDER_MODES
from skill_envs.tasks import TASKS

REWARD_TYPES = ("paper", "sparse", "shaped")
AUTORESET_MODES = tuple(AutoresetMode)
SETTABLE = ("reward_type", "max_episode_steps", "render_mode")  # these may be set after construction
MOST_ENVS = 2**20  # what fits no machine is refused before it fills its memory
MOST_THREADS = 1024


def tasks(value: Any) -> tuple[str, ...]:
    """Names of tasks that one environment can draw from; else a ValueError."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ValueError(f"tasks={value!r} is not valid; choose a list of at least one of {list(TASKS)}")
    for name in value:
        checks.one_of("task", name, list(TASKS))
    # One batch has one form of observations and actions, and one clock.
    like = [name for name in TASKS if _form(name) == _form(value[0])]
    for name in value:
        if name not in like:
            raise ValueError(f"tasks={value!r} is not valid; with {value[0]!r} choose from {like}")
    # What the agent is told of a task is an index, or parameters.
    if len(value) > 1 and TASKS[value[0]].parameters is not None:
        raise ValueError(f"tasks={value!r} is not valid; choose {value[0]!r} alone, since it has parameters")
    return tuple(value)


def _form(name: str) -> tuple[Any, ...]:
    task = TASKS[name]
    return task.observation, task.action, task.substeps, task.parameters


def arc(value: Any, names: Sequence[str]) -> str | None:
    """The range that the parameters of a task are drawn from, by default its first; None for tasks without parameters.

    Raises:
        ValueError: another range, or one of tasks without parameters.
    """
    parameters = TASKS[names[0]].parameters
    if parameters is None:
        if value is not None:
            raise ValueError(f"arc={value!r} is not valid; choose None, since {list(names)} have no parameters")
        return None
    valid = list(parameters.arcs)
    if value is None:
        return valid[0]
    checks.one_of("arc", value, valid)
    return str(value)


def layouts(value: Any, names: Sequence[str], num_envs: int) -> tuple[int, ...]:
    """The layout of each environment, of one for all or of ``num_envs``; all tasks have them, or it is a ValueError."""
    valid = range(1 + min(len(TASKS[name].others) for name in names))
    several = isinstance(value, np.ndarray) and value.ndim > 0
    several |= isinstance(value, Sequence) and not isinstance(value, str | bytes)
    given = list(value) if several else [value]
    whole = all(isinstance(number, Integral) and not isinstance(number, bool | np.bool_) for number in given)
    if not whole or not all(number in valid for number in given) or (several and len(given) != num_envs):
        have = [name for name in TASKS if TASKS[name].others]
        alone = f", since {list(names)} have no others; these have: {have}" if len(valid) == 1 else ""
        raise ValueError(
            f"layout={value!r} is not valid; choose from {list(valid)}, or num_envs={num_envs} of them{alone}"
        )
    return tuple(int(number) for number in given) if several else (int(value),) * num_envs


def fixed_task(value: Any, names: Sequence[str]) -> int | None:
    """The index of the task that ``value`` names: its name among ``names``, its index, or None; else a ValueError."""
    if value is None:
        return None
    if not isinstance(value, str):
        return checks.integer("task", value, least=0, most=len(names) - 1)
    checks.one_of("task", value, names)
    places = [i for i, name in enumerate(names) if name == value]
    if len(places) > 1:
        raise ValueError(f"task={value!r} is not valid, since several tasks have this name; choose one of {places}")
    return places[0]


def reward_type(value: Any) -> str:
    """One of `REWARD_TYPES`; else a ValueError."""
    checks.one_of("reward_type", value, REWARD_TYPES)
    return str(value)


def max_episode_steps(value: Any) -> int | None:
    """None, or an integer of at least 1; else a ValueError."""
    return None if value is None else checks.integer("max_episode_steps", value, least=1)


def render_mode(value: Any) -> str | None:
    """None, or one of `skill_envs.render.RENDER_MODES`; else a ValueError."""
    if value is None:
        return None
    checks.one_of("render_mode", value, RENDER_MODES)
    return str(value)


def autoreset_mode(value: Any) -> AutoresetMode:
    """The mode of Gymnasium's that a mode or its name means; else a ValueError."""
    names = [mode.value for mode in AUTORESET_MODES]
    checks.one_of("autoreset_mode", value, [*AUTORESET_MODES, *names])
    return AutoresetMode(value)


def settable(name: str, check: Callable[[Any], Any], words: str) -> Any:
    """A property: the argument ``name`` of a batch, which is checked whenever it is set.

    Args:
        name: of the argument, in the batch's ``_arguments``.
        check: a function of this module.
        words: the property's docstring.
    """

    def get(batch: Any) -> Any:
        return batch._arguments[name]

    def set_checked(batch: Any, value: Any) -> None:
        batch._arguments[name] = check(value)

    return property(get, set_checked, doc=words)
