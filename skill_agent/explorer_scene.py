"""Copies of a MuJoCo scene side by side in viser, with the path of the block and a name over each."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import trimesh
import viser
from mjviser import conversions
from numpy.typing import NDArray

from skill_agent.exploring import Arms

COLOURS = (  # of the arms, in their order; Okabe and Ito's, which colour-blind people tell apart
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (90, 90, 90), (0, 0, 0),
)  # fmt: skip
_DRAWN_GROUPS = 3  # geoms, sites and tendons of later groups are hidden in MuJoCo's viewers
_GAP = 1.25  # between two copies, in the model's extent
_GAMMA = 2.2
_NO_COLOUR = (0.5, 0.5, 0.5, 1.0)  # MuJoCo's own default, which stands for none
_ABOVE = 0.004  # a path over what lies under it [m]
_VIEW = np.array([1.0, -0.9, 0.8])  # where the scene is looked at from, where its model has no camera "scene"

Float = NDArray[np.float64]


class Shown:
    """What the page has of some arms: one mesh a body, for all copies together, and each copy's path and name."""

    def __init__(self, server: viser.ViserServer, arms: Arms) -> None:
        """Draw the arms' model ``n`` times, in a row."""
        self._server, self._arms = server, arms
        model, count = arms.model, len(arms.code)
        self._middle, self._extent = _looked_at(model, arms.data()[0])
        place = (np.arange(count) - (count - 1) / 2) * _GAP * self._extent
        # From the camera's side, the first one is on the left.
        self._offsets = np.outer(place, _sideways(model))
        server.scene.set_up_direction("+z")
        server.scene.configure_environment_map(environment_intensity=0.5)
        self._look(model, count)
        self._handles: list[Any] = []
        self._bodies: dict[int, list[Any]] = {}
        for body in range(model.nbody):
            self._draw_body(model, body)
        self._paths = [self._lines(f"/paths/{k}", COLOURS[k], 0.012) for k in range(count)]
        self._drawn_tendons = [
            t
            for t in range(model.ntendon)
            if model.tendon_group[t] < _DRAWN_GROUPS and _visible(model, model.tendon_rgba[t], model.tendon_matid[t])
        ]
        if self._drawn_tendons:
            self._tendons = self._lines("/tendons", (217, 51, 140), 0.006)
        self._names = [self._name(k) for k in range(count)]

    def _look(self, model: mujoco.MjModel, count: int) -> None:
        """Let new visitors see all copies, from a place in front of the row."""
        camera, centre, right = self._server.initial_camera, self._middle, _sideways(model)
        direction = _view(model)
        direction = direction - 0.75 * (direction @ right) * right
        distance = self._extent * (1.2 + 0.75 * count)
        if direction[2] > 0.9:  # from above, where a camera has no upright
            direction = np.array([0.0, -0.4, 1.0])
        camera.position = tuple(centre + direction / np.linalg.norm(direction) * distance)
        camera.look_at = tuple(centre)
        camera.fov = np.radians(45)

    def _draw_body(self, model: mujoco.MjModel, body: int) -> None:
        """Add the meshes of a body: those of equal looks together."""
        geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] == body]
        for g in geoms:
            if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_PLANE:
                self._draw_floor(model, g)
        drawn = [
            g
            for g in geoms
            if model.geom_type[g] != mujoco.mjtGeom.mjGEOM_PLANE
            and model.geom_group[g] < _DRAWN_GROUPS
            and _visible(model, model.geom_rgba[g], model.geom_matid[g])
        ]
        meshes = []
        if drawn:
            groups = conversions.group_geoms_by_visual_compat(model, drawn)
            meshes += [_linear(conversions.merge_geoms(model, group)) for group in groups]
        sites = [
            s
            for s in range(model.nsite)
            if model.site_bodyid[s] == body
            and model.site_group[s] < _DRAWN_GROUPS
            and _visible(model, model.site_rgba[s], model.site_matid[s])
        ]
        meshes += [_site(model, site) for site in sites]
        for k, mesh in enumerate(meshes):
            handle = self._server.scene.add_batched_meshes_trimesh(
                f"/bodies/{body}/{k}",
                mesh,
                batched_wxyzs=np.tile([1.0, 0.0, 0.0, 0.0], (len(self._offsets), 1)),
                batched_positions=self._offsets,
                lod="off",
            )
            self._bodies.setdefault(body, []).append(handle)
            self._handles.append(handle)

    def _draw_floor(self, model: mujoco.MjModel, geom: int) -> None:
        """One plane for all copies."""
        grid = self._server.scene.add_grid(
            f"/floor/{geom}",
            infinite_grid=True,
            cell_size=0.25 * self._extent,
            section_size=self._extent,
            cell_color=(214, 219, 226),
            section_color=(196, 203, 212),
            plane_color=(236, 239, 243),
            plane_opacity=1.0,
            fade_distance=20.0 * self._extent,
            shadow_opacity=0.25,
            position=model.geom_pos[geom],
            wxyz=model.geom_quat[geom],
        )
        self._handles.append(grid)

    def _lines(self, name: str, colour: tuple[int, int, int], thickness: float) -> Any:
        nothing = np.zeros((1, 2, 3), np.float32)
        thick = thickness * self._extent
        handle = self._server.scene.add_line_segments(name, nothing, colour, thickness=thick)
        self._handles.append(handle)
        return handle

    def _name(self, k: int) -> Any:
        place = self._offsets[k] + self._middle + (0.0, 0.0, 0.7 * self._extent)
        handle = self._server.scene.add_label(f"/names/{k}", "", position=place, anchor="bottom-center")
        self._handles.append(handle)
        return handle

    def update(self) -> None:
        """Show the present state of the arms."""
        states = self._arms.data()
        with self._server.atomic():
            for body, handles in self._bodies.items():
                positions = np.stack([data.xpos[body] for data in states]) + self._offsets
                rotations = np.stack([data.xquat[body] for data in states])
                for handle in handles:
                    handle.batched_positions, handle.batched_wxyzs = positions, rotations
            for k, path in enumerate(self._paths):
                points = np.array(self._arms.paths[k]) + self._offsets[k] + (0.0, 0.0, _ABOVE)
                if len(points) > 1:
                    path.points = np.stack((points[:-1], points[1:]), axis=1)
                path.visible = len(points) > 1
            if self._drawn_tendons:
                self._show_tendons(states)
            for k, name in enumerate(self._names):
                inside = self._arms.success[k]
                text = f"arm {k + 1}" + (": in the goal" if inside else "")
                if name.text != text:
                    name.text = text

    def _show_tendons(self, states: list[mujoco.MjData]) -> None:
        segments = []
        for data, offset in zip(states, self._offsets, strict=True):
            points = data.wrap_xpos.reshape(-1, 3)
            for tendon in self._drawn_tendons:
                start, length = data.ten_wrapadr[tendon], data.ten_wrapnum[tendon]
                segments += [points[i : i + 2] + offset for i in range(start, start + length - 1)]
        self._tendons.points = np.stack(segments)

    def remove(self) -> None:
        """Take everything away."""
        for handle in self._handles:
            handle.remove()


