"""The search for settings: what is tried, kept and gone on with."""

import json
import shlex
import sys
from dataclasses import replace

import pytest
import tyro
from filelock import FileLock
from toy import ROOT

from skill_agent import cli, options
from skill_agent.divergence import TrainingDiverged
from skill_agent.experiments import tuning
from skill_agent.experiments.tuning import SEARCH, Plan, tune

pytest.importorskip("optuna", reason="Optuna is not installed")
TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"
PLAN = Plan((TWO_GOALS,), 640, ("inference_coef", "n_critics"), episodes=2, n_envs=8)


@pytest.fixture
def tried(monkeypatch):
    """Settings and seeds of all trainings, none of which takes place; more inference is better here."""
    tried = []

    def value(plan, settings, seed):
        tried.append((settings, seed))
        return settings["inference_coef"] + seed / 1000

    monkeypatch.setattr(tuning, "_value", value)
    return tried


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["skill-embed", "tune", *arguments])
    cli.main()


def refused(monkeypatch, *arguments):
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, *arguments)
    return str(stopped.value)


@pytest.mark.parametrize("env_ids", [(TWO_GOALS,), ("SkillEmbed/PointMassCorner-v0",)])
def test_trainings_take_place_and_are_played(tmp_path, env_ids):
    plan = Plan(env_ids, 640, ("inference_coef",), episodes=2, n_envs=8, settings={"window": 4})
    trials = tune(plan, 2, tmp_path / "tune")
    assert [sorted(trial.settings) for trial in trials] == [["inference_coef"]] * 2
    assert all(0 <= trial.value <= 1 for trial in trials)


def test_own_tasks_are_searched_by_return(tmp_path):
    plan = Plan(("Pendulum-v1",), 400, ("z_gain",), "return", episodes=1, n_envs=2, settings={"compile": False})
    (trial,) = tune(plan, 1, tmp_path / "tune")
    assert trial.value < -100
    with pytest.raises(
        ValueError, match="Pendulum-v1: these environments don't tell of success; choose objective return"
    ):
        tune(replace(plan, objective="success"), 1, tmp_path / "other")


def test_the_first_trial_is_what_train_does_and_the_others_are_in_range(tmp_path, tried):
    plan = Plan((TWO_GOALS,), 640)
    told = []
    trials = tune(plan, 6, tmp_path, told.append)
    first, *others = (settings for settings, _ in tried)
    assert first["inference_coef"] == 0.1 and first["embedding_entropy_coef"] == 1.5 and first["window"] == 5
    assert first["saturation_coef"] == SEARCH["saturation_coef"].low  # train has 0 here, which has no logarithm
    assert len(others) == 5 and len(told) == 6
    for settings in others:
        for name, value in settings.items():
            assert SEARCH[name].low <= value <= SEARCH[name].high
            assert isinstance(value, int) == isinstance(SEARCH[name].low, int)
            assert value == float(f"{value:.3g}")  # what is printed is what was tried
    values = [trial.value for trial in trials]
    assert values == sorted(values, reverse=True)


def test_a_search_goes_on_where_it_was_stopped(tmp_path, tried, monkeypatch):
    tune(PLAN, 2, tmp_path)
    value = tuning._value

    def interrupted(*_):
        tried.append(None)
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "_value", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(PLAN, 4, tmp_path)
    assert len(tried) == 3
    monkeypatch.setattr(tuning, "_value", value)
    told = []
    trials = tune(PLAN, 4, tmp_path, told.append)
    assert len(tried) == 5 and len(trials) == 4 and len(told) == 4  # what was begun was tried again
    assert len({trial.settings["inference_coef"] for trial in trials}) == 4
    assert tune(PLAN, 3, tmp_path) == trials and len(tried) == 5  # nothing is left to do
    tune(PLAN, 5, tmp_path)
    assert len(tried) == 6


def test_several_seeds_are_averaged(tmp_path, tried):
    plan = Plan((TWO_GOALS,), 640, ("inference_coef",), seeds=3, seed=4)
    (trial,) = tune(plan, 1, tmp_path)
    assert [seed for _, seed in tried] == [4, 5, 6]
    assert trial.value == pytest.approx(trial.settings["inference_coef"] + 0.005)


