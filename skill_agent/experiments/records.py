"""The raw records of finished runs: where each lies, how it is read, and what is asked of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skill_agent.experiments.tables import EXPERIMENTS
from skill_agent.files import read_json

RECORDS = Path("records")
Records = dict[str, list[dict[str, Any]]]


def record_path(records: Path, figure: str, variant: str, seed: int) -> Path:
    """Where the record of one run is kept."""
    return records / figure / f"{variant}-seed{seed}.json"


def load_records(records: Path, figure: str) -> dict[str, list[dict[str, Any]]]:
    """The kept records of a figure: variant to records in order of the seed."""
    found = {}
    for variant in EXPERIMENTS[figure]:
        paths = (records / figure).glob(f"{variant}-seed*.json")
        found[variant] = sorted(map(read_json, paths), key=lambda record: record["seed"])
    return found


def steps(record: dict[str, Any]) -> list[int]:
    """Environment steps of a record's evaluations."""
    return [point["steps"] for point in record["curve"]]


def worst(record: dict[str, Any], key: str) -> list[float]:
    """A record's evaluations: return or success (``key``), of the worst task."""
    return [float(np.min(point[key])) for point in record["curve"]]


def final(record: dict[str, Any], key: str) -> float:
    """Success or return (``key``) of the final policy, on its worst task."""
    return float(np.min(record["final"][key]))


def value_at(record: dict[str, Any], budget: int, key: str) -> float:
    """Success or return (``key``) after ``budget`` steps: final if training ended there, else by the curve."""
    if record["total_timesteps"] < 1.05 * budget:
        return final(record, key)
    return float(np.interp(budget, steps(record), worst(record, key)))


def steps_to(record: dict[str, Any], success: float) -> int | None:
    """Steps at the first evaluation with at least that success, or None."""
    found = zip(steps(record), worst(record, "success"), strict=True)
    return next((steps for steps, value in found if value >= success), None)


def early_area(record: dict[str, Any], budget: int) -> float:
    """Mean success over the first third of ``budget``: the area under that part of the curve."""
    grid = np.linspace(0, budget / 3, 101)
    return float(np.interp(grid, steps(record), worst(record, "success")).mean())
