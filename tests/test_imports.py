"""What the packages may import, and how the suite is found and its graphics backend chosen."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import skill_envs
from skill_envs.render import choose_backend

FORBIDDEN = ("torch", "stable_baselines3", "skill_agent")
USE = """
import sys, numpy
{prelude}
env = gymnasium.make("skill_envs:SkillEmbed/PointMassTwoGoals-v0")
env.reset(seed=0)
env.step(numpy.zeros(2))
gymnasium.make_vec("SkillEmbed/PointMassTwoGoals-v0", num_envs=2).reset(seed=0)
{after}
"""
BLOCK = f"""
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {FORBIDDEN!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
import skill_envs, gymnasium
"""


def run(code, tmp_path):
    return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)


def test_environments_work_without_torch(tmp_path):
    after = f"assert not set(sys.modules) & set({FORBIDDEN!r})"
    result = run(USE.format(prelude=BLOCK, after=after), tmp_path)
    assert result.returncode == 0, result.stderr


def test_id_with_module_needs_no_import(tmp_path):
    prelude = "import gymnasium\nassert 'skill_envs' not in sys.modules"
    result = run(USE.format(prelude=prelude, after="assert 'torch' not in sys.modules"), tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", sorted(Path(skill_envs.__file__).parent.glob("**/*.py")), ids=lambda p: p.name)
def test_imports_point_back_along_the_data_flow(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not [n for n in names if n.split(".")[0] in FORBIDDEN], f"{path.name}, line {node.lineno}"


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {}, "egl"),
        ("linux", {"DISPLAY": ""}, "egl"),
        ("linux", {"DISPLAY": ":0"}, None),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, None),
        ("linux", {"MUJOCO_GL": "osmesa"}, "osmesa"),
        ("darwin", {}, None),
        ("win32", {}, None),
    ],
)
def test_headless_backend(monkeypatch, platform, environ, expected):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.setenv(name, "")  # so that it is restored, set or not
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    choose_backend()
    assert os.environ.get("MUJOCO_GL") == expected
