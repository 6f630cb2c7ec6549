"""Scenes: MJCF assets composed into compiled models."""

from __future__ import annotations

from pathlib import Path

import mujoco

_PACKAGE = Path(__file__).resolve().parent
# A wheel carries the assets inside the package; an editable install keeps them beside it.
ASSETS = next((p for p in (_PACKAGE / "assets", _PACKAGE.parent / "assets") if p.is_dir()), _PACKAGE / "assets")


def load(name: str) -> mujoco.MjSpec:
    """Parse one MJCF asset.

    Args:
        name: file name below the assets folder, without ``.xml``.

    Raises:
        FileNotFoundError: there is no such asset.
    """
    path = ASSETS / f"{name}.xml"
    if not path.is_file():
        valid = sorted(p.stem for p in ASSETS.glob("*.xml"))
        raise FileNotFoundError(f"no asset {name!r} in {ASSETS}; valid names: {valid}")
    return mujoco.MjSpec.from_file(str(path))


def point_mass(goals: tuple[tuple[float, float], ...], goal_radius: float) -> mujoco.MjModel:
    """The point mass with a disc drawn at each goal; unused discs are invisible.

    Args:
        goals: up to four goal centres (x, y) [m].
        goal_radius: radius of each disc [m].
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
    return spec.compile()