def test_a_training_that_diverges_is_no_end(tmp_path, monkeypatch):
    def value(plan, settings, seed):
        if settings["n_critics"] == 2:
            raise TrainingDiverged("loss is nan")
        return 0.5

    monkeypatch.setattr(tuning, "_value", value)
    trials = tune(PLAN, 8, tmp_path)
    assert len(trials) == 8 and trials[0].value == 0.5 and trials[-1].value is None
    assert tune(PLAN, 8, tmp_path) == trials


def test_other_searches_and_other_folders_are_refused(tmp_path, tried):
    tune(PLAN, 1, tmp_path / "tune")
    other = Plan((TWO_GOALS,), 1280, PLAN.search, episodes=2, n_envs=8)
    with pytest.raises(ValueError, match=r"is of another search \(steps: 640 there, 1280 here\)"):
        tune(other, 1, tmp_path / "tune")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/note").write_text("precious")
    with pytest.raises(FileExistsError, match="mine exists and is no folder of a search"):
        tune(PLAN, 1, tmp_path / "mine")
    with FileLock(tmp_path / "tune/.lock"), pytest.raises(RuntimeError, match="is in use"):
        tune(PLAN, 1, tmp_path / "tune")
    (tmp_path / "tune" / tuning.PLAN).write_text("[]")
    with pytest.raises(ValueError, match="is damaged"):
        tune(PLAN, 1, tmp_path / "tune")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"steps": 0}, "steps=0"),
        ({"seeds": 0}, "seeds=0"),
        ({"objective": "loss"}, "objective='loss'"),
        ({"search": ()}, r"search=\(\)"),
        ({"search": ("inference_coeff",)}, "inference_coef"),
        ({"settings": {"n_critics": 2}}, r"\['n_critics'\] are given"),
        ({"settings": {"window": -1}}, "window=-1"),
    ],
)
def test_wrong_plans(arguments, said):
    with pytest.raises(ValueError, match=said):
        Plan(**{"env_ids": (TWO_GOALS,), "steps": 640, "search": ("n_critics",), **arguments})


def test_the_command_prints_what_train_takes(tmp_path, tried, monkeypatch, capsys):
    fixed = ["--embedding-log-std", "-2", "0", "--no-normalize-observations", "--n-envs", "8"]
    base = [TWO_GOALS, "--out", str(tmp_path / "tune"), "--steps", "640", *fixed]
    command(monkeypatch, *base, "--trials", "2")
    command(monkeypatch, *base, "--trials", "3")
    printed = capsys.readouterr().out
    line = printed.splitlines()[-1]
    words = shlex.split(line.removeprefix("train with the best: "))
    assert words[:3] == ["skill-embed", "train", TWO_GOALS] and len(tried) == 3
    parsed = tyro.cli(options.Train, args=words[2:], config=(tyro.conf.OmitArgPrefixes,))
    settings = options.given(parsed.settings)
    best = max((settings for settings, _ in tried), key=lambda settings: settings["inference_coef"])
    assert parsed.n_envs == 8 and settings.pop("embedding_log_std") == (-2.0, 0.0)
    assert settings.pop("normalize_observations") is False and settings == best
    plan = json.loads((tmp_path / "tune" / tuning.PLAN).read_text())
    assert plan["search"] == list(SEARCH) and plan["settings"]["embedding_log_std"] == [-2.0, 0.0]
    assert "is of another search" in refused(monkeypatch, *base, "--objective", "return")
    assert "trials=0" in refused(monkeypatch, *base, "--trials", "0")
    assert "PointMassTwoGoals" in refused(monkeypatch, "SkillEmbed/PointMassTwoGoal-v0")


def test_an_interrupted_command_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "_value", interrupted)
    line = refused(monkeypatch, TWO_GOALS, "--out", str(tmp_path / "tune"))
    assert f"Go on with: skill-embed tune {TWO_GOALS} --out {tmp_path / 'tune'}" in line


def test_the_extra_is_named_where_optuna_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = refused(monkeypatch, TWO_GOALS, "--out", str(tmp_path / "tune"))
    assert "needs the package optuna, which is not installed: pip install" in line and not (tmp_path / "tune").exists()


def test_the_page_has_the_ranges():
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    for name, (low, high, log) in SEARCH.items():
        assert f"| `{name}` | {low:g} | {high:g} | {'by factors' if log else ''} |" in text
