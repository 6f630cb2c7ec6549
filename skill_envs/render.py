"""Frames from simulation states.

OpenGL draws into what a thread has made its current context. Every frame therefore begins with the renderer's own
context, and nothing is freed in the context of another.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from skill_envs import opengl

if TYPE_CHECKING:
    from skill_envs.physics import Physics

RENDER_MODES = ("rgb_array", "depth_array", "human")
SHADOW_SIZE = 4096  # of the scenes' shadow map, along a side [texel]
# For films: no difference is seen, and without a GPU a frame takes .6 of the time. With 1,024 the difference is seen.
FILM_SHADOW_SIZE = 2048
MAX_SIDE = 4096  # of a frame; its buffer then has 0.5 GB, at four samples a pixel [pixel]
_MAX_GEOMS = 1000  # in a scene


class Renderer:
    """Draws single simulations of a `Physics`; one OpenGL context, opened at the first frame.

    The context belongs to the thread that draws the first frame.

    Attributes:
        model: the model of the simulation drawn last.
        data: the data of the simulation drawn last.
    """

    def __init__(self, physics: Physics, width: int, height: int, shadow_size: int = SHADOW_SIZE) -> None:
        """Prepare to draw ``width`` x ``height`` pixel frames of ``physics``; 0 as ``shadow_size`` draws no shadows."""
        self._view: _OffScreen | _Window | None = None
        self._owner: tuple[int, threading.Thread] | None = None
        self._physics = physics
        self._size = (width, height)
        self.model = physics.write_model(0)
        self.model.vis.quality.shadowsize = shadow_size
        self.data = physics.write_data(0)

    def frame(self, sim: int, mode: str) -> NDArray[Any] | None:
        """Draw simulation ``sim``.

        Args:
            sim: the simulation.
            mode: one of `RENDER_MODES`.

        Returns:
            (height, width, 3) uint8 for "rgb_array", (height, width) float32 for "depth_array",
            None for "human".

        Raises:
            RuntimeError: no OpenGL backend, or no display for "human", is available; or another thread
                drew the frames before.
        """
        self._physics.write_model(sim, self.model)
        self._physics.write_data(sim, self.data)
        with opengl.left_as_found():
            self._open(mode)
            assert self._view is not None
            # Exit handlers run last in, first out, and this one has to run before EGL is shut down. That is registered
            # when its user is imported, which may be dm_control, since the last frame.
            atexit.unregister(self._at_exit)
            atexit.register(self._at_exit)
            return self._view.draw(self.model, self.data, mode)

    def close(self) -> None:
        """Free the OpenGL context; the next frame opens a new one."""
        if self._view is not None:
            with opengl.left_as_found():
                self._view.free()
            self._view = None
            atexit.unregister(self._at_exit)

    def forget(self) -> None:
        """Let go of an OpenGL context that is there no longer."""
        if isinstance(self._view, _OffScreen):
            self._view.forget()
        self._view = None

    def __del__(self) -> None:
        self.close()

    def _open(self, mode: str) -> None:
        """Make sure that there is a view of this mode, and that it is this thread's."""
        kind = _Window if mode == "human" else _OffScreen
        caller = (os.getpid(), threading.current_thread())
        if self._view is not None and caller != self._owner:
            raise RuntimeError(
                "render() was called from another thread or process than before, and OpenGL allows one: "
                "draw in one thread, close the environment there first, or make an environment for each"
            )
        if isinstance(self._view, kind):
            return
        self.close()
        self._view = kind(self.model, *self._size)
        self._owner = caller
        self._at_exit = _closer(weakref.ref(self))


def _closer(reference: weakref.ref[Renderer]) -> Any:
    """A function for the exit, which closes a renderer if it still exists."""

    def close() -> None:
        renderer = reference()
        if renderer is None:
            return
        try:
            renderer.close()
        except RuntimeError:  # EGL has been shut down, which freed everything
            renderer.forget()

    return close


class _OffScreen:
    """A buffer of a frame's size in an OpenGL context of its own."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        """Open the context.

        Raises:
            RuntimeError: there is no OpenGL, or it can't make a buffer of this size.
        """
        self._context = opengl.open_context(width, height)
        # MuJoCo makes the buffer as large as the model says, and cuts larger frames without a word.
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        try:
            self._resources = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
        except mujoco.FatalError as error:
            self._context.free()
            raise opengl.no_opengl(error) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._resources)
        made = (self._resources.offWidth, self._resources.offHeight)
        if made != (width, height):
            self.free()
            raise RuntimeError(f"width={width}, height={height}: OpenGL made a buffer of {made} in its place")
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._scene = mujoco.MjvScene(model, _MAX_GEOMS)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = model.camera("scene").id
        self._options, self._perturbation = mujoco.MjvOption(), mujoco.MjvPerturb()

    def draw(self, model: mujoco.MjModel, data: mujoco.MjData, mode: str) -> NDArray[Any]:
        """A frame as the scene's camera sees it, or its depth buffer."""
        self._context.make_current()
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, self._options, self._perturbation, self._camera, everything, self._scene)
        mujoco.mjr_render(self._viewport, self._scene, self._resources)
        shape = (self._viewport.height, self._viewport.width)
        frame: NDArray[Any]
        if mode == "depth_array":
            frame = np.empty(shape, np.float32)
            mujoco.mjr_readPixels(None, frame, self._viewport, self._resources)
        else:
            frame = np.empty((*shape, 3), np.uint8)
            mujoco.mjr_readPixels(frame, None, self._viewport, self._resources)
        return np.ascontiguousarray(frame[::-1])  # OpenGL counts rows from the bottom

    def free(self) -> None:
        """Free what the context holds, and the context."""
        spare = None
        try:
            self._context.make_current()
        # Another thread holds the context. Its end takes along what it holds. The names of that mean nothing in an
        # empty context, so that freeing them there does no harm.
        except Exception:
            spare = opengl.open_context(1, 1)
        self._resources.free()
        self._context.free()
        if spare is not None:
            spare.free()

    def forget(self) -> None:
        """Free nothing: MuJoCo's context would try it again when it is deleted."""
        self._context._context = None


class _Window:
    """Gymnasium's window."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        """Open the window.

        Raises:
            RuntimeError: there is no display. Gymnasium's viewer would abort the process.
        """
        if not opengl.has_display():
            raise RuntimeError("render_mode='human' needs a display; without one choose 'rgb_array' or 'depth_array'")
        from gymnasium.envs.mujoco.mujoco_rendering import WindowViewer

        self._viewer = WindowViewer(model, mujoco.MjData(model), width, height, _MAX_GEOMS)
        self._viewer.cam.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._viewer.cam.fixedcamid = model.camera("scene").id

    def draw(self, model: mujoco.MjModel, data: mujoco.MjData, mode: str) -> None:
        """Show a frame."""
        self._viewer.model, self._viewer.data = model, data
        self._viewer.make_context_current()
        self._viewer.render()

    def free(self) -> None:
        """Close the window; the viewer's own ``close`` would end every other window too."""
        self._viewer.make_context_current()
        self._viewer.con.free()
        self._viewer.free()
