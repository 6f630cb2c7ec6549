"""What a JSON file holds, as data: keys, shapes and ranges; and the check of a file's content against it.

A schema is a dict of keys, in which a "?" at the end marks a key that may be missing, and "*" stands for any key.
Behind each key is a `Leaf`, a schema, or a list of one schema: a list of such objects.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

Schema = dict[str, Any]


class Leaf(NamedTuple):
    """A text, a truth value, a dict, or an array of numbers.

    Attributes:
        kind: the Python type of the value, or of an array's entries; `float` takes whole numbers as well.
        low: least number.
        high: greatest number.
        shape: names of an array's sizes; one name is the same size in the whole file. Digits are the size itself.
        infinite: whether infinity is a number here.
        null: whether a number may be missing.
    """

    kind: type
    low: float = -math.inf
    high: float = math.inf
    shape: tuple[str, ...] = ()
    infinite: bool = False
    null: bool = False


TEXT, TRUTH, OBJECT = Leaf(str), Leaf(bool), Leaf(dict)


def number(
    *shape: str, low: float = -math.inf, high: float = math.inf, infinite: bool = False, null: bool = False
) -> Leaf:
    """Numbers of a shape in a range."""
    return Leaf(float, low, high, shape, infinite, null)


def whole(*shape: str, low: float = -math.inf, high: float = math.inf) -> Leaf:
    """Whole numbers of a shape in a range."""
    return Leaf(int, low, high, shape)


def check(content: Any, schema: Schema, sizes: dict[str, int] | None = None) -> None:
    """Compare content with a schema.

    Args:
        content: of a JSON file.
        schema: what it has to be.
        sizes: what is known of the sizes that shapes name; others are taken from the first array that has them.

    Raises:
        ValueError: a key is missing or unknown, or a value has another type, shape or range; the message names it.
    """
    _check_object(content, schema, dict(sizes or {}), "")


def _check_object(content: Any, schema: Schema, sizes: dict[str, int], where: str) -> None:
    """One object; ``where`` is the path to it."""
    if not isinstance(content, dict):
        raise ValueError(f"{where or 'the content'} is {_short(content)}, not an object")
    known = {key.rstrip("?"): entry for key, entry in schema.items()}
    missing = [key for key in schema if not key.endswith("?") and key != "*" and key not in content]
    unknown = [key for key in content if key not in known and "*" not in known]
    if missing or unknown:
        raise ValueError(f"{where or 'the content'} lacks the keys {missing} and has the unknown keys {unknown}")
    for key, value in content.items():
        path = f"{where}.{key}" if where else key
        entry = known.get(key, known.get("*"))
        if isinstance(entry, dict):
            _check_object(value, entry, sizes, path)
        elif isinstance(entry, list):
            _check_list(value, entry[0], sizes, path)
        else:
            assert isinstance(entry, Leaf)
            _check_leaf(value, entry, entry.shape, sizes, path)


def _check_list(value: Any, schema: Schema, sizes: dict[str, int], where: str) -> None:
    """A list of objects."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where} is {_short(value)}, not a list with at least one object")
    for index, item in enumerate(value):
        _check_object(item, schema, sizes, f"{where}[{index}]")


def _check_leaf(value: Any, leaf: Leaf, shape: tuple[str, ...], sizes: dict[str, int], where: str) -> None:
    """A value, or a list whose items have the rest of the shape."""
    if not shape:
        _check_value(value, leaf, where)
        return
    name, *rest = shape
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where} is {_short(value)}, not a list of {name}")
    size = int(name) if name.isdigit() else sizes.setdefault(name, len(value))
    if len(value) != size:
        raise ValueError(f"{where} has {len(value)} entries; choose {size}, as there are {name}")
    for index, item in enumerate(value):
        _check_leaf(item, leaf, tuple(rest), sizes, f"{where}[{index}]")


def _check_value(value: Any, leaf: Leaf, where: str) -> None:
    """A single value."""
    if value is None and leaf.null:
        return
    numeric = leaf.kind in (int, float)
    kinds: Any = (int, float) if leaf.kind is float else leaf.kind
    if not isinstance(value, kinds) or (numeric and isinstance(value, bool)):
        raise ValueError(f"{where} is {_short(value)}; choose one of type {leaf.kind.__name__}")
    # The comparisons are false for NaN.
    if numeric and not (leaf.low <= value <= leaf.high and (leaf.infinite or math.isfinite(value))):
        finite = "" if leaf.infinite else "finite "
        raise ValueError(f"{where} is {_short(value)}; choose a {finite}number from {leaf.low:g} to {leaf.high:g}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
