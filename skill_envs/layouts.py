"""Layouts of the transfer tasks: the same task with its fixtures elsewhere, one row each.

Layout 0 is the paper's. `DEVELOPMENT` are for whatever is tuned; `TEST` are for what is reported, and for nothing else.
Everything that depends on a layout derives from its row: the scene, the starts, and the way of the demonstration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from skill_envs.arrays import Float
from skill_envs.scenes import SPRING_STIFFNESS, TABLE_HEIGHT, Board, Boards

DEVELOPMENT = tuple(range(1, 9))
TEST = tuple(range(9, 17))

_HALF_BOARD = 0.006  # half the thickness of a board [m]
_CLEAR = 0.09  # from the end of the L-wall's far side to the way around it [m]
_CLEAR_OF_WALL = 0.10  # from the end of a wall to the way around it [m]


def _varies(meaning: str, default: Any) -> Any:
    return field(default=default, metadata={"meaning": meaning})


class Layout(Protocol):
    """A row of the table. Places are relative to the middle of the workspace."""

    @property
    def boards(self) -> Boards:
        """Name of a fixture's board to its place."""

    def way(self, block: Float, goal: Float) -> list[Float]:
        """Points (2,) [m] of a way in the plane, from ``block`` (2,) to ``goal`` (2,), around the boards."""


@dataclass(frozen=True)
class LWall:
    """The L-wall stands around the goal, its far side between the goal and the starts."""

    turn: float = _varies("turn of wall and starts about the goal [degrees]", 0.0)
    far: float = _varies("length of the far side [m]", 0.196)
    left: float = _varies("length of the left side [m]", 0.184)
    gap: float = _varies("distance of both sides from the goal [m]", 0.095)
    height: float = _varies("height of the wall [m]", 0.3)
    mirrored: bool = _varies("left side on the right", False)

    @property
    def boards(self) -> Boards:
        """Both sides, which meet beyond the far left corner."""
        far = (self.gap, self.gap + _HALF_BOARD - self.far / 2)
        left = (self.gap - _HALF_BOARD - self.left / 2, self.gap)
        turn = np.radians(self.turn)
        return {
            "l_wall/far": Board(*self._placed(far), self.far, turn, self.height),
            "l_wall/left": Board(*self._placed(left), self.left, turn, self.height),
        }

    def arc(self, arc: tuple[float, float]) -> tuple[float, float]:
        """An arc of starts [rad], turned and mirrored as the wall is."""
        low, high = (-arc[1], -arc[0]) if self.mirrored else arc
        turn = float(np.radians(self.turn))
        return low + turn, high + turn

    def way(self, block: Float, goal: Float) -> list[Float]:
        """Around the end of the far side."""
        aside, beyond = self.gap + _CLEAR, self.gap + _HALF_BOARD - self.far - _CLEAR
        # The wall's own frame is turned, and perhaps mirrored.
        own_y = float(self._frame[:, 1] @ block)
        return [np.array(self._placed(point)) for point in ((aside, own_y), (aside, beyond), (0.0, beyond))]

    @property
    def _frame(self) -> Float:
        """(2, 2) The directions x and y of the layout that is not turned, as columns."""
        return _turned(self.turn) * (1.0, -1.0 if self.mirrored else 1.0)

    def _placed(self, point: tuple[float, float]) -> tuple[float, float]:
        x, y = self._frame @ point
        return _rounded(x), _rounded(y)


@dataclass(frozen=True)
class SpringWall:
    """A wall across the straight way from the block to the goal; it may have a side at its end, and then is an L."""

    length: float = _varies("length of the wall [m]", 0.08)
    shift: float = _varies("shift of the wall, away from the arm [m]", 0.0)
    turn: float = _varies("turn of the wall [degrees]", 0.0)
    stiffness: float = _varies("stiffness of the spring [N/m]", SPRING_STIFFNESS)
    side: float = _varies("length of a side towards the block, at the wall's far end [m]", 0.0)

    _MIDDLE = 0.03  # of the wall, from the centre towards the block [m]

    @property
    def boards(self) -> Boards:
        """The wall; the L-wall in its place where it has a side."""
        wall = Board(self.shift, self._MIDDLE, self.length, np.radians(self.turn), height=0.1)
        if not self.side:
            return {"wall/wall": wall}
        end = (self.length / 2 + _HALF_BOARD, self.side / 2 - _HALF_BOARD)
        x, y = (self.shift, self._MIDDLE) + _turned(self.turn) @ end
        side = Board(_rounded(x), _rounded(y), self.side, np.radians(self.turn), height=0.1)
        return {"l_wall/left": wall, "l_wall/far": side}

    def way(self, block: Float, goal: Float) -> list[Float]:
        """Around the end that is nearer to the arm and has no side."""
        return _around((self.shift, self._MIDDLE), self.length, self.turn, block, goal, towards_arm=True)


