"""The point-mass tasks (paper, section 7.1): goals at distance 1 m, sparse rewards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from skill_envs import scenes
from skill_envs.arrays import Bool, Float
from skill_envs.task import Channel, Parameters, Task

_LEFT, _RIGHT, _UP, _DOWN = (-1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.0, -1.0)
_CORNER = (0.7, 0.7)
_POINT_MASS_OBSERVATION = (
    Channel("x position of the mass", -2.0, 2.0, "m"),
    Channel("y position of the mass", -2.0, 2.0, "m"),
    Channel("x velocity of the mass", -3.0, 3.0, "m/s"),
    Channel("y velocity of the mass", -3.0, 3.0, "m/s"),
)
_POINT_MASS_ACTION = (
    Channel("force along x, in units of 10 N", -1.0, 1.0, "10 N"),
    Channel("force along y, in units of 10 N", -1.0, 1.0, "10 N"),
)
_GOAL_RADIUS = 0.3  # [m]
_START_HALF_WIDTH = 0.1  # [m]
_STAY = 5  # control steps to be in each goal of a tour


def _point_mass(summary: str, *goals: tuple[float, float], horizon: int = 50, turn: int = 0) -> Task:
    return Task(
        summary=summary,
        scene=lambda: scenes.point_mass(goals, _GOAL_RADIUS),
        start=lambda rng: (rng.uniform(-_START_HALF_WIDTH, _START_HALF_WIDTH, 2), np.zeros(2)),
        observe=lambda qpos, qvel, goal: np.concatenate((qpos, qvel), axis=1),
        position=lambda qpos: qpos,
        observation=_POINT_MASS_OBSERVATION,
        action=_POINT_MASS_ACTION,
        observed_position=slice(0, 2),
        goals=goals,
        goal_radius=_GOAL_RADIUS,
        horizon=horizon,
        substeps=5,
        turn=turn,
        start_summary=f"The mass is at rest, each of its coordinates uniform within {_START_HALF_WIDTH} m of 0.",
    )


# The goal on a ring ------------------------------------------------------------------------------

_HELD_OUT = (0.0, 0.5 * np.pi)  # angles of goals that are not trained on [rad]
_TRAINED = (0.5 * np.pi, 2.0 * np.pi)
_OFF_THE_RING = 1e-3  # of the length of c, as rounded numbers may have it


def _on_the_ring(low: float, high: float) -> Callable[[np.random.Generator], Float]:
    """Draws the cosine and sine of an angle between two [rad]."""

    def draw(rng: np.random.Generator) -> Float:
        angle = rng.uniform(low, high)
        return np.array([np.cos(angle), np.sin(angle)])

    return draw


def _is_on_the_ring(parameters: Float) -> Bool:
    near: Bool = np.abs(np.hypot(parameters[:, 0], parameters[:, 1]) - 1.0) <= _OFF_THE_RING
    return near


def _ring() -> Task:
    return replace(
        _point_mass("Reach the goal at a given angle on a circle of 1 m and stay in it.", _RIGHT),
        scene=lambda: scenes.point_mass((), _GOAL_RADIUS, moving_goal=_RIGHT),
        parameters=Parameters(
            channels=(
                Channel("cosine of the goal's angle", -1.0, 1.0, "-"),
                Channel("sine of the goal's angle", -1.0, 1.0, "-"),
            ),
            summary="the cosine and sine of the goal's angle",
            arcs={
                "train": _on_the_ring(*_TRAINED),
                "held_out": _on_the_ring(*_HELD_OUT),
                "all": _on_the_ring(0.0, 2.0 * np.pi),
            },
            arc_summaries={
                "train": "angles from 90° to 360°",
                "held_out": "angles from 0° to 90°",
                "all": "all angles",
            },
            valid=_is_on_the_ring,
            goal=lambda parameters: parameters,  # the circle has a radius of 1 m
        ),
    )


TASKS: dict[str, Task] = {
    "PointMassLeft": _point_mass("Reach the goal on the left and stay in it.", _LEFT),
    "PointMassRight": _point_mass("Reach the goal on the right and stay in it.", _RIGHT),
    "PointMassUp": _point_mass("Reach the upper goal and stay in it.", _UP),
    "PointMassCorner": _point_mass("Reach the goal between right and up and stay in it.", _CORNER),
    "PointMassAny": _point_mass("Reach any of four goals and stay in it.", _LEFT, _RIGHT, _UP, _DOWN),
    "PointMassRing": _ring(),
    "PointMassTour": _point_mass(
        f"Be in the right, the upper, the left and the lower goal, one after the other, for {_STAY} steps each.",
        *(_RIGHT, _UP, _LEFT, _DOWN),
        horizon=100,
        turn=_STAY,
    ),
}
