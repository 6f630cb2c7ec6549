"""What is imported is what an installation brings."""

import ast
import re
import runpy
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
from packaging.requirements import Requirement
from toy import ROOT

OWN = {"skill_agent", "skill_envs", *(path.stem for path in (ROOT / "tests").glob("*.py"))}
OWN |= {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
OWN |= {path.stem for path in (ROOT / "docs").rglob("*.py")}


def setup_arguments(distribution="skill-embed"):
    """What setup.py gives to setup()."""
    with pytest.MonkeyPatch.context() as patch:
        given = {}
        patch.setattr("setuptools.setup", given.update)
        patch.setenv("SKILL_EMBED_DISTRIBUTION", distribution)
        given["names"] = runpy.run_path(str(ROOT / "setup.py"))
    return given


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def brought(requirements):
    """Distributions that an installation of the requirements brings, those that they require included."""
    found = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonical(requirement.name)
        extras = {"", *requirement.extras} - found.get(name, set())
        if not extras:
            continue
        found.setdefault(name, set()).update(extras)
        try:
            needed = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:  # a requirement of another platform
            continue
        for extra in extras:
            waiting += [r for r in needed if r.marker is None or r.marker.evaluate({"extra": extra})]
    return set(found)


OPTIONAL = {  # modules that an extra brings
    **{"shimmy": "dm", "dm_control": "dm", "dm_env": "dm"},
    **{"viser": "explore", "mjviser": "explore", "trimesh": "explore"},
    **{"huggingface_hub": "hub", "minari": "minari", "optuna": "tune"},
}


def imported(folders):
    """Top-level names of modules that the files import, other than the project's and Python's own."""
    names = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                if isinstance(node, ast.ImportFrom):
                    names.add(node.module.split(".")[0])
    return names - OWN - set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("distribution", "folders", "extra"),
    [
        ("skill-embed", ["skill_agent", "skill_envs", "benchmarks"], None),
        ("skill-embed", ["tests", "docs"], "dev"),
        ("skill-envs", ["skill_envs"], None),
    ],
)
def test_what_is_imported_is_installed(distribution, folders, extra):
    arguments = setup_arguments(distribution)
    there = brought(arguments["install_requires"] + arguments["extras_require"].get(extra, []))
    distributions = packages_distributions()
    names = imported(folders)
    assert {"numpy", "gymnasium"} <= names
    for name in names:
        if name in OPTIONAL and extra is None:  # imported where it is needed, with an error that names the extra
            listed = {canonical(Requirement(text).name) for text in arguments["extras_require"][OPTIONAL[name]]}
            assert canonical(name) in listed
            continue
        candidates = {canonical(distribution) for distribution in distributions[name]}
        assert candidates & there, f"{name} is imported, and no requirement in setup.py brings {candidates}"


def test_the_installation_is_lean():
    there = brought(setup_arguments()["install_requires"])
    assert {"torch", "stable-baselines3", "tensorboard", "tqdm", "rich", "scipy", "matplotlib"} <= there
    assert not there & {"opencv-python", "pygame", "ale-py", "rliable", "arch", "statsmodels", "seaborn"}
