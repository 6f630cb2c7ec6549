"""Rewards and success: pure functions over batches of positions."""

from __future__ import annotations

import numpy as np

from skill_envs.arrays import Float


def outside(position: Float, centres: Float, radius: Float, heights: Float | None = None) -> Float:
    """Distance to the nearest goal region: a disc in the plane or, with ``heights``, an upright cylinder.

    Args:
        position: (n, 2 or more) positions [m].
        centres: (n, g, 2) centres of the regions of each [m].
        radius: (n,) their radii [m].
        heights: (n, 2) lower and upper ends of the cylinders [m].

    Returns:
        (n,) distances [m]; 0 inside.
    """
    aside = np.hypot(position[:, :1] - centres[:, :, 0], position[:, 1:2] - centres[:, :, 1])  # (n, g)
    distance: Float = np.maximum(aside.min(axis=1) - radius, 0.0)
    if heights is not None:
        z = position[:, 2]
        distance = np.hypot(distance, np.maximum(np.maximum(heights[:, 0] - z, z - heights[:, 1]), 0.0))
    return distance


def shaped(distance: Float, margin: Float) -> Float:
    """A reward in (0, 1]: 1 inside the goal region, falling off smoothly outside it.

    Args:
        distance: (n,) distances to the goal region [m].
        margin: (n,) distances at which the reward is 0.1 [m].

    Returns:
        (n,) rewards.
    """
    reward: Float = 0.1 ** np.square(distance / margin)
    return reward


def reward(distance: Float, reward_type: str, margin: Float, light_shaping: Float) -> Float:
    """Rewards of one control step.

    Args:
        distance: (n,) distances to the goal region [m].
        reward_type: "sparse", 1 in the region, else 0; "shaped", as `shaped`; or "paper", sparse plus ``light_shaping``
            times shaped.
        margin: (n,) of the shaped reward [m].
        light_shaping: (n,) its weights.

    Returns:
        (n,) rewards.
    """
    if reward_type == "shaped":
        return shaped(distance, margin)
    inside: Float = (distance <= 0.0).astype(np.float64)
    if reward_type == "paper" and light_shaping.any():
        inside += light_shaping * shaped(distance, margin)
    return inside
