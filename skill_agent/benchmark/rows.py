"""The table of a family: a row for each method that has records, a stranger's beside ours."""

from __future__ import annotations

from pathlib import Path

from skill_agent.benchmark import protocol, scores
from skill_agent.benchmark.protocol import METHODS
from skill_agent.benchmark.records import RECORDS, Record, load_records
from skill_agent.benchmark.statistics import Array, Interval, forward_transfer, interval, level
from skill_agent.experiments.tables import FAMILIES

HEADS = ("seeds", "layouts", *scores.VALUES, "forward transfer")
_NONE = "-"


def families(given: tuple[str, ...]) -> tuple[str, ...]:
    """Families by name, or all of them; a ValueError names one that there is not."""
    return protocol.check_names("family", given, list(FAMILIES))


def table(family: str, records: Path = RECORDS) -> list[tuple[str, ...]]:
    """Interquartile means with 95 % intervals over seeds and test layouts.

    Args:
        family: a key of `FAMILIES`.
        records: folder of the records.

    Returns:
        A row for each method with records: its label, and a cell for each of `HEADS`. Forward transfer needs runs
        from scratch on the same layouts.

    Raises:
        ValueError: as of `load_records`.
    """
    kept = load_records(records, family)
    known = [method for method in METHODS if method in kept]
    strangers = sorted(set(kept) - set(METHODS))
    rows = [_row(method, kept[method], kept.get("scratch", [])) for method in (*known, *strangers)]
    return [row for row in rows if row]


def _row(method: str, kept: list[Record], scratch: list[Record]) -> tuple[str, ...]:
    """One row; empty without records of test layouts."""
    columns = scores.layouts_with(kept)
    seeds = scores.whole_seeds(kept, columns)
    if not columns or not seeds:
        return ()
    cells = [told(interval(level, scores.table(kept, value, columns))) for value in scores.VALUES.values()]
    transfer = _NONE
    if method != "scratch" and scores.whole_seeds(scratch, columns):
        areas, base = (scores.table(each, scores.auc, columns) for each in (kept, scratch))
        transfer = told(interval(transfer_level, areas, base))
    label = METHODS[method].label if method in METHODS else method
    return (label, str(len(seeds)), str(len(columns)), *cells, transfer)


def transfer_level(areas: Array, scratch: Array) -> Array:
    """Interquartile mean of forward transfer; see `skill_agent.benchmark.statistics`."""
    return level(forward_transfer(areas, scratch))


def told(found: Interval) -> str:
    """A number with its interval, for a cell."""
    return f"{found.middle:.2f} ({found.low:.2f} to {found.high:.2f})"
