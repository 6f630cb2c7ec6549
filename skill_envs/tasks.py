"""The tasks: what differs between two environments of the suite, in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from skill_envs import rewards, scenes

Float = NDArray[np.float64]


class Channel(NamedTuple):
    """One entry of an observation or action vector."""

    meaning: str
    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class Task:
    """A task: a scene, where an episode starts, what is seen, and where the goal is.

    Attributes:
        summary: one sentence for the documentation.
        compile: builds the MuJoCo model; all tasks of one environment give equal sizes.
        start: draws (qpos, qvel) at the start of an episode from the given generator.
        observe: (qpos, qvel) of n simulations to observations (n, len(observation)).
        position: (qpos) of n simulations to the (n, d) positions that the goals are about [m].
        observation: what each entry of the observation means, with its bounds.
        action: what each entry of the action means, with its bounds.
        goals: (g, d) centres of the goal regions [m]; any of them counts.
        goal_radius: radius of each goal region [m].
        horizon: control steps after which an episode is truncated.
        substeps: physics steps per control step.
        shaping_margin: see `skill_envs.rewards.shaped` [m].
        start_summary: what ``start`` draws, in words, for the documentation.
    """

    summary: str
    compile: Callable[[], mujoco.MjModel]
    start: Callable[[np.random.Generator], tuple[Float, Float]]
    observe: Callable[[Float, Float], Float]
    position: Callable[[Float], Float]
    observation: tuple[Channel, ...]
    action: tuple[Channel, ...]
    goals: tuple[tuple[float, ...], ...]
    goal_radius: float
    horizon: int
    substeps: int
    shaping_margin: float = 1.0
    start_summary: str = ""

    def distance(self, qpos: Float) -> Float:
        """(n,) distances to the nearest goal's centre [m]."""
        return rewards.goal_distance(self.position(qpos), np.asarray(self.goals))

    def reward(self, distance: Float, reward_type: str) -> Float:
        """(n,) rewards of one control step: 1 in a goal region, else 0 (sparse) or shaped."""
        if reward_type == "sparse":
            return (distance <= self.goal_radius).astype(np.float64)
        return rewards.shaped(distance, self.goal_radius, self.shaping_margin)


# Point mass (paper, section 7.1): goals at distance 1 m, sparse rewards ------------------------

_LEFT, _RIGHT, _UP, _DOWN = (-1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.0, -1.0)
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


def _point_mass(summary: str, *goals: tuple[float, float]) -> Task:
    return Task(
        summary=summary,
        compile=lambda: scenes.point_mass(goals, _GOAL_RADIUS),
        start=lambda rng: (rng.uniform(-_START_HALF_WIDTH, _START_HALF_WIDTH, 2), np.zeros(2)),
        observe=lambda qpos, qvel: np.concatenate((qpos, qvel), axis=1),
        position=lambda qpos: qpos,
        observation=_POINT_MASS_OBSERVATION,
        action=_POINT_MASS_ACTION,
        goals=goals,
        goal_radius=_GOAL_RADIUS,
        horizon=50,
        substeps=5,
        start_summary=f"The mass is at rest, each of its coordinates uniform within {_START_HALF_WIDTH} m of 0.",
    )


TASKS: dict[str, Task] = {
    "PointMassLeft": _point_mass("Reach the goal on the left and stay in it.", _LEFT),
    "PointMassRight": _point_mass("Reach the goal on the right and stay in it.", _RIGHT),
    "PointMassUp": _point_mass("Reach the upper goal and stay in it.", _UP),
    "PointMassAny": _point_mass("Reach any of four goals and stay in it.", _LEFT, _RIGHT, _UP, _DOWN),
}


# Environments: id -> the tasks an episode is drawn from ----------------------------------------


@dataclass(frozen=True)
class Environment:
    """One registered id: the tasks it draws from and the lines its documentation page needs."""

    tasks: tuple[str, ...]
    summary: str
    source: str

    @property
    def horizon(self) -> int:
        """Control steps per episode: that of its longest task."""
        return max(TASKS[task].horizon for task in self.tasks)


ENVIRONMENTS: dict[str, Environment] = {
    "SkillEmbed/PointMassTwoGoals-v0": Environment(
        ("PointMassLeft", "PointMassRight"),
        "Two tasks, goals to the left and to the right of the start.",
        "section 7.1, figure 2",
    ),
    "SkillEmbed/PointMassFourGoals-v0": Environment(
        ("PointMassAny",),
        "One task with four equally good goals around the start.",
        "section 7.1, figure 3, left and middle",
    ),
    "SkillEmbed/PointMassDuplicate-v0": Environment(
        ("PointMassRight", "PointMassUp", "PointMassRight", "PointMassLeft"),
        "Four tasks, of which the first and the third are the same.",
        "section 7.1, figure 3, right",
    ),
}
