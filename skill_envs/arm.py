"""The manipulation tasks (paper, section 7.2): one scene, whose fixtures each task switches on or off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import mujoco
import numpy as np

from skill_envs import kinematics, scenes
from skill_envs.arrays import Float
from skill_envs.layouts import LAYOUTS, LWall, RailPush, SpringWall
from skill_envs.scenes import CENTRE, HALF_BLOCK, NO_BOARDS, SPRING_STIFFNESS, TABLE_HEIGHT, Boards, Camera
from skill_envs.task import Channel, Task

Point = tuple[float, float, float]

GRIP_DEPTH = 0.025  # of the finger tips below the block's top at the start [m]
JOINT_NOISE = 0.03  # half-width of the uniform noise on the arm's start, less what would move the hand [rad]
ALL_AROUND = (0.0, 2 * np.pi)  # angles on the ring [rad]
BEHIND_L_WALL = (-np.pi / 12, 2 * np.pi / 9)  # where the wall stands between the block and the centre [rad]
YAW_NOISE = 0.1  # half-width of the uniform noise on the block's yaw [rad]
RING_RADIUS = 0.20  # of the ring that Push, Lift and LWall start on: clear of the L-wall [m]
_NODES = 64  # of the table that start poses are interpolated from

_BLOCK, _BLOCK_VELOCITY = slice(7, 10), slice(7, 10)  # in qpos and qvel
_NQ, _NV = 15, 14  # arm 7, block 7 (6 velocities), rail carriage 1

_AXES = "xyz"
# What an observation consists of, in this order; `ENTRIES` says where each part is.
_PARTS: dict[str, list[Channel]] = {
    "joint angles": [Channel(f"angle of joint {i}", -5.0, 5.0, "rad") for i in range(7)],
    "joint velocities": [Channel(f"velocity of joint {i}", -10.0, 10.0, "rad/s") for i in range(7)],
    "block position": [Channel(f"{a} position of the block", -2.0, 2.0, "m") for a in _AXES],
    "block orientation": [Channel(f"{c} of the block's orientation quaternion", -1.0, 1.0, "") for c in "wxyz"],
    "block velocity": [Channel(f"{a} velocity of the block", -5.0, 5.0, "m/s") for a in _AXES],
    "goal position": [Channel(f"{a} position of the goal", -2.0, 2.0, "m") for a in _AXES],
}
OBSERVATION = tuple(chain.from_iterable(_PARTS.values()))


def _entries() -> dict[str, slice]:
    found, start = {}, 0
    for name, channels in _PARTS.items():
        found[name] = slice(start, start + len(channels))
        start += len(channels)
    return found


ENTRIES = _entries()  # name of a part to its entries in an observation
ACTION = tuple(
    Channel(f"torque of joint {i}, in units of {limit} N m", -1.0, 1.0, f"{limit} N m")
    for i, limit in enumerate((20, 20, 10, 10, 4, 4, 4))
)


# Where an episode starts -----------------------------------------------------------------------


def _at(x: float, y: float, z: float) -> Point:
    """A place given from the middle of the workspace."""
    return (float(CENTRE[0]) + x, float(CENTRE[1]) + y, float(CENTRE[2]) + z)


class _HandOver(NamedTuple):
    """Start poses with the hand over a block on a ring, at ``_NODES + 1`` angles; the last closes the ring."""

    joints: Float  # (_NODES + 1, 7) [rad]
    still: Float  # (_NODES + 1, 7, 7) projections onto the joint motions that leave the hand in its place


@cache
def _hand_over(centre: Point, radius: float) -> _HandOver:
    model = scenes.manipulation((), centre, centre, (0.01, 0.01), Camera((1, 0, 1), (0, 0, 0))).compile()
    data, joints = mujoco.MjData(model), kinematics.HOME
    angles = np.linspace(0.0, 2 * np.pi, _NODES + 1) if radius else np.zeros(1)
    nodes, still = [], []
    for angle in angles:
        tip = np.add(centre, (radius * np.cos(angle), radius * np.sin(angle), HALF_BLOCK - GRIP_DEPTH))
        joints = kinematics.solve(model, data, tip, joints)
        jacobian = kinematics.tip_jacobian(model, data, joints)
        nodes.append(joints)
        still.append(np.eye(7) - np.linalg.pinv(jacobian) @ jacobian)
    repeat = _NODES + 2 - len(angles)
    return _HandOver(np.repeat(nodes, repeat, axis=0), np.repeat(still, repeat, axis=0))


def _start(
    centre: Point, radius: float, arc: tuple[float, float], yaw_noise: float
) -> Callable[[np.random.Generator], tuple[Float, Float]]:
    """Starts with the block on an arc of a ring around ``centre`` (its own height) and the hand over it."""

    def start(rng: np.random.Generator) -> tuple[Float, Float]:
        angle, yaw = rng.uniform(*arc) % (2 * np.pi), rng.uniform(-yaw_noise, yaw_noise)
        table = _hand_over(centre, radius)
        place, fraction = divmod(angle / (2 * np.pi) * _NODES, 1.0)
        i = int(place)
        joints = table.joints[i] + fraction * (table.joints[i + 1] - table.joints[i])
        qpos = np.zeros(_NQ)
        qpos[:7] = joints + table.still[i] @ rng.uniform(-JOINT_NOISE, JOINT_NOISE, 7)
        qpos[7:10] = np.add(centre, (radius * np.cos(angle), radius * np.sin(angle), 0.0))
        qpos[10], qpos[13] = np.cos(yaw / 2), np.sin(yaw / 2)
        return qpos, np.zeros(_NV)

    return start


def _describe_start(centre: Point, radius: float, arc: tuple[float, float], yaw_noise: float) -> str:
    """What `_start` draws, in words."""
    x, y, z = (f"{value:g}" for value in centre)
    place = f"at ({x}, {y}, {z}) m"
    if radius:
        span = "" if arc == ALL_AROUND else f" from {np.degrees(arc[0]):g} to {np.degrees(arc[1]):g} degrees"
        circle = f"a circle of radius {radius:g} m around ({x}, {y}) m"
        place = f"at a uniform angle{span} on {circle}, its centre {z} m high"
    yaw = f"its yaw uniform within {yaw_noise:g} rad of 0" if yaw_noise else "its yaw 0"
    return (
        f"Everything is at rest. The block is {place}, {yaw}. The hand is over it, the finger tips {GRIP_DEPTH:g} m "
        f"below its top. Each joint angle carries uniform noise of up to {JOINT_NOISE:g} rad, less what would move the "
        "hand."
    )


def _observe(qpos: Float, qvel: Float, goal: Float) -> Float:
    return np.concatenate((qpos[:, :7], qvel[:, :7], qpos[:, 7:14], qvel[:, _BLOCK_VELOCITY], goal), axis=1)


# The tasks -------------------------------------------------------------------------------------

_FLOOR = _at(0.0, 0.0, HALF_BLOCK)
_TABLE_TOP = _at(0.0, 0.0, TABLE_HEIGHT + HALF_BLOCK)
_BESIDE_TABLE = _at(0.0, 0.21, HALF_BLOCK)
_ACROSS_WALL = _at(0.0, 0.12, HALF_BLOCK)
_WALL_GOAL = _at(0.0, -0.085, HALF_BLOCK)
_FRONT = Camera(_at(1.2, -0.95, 1.05), _at(-0.16, 0.0, 0.22))
_OPEN_SIDE = Camera(_at(0.35, -1.5, 1.1), _at(-0.16, 0.0, 0.22))  # of the L-wall
_SIDE = Camera(_at(0.95, 1.05, 0.85), _at(-0.12, 0.05, 0.24))

ON_FLOOR = (0.0, HALF_BLOCK + 0.02)  # heights of the centre of a block that is not lifted [m]
ON_TABLE = (TABLE_HEIGHT + HALF_BLOCK - 0.01, TABLE_HEIGHT + HALF_BLOCK + 0.03)  # [m]
LIFTED = (0.08, 0.25)  # [m]
AT_TABLE_HEIGHT = (TABLE_HEIGHT + HALF_BLOCK, 0.30)  # [m]


def _let_go_at(height: float) -> Callable[[Float, Float], Float]:
    """The rail lets go of a block that has reached a height [m], for good."""

    def let_go(qpos: Float, eq_active: Float) -> Float:
        reached = qpos[:, 9] >= height
        return np.where(reached[:, None], 0.0, eq_active)

    return let_go


def _task(
    summary: str,
    fixtures: tuple[str, ...],
    *,
    block: Point,
    ring: float = 0.0,
    arc: tuple[float, float] = ALL_AROUND,
    goal: Point,
    radius: float,
    heights: tuple[float, float],
    camera: Camera = _FRONT,
    light_shaping: float = 0.0,
    after_step: Callable[[Float, Float], Float] | None = None,
    boards: Boards = NO_BOARDS,
    stiffness: float = SPRING_STIFFNESS,
    table_height: float = TABLE_HEIGHT,
) -> Task:
    """A row of the table: ``block`` is the middle of the ring on whose ``arc`` the block starts.

    The fixtures of ``boards``, such as "wall" of "wall/wall", are added to those named.
    """
    with_boards = (*fixtures, *(name.split("/")[0] for name in boards))
    marker = (min(radius, 0.1), 0.001)
    yaw_noise = 0.0 if "rail" in fixtures else YAW_NOISE
    ground = (goal[0], goal[1], max(goal[2], heights[0]) - HALF_BLOCK + 0.002)  # under the lowest block at the goal
    return Task(
        summary=summary,
        scene=lambda: scenes.manipulation(with_boards, block, ground, marker, camera, stiffness, boards, table_height),
        start=_start(block, ring, arc, yaw_noise),
        observe=_observe,
        position=lambda qpos: qpos[:, _BLOCK],
        observation=OBSERVATION,
        action=ACTION,
        observed_position=ENTRIES["block position"],
        goals=(goal,),
        goal_radius=radius,
        goal_heights=heights,
        horizon=100,
        substeps=5,
        shaping_margin=0.3,
        light_shaping=light_shaping,
        after_step=after_step,
        start_summary=_describe_start(block, ring, arc, yaw_noise),
    )


# Those that have layouts, each from a row of `skill_envs.layouts` --------------------------------


def _wall(row: SpringWall) -> Task:
    hangs = " that hangs on a spring" if row.stiffness else ""
    holds = " and hold it there" if row.stiffness else ""
    return _task(
        f"Bring a block{hangs} around a short wall to the goal{holds}.",
        ("container", "spring") if row.stiffness else ("container",),
        block=_ACROSS_WALL, goal=_WALL_GOAL, radius=0.065, heights=ON_FLOOR,
        boards=row.boards, stiffness=row.stiffness,
    )  # fmt: skip


def _l_wall(row: LWall) -> Task:
    return _task(
        "Bring a block from behind an L-shaped wall to the centre, which the wall surrounds on two sides.",
        ("container",),
        block=_FLOOR, ring=RING_RADIUS, arc=row.arc(BEHIND_L_WALL), goal=_FLOOR, radius=0.07, heights=ON_FLOOR,
        camera=_OPEN_SIDE, boards=row.boards,
    )  # fmt: skip


def _rail_push(row: RailPush) -> Task:
    block_on_table = row.height + HALF_BLOCK
    return _task(
        "Raise a block on a rail along a table, then push it to the table's centre; the rail lets go at table height.",
        ("table", "rail"),
        block=_BESIDE_TABLE, goal=_at(0.0, 0.0, block_on_table), radius=0.05,
        heights=(block_on_table - 0.01, block_on_table + 0.03), camera=_SIDE,
        light_shaping=0.1, after_step=_let_go_at(block_on_table), boards=row.boards, table_height=row.height,
    )  # fmt: skip


def _in_layouts(name: str, task: Callable[[Any], Task]) -> Task:
    """A task in its layout 0, with its other layouts."""
    first, *others = (task(row) for row in LAYOUTS[name])
    return replace(first, others=tuple(others))


TASKS: dict[str, Task] = {
    "Spring": _task(
        "Bring a block that hangs on a spring to the goal and hold it there.",
        ("container", "spring"),
        block=_ACROSS_WALL, goal=_WALL_GOAL, radius=0.065, heights=ON_FLOOR,
    ),
    "Wall": _in_layouts("Wall", _wall),
    "SpringWall": _in_layouts("SpringWall", _wall),
    "Push": _task(
        "Push a block from a ring around the centre to the centre.",
        ("container",),
        block=_FLOOR, ring=RING_RADIUS, goal=_FLOOR, radius=0.07, heights=ON_FLOOR, camera=_OPEN_SIDE,
    ),
    "Lift": _task(
        "Lift a block from the floor of the container and keep it up.",
        ("container",),
        block=_FLOOR, ring=RING_RADIUS, goal=_FLOOR, radius=0.30, heights=LIFTED, camera=_OPEN_SIDE,
    ),
    "LWall": _in_layouts("LWall", _l_wall),
    "RailLift": _task(
        "Raise a block on a vertical rail to table height, without the table.",
        ("rail",),
        block=_BESIDE_TABLE, goal=_TABLE_TOP, radius=0.30, heights=AT_TABLE_HEIGHT, camera=_SIDE,
    ),
    "TablePush": _task(
        "Push a block that starts on a table to the table's centre.",
        ("table",),
        block=_TABLE_TOP, ring=0.095, goal=_TABLE_TOP, radius=0.05, heights=ON_TABLE, camera=_SIDE,
    ),
    "RailPush": _in_layouts("RailPush", _rail_push),
}  # fmt: skip
