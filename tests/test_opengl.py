"""Which OpenGL is chosen, and what is said where there is none."""

import os
import subprocess
import sys

import pytest
from toy import ROOT

from skill_envs import opengl

NAMES = ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "PYOPENGL_PLATFORM")
DRAW = """
import gymnasium, skill_envs
env = gymnasium.make("SkillEmbed/PointMassTwoGoals-v0", render_mode="rgb_array", width=64, height=64)
env.reset(seed=0)
try:
    print(env.render().std() > 5)
except RuntimeError as error:
    print(error)
env.close()
"""
# Libraries whose name has "egl" in it are missing, for ctypes and so for PyOpenGL.
WITHOUT_EGL = """
import ctypes
real = ctypes.CDLL
class CDLL(real):
    def __init__(self, name=None, *args, **kwargs):
        if "egl" in str(name).lower():
            raise OSError(f"{name}: cannot open shared object file")
        super().__init__(name, *args, **kwargs)
ctypes.CDLL = CDLL
ctypes.cdll._dlltype = CDLL
"""
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays and EGL are Linux's")
needs_egl = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not opengl._is_there("egl"), reason="no libEGL on this machine"
)


def run(code, **variables):
    """Run code in a Python of its own, with no display and no choice but ``variables``."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {}, "egl"),
        ("linux", {"DISPLAY": ""}, "egl"),
        ("linux", {"DISPLAY": ":0"}, None),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, None),
        ("linux", {"MUJOCO_GL": "glfw"}, "glfw"),
        ("linux", {"MUJOCO_GL": ""}, "egl"),
        ("linux", {"MUJOCO_GL": " EGL "}, "egl"),
        ("linux", {"MUJOCO_GL": "GLFW", "DISPLAY": ":0"}, "glfw"),
        ("darwin", {}, None),
        ("darwin", {"MUJOCO_GL": ""}, None),
        ("win32", {}, None),
    ],
)
def test_choice(monkeypatch, platform, environ, expected):
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is restored, set or not
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(opengl, "_is_there", lambda backend: True)
    opengl.choose_backend()
    assert os.environ.get("MUJOCO_GL") == expected


@needs_egl
@pytest.mark.parametrize("value", [None, "", "EGL"])
def test_mujoco_itself_has_the_choice(value):
    """A user's own `mujoco.Renderer` takes its context from there."""
    given = {} if value is None else {"MUJOCO_GL": value}
    for package in ("skill_envs", "skill_agent", "skill_envs.film"):
        found = run(f"import {package}, mujoco; print(mujoco.GLContext.__module__)", **given)
        assert (found.stdout.strip(), found.stderr) == ("mujoco.egl", "")


@needs_egl
def test_a_backend_named_after_the_import_draws():
    named = DRAW.replace("skill_envs\n", "skill_envs, os\nos.environ['MUJOCO_GL'] = 'egl'\n", 1)
    drawn = run(named, DISPLAY=":99")
    assert drawn.stdout.strip() == "True", drawn.stderr


@needs_egl
@pytest.mark.parametrize(
    ("variables", "advice"),
    [
        ({"DISPLAY": ":99"}, "DISPLAY=':99' can't be used. Set MUJOCO_GL=egl"),
        ({"WAYLAND_DISPLAY": "nowhere"}, "WAYLAND_DISPLAY='nowhere' can't be used. Set MUJOCO_GL=egl"),
        ({"MUJOCO_GL": "glfw"}, "Set MUJOCO_GL=egl"),
        ({"MUJOCO_GL": "off"}, "turns drawing off; unset MUJOCO_GL"),
        ({"PYOPENGL_PLATFORM": "glx"}, "PYOPENGL_PLATFORM='glx' asks for another"),
    ],
)
def test_where_nothing_can_be_drawn_the_error_says_what_helps(variables, advice):
    failed = run(DRAW, **variables)
    assert advice in failed.stdout and "apt-get" not in failed.stdout
    assert failed.stderr == ""


@linux
def test_without_egl_everything_but_pictures_works():
    """MuJoCo's own import fails where it is told to take an EGL that is missing."""
    failed = run(WITHOUT_EGL + DRAW)
    assert "apt-get install libegl1" in failed.stdout and failed.returncode == 0
    asked = run(WITHOUT_EGL + "import skill_envs", MUJOCO_GL="egl")
    assert asked.stderr.strip().splitlines()[-1].startswith("ImportError: MUJOCO_GL='egl': its library")
    assert "apt-get install libegl1" in asked.stderr
