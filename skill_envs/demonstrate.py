"""Scripted demonstrations: the proof that every manipulation task can be solved with the arm's torques.

The script presses the hand over the block, leads it along way-points, and holds it at the goal. Torques come from
joint-space feedback on set-points that inverse kinematics finds, clipped to the action limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from skill_envs import arguments, checks, kinematics
from skill_envs.arm import ENTRIES, TASKS
from skill_envs.arrays import Float
from skill_envs.layouts import LAYOUTS
from skill_envs.scenes import CENTRE

_BLOCK, _JOINTS = ENTRIES["block position"], ENTRIES["joint angles"]
_SPEED = 0.26  # of the set-point along the way-points [m/s]
_PERIOD = 0.05  # of control [s]
_STIFFNESS = 10.0  # of the feedback, relative to each joint's damping [1/s]
_GRIP = 0.01  # the finger tips' height over the block's centre while it is held [m]
_LEASH = 0.10  # the set-point waits when it is further ahead of the hand in the plane [m]
_PRESS = -0.05  # where the set-point presses the finger tips to, relative to the block's centre [m]
_LIFT = 0.16  # [m]
_OVER_TABLE = 0.06  # height of a block's centre, over its height on the table, on its way above it [m]


class Demonstration(NamedTuple):
    """One demonstrated episode of T control steps."""

    observations: NDArray[np.float32]  #: (T + 1, 27)
    actions: NDArray[np.float32]  #: (T, 7)
    rewards: Float  #: (T,)
    successes: NDArray[np.bool_]  #: (T,) in the goal region after each step
    frames: NDArray[np.uint8] | None  #: (T + 1, height, width, 3), or None without rendering


def demonstrate(
    task: str, *, seed: int = 0, episodes: int = 1, render: bool = False, layout: int = 0, **kwargs: Any
) -> Iterator[Demonstration]:
    """Solve a manipulation task by a script, through the environment's public interface.

    Args:
        task: a manipulation task, such as "Push".
        seed: of the first reset; the later episodes go on from it.
        episodes: number of episodes.
        render: whether to keep the frames.
        layout: of the task.
        **kwargs: for `gymnasium.make`, such as ``width`` and ``height``.

    Yields:
        One `Demonstration` per episode.

    Raises:
        ValueError: the task has no script, or no such layout; the message lists those that there are.
    """
    if not isinstance(task, str) or task not in ROUTES:
        raise ValueError(
            f"task={task!r} has no demonstration; choose from {list(ROUTES)}{checks.did_you_mean(task, ROUTES)}"
        )
    arguments.layouts(layout, (task,), 1)
    mode = "rgb_array" if render else None
    env = gymnasium.make(f"SkillEmbed/{task}-v0", render_mode=mode, layout=layout, **kwargs)
    try:
        for episode in range(episodes):
            yield _episode(env, task, layout, seed if episode == 0 else None)
    finally:
        env.close()


def _episode(env: gymnasium.Env[Any, Any], task: str, layout: int, seed: int | None) -> Demonstration:
    observation, _ = env.reset(seed=seed)
    frames = [] if env.render_mode is None else [env.render()]
    model: mujoco.MjModel = env.unwrapped.model  # type: ignore[attr-defined]
    scratch = mujoco.MjData(model)
    observations, actions, rewards, successes = [observation], [], [], []
    target = observation[_JOINTS].astype(np.float64)
    tip = kinematics.tip_position(model, scratch, target)
    points = way_points(task, observation[_BLOCK].astype(np.float64), layout)
    truncated = False
    while not truncated:
        lag = tip - kinematics.tip_position(model, scratch, observation[_JOINTS].astype(np.float64))
        if np.hypot(*lag[:2]) < _LEASH:
            tip, points = _advance(tip, points)
        before, target = target, kinematics.solve(model, scratch, tip, target, iterations=5)
        action = _torques(model, observation, target, (target - before) / _PERIOD)
        observation, reward, _, truncated, info = env.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(float(reward))
        successes.append(info["is_success"])
        if env.render_mode is not None:
            frames.append(env.render())
    return Demonstration(
        np.array(observations),
        np.array(actions),
        np.array(rewards),
        np.array(successes),
        np.array(frames) if frames else None,
    )


def _torques(
    model: mujoco.MjModel, observation: NDArray[np.float32], target: Float, speed: Float
) -> NDArray[np.float32]:
    """Action that follows joint angles ``target`` [rad] moving at ``speed`` [rad/s]."""
    damping = model.dof_damping[kinematics.ARM]
    torque = damping * (_STIFFNESS * (target - observation[_JOINTS]) + speed)
    action = torque / model.actuator_gear[:, 0]
    # Scaled as a whole: clipping single joints would tilt the hand.
    scaled: NDArray[np.float32] = (action / max(1.0, np.abs(action).max())).astype(np.float32)
    return scaled


def _advance(tip: Float, points: list[Float]) -> tuple[Float, list[Float]]:
    """Move the set-point one control period along the way-points left."""
    step = _SPEED * _PERIOD
    while points:
        offset = points[0] - tip
        distance = float(np.linalg.norm(offset))
        if distance > step:
            return tip + offset * (step / distance), points
        tip, step, points = points[0], step - distance, points[1:]
    return tip, points


# The routes of the hand ------------------------------------------------------------------------

# Block and goal (3,), and points (n, 2) of a way between them around what stands there, to the hand's way-points (3,);
# all in m.
Route = Callable[[Float, Float, list[Float]], list[Float]]

_GRIPPING = np.array([0.0, 0.0, _GRIP])
_PRESSING = np.array([0.0, 0.0, _PRESS])
_RAISED = np.array([0.0, 0.0, _LIFT])


def _straight(block: Float, goal: Float, way: list[Float]) -> list[Float]:
    return [goal + _GRIPPING]


def _upwards(block: Float, goal: Float, way: list[Float]) -> list[Float]:
    return [block + _PRESSING, block + _GRIPPING + _RAISED]


def _around(block: Float, goal: Float, way: list[Float]) -> list[Float]:
    """On the floor; the first point presses the hand over the block."""
    height = block[2] + _GRIP
    return [block + _GRIPPING, *(np.array([*point, height]) for point in way), goal + _GRIPPING]


def _up_the_rail(block: Float, goal: Float, way: list[Float]) -> list[Float]:
    height = goal[2] + _GRIP + _OVER_TABLE
    raised = [np.array([*point, height]) for point in (block[:2], *way, goal[:2])]
    return [block + _PRESSING, *raised, goal + _GRIPPING]


ROUTES: dict[str, Route] = {
    "Spring": _straight,
    "Wall": _around,
    "SpringWall": _around,
    "Push": _straight,
    "Lift": _upwards,
    "LWall": _around,
    "RailLift": _upwards,
    "TablePush": _straight,
    "RailPush": _up_the_rail,
}


def way_points(task: str, block: Float, layout: int = 0) -> list[Float]:
    """Way-points of the hand's tip [m] that solve a task: press the hand over the block, then lead it.

    Args:
        task: a manipulation task.
        block: (3,) where the block starts [m].
        layout: of the task.

    Raises:
        ValueError: the task has no route; the message lists those that have.
    """
    if task not in ROUTES:
        meant = checks.did_you_mean(task, ROUTES)
        raise ValueError(f"task={task!r} has no route in a demonstration; choose from {list(ROUTES)}{meant}")
    goal, middle, way = np.array(TASKS[task].layout(layout).goals[0]), CENTRE[:2], []
    if task in LAYOUTS:
        way = LAYOUTS[task][layout].way(block[:2] - middle, goal[:2] - middle)
    return ROUTES[task](block, goal, [middle + point for point in way])
