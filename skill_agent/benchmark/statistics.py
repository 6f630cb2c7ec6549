"""The benchmark's statistics: levels, comparisons and their intervals, as pure functions of tables of scores.

A table has a row a skill seed and a column a test layout. Functions of tables take any axes before these two, so that
all samples of the bootstrap are computed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
SAMPLES = 10_000
_DIGITS = 9  # that are kept of a result


class Interval(NamedTuple):
    """A number and its 95 % interval."""

    middle: float
    low: float
    high: float


class Table(NamedTuple):
    """Scores of a method in a family.

    Attributes:
        scores: (S, L), of S seeds on L layouts.
        shared: whether a row's runs share their skills, so that a sample draws whole rows. Otherwise a seed is drawn
            for each layout on its own.
    """

    scores: Array
    shared: bool


def level(scores: ArrayLike) -> Array:
    """Interquartile mean over all of a table (Agarwal et al., 2021).

    Args:
        scores: (..., S, L). A quarter of the S x L scores, rounded down, is left out at either end.

    Returns:
        (...,).
    """
    table = np.asarray(scores, float)
    flat = np.sort(table.reshape(*table.shape[:-2], -1), axis=-1)
    count = flat.shape[-1]
    cut = count // 4
    middle: Array = flat[..., cut : count - cut].mean(-1)
    return middle


def improvement(scores: ArrayLike, others: ArrayLike) -> Array:
    """Probability that a run of one method has a higher score than a run of the other on the same layout.

    Args:
        scores: (..., S, L) of the one.
        others: (..., M, L) of the other.

    Returns:
        (...,): for each layout, the share of the S x M pairs, in which ties count half; then the mean over layouts.
    """
    first, second = np.asarray(scores, float), np.asarray(others, float)
    difference = first[..., :, None, :] - second[..., None, :, :]
    probability: Array = (0.5 + 0.5 * np.sign(difference)).mean((-3, -2, -1))
    return probability


def forward_transfer(areas: ArrayLike, scratch: ArrayLike) -> Array:
    """(AUC - S) / (1 - S), where S is the mean AUC from scratch on the same layout (Wołczyk et al., 2021).

    Args:
        areas: (..., S, L) areas under the curve of a method.
        scratch: (..., M, L) those from scratch.

    Returns:
        (..., S, L).

    Raises:
        ValueError: an area from scratch is 1 or more: nothing could be better.
    """
    baseline = np.asarray(scratch, float)
    if (baseline >= 1).any():
        raise ValueError(f"an area from scratch is {baseline.max()}; choose areas below 1")
    mean = baseline.mean(-2, keepdims=True)
    transfer: Array = (np.asarray(areas, float) - mean) / (1 - mean)
    return transfer


def area(steps: ArrayLike, success: ArrayLike) -> float:
    """Area under a curve of success: its mean height over steps, by trapezia; between 0 and 1.

    Args:
        steps: (N,) rising, at least two.
        success: (N,) shares.

    Raises:
        ValueError: fewer than two points, or steps that don't rise.
    """
    x, y = np.asarray(steps, float), np.asarray(success, float)
    if x.shape != y.shape or len(x) < 2 or (np.diff(x) <= 0).any():
        raise ValueError(f"steps={x.tolist()} are not valid; choose at least two that rise, one for each success")
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def interval(statistic: Callable[..., Array], *tables: Table, samples: int = SAMPLES, seed: int = 0) -> Interval:
    """A statistic of tables, and its 95 % interval by percentiles of bootstrap samples.

    A sample draws the seeds of each table on its own, and then the layouts, which are the same for all tables. Give a
    table once, even if the statistic uses it twice.

    Args:
        statistic: of arrays (..., S_i, L), one for each table; it returns (...,).
        *tables: their layouts are the same, in one order.
        samples: of the bootstrap.
        seed: of its draws.

    Raises:
        ValueError: tables with different numbers of layouts, or none at all.
    """
    widths = {table.scores.shape[1] for table in tables}
    if len(widths) != 1:
        raise ValueError(f"tables of {sorted(widths)} layouts are not valid; choose tables of the same layouts")
    middle = float(statistic(*(table.scores for table in tables)))
    drawn = resampled(tables, samples, np.random.default_rng(seed))
    low, high = np.percentile(statistic(*drawn), (2.5, 97.5))
    # Means of equal numbers may differ from them in the last digits, which would decide whether a bar is reached.
    return Interval(*(round(float(number), _DIGITS) for number in (middle, low, high)))


def resampled(tables: tuple[Table, ...], samples: int, rng: np.random.Generator) -> list[Array]:
    """Bootstrap samples of tables (S_i, L): one array (samples, S_i, L) for each; see `interval`."""
    width = tables[0].scores.shape[1]
    seeds = []
    for table in tables:
        rows = len(table.scores)
        seeds.append(rng.integers(rows, size=(samples, rows, 1 if table.shared else width)))
    layouts = rng.integers(width, size=(samples, 1, width))
    return [table.scores[rows, layouts] for table, rows in zip(tables, seeds, strict=True)]
