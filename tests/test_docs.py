"""The committed pages of the environments are what the generator writes."""

import ast
import dataclasses
import importlib
import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from skill_agent import load_policy
from skill_envs import ENVIRONMENTS, TASKS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_are_up_to_date(generate, tmp_path):
    generate.write_pages(tmp_path)
    written = {p.name: p.read_text(encoding="utf-8") for p in tmp_path.glob("*.md")}
    committed = {p.name: p.read_text(encoding="utf-8") for p in (DOCS / "envs").glob("*.md")}
    assert sorted(written) == sorted(committed), "run `make docs`"
    for name, text in written.items():
        assert committed[name] == text, f"docs/envs/{name} is out of date; run `make docs`"


@pytest.mark.parametrize("env_id", list(ENVIRONMENTS))
def test_every_page_has_its_picture(env_id):
    assert (DOCS / "envs" / f"{env_id.split('/')[-1]}.png").stat().st_size > 1000


def test_pages_follow_the_task_table(generate, monkeypatch):
    env_id = "SkillEmbed/PointMassTwoGoals-v0"
    changed = dataclasses.replace(TASKS["PointMassLeft"], goal_radius=0.123, start_summary="It starts elsewhere.")
    monkeypatch.setitem(TASKS, "PointMassLeft", changed)
    text = generate.page(env_id)
    assert "0.123" in text and "It starts elsewhere." in text


def test_a_task_without_its_facts_is_an_error(generate, monkeypatch):
    monkeypatch.setitem(TASKS, "PointMassLeft", dataclasses.replace(TASKS["PointMassLeft"], start_summary=""))
    with pytest.raises(ValueError, match=r"PointMassLeft.*start_summary"):
        generate.page("SkillEmbed/PointMassTwoGoals-v0")


# The architecture -------------------------------------------------------------------------------

ARCHITECTURE = (DOCS / "architecture.md").read_text(encoding="utf-8")
PACKAGES = ("skill_envs", "skill_agent", "skill_agent.experiments", "skill_agent.benchmark", "skill_agent.commands")


def modules_of(package):
    folder = Path(importlib.import_module(package).__file__).parent
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_tree_names_every_module_once(package):
    tree = ARCHITECTURE.split("```")[1]
    words = re.findall(r"^ +([a-z_0-9, ]+?)  ", tree, flags=re.MULTILINE)
    listed = Counter(name.strip() for line in words for name in line.split(","))
    everywhere = sum((Counter(modules_of(name)) for name in PACKAGES), Counter())
    for module in modules_of(package):
        assert listed[module] == everywhere[module], module
    assert set(listed) <= set(everywhere), set(listed) - set(everywhere)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(\w+\.\w+(?:\.\w+)*)`", ARCHITECTURE))))
def test_what_the_journeys_pass_is_there(name):
    module, *attributes = name.split(".")
    if module in ("skill_agent", "tests"):
        importlib.import_module(name)
        return
    homes = [importlib.import_module(f"{package}.{module}") for package in PACKAGES if module in modules_of(package)]
    assert any(is_there(home, attributes) for home in homes)


def is_there(found, attributes):
    """Whether an object has an attribute, which has the next one, and so on."""
    for attribute in attributes:
        if not hasattr(found, attribute):
            return False
        found = getattr(found, attribute)
    return True


# Code blocks ------------------------------------------------------------------------------------

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("*/*.md"))]
NO_DEPENDENCIES = {"wandb"}  # a page shows them and nothing needs them
BLOCKS = {}
for _page in PAGES:
    for _i, _block in enumerate(re.findall(r"```python\n(.*?)```", _page.read_text(encoding="utf-8"), re.DOTALL)):
        _folder = "" if _page.parent in (ROOT, DOCS) else f"{_page.parent.name}/"
        BLOCKS[f"{_folder}{_page.name}-{_i}"] = _block
if not importlib.util.find_spec("dm_control"):  # it has no wheels for Python 3.13
    BLOCKS = {name: block for name, block in BLOCKS.items() if not name.startswith("dm_control.md")}
if not importlib.util.find_spec("minari"):
    BLOCKS = {name: block for name, block in BLOCKS.items() if "import minari" not in block}


@pytest.mark.parametrize("name", list(BLOCKS))
def test_every_block_of_code_compiles_and_what_it_imports_is_there(name):
    tree = ast.parse(BLOCKS[name])
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    there = [node for node in imports if first_name(node) not in NO_DEPENDENCIES]
    exec(compile(ast.Module(there, []), name, "exec"), {})


def first_name(node):
    """The package that an import is from."""
    return (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]


@pytest.mark.parametrize(
    "name",
    [
        "README.md-0",
        "environments.md-0",
        "learning.md-0",
        "learning.md-1",
        "dm_control.md-0",
        "dm_control.md-1",
        "dm_control.md-3",
        *("index.md-0", "install.md-0", "faq.md-0", "loggers.md-0"),
    ],
)
def test_cheap_blocks_of_code_run(name, tmp_path, monkeypatch):
    if name not in BLOCKS:
        pytest.skip("dm-control is not installed")
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    # The one long number in them is a budget.
    exec(compile(BLOCKS[name].replace("num_envs=64", "num_envs=2"), name, "exec"), {})


def test_the_way_from_own_tasks_to_a_file_is_ten_lines_and_works(tmp_path, monkeypatch):
    lines = [line for line in BLOCKS["own_tasks.md-0"].splitlines() if line.strip()]
    assert len(lines) <= 10
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    small = "\n".join(lines).replace("300_000, progress_bar=True", "1_600").replace("100_000", "2_000")
    small = small.replace("n_envs=16", "n_envs=4").replace("total_timesteps=2_000", "total_timesteps=2_000, n_envs=4")
    names = {}
    exec(compile(small, "own_tasks", "exec"), names)
    policy = load_policy("pendulum.safetensors")
    assert policy.origin.environment == "Pendulum-v1(g=7)" and names["model"].num_timesteps >= 1_600
    exec(compile(BLOCKS["own_tasks.md-1"].replace("20_000", "800"), "own_tasks", "exec"), names)
    assert names["skills"].policy.embedding.context(torch.zeros(1, 2)).shape == (1, 2)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, target
