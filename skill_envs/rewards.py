"""Rewards and success: pure functions over batches of positions, and the table of goals that they read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skill_envs.arrays import Float, Int
from skill_envs.task import Task


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


class Goals:
    """The goal regions of several tasks, and what the tasks pay: one table for a batch, its rows by task.

    Attributes:
        observed: (T, d) the first goal of each task, which observations show [m].
        in_turn: whether a task's goals count one after the other.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        """Put the tasks' goals side by side.

        Args:
            tasks: tasks of one environment.
        """
        self.observed: Float = np.array([task.goals[0] for task in tasks])
        self._centres = _centres(tasks)
        self._radius = np.array([task.goal_radius for task in tasks])
        heights = [task.goal_heights for task in tasks]
        self._heights: Float | None = None if None in heights else np.array(heights)
        self._margin = np.array([task.shaping_margin for task in tasks])
        self._light_shaping = np.array([task.light_shaping for task in tasks])
        self._turn = np.array([task.turn for task in tasks])
        self._last = np.array([len(task.goals) - 1 for task in tasks])
        self.in_turn = bool(self._turn.any())

    def outside(self, position: Float, task: Int, visited: Int, moved: Float | None = None) -> Float:
        """Distances (n,) [m] of ``position`` (n, d) from the nearest goal region that counts.

        Args:
            position: (n, d) [m].
            task: (n,) indices of the tasks.
            visited: (n,) control steps that each episode has been in a goal that counted; goals in turn need it.
            moved: (n, 2) where each episode's goal is [m], if it has one of its own.
        """
        heights = None if self._heights is None else self._heights[task]
        centres = self._centres[task] if moved is None else moved[:, None]  # (n, g, 2)
        turned = np.flatnonzero(self._turn[task])
        if len(turned):
            of = task[turned]
            goal = np.minimum(visited[turned] // self._turn[of], self._last[of])
            centres[turned] = centres[turned, goal][:, None]
        return outside(position, centres, self._radius[task], heights)

    def reward(self, distance: Float, task: Int, reward_type: str) -> Float:
        """Rewards (n,) at ``distance`` (n,) [m] from the goal region of ``task`` (n,); see `reward`."""
        return reward(distance, reward_type, self._margin[task], self._light_shaping[task])


def _centres(tasks: Sequence[Task]) -> Float:
    """Goals in the plane, (T, g, 2); a task with fewer than the others has its first more than once."""
    most = max(len(task.goals) for task in tasks)
    padded = []
    for task in tasks:
        missing = most - len(task.goals)
        padded.append(task.goals + task.goals[:1] * missing)
    return np.array(padded)[..., :2]
