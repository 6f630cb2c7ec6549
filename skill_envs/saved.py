"""Checks of saved states, which may come from a stranger's file, before anything takes them.

Every error is a ValueError that begins with the name of the entry: its path in the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 2**53  # no counter of steps comes near it, and a float holds it exactly


class ArrayError(ValueError):
    """An array of a saved state does not fit."""


@contextmanager
def within(name: str) -> Iterator[None]:
    """Put ``name`` before the entries that errors name."""
    try:
        yield
    except ValueError as error:
        kind = ArrayError if isinstance(error, ArrayError) else ValueError
        raise kind(f"{name}/{error}") from error


def entries(value: Any, valid: Iterable[str]) -> None:
    """Check that ``value`` is a dict with exactly the names ``valid``.

    Raises:
        ValueError: it is not.
    """
    names = list(valid)
    if not isinstance(value, dict):
        raise ValueError(f"(whole) is {value!r:.80}; it has to hold {names}")
    for name in names:
        if name not in value:
            raise ValueError(f"{name} is missing")
    for name in value:
        if name not in names:
            raise ValueError(f"{name} is unknown; valid entries are {names}")


def sequence(name: str, value: Any, length: int) -> list[Any]:
    """``value`` if it is a list of ``length`` entries.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{name} is {value!r:.80}; it has to be a list of {length} entries")
    return value


def array(
    name: str,
    value: Any,
    shape: tuple[int, ...],
    dtype: Any,
    least: float | None = None,
    most: float | None = None,
) -> NDArray[Any]:
    """``value`` if it is an array of exactly this shape and dtype, of finite numbers in the range.

    Args:
        name: of the entry, for the message.
        value: the entry.
        shape: the only valid shape.
        dtype: the only valid dtype.
        least: the smallest valid number; None for no limit.
        most: the largest valid number; None for no limit.

    Raises:
        ValueError: it is not; the message says what was found and what is valid.
    """
    expected = f"{np.dtype(dtype)} of shape {shape}"
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name} is {value!r:.80}; it has to be an array, {expected}")
    if value.dtype != np.dtype(dtype) or value.shape != shape:
        raise ArrayError(f"{name} is {value.dtype} of shape {value.shape}; it has to be {expected}")
    wrong = ~np.isfinite(value)
    if least is not None:
        wrong |= value < least
    if most is not None:
        wrong |= value > most
    if wrong.any():
        valid = "finite" if least is None and most is None else f"from {least} to {most}"
        raise ArrayError(f"{name} holds {value[wrong].flat[0]}; all of its numbers have to be {valid}")
    return value


def generator(name: str, state: Any) -> np.random.Generator:
    """A generator in a saved state.

    Raises:
        ValueError: no generator of Gymnasium's kind, PCG64, is ever in that state.
    """
    made = np.random.Generator(np.random.PCG64(0))
    try:
        made.bit_generator.state = state
        kept = made.bit_generator.state == state
    except (KeyError, OverflowError, TypeError, ValueError):
        kept = False
    if not kept:
        raise ValueError(f"{name} is {state!r:.80}; it has to be the state of a PCG64 generator")
    return made
