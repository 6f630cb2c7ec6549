"""Frames from simulation states, through Gymnasium's MuJoCo renderer."""

from __future__ import annotations

import atexit
import os
import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from skill_envs.physics import Physics

RENDER_MODES = ("rgb_array", "depth_array", "human")


def choose_backend() -> None:
    """Select headless OpenGL (``MUJOCO_GL=egl``) on Linux without a display, unless already set."""
    displays = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in displays):
        os.environ.setdefault("MUJOCO_GL", "egl")


def _require_display() -> None:
    """Raise unless a window can be opened: Gymnasium's viewer would abort the process."""
    import glfw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", glfw.GLFWError)
        if not glfw.init():
            raise RuntimeError("render_mode='human' needs a display; without one choose 'rgb_array' or 'depth_array'")


def _close_at_exit(renderer: weakref.ref[Renderer]) -> None:
    """Free the context of a renderer that nobody closed, before EGL itself is shut down.

    To be called once the context is open: exit handlers run last in, first out.
    """

    def close() -> None:
        if (opened := renderer()) is not None:
            opened.close()

    atexit.register(close)


class Renderer:
    """Draws single simulations of a `Physics`; one OpenGL context, opened at the first frame.

    Attributes:
        model: the model of the simulation drawn last.
        data: the data of the simulation drawn last.
    """

    def __init__(self, physics: Physics, width: int, height: int) -> None:
        """Prepare to draw ``width`` x ``height`` pixel frames of ``physics``."""
        from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

        choose_backend()
        self.model = physics.write_model(0)
        self.data = physics.write_data(0)
        self._physics = physics
        window = {"type": mujoco.mjtCamera.mjCAMERA_FIXED, "fixedcamid": self.model.camera("scene").id}
        self._frames = MujocoRenderer(self.model, self.data, window, width=width, height=height, camera_name="scene")
        self._opened = False

    def frame(self, sim: int, mode: str) -> NDArray[Any] | None:
        """Draw simulation ``sim``.

        Args:
            sim: the simulation.
            mode: one of `RENDER_MODES`.

        Returns:
            (height, width, 3) uint8 for "rgb_array", (height, width) float32 for "depth_array",
            None for "human".

        Raises:
            RuntimeError: no OpenGL backend, or no display for "human", is available.
        """
        if mode == "human":
            _require_display()
        self._physics.write_model(sim, self.model)
        self._physics.write_data(sim, self.data)
        try:
            frame = self._frames.render(mode)
        except (ImportError, AttributeError, mujoco.FatalError) as error:
            raise RuntimeError(
                f"no OpenGL for render_mode={mode!r} with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')!r}: {error}. "
                "Headless Linux needs EGL (Debian, Ubuntu: apt-get install libegl1)."
            ) from error
        if not self._opened:
            self._opened = True
            _close_at_exit(weakref.ref(self))
        return None if frame is None else np.ascontiguousarray(frame)

    def close(self) -> None:
        """Free the OpenGL context."""
        self._frames.close()
