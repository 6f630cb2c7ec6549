"""From records to tables of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from skill_agent.benchmark.protocol import ON_THE_WAY
from skill_agent.benchmark.records import Record
from skill_agent.benchmark.statistics import Table, area
from skill_envs import layouts

Value = Callable[[Record], float]


def success(record: Record) -> float:
    """Share of the last episodes whose last step is in the goal region."""
    return float(record["final"]["success"])


def success_at_any_step(record: Record) -> float:
    """Share of the last episodes with any step in the goal region."""
    return float(record["final"]["success_at_any_step"])


def auc(record: Record) -> float:
    """Area under the curve of success."""
    return area([point["steps"] for point in record["curve"]], [point["success"] for point in record["curve"]])


def success_after(steps: int) -> Value:
    """Success by the curve after so many steps, between two of its points if need be."""

    def value(record: Record) -> float:
        curve = record["curve"]
        return float(np.interp(steps, [point["steps"] for point in curve], [point["success"] for point in curve]))

    return value


# What is reported of a table, by its head.
VALUES: dict[str, Value] = {
    "success": success,
    "at any step": success_at_any_step,
    **{f"after {steps:,}": success_after(steps) for steps in ON_THE_WAY},
    "AUC": auc,
}


def layouts_with(records: Sequence[Record], among: Sequence[int] = layouts.TEST) -> tuple[int, ...]:
    """The layouts that records have, in order."""
    found = {record["layout"] for record in records}
    return tuple(layout for layout in among if layout in found)


def table(records: Sequence[Record], value: Value, columns: Sequence[int]) -> Table:
    """The table of a method's records; seeds that lack one of the layouts are not in it.

    Args:
        records: of one method in one family.
        value: a record's score.
        columns: layouts.

    Raises:
        ValueError: no seed has all of these layouts.
    """
    kept = {(record["seed"], record["layout"]): record for record in records}
    seeds = whole_seeds(records, columns)
    if not seeds:
        raise ValueError(f"no seed has records of all the layouts {list(columns)}")
    scores = np.array([[value(kept[seed, layout]) for layout in columns] for seed in seeds])
    return Table(scores, shared=all(record["skills"] for record in records))


def whole_seeds(records: Sequence[Record], columns: Sequence[int]) -> list[int]:
    """The seeds that have a record of every one of these layouts."""
    kept = {(record["seed"], record["layout"]) for record in records}
    seeds = sorted({seed for seed, _ in kept})
    return [seed for seed in seeds if all((seed, layout) in kept for layout in columns)]
