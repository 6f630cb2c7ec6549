"""Rewards and success: pure functions over batches of positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def goal_distance(position: Float, goals: Float) -> Float:
    """Distance to the nearest goal.

    Args:
        position: (n, d) positions [m].
        goals: (g, d) goal centres [m].

    Returns:
        (n,) distances [m].
    """
    offsets = position[:, None, :] - goals[None, :, :]  # (n, g, d)
    distance: Float = np.sqrt(np.square(offsets).sum(axis=-1)).min(axis=-1)
    return distance


def cylinder_distance(position: Float, centre: Float, radius: float, heights: tuple[float, float]) -> Float:
    """Distance to an upright cylinder.

    Args:
        position: (n, 3) positions [m].
        centre: (3,) a point on the axis [m]; its height is not used.
        radius: radius of the cylinder [m].
        heights: its lower and upper end [m].

    Returns:
        (n,) distances [m]; 0 inside.
    """
    aside = np.maximum(np.hypot(*(position[:, :2] - centre[:2]).T) - radius, 0.0)
    below, above = heights[0] - position[:, 2], position[:, 2] - heights[1]
    distance: Float = np.hypot(aside, np.maximum(np.maximum(below, above), 0.0))
    return distance


def shaped(distance: Float, radius: float, margin: float) -> Float:
    """A reward in (0, 1]: 1 inside the goal region, falling off smoothly outside it.

    Args:
        distance: (n,) distances to the goal's centre [m].
        radius: radius of the goal region [m].
        margin: distance beyond the region at which the reward is 0.1 [m].

    Returns:
        (n,) rewards.
    """
    outside = np.maximum(distance - radius, 0.0) / margin
    reward: Float = 0.1 ** np.square(outside)
    return reward
