"""What a task is: the one dataclass that the environments read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import mujoco
import numpy as np

from skill_envs.arrays import Bool, Float


class Channel(NamedTuple):
    """One entry of an observation or action vector."""

    meaning: str
    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class Parameters:
    """Continuous parameters c of a task, which an episode draws, and which say where its goal is.

    Attributes:
        channels: what each entry of c means, with its bounds.
        summary: what c is, in a noun phrase.
        arcs: names of the ranges that c can be drawn from, each with its draw (C,) from a generator; the first is the
            default.
        arc_summaries: what each range is, for the documentation.
        valid: c (n, C) to whether each is one of the task's, (n,).
        goal: c (n, C) to the centres (n, 2) of the goal regions [m].
    """

    channels: tuple[Channel, ...]
    summary: str
    arcs: Mapping[str, Callable[[np.random.Generator], Float]]
    arc_summaries: Mapping[str, str]
    valid: Callable[[Float], Bool]
    goal: Callable[[Float], Float]


@dataclass(frozen=True)
class Task:
    """A task: a scene, where an episode starts, what is seen, and where the goal is.

    Attributes:
        summary: one sentence for the documentation.
        scene: composes the specification of the MuJoCo model; all tasks of one environment compile to equal sizes.
        start: draws (qpos, qvel) at the start of an episode from the given generator.
        observe: (qpos, qvel, goal) of n simulations to observations (n, len(observation)); ``goal``
            is (n, d), the first of each simulation's goals.
        position: (qpos) of n simulations to the (n, d) positions that the goals are about [m].
        observation: what each entry of the observation means, with its bounds.
        action: what each entry of the action means, with its bounds.
        observed_position: entries of the observation that hold this position [m].
        goals: (g, d) centres of the goal regions [m]; any of them counts, or each in its ``turn``. With
            ``parameters``, they say where the goal is, and this is that of the scene's default state.
        goal_radius: radius of each goal region [m].
        goal_heights: None, and the goal regions are discs in the plane; or lowest and highest position [m],
            and they are upright cylinders.
        horizon: control steps after which an episode is truncated.
        substeps: physics steps per control step.
        shaping_margin: see `skill_envs.rewards.shaped` [m].
        light_shaping: weight of the shaped reward added to the sparse one by reward_type "paper".
        after_step: (qpos, eq_active) of n simulations to their eq_active, (n, neq), after each
            control step; None changes nothing.
        parameters: continuous parameters of the task; None where there are none. An environment has no other task then.
        turn: control steps to be in a goal until the next one counts, in the order of ``goals``; the last one counts
            on. With 0 all of them count at any time.
        start_summary: what ``start`` draws, in words, for the documentation.
        others: its layouts 1, 2 and so on: the same task with its fixtures elsewhere. The task itself is layout 0.
    """

    summary: str
    scene: Callable[[], mujoco.MjSpec]
    start: Callable[[np.random.Generator], tuple[Float, Float]]
    observe: Callable[[Float, Float, Float], Float]
    position: Callable[[Float], Float]
    observation: tuple[Channel, ...]
    action: tuple[Channel, ...]
    observed_position: slice
    goals: tuple[tuple[float, ...], ...]
    goal_radius: float
    horizon: int
    substeps: int
    goal_heights: tuple[float, float] | None = None
    shaping_margin: float = 1.0
    light_shaping: float = 0.0
    after_step: Callable[[Float, Float], Float] | None = None
    parameters: Parameters | None = None
    turn: int = 0
    start_summary: str = ""
    others: tuple[Task, ...] = ()

    def layout(self, number: int) -> Task:
        """The task in one of its layouts, from 0 to ``len(others)``."""
        return self.others[number - 1] if number else self

    def compile(self) -> mujoco.MjModel:
        """A MuJoCo model of the scene."""
        return self.scene().compile()
