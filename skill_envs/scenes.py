"""Scenes: MJCF assets composed into specifications of models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

_PACKAGE = Path(__file__).resolve().parent
_HASHES = "SHA256SUMS"  # beside the assets
# A wheel carries the assets inside the package; an editable install keeps them beside it.
ASSETS = next((p for p in (_PACKAGE / "assets", _PACKAGE.parent / "assets") if p.is_dir()), _PACKAGE / "assets")


def load(name: str) -> mujoco.MjSpec:
    """Parse one MJCF asset.

    Args:
        name: file name below the assets folder, without ``.xml``.

    Raises:
        FileNotFoundError: there is no such asset.
        ValueError: the file is not the one whose hash is kept beside it, or is no MJCF; the message names it.
    """
    path = ASSETS / f"{name}.xml"
    if not path.is_file():
        valid = sorted(p.stem for p in ASSETS.glob("*.xml"))
        raise FileNotFoundError(f"no asset {name!r} in {ASSETS}; valid names: {valid}")
    text = path.read_bytes()
    # A single changed bit can be another physical model, which compiles and runs.
    if hashlib.sha256(text).hexdigest() != _hashes().get(path.name):
        raise ValueError(
            f"{path} is damaged, or was changed: its SHA-256 is not that in {_HASHES}. "
            f"After a change of your own, renew them: cd {ASSETS} && sha256sum *.xml > {_HASHES}"
        )
    try:
        return mujoco.MjSpec.from_string(text.decode())
    except ValueError as error:
        raise ValueError(f"{path} is no valid MJCF: {error}") from error


def _hashes() -> dict[str, str]:
    """Name of an asset's file to its SHA-256, as ``sha256sum`` wrote them.

    Raises:
        ValueError: the list of hashes is missing or damaged.
    """
    path = ASSETS / _HASHES
    try:
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
        return {name: digest for digest, name in lines}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is missing or damaged: {error}") from error


def point_mass(
    goals: tuple[tuple[float, float], ...], goal_radius: float, moving_goal: tuple[float, float] | None = None
) -> mujoco.MjSpec:
    """The point mass with a disc drawn at each goal; unused discs are invisible.

    Args:
        goals: up to four goal centres (x, y) [m].
        goal_radius: radius of each disc [m].
        moving_goal: where one more disc is at first [m], on a mocap body, which a simulation can put elsewhere.
    """
    spec = load("point_mass")
    discs = [site for site in spec.sites if site.name.startswith("goal_")]
    if len(goals) > len(discs):
        raise ValueError(f"{len(goals)} goals, but the scene has {len(discs)} goal discs")
    for i, disc in enumerate(discs):
        if i < len(goals):
            disc.pos[:2] = goals[i]
            disc.size[0] = goal_radius
        else:
            disc.rgba[3] = 0.0
    if moving_goal is not None:
        body = spec.worldbody.add_body(name="goal", mocap=True, pos=[*moving_goal, 0.0])
        body.add_site(name="goal", type=discs[0].type, pos=discs[0].pos, material=discs[0].material)
        body.sites[0].size[:2] = goal_radius, discs[0].size[1]
    return spec


# The manipulation scene ------------------------------------------------------------------------

CENTRE = np.array([0.62, 0.0, 0.0])  # middle of the workspace, the arm's base being the origin [m]
TABLE_HEIGHT = 0.10  # [m]
HALF_BLOCK = 0.04  # [m]
SPRING_STIFFNESS = 100.0  # [N/m]: 8 N at the near edge of the goal region, where friction holds 1.6 N
# A contact bit that no geom responds to; 0 would drop the geom from MuJoCo's bounding volumes and change their size.
_NOTHING = 1 << 8
_FAR_BELOW = 10.0  # where fixtures that are off are kept: bounding volumes then rule them out at once [m]
_HIDDEN = 4  # a group that is not drawn
# Fixtures with a place in the scene; a task switches some of them on. Each is the asset of its name, but for the
# spring, which is a tendon.
PARTS = ("container", "wall", "l_wall", "table", "rail")
FIXTURES = (*PARTS, "spring")


class Camera(NamedTuple):
    """Where a task is looked at from."""

    position: tuple[float, float, float]  # [m]
    target: tuple[float, float, float]  # [m]


class Board(NamedTuple):
    """Where an upright board stands; `PARTS` have boards of 12 mm."""

    x: float  # of its middle, from `CENTRE` [m]
    y: float  # [m]
    length: float  # [m]
    turn: float  # from the direction that it has in its asset, about the vertical [rad]
    height: float  # [m]
    bottom: float = 0.0  # height of its lower edge over the floor [m]


Boards = Mapping[str, Board]  # by the names of fixture and body, such as "l_wall/far"
NO_BOARDS: Boards = MappingProxyType({})


def manipulation(
    fixtures: tuple[str, ...],
    block: tuple[float, float, float],
    goal: tuple[float, float, float],
    goal_size: tuple[float, float],
    camera: Camera,
    spring_stiffness: float = 0.0,
    boards: Boards = NO_BOARDS,
    table_height: float = TABLE_HEIGHT,
) -> mujoco.MjSpec:
    """The arm, the block and every fixture, those not in ``fixtures`` switched off.

    All calls compile to models of equal sizes, so that one batch can run them together: a fixture that
    is off has no contacts, no stiffness, no active constraint, and is invisible.

    Args:
        fixtures: names from `FIXTURES`.
        block: the block's default position; the spring's anchor is below it, the rail beside it [m].
        goal: the goal's position [m].
        goal_size: radius and half-height of the goal's marker [m].
        camera: the view.
        spring_stiffness: of the spring, if it is on [N/m].
        boards: where boards are; the others stand where their assets have them.
        table_height: of the table, if it is on [m].

    Raises:
        ValueError: an unknown fixture.
    """
    unknown = set(fixtures) - set(FIXTURES)
    if unknown:
        raise ValueError(f"unknown fixtures {sorted(unknown)}; valid names: {list(FIXTURES)}")
    scene = load("arena")
    arm = load("arm")
    arm.attach(load("hand"), prefix="hand/", site=arm.site("flange"))
    scene.attach(arm, prefix="arm/", frame=scene.worldbody.add_frame())
    scene.attach(load("block"), prefix="block/", frame=scene.worldbody.add_frame(pos=block))
    places = {"rail": (block[0], block[1], 0.0)}
    for name in PARTS:
        part = load(name)
        place = np.array(places.get(name, CENTRE))
        if name not in fixtures:
            _switch_off(part)
            place[2] -= _FAR_BELOW
        for body in part.worldbody.bodies:
            board = boards.get(f"{name}/{body.name}")
            if board is not None:
                _place(body, board)
        if name == "table":
            table = part.body("table")
            table.pos[2] = table.first_geom().size[2] = table_height / 2
        scene.attach(part, prefix=f"{name}/", frame=scene.worldbody.add_frame(pos=place))

    weld = scene.add_equality(name="rail", type=mujoco.mjtEq.mjEQ_WELD, active="rail" in fixtures)
    weld.objtype, weld.name1, weld.name2 = mujoco.mjtObj.mjOBJ_BODY, "rail/carriage", "block/block"
    weld.data[:] = 0.0  # a zero quaternion: keep the relative pose of the default state
    weld.data[10] = 1.0  # torque scale

    spring_on = "spring" in fixtures
    spring = scene.add_tendon(name="spring", stiffness=[spring_stiffness * spring_on, 0, 0], width=0.006)
    spring.springlength = [0.0, HALF_BLOCK]
    spring.material, spring.group = "spring", 0 if spring_on else _HIDDEN
    anchor, marker, view = scene.site("anchor"), scene.site("goal"), scene.camera("scene")
    anchor.pos[:2], anchor.rgba[3] = block[:2], float(spring_on)
    spring.wrap_site("anchor")
    spring.wrap_site("block/block")

    marker.pos, marker.size[:2] = goal, goal_size
    view.pos, view.quat = camera.position, _look_at(camera)
    return scene


def _place(body: mujoco.MjsBody, board: Board) -> None:
    """Put a board in its place; it lies along the longer side that its asset has."""
    body.pos = (board.x, board.y, board.bottom + board.height / 2)
    body.quat = (np.cos(board.turn / 2), 0.0, 0.0, np.sin(board.turn / 2))
    size = body.first_geom().size
    size[int(np.argmax(size[:2]))], size[2] = board.length / 2, board.height / 2


def _switch_off(part: mujoco.MjSpec) -> None:
    for geom in part.geoms:
        if geom.contype:
            geom.contype = _NOTHING
        geom.material, geom.rgba = "", (0, 0, 0, 0)


def _look_at(camera: Camera) -> NDArray[np.float64]:
    """Quaternion of a camera at ``position`` that looks at ``target``, upright."""
    back = np.subtract(camera.position, camera.target, dtype=np.float64)
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.stack((right, np.cross(back, right), back), axis=1).ravel())
    return quat
