"""What the packages may import, and how the suite is found and its graphics backend chosen.

The house has three storeys: `skill_envs`, the library part of `skill_agent`, and on top `skill_agent.experiments`
and `skill_agent.benchmark` with the command line. Imports point down only, and inside a storey they never run in a
circle.
"""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import skill_agent
import skill_envs

FORBIDDEN = ("torch", "stable_baselines3", "skill_agent")
UPSTAIRS = (
    *("skill_agent.experiments", "skill_agent.benchmark", "skill_agent.commands", "skill_agent.cli"),
    "skill_agent.options",
)
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


def imported(path):
    """Every module that a file names in an import, at its top, in a function or for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}, line {node.lineno}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules():
    """Every module of the two packages: its name to its file."""
    found = {}
    for package in (skill_envs, skill_agent):
        root = Path(package.__file__).parent
        for path in sorted(root.glob("**/*.py")):
            parts = (root.name, *path.relative_to(root).with_suffix("").parts)
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()
LIBRARY = [n for n in MODULES if n.startswith("skill_agent.") and not n.startswith(UPSTAIRS)]


def arrows():
    """Which modules of the packages each of them imports; a package's ``__init__`` is a module of its own."""
    graph = {}
    for name, path in MODULES.items():
        found = {n for n in imported(path) if n in MODULES}
        # "from package import module" needs the module; the package is needed for the names that it defines itself.
        graph[name] = {n for n in found if not any(other.startswith(f"{n}.") for other in found)} - {name}
    return graph


@pytest.mark.parametrize("name", [n for n in MODULES if n.startswith("skill_envs")])
def test_the_suite_needs_no_learner(name):
    assert not [n for n in imported(MODULES[name]) if n.split(".")[0] in FORBIDDEN]


@pytest.mark.parametrize("name", LIBRARY)
def test_the_library_knows_neither_experiments_nor_plots_nor_statistics(name):
    found = set(imported(MODULES[name]))
    assert not [n for n in found if n.startswith(UPSTAIRS)]
    assert not {n.split(".")[0] for n in found} & {"matplotlib", "scipy", "tqdm", "tyro"}


def test_importing_the_library_loads_neither_experiments_nor_plots(tmp_path):
    shown = "[n for n in sys.modules if n.startswith('skill_agent.experiments')]"
    result = run(f"import sys; from skill_agent import *; print({shown})", tmp_path)
    assert result.stdout.strip() == "[]", result.stderr


def test_the_command_line_answers_before_pytorch_is_there(tmp_path):
    needed = "('torch', 'stable_baselines3', 'matplotlib')"
    result = run(f"import sys, skill_agent.cli; print([n for n in {needed} if n in sys.modules])", tmp_path)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("name", skill_agent.__all__)
def test_a_public_name_is_that_of_its_module(name):
    module = importlib.import_module(f"skill_agent.{skill_agent._MODULES[name]}")
    assert getattr(skill_agent, name) is getattr(module, name)
    assert name in dir(skill_agent) and set(skill_agent._MODULES) == set(skill_agent.__all__)


def test_an_unknown_name_of_the_library_is_an_error():
    with pytest.raises(AttributeError, match="no attribute 'SkillEmbeding'"):
        _ = skill_agent.SkillEmbeding


def circles(graph):
    """Modules that are left once those that import nothing of what is left are taken away, again and again."""
    left = dict(graph)
    while free := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


def test_imports_never_run_in_a_circle():
    assert circles(arrows()) == []


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
