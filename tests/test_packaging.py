"""What is published: metadata, the README on PyPI, the sdist and its tests, and the environments without torch."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from test_imports import BLOCK, USE
from test_install import brought, canonical, setup_arguments
from toy import ROOT

import skill_envs

# Tests that need the records, the pages and the metadata; those that take long are left out.
QUICK = ["tests/test_trained.py", "tests/test_docs.py", "-k", "shipped or links or compiles or picture"]


def run(command, cwd, **environment):
    # Neither this checkout nor a parent test's settings decide what the command finds.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONPATH"))}
    result = subprocess.run(
        command, cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def build(tree, kind, out, distribution="skill-embed"):
    """Build a distribution by the backend that pyproject.toml names; returns its path."""
    out.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    lines = run([sys.executable, "-c", code], tree, SKILL_EMBED_DISTRIBUTION=distribution).splitlines()
    return out / lines[-1]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the checkout's files; building leaves files beside them."""
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout: which files belong to it is not known")
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT).split("\0")
    folder = tmp_path_factory.mktemp("tree")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def sdist(tree, tmp_path_factory):
    """The sdist, unpacked."""
    out = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build(tree, "sdist", out)) as archive:
        archive.extractall(out, filter="data")
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    return folder


def test_one_version_everywhere():
    version = setup_arguments()["version"]
    assert skill_envs.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert run([sys.executable, "-m", "skill_agent.cli", "--version"], ROOT) == f"skill-embed {version}\n"


def test_no_link_of_the_readme_is_relative_on_pypi():
    arguments = setup_arguments()
    text, repository = arguments["long_description"], arguments["names"]["REPOSITORY"]
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert all(link.startswith("https://") for link in links)
    inside = [link for link in links if "skill-embed/v" in link or link.startswith(f"{repository}/blob/")]
    assert len(inside) > 10
    for link in inside:
        assert (ROOT / link.split(f"v{arguments['version']}/")[1]).exists(), link
    assert re.search(r"!\[[^]]*\]\(https://raw\.githubusercontent\.com/[^)]*fig5\.png\)", text)


def test_the_python_versions_are_those_that_are_tested():
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(setup_arguments()["classifiers"]))
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text()
    assert re.findall(r'"(3\.\d+)"', re.findall(r"python: \[(.*)\]", workflow)[0]) == classified
    assert setup_arguments()["python_requires"] == f">={classified[0]}"


def test_another_distribution_is_an_error():
    with pytest.raises(ValueError, match=r"SKILL_EMBED_DISTRIBUTION='all'.*skill-embed.*skill-envs"):
        setup_arguments("all")


def test_the_environments_alone_need_no_torch():
    needed = setup_arguments("skill-envs")["install_requires"]
    assert not brought(needed) & {"torch", "stable-baselines3", "matplotlib", "tyro"}
    both = {canonical(Requirement(text).name) for text in setup_arguments()["install_requires"]}
    assert {canonical(Requirement(text).name) for text in needed} < both


def test_the_environments_alone_work_without_torch(tree, tmp_path):
    wheel = build(tree, "wheel", tmp_path, "skill-envs")
    assert wheel.name == "skill_envs-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert not (tmp_path / "site" / "skill_agent").exists()
    after = "assert skill_envs.__file__.startswith(sys.argv[1]), skill_envs.__file__"
    run(
        [sys.executable, "-c", USE.format(prelude=BLOCK, after=after), str(tmp_path)],
        tmp_path,
        PYTHONPATH=str(tmp_path / "site"),
    )


def test_the_wheel_has_what_is_needed_and_no_more(tree, tmp_path):
    with zipfile.ZipFile(build(tree, "wheel", tmp_path)) as archive:
        names = archive.namelist()
    assert {"skill_agent/cli.py", "skill_envs/assets/arm.xml", "skill_agent/trained/lwall-policy.safetensors"} <= {
        *names
    }
    assert {Path(name).parts[0] for name in names} == {"skill_agent", "skill_envs", "skill_embed-0.1.0.dist-info"}


def test_the_sdist_passes_its_tests(sdist):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *QUICK]
    output = run(command, sdist, PYTHONPATH=str(sdist))
    assert " passed" in output and "failed" not in output


def test_the_sdist_has_the_records_of_the_repository_alone(sdist):
    networks = {path.name for path in (sdist / "records").rglob("*.safetensors")}
    assert networks == {f"{name}-seed0.safetensors" for name in ("lwall", "springwall", "railpush", "pointmass")}
    for name in (
        "Dockerfile",
        "CONTRIBUTING.md",
        ".github/workflows/test.yml",
        "docs/conf.py",
        "docs/figures/fig5.png",
    ):
        assert (sdist / name).exists(), name
