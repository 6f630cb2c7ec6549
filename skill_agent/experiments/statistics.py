"""Interquartile means over seeds and their bootstrap intervals, by rliable (Agarwal et al., 2021)."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rliable import library
from scipy import stats

Array = NDArray[np.float64]


def _iqm(runs: Array) -> Array:
    """Interquartile mean (points,) of runs (seeds, tasks, points): rliable's, for all points at once."""
    mean: Array = stats.trim_mean(runs.reshape(-1, runs.shape[-1]), 0.25, axis=0)
    return mean


def iqm_interval(scores: ArrayLike, reps: int = 2_000) -> tuple[Array, Array, Array]:
    """Interquartile mean over seeds at every point of a curve, with its 95 % stratified bootstrap interval.

    Args:
        scores: (seeds, points) of one task, or (seeds, tasks, points).
        reps: bootstrap samples.

    Returns:
        Middle, low and high, (points,) each.
    """
    runs = np.asarray(scores, float)
    runs = runs[:, None] if runs.ndim == 2 else runs
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "random_state is deprecated", FutureWarning)  # the way rliable seeds
        middle, interval = library.get_interval_estimates(
            {"": runs}, _iqm, reps=reps, random_state=np.random.RandomState(0)
        )
    low, high = interval[""]
    return middle[""], low, high
