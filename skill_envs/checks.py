"""Checks of what a caller passes: every error names the bad value and the valid ones."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skill_envs.arrays import Bool, Float, Int

if TYPE_CHECKING:
    from skill_envs.task import Parameters


def one_of(name: str, value: object, valid: Sequence[object]) -> None:
    """Raise a ValueError unless ``value`` is one of ``valid``."""
    # A comparison with an array would not give one answer.
    if isinstance(value, np.ndarray) or value not in valid:
        raise ValueError(f"{name}={value!r} is not valid; choose from {list(valid)}{did_you_mean(value, valid)}")


def did_you_mean(given: object, valid: Iterable[object]) -> str:
    """The question which of ``valid`` was meant by a name or by several; empty where none of them is near.

    Capitals, "SkillEmbed/" and "-v0" do not count.
    """
    names = {_bare(name): name for name in valid if isinstance(name, str)}
    meant = []
    # Other things that can be iterated over, such as arrays of no dimension, fail on the way or hold no names.
    several = isinstance(given, list | tuple | set | frozenset | dict)
    for name in list(given) if several else [given]:  # type: ignore[call-overload]
        if isinstance(name, str):
            meant += [repr(names[close]) for close in difflib.get_close_matches(_bare(name), names, n=1)]
    return f". Did you mean {' and '.join(meant)}?" if meant else ""


def _bare(name: str) -> str:
    return name.casefold().removeprefix("skillembed/").removesuffix("-v0")


def boolean(name: str, value: object) -> bool:
    """``value`` if it is True or False; else a ValueError."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={value!r} is not valid; choose True or False")
    return bool(value)


def integer(name: str, value: object, least: int | None = None, most: int | None = None) -> int:
    """``value`` as an int if it is an integer, not a bool, from ``least`` to ``most``; else a ValueError."""
    right_kind = isinstance(value, Integral) and not isinstance(value, bool | np.bool_)
    if not right_kind or not _within(value, least, most):
        raise ValueError(f"{name}={value!r} is not valid; choose an integer{_range(least, most)}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def number(
    name: str, value: object, least: float | None = None, most: float | None = None, *, above: float | None = None
) -> float:
    """``value`` as a float if it is a finite number, not a bool, in the range; else a ValueError.

    Args:
        name: of the argument, for the message.
        value: the argument.
        least: the smallest valid number; None for no limit.
        most: the largest valid number; None for no limit.
        above: a number that valid ones are greater than; None for no limit.
    """
    right_kind = isinstance(value, Real) and not isinstance(value, bool | np.bool_) and _finite(value)
    if not right_kind or not _within(value, least, most) or (above is not None and not value > above):  # type: ignore[operator]
        beyond = "" if above is None else f" above {above:g}"
        raise ValueError(f"{name}={value!r} is not valid; choose a finite number{beyond}{_range(least, most)}")
    return float(value)  # type: ignore[arg-type]


def _finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _within(value: Any, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _range(least: float | None, most: float | None) -> str:
    if least is None and most is None:
        return ""
    if most is None:
        return f" of at least {least:,}"
    if least is None:
        return f" of at most {most:,}"
    return f" from {least:,} to {most:,}"


def no_unknown(unknown: dict[str, Any], valid: Sequence[str]) -> None:
    """Raise a TypeError if there are ``unknown`` keyword arguments."""
    if unknown:
        raise TypeError(
            f"unknown keyword arguments {sorted(unknown)}; valid ones are {list(valid)}{did_you_mean(unknown, valid)}"
        )


def seeds(seed: Any, num_envs: int) -> list[int | None]:
    """A seed for every environment, of one integer, of num_envs integers or None, or of None; else a ValueError."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, Integral) and not isinstance(seed, bool | np.bool_):
        first = integer("seed", seed, least=0)
        return [first + i for i in range(num_envs)]
    if not isinstance(seed, Sequence | np.ndarray) or isinstance(seed, str | bytes) or len(seed) != num_envs:
        raise ValueError(f"seed={seed!r} is not valid; choose an integer of at least 0, or {num_envs} of them")
    return [None if value is None else integer(f"seed[{i}]", value, least=0) for i, value in enumerate(seed)]


def reset_mask(mask: Any, num_envs: int) -> Bool:
    """A mask that resets some of num_envs environments; else the kind of error that Gymnasium's own environments raise.

    Raises:
        TypeError: it is no array of bool.
        ValueError: it has another shape, or nothing in it is True.
    """
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"options['reset_mask']={mask!r} is not valid; choose an array of ({num_envs},) bool")
    if mask.shape != (num_envs,):
        raise ValueError(f"options['reset_mask'] of shape {mask.shape} is not valid; the shape is ({num_envs},)")
    if not mask.any():
        raise ValueError(f"options['reset_mask']={mask!r} is not valid; at least one entry must be True")
    return mask


def reset_options(options: Any, valid: Sequence[str]) -> dict[str, Any]:
    """``options`` of a reset as a dict, empty for None.

    Raises:
        KeyError: an unknown option.
        ValueError: it is no dict.
    """
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise ValueError(f"options={options!r} is not valid; choose None or a dict with entries of {list(valid)}")
    unknown = [name for name in options if name not in valid]
    if unknown:
        raise KeyError(f"unknown reset options {unknown}; valid ones are {list(valid)}{did_you_mean(unknown, valid)}")
    return options


def task_indices(task: Any, num_tasks: int, num_envs: int) -> Int:
    """(num_envs,) task indices from one index or num_envs of them; else a ValueError."""
    index = _array(task)
    right_kind = index.dtype.kind in "iu" and index.shape in ((), (num_envs,))
    if not right_kind or (index < 0).any() or (index >= num_tasks).any():
        raise ValueError(
            f"options['task']={task!r} is not valid; choose an integer from 0 to {num_tasks - 1}, or {num_envs} of them"
        )
    return np.broadcast_to(index, num_envs).astype(np.int64)


def task_parameters(value: Any, parameters: Parameters, num_envs: int) -> Float:
    """(num_envs, C) parameters of a task, from those of one episode or of num_envs; else a ValueError."""
    found, size = _array(value), len(parameters.channels)
    valid = found.dtype.kind in "fiu" and found.shape in ((size,), (num_envs, size))
    if valid:
        found = np.broadcast_to(found, (num_envs, size)).astype(np.float64)
        valid = bool(np.isfinite(found).all() and parameters.valid(found).all())
    if not valid:
        raise ValueError(
            f"options['task']={value!r} is not valid; choose {size} numbers, {parameters.summary}, or {num_envs} rows "
            "of them"
        )
    return found


def finite_actions(actions: Any, shape: tuple[int, ...]) -> Float:
    """``actions`` as an array of ``shape``, such as (num_envs, action size), of finite numbers; else a ValueError."""
    array = _array(actions)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"action={actions!r:.200} is not valid; choose real numbers, in an array of shape {shape}")
    if array.shape != shape:
        raise ValueError(f"action of shape {array.shape} is not valid; the shape is {shape}")
    finite = np.isfinite(array)
    if not finite.all():
        first = np.argwhere(~finite)[0, :-1]
        raise ValueError(f"action {array[tuple(first)]} is not finite")
    return array.astype(np.float64)


def _array(value: Any) -> NDArray[Any]:
    """``value`` as NumPy sees it; what is no array at all, such as a ragged list, becomes an array of objects."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # a tensor on a GPU, or one with a gradient
        return np.array(None, dtype=object)
