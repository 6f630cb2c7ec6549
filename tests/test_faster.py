"""The benchmark of the learner's options: its numbers by hand, and that its rows are settings."""

import importlib.util

import pytest
from toy import ROOT

from skill_agent import SkillConfig
from skill_agent.config import make_config, types


@pytest.fixture(scope="module")
def faster():
    spec = importlib.util.spec_from_file_location("faster", ROOT / "benchmarks/faster.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def curve(*points):
    return [{"seconds": s, "cpu_seconds": 2 * s, "success": success} for s, success in points]


def test_time_until_both_tasks_are_at_the_bar(faster):
    found = curve((0, [0, 0]), (10, [0.95, 0.5]), (20, [0.9, 0.9]), (30, [1, 1]))
    assert faster.seconds_until(found, "seconds") == 20 and faster.seconds_until(found, "cpu_seconds") == 40
    assert faster.seconds_until(found[:2], "seconds") is None


def test_area_by_hand(faster):
    # The worse task rises from 0 to 1 between 10 and 20 s, and stays: (0 + 5 + 10) / 30.
    found = curve((0, [0, 0]), (10, [1, 0]), (20, [1, 1]))
    assert faster.area(found, "seconds", 30) == pytest.approx(0.5)
    assert faster.area(found, "seconds", 15) == pytest.approx(1.25 / 15)


def test_summary_compares_seed_by_seed(faster):
    records = {
        f"{row}-{seed}": {"row": row, "seed": seed, "curve": curve((0, [0, 0]), (at, [1, 1]), (40, [1, 1]))}
        for row, seed, at in (("today", 0, 20), ("today", 1, 30), ("rms_norm", 0, 10), ("rms_norm", 1, 30))
    }
    records["hl_gauss-3"] = {"row": "hl_gauss", "seed": 3, "curve": curve((0, [0, 0]))}  # today's is not there yet
    rows = faster.summary(records)["rows"]
    assert set(rows) == {"today", "rms_norm"}
    assert rows["rms_norm"]["seconds"]["until_both_tasks"] == [10, 30]
    assert rows["rms_norm"]["seconds"]["over_today"] == 0.75 and rows["rms_norm"]["seconds"]["never"] == 0
    assert rows["today"]["cpu_seconds"]["over_today"] == 1.0


def test_rows_are_valid_settings(faster):
    for changed in faster.ROWS.values():
        settings = {**faster.BASE.settings, **changed}
        assert isinstance(make_config({k: v for k, v in settings.items() if k in types()}), SkillConfig)