@dataclass(frozen=True)
class RailPush:
    """The table may have another height, and a wall on it between the rail and the goal."""

    height: float = _varies("height of the table [m]", TABLE_HEIGHT)
    length: float = _varies("length of the wall on the table; 0 is none [m]", 0.0)
    shift: float = _varies("shift of the wall, away from the arm [m]", 0.0)
    distance: float = _varies("distance of the wall from the goal [m]", 0.1)
    turn: float = _varies("turn of the wall [degrees]", 0.0)
    tall: float = _varies("height of the wall, from the table [m]", 0.12)

    @property
    def boards(self) -> Boards:
        """The wall on the table."""
        if not self.length:
            return {}
        turn = np.radians(self.turn)
        return {"wall/wall": Board(self.shift, self.distance, self.length, turn, self.tall, bottom=self.height)}

    def way(self, block: Float, goal: Float) -> list[Float]:
        """Around the nearer end."""
        if not self.length:
            return []
        return _around((self.shift, self.distance), self.length, self.turn, block, goal, towards_arm=self.shift >= 0)


def _around(
    middle: tuple[float, float], length: float, turn: float, block: Float, goal: Float, *, towards_arm: bool
) -> list[Float]:
    """A way around an end of a wall: along the wall, past its end, and back along it."""
    frame = _turned(turn)
    past = (length / 2 + _CLEAR_OF_WALL) * (-1.0 if towards_arm else 1.0)
    before, behind = (float(frame[:, 1] @ (place - middle)) for place in (block, goal))
    return [middle + frame @ (past, y) for y in (before, behind)]


def _turned(degrees: float) -> Float:
    """(2, 2) The directions x and y after a turn, as columns."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, -sine], [sine, cosine]])


def _rounded(length: float) -> float:
    """Without the last digits of an addition, so that layout 0 is the assets' own to the bit."""
    return round(float(length), 9)


# Layouts k and k + 8, of development and of the test, are of one kind and about as hard for random skills. That is all
# they were chosen by (benchmarks/layouts.py).
LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "Wall": (SpringWall(stiffness=0.0),),
    "SpringWall": (
        SpringWall(),
        SpringWall(length=0.20, shift=0.03),
        SpringWall(length=0.20, shift=0.04),
        SpringWall(length=0.18, shift=0.03, turn=-30.0),
        SpringWall(length=0.16, turn=30.0),
        SpringWall(length=0.16, shift=0.03, stiffness=120.0),
        SpringWall(length=0.24, shift=0.04, stiffness=80.0),
        SpringWall(length=0.10, side=0.05),
        SpringWall(length=0.14, side=0.04),
        #
        SpringWall(length=0.22, shift=0.02),
        SpringWall(length=0.24, shift=0.02),
        SpringWall(length=0.20, shift=0.03, turn=-15.0),
        SpringWall(length=0.12, shift=0.02, turn=30.0),
        SpringWall(length=0.20, shift=0.02, stiffness=115.0),
        SpringWall(length=0.26, shift=0.04, stiffness=80.0),
        SpringWall(length=0.12, side=0.04),
        SpringWall(length=0.12, shift=0.01, side=0.04),
    ),
    "LWall": (
        LWall(),
        LWall(turn=-15.0, gap=0.085),
        LWall(turn=-20.0, gap=0.085, far=0.18),
        LWall(turn=-30.0, gap=0.09, far=0.17),
        LWall(turn=-60.0, gap=0.09, far=0.17),
        LWall(far=0.22, left=0.24),
        LWall(turn=15.0, far=0.25, height=0.2),
        LWall(turn=35.0, far=0.27, height=0.22),
        LWall(turn=-30.0, far=0.15, mirrored=True),
        #
        LWall(turn=-10.0, gap=0.085),
        LWall(turn=-15.0, gap=0.085, far=0.18),
        LWall(turn=-25.0, gap=0.09, far=0.17),
        LWall(turn=-45.0, gap=0.09, far=0.17),
        LWall(far=0.23, left=0.12),
        LWall(turn=20.0, far=0.25, height=0.25),
        LWall(turn=50.0, far=0.26, height=0.2),
        LWall(turn=-40.0, far=0.15, mirrored=True),
    ),
    "RailPush": (
        RailPush(),
        RailPush(length=0.10, shift=-0.03),
        RailPush(length=0.10, shift=0.05, tall=0.14),
        RailPush(length=0.10, height=0.07),
        RailPush(length=0.10, height=0.13),
        RailPush(length=0.10, shift=0.03, turn=-45.0),
        RailPush(length=0.10, shift=0.03, turn=20.0),
        RailPush(length=0.06),
        RailPush(length=0.20, shift=0.02, tall=0.10),
        #
        RailPush(length=0.08, shift=-0.04, distance=0.075),
        RailPush(length=0.08, shift=0.04, distance=0.09),
        RailPush(length=0.10, shift=0.03, height=0.07),
        RailPush(length=0.06, height=0.13),
        RailPush(length=0.10, shift=-0.03, turn=-20.0),
        RailPush(length=0.10, shift=0.03, turn=45.0),
        RailPush(length=0.08),
        RailPush(length=0.16, tall=0.10),
    ),
}  # fmt: skip


def named_layouts(tasks: Iterable[str]) -> dict[str, tuple[str, int]]:
    """All layouts of tasks: names such as "Push", "LWall" and "LWall(layout=3)" to the task and the layout."""
    found = {}
    for task in tasks:
        for layout in range(len(LAYOUTS.get(task, (None,)))):
            found[f"{task}(layout={layout})" if layout else task] = (task, layout)
    return found
