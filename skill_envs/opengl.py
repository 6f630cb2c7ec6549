"""The choice of OpenGL, by the variable ``MUJOCO_GL``.

MuJoCo reads the variable once, while it is imported. This module therefore imports it in functions alone.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Each backend without a window, its libraries on Linux and what installs it.
_LIBRARIES = {"egl": ("libEGL.so.1", "libEGL.so"), "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")}
_INSTALL = {
    "egl": "Install EGL (Debian, Ubuntu: apt-get install libegl1 libgl1-mesa-dri)",
    "osmesa": "Install OSMesa (Debian, Ubuntu: apt-get install libosmesa6)",
}
_OFF = ("disable", "disabled", "off", "false", "0")  # values by which MuJoCo is told not to draw


def choose_backend() -> None:
    """Set ``MUJOCO_GL`` to what MuJoCo and Gymnasium both understand; to be called before MuJoCo is imported.

    On Linux without a display it becomes "egl", unless it is set already or EGL is missing. An empty variable
    counts as not set, and capital letters as small ones.

    Raises:
        ImportError: EGL or OSMesa was asked for and is missing. MuJoCo's own import would be an AttributeError.
    """
    asked = _backend()
    if asked:
        os.environ["MUJOCO_GL"] = asked
    else:
        os.environ.pop("MUJOCO_GL", None)
    if not sys.platform.startswith("linux"):
        return
    if not asked and not _displays() and _is_there("egl"):
        os.environ["MUJOCO_GL"] = "egl"
    if asked in _LIBRARIES and "mujoco" not in sys.modules and not _is_there(asked):
        raise ImportError(f"MUJOCO_GL={asked!r}: its library can't be loaded. {_INSTALL[asked]}, or unset MUJOCO_GL.")


def open_context(width: int, height: int) -> Any:
    """A new off-screen OpenGL context with ``make_current`` and ``free``, current in this thread.

    Raises:
        RuntimeError: there is none; the message says what helps.
    """
    try:
        # GLFW's warnings say less than the error that follows them.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context = _context_class()(width, height)
            context.make_current()
    # Every backend fails in ways of its own: ImportError, AttributeError, GLError, RuntimeError, a GLFW error.
    except Exception as error:
        raise no_opengl(error) from error
    return context


@contextmanager
def left_as_found() -> Iterator[None]:
    """Make the calling thread's EGL context current again at the end, or none if there was none.

    dm_control makes its own context current only once, and from then on draws and frees in whichever is current.
    The contexts of GLFW and OSMesa it has in threads of their own.
    """
    found: tuple[Any, ...] | None = None
    egl = _egl_in_use()
    if egl is not None:
        surfaces = egl.eglGetCurrentSurface(egl.EGL_DRAW), egl.eglGetCurrentSurface(egl.EGL_READ)
        found = egl.eglGetCurrentDisplay(), *surfaces, egl.eglGetCurrentContext()
    try:
        yield
    finally:
        egl = _egl_in_use()
        if egl is not None:
            egl.eglReleaseThread()
            if found and found[-1]:
                # It may have been destroyed meanwhile, or with its display; then none is current.
                with suppress(egl.EGLError):
                    egl.eglMakeCurrent(*found)


def _egl_in_use() -> Any:
    """PyOpenGL's module, if this process draws by EGL and has loaded it; else there is no context."""
    return sys.modules.get("OpenGL.EGL") if _backend() == "egl" else None


def has_display() -> bool:
    """Whether a window can be opened; where it can't, MuJoCo's and Gymnasium's viewers would hang or abort."""
    import glfw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", glfw.GLFWError)
        return bool(glfw.init())


def no_opengl(error: Exception) -> RuntimeError:
    """The error to raise when OpenGL failed with ``error``."""
    said = str(error).rstrip(".")
    return RuntimeError(f"no OpenGL with MUJOCO_GL={_backend()!r}: {said}. {_advice()}".rstrip())


def _backend() -> str:
    return os.environ.get("MUJOCO_GL", "").strip().lower()


def _displays() -> list[str]:
    """The variables that name a display, with their values."""
    names = ("DISPLAY", "WAYLAND_DISPLAY")
    return [f"{name}={os.environ[name]!r}" for name in names if os.environ.get(name)]


def _is_there(backend: str) -> bool:
    """Whether a library of the backend can be loaded, on Linux."""
    for name in _LIBRARIES[backend]:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


def _context_class() -> Any:
    """The backend's class; one that was named after MuJoCo's import counts too."""
    import mujoco

    asked = _backend()
    if asked in ("egl", "glfw", "osmesa"):
        return importlib.import_module(f"mujoco.{asked}").GLContext
    return mujoco.GLContext


def _advice() -> str:
    """What helps on this machine, as a sentence."""
    asked, displays = _backend(), _displays()
    if asked in _OFF:
        return "This value turns drawing off; unset MUJOCO_GL."
    if not sys.platform.startswith("linux"):
        return ""
    platform = os.environ.get("PYOPENGL_PLATFORM", "")
    if asked in _LIBRARIES and platform and platform != asked:
        return f"PYOPENGL_PLATFORM={platform!r} asks for another; unset it."
    if not _is_there("egl"):
        return f"{_INSTALL['egl']}; it needs no display."
    if asked == "osmesa":
        return f"{_INSTALL['osmesa']}, or set MUJOCO_GL=egl, which is here."
    if asked == "egl":
        return "libEGL is here but has no driver that works (Debian, Ubuntu: apt-get install libgl1-mesa-dri)."
    if displays:
        return f"The display {' '.join(displays)} can't be used. Set MUJOCO_GL=egl, which needs no display."
    return "Set MUJOCO_GL=egl, which needs no display."
