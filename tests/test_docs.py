"""The committed pages of the environments are what the generator writes."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from skill_envs import ENVIRONMENTS, TASKS

DOCS = Path(__file__).parents[1] / "docs"


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
