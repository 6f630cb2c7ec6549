"""Interquartile means over seeds (Agarwal et al., 2021), and bootstrap intervals that are the same at every call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]


def iqm(scores: Array, axis: int = 0) -> Array:
    """Mean of the middle half of the seeds: a quarter of them, rounded down, is left out at either end."""
    mean: Array = stats.trim_mean(scores, 0.25, axis=axis)
    return mean


def iqm_interval(scores: ArrayLike, reps: int = 2_000) -> tuple[Array, Array, Array]:
    """Interquartile mean over seeds at every point of a curve, with its 95 % bootstrap interval (percentile).

    Whole seeds are drawn, so that a sample has all points of a curve or none. One seed is its own interval.

    Args:
        scores: (seeds, points).
        reps: bootstrap samples, seeded.

    Returns:
        Middle, low and high, (points,) each.
    """
    runs = np.asarray(scores, float)
    middle = iqm(runs)
    if len(runs) < 2:
        return middle, middle, middle
    interval = stats.bootstrap(
        (runs,), iqm, axis=0, n_resamples=reps, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return middle, interval.low, interval.high


def share_interval(successes: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, by Wilson's score; it is right for 0 and for all as well."""
    interval = stats.binomtest(successes, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """The 95 % interval of a mean of at least two values, by Student's t; equal values have no width."""
    array = np.asarray(values, float)
    reach = float(stats.t.ppf(0.975, len(array) - 1) * stats.sem(array))
    return float(array.mean()) - reach, float(array.mean()) + reach


def ratio_interval(numerator: list[float], denominator: list[float]) -> tuple[float, float, float]:
    """Ratio of the means over seeds and its 95 % bootstrap interval (percentile, paired by seed); NaN for one seed."""
    a, b = np.asarray(numerator), np.asarray(denominator)
    if len(a) < 2:
        return float(a.mean() / b.mean()), float("nan"), float("nan")

    def ratio(x: Any, y: Any, axis: int = -1) -> Any:
        return x.mean(axis) / y.mean(axis)

    interval = stats.bootstrap(
        (a, b), ratio, paired=True, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return float(ratio(a, b)), float(interval.low), float(interval.high)


def improvement_interval(scores: ArrayLike, baseline: ArrayLike) -> tuple[float, float, float]:
    """Probability that a run of one method beats a run of another, and its 95 % bootstrap interval (percentile).

    Ties count half, as in Agarwal et al. (2021). The runs of both methods are drawn apart from each other.

    Args:
        scores: (n,) of the method.
        baseline: (m,) of the other.

    Returns:
        Middle, low and high; NaN for the interval of a single run.
    """
    a, b = np.asarray(scores, float), np.asarray(baseline, float)

    def probability(x: Any, y: Any, axis: int = -1) -> Any:
        difference = x[..., :, None] - y[..., None, :]
        return (0.5 + 0.5 * np.sign(difference)).mean((-2, -1))

    if len(a) < 2 or len(b) < 2:
        return float(probability(a, b)), float("nan"), float("nan")
    interval = stats.bootstrap(
        (a, b), probability, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return float(probability(a, b)), float(interval.low), float(interval.high)


def goals(shares: Sequence[float], least: float = 0.05) -> int:
    """How many goals were reached: those that at least ``least`` of the episodes end in.

    Args:
        shares: of the episodes that end in each goal.
        least: share from which a goal counts.
    """
    return sum(share >= least for share in shares)