def _looked_at(model: mujoco.MjModel, data: mujoco.MjData) -> tuple[Float, float]:
    """The middle (3,) and the size of what is to be seen [m].

    The suite's scenes say their size. That of others often counts a floor or a long rail, so what moves is measured.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for g in range(model.ngeom):
        place, radius = data.geom_xpos[g], model.geom_rbound[g]  # the radius of a plane is 0
        moves = model.body_weldid[model.geom_bodyid[g]] > 0
        near = np.linalg.norm(place - model.stat.center) < 2 * model.stat.extent
        if radius > 0 and near and (moves or _has_camera(model)):
            low, high = np.minimum(low, place - radius), np.maximum(high, place + radius)
    if not np.isfinite(low).all():
        return model.stat.center.copy(), float(model.stat.extent)
    size = model.stat.extent if _has_camera(model) else np.linalg.norm(high - low)
    return (low + high) / 2, float(size)


def _has_camera(model: mujoco.MjModel) -> bool:
    """Whether a scene says from where it is looked at, as those of the suite do."""
    return bool(mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "scene") >= 0)


def _view(model: mujoco.MjModel) -> Float:
    """The direction (3,) from the middle of the scene to who looks at it."""
    camera = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "scene")
    away = _VIEW if camera < 0 else model.cam_pos0[camera] - model.stat.center
    direction: Float = away / np.linalg.norm(away)
    return direction


def _sideways(model: mujoco.MjModel) -> Float:
    """The direction (3,) on the floor to the right of who looks at the scene, along the nearest axis."""
    away = _view(model)
    right = np.array([-away[1], away[0], 0.0])
    if np.linalg.norm(right) < 0.5:  # looked at from above
        return np.array([1.0, 0.0, 0.0])
    axis = int(np.abs(right).argmax())
    unit = np.zeros(3)
    unit[axis] = np.sign(right[axis])
    return unit


def _linear(mesh: Any) -> Any:
    """A mesh with the colours of MuJoCo's screen as the file format of meshes has them, which is linear in light."""
    if isinstance(mesh.visual, trimesh.visual.ColorVisuals):
        colours = mesh.visual.vertex_colors.astype(np.float64)
        colours[:, :3] = 255 * (colours[:, :3] / 255) ** _GAMMA
        mesh.visual.vertex_colors = colours.astype(np.uint8)
    return mesh


def _site(model: mujoco.MjModel, site: int) -> Any:
    """The mesh of a site; one that is seen through is as light as it is over a white floor."""
    rgba = _rgba(model, model.site_rgba[site], model.site_matid[site])
    mesh = conversions.merge_sites(model, [site])
    opaque = np.append(rgba[3] * rgba[:3] + 1 - rgba[3], 1.0)
    colours = np.tile(np.uint8(255 * np.clip(opaque, 0.0, 1.0)), (len(mesh.vertices), 1))
    mesh.visual = trimesh.visual.ColorVisuals(vertex_colors=colours)
    return _linear(mesh)


def _rgba(model: mujoco.MjModel, own: Any, material: int) -> Any:
    """The colour (4,) that MuJoCo draws: the material's, unless the element has one of its own."""
    return own if material < 0 or not np.allclose(own, _NO_COLOUR) else model.mat_rgba[material]


def _visible(model: mujoco.MjModel, own: Any, material: int) -> bool:
    return bool(_rgba(model, own, material)[3] > 0)
