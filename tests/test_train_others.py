"""Runs of several ids and of environments that are not the suite's: trained, stopped, resumed, filmed; and run.json."""

import json
import sys
import warnings

import pytest
import torch
from test_cli import command, refused

from skill_agent import CheckpointError, load_skills
from skill_agent.experiments import folder, own_tasks, progress, runfile, tables
from skill_agent.files import read_json
from skill_envs import ENVIRONMENTS

POLE = "InvertedPendulum-v5"
TINY = ("--timesteps", "120", "--n-envs", "2", "--no-compile", "--no-bf16")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(own_tasks, "IN_THE_END", 2)
    monkeypatch.setattr(own_tasks, "ON_THE_WAY", 1)
    tiny = {"policy_kwargs": {"net_arch": [8]}, "learning_starts": 20, "batch_size": 4, "gradient_steps": 1}
    for settings in (tables.OTHERS, tables.ARM, tables.POINT_MASS):
        for name, value in tiny.items():
            monkeypatch.setitem(settings, name, value)


def test_two_foreign_ids_leave_a_run_that_is_filmed_and_evaluated_by_its_folder(monkeypatch, tmp_path, capsys):
    out, film = tmp_path / "run", tmp_path / "v.gif"
    command(monkeypatch, "train", POLE, POLE, *TINY, "--out", str(out))
    record = read_json(out / folder.RECORD)
    tasks = [POLE, f"{POLE} #2"]
    assert record["env_id"] == f"{POLE} {POLE}" and record["final"]["tasks"] == tasks
    assert len(record["final"]["return"]) == 2 and len(record["final"]["kl"]) == 2
    assert "success" not in record["final"] and record["n_envs"] == 2
    last = record["curve"][-1]
    assert last["steps"] == 120 and len(last["return"]) == 2
    said = "return: " + ", ".join(f"{task} {x:.4g}" for task, x in zip(tasks, record["final"]["return"], strict=True))
    assert f"{said}, after" in capsys.readouterr().out
    skills = load_skills(out / "skills.safetensors")
    assert skills.n_tasks == 2 and list(skills.origin.tasks) == tasks
    # Without ids, those of the run are meant.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        command(monkeypatch, "evaluate", "--skills", str(out), "--episodes", "2")
    assert capsys.readouterr().out.count(POLE) == 2
    command(monkeypatch, "film", "--model", str(out), "--episodes", "1", "--out", str(film), "--width", "32")
    assert film.stat().st_size > 0


@pytest.mark.parametrize(
    ("env_ids", "known"),
    [(["SkillEmbed/PointMassRing-v0"], ["success"]), (["SkillEmbed/PointMassCorner-v0"] * 2, ["success", "kl"])],
    ids=["parameters", "two of the suite"],
)
def test_other_tasks_of_the_suite_are_trained_too(monkeypatch, tmp_path, capsys, env_ids, known):
    out = tmp_path / "run"
    command(monkeypatch, "train", *env_ids, *TINY, "--out", str(out))
    assert "success: PointMass" in capsys.readouterr().out
    final = read_json(out / folder.RECORD)["final"]
    assert set(final) == {"episodes_per_task", "tasks", "return", *known}


def test_a_stopped_run_of_foreign_tasks_goes_on_and_says_that_its_episodes_are_new(monkeypatch, tmp_path, capsys):
    out = tmp_path / "run"
    steps = progress.Steps._on_rollout_end

    def stop(self):
        steps(self)
        if self.num_timesteps >= 80:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(progress.Steps, "_on_rollout_end", stop)
        given = ("train", POLE, POLE, *TINY, "--checkpoint-minutes", "0", "--out", str(out))
        assert f"go on with: skill-embed train --resume {out}" in refused(patched, *given)
    kept = sorted((out / folder.CHECKPOINTS).iterdir())
    assert kept and not (out / folder.RECORD).exists()
    with pytest.warns(UserWarning, match="episode"):
        command(monkeypatch, "train", "--resume", str(out))
    assert "going on from" in capsys.readouterr().out
    assert read_json(out / folder.RECORD)["total_timesteps"] == 120


def forge(run, env_id, **changed):
    """A run.json whose checksum is right, and whose ids are another's choice."""
    plan = runfile.Plan(tables.default_run(POLE), 0, 2.0, 3)
    content = runfile.content_of(plan)
    content["settings"]["run"].update(env_id=env_id, **changed)
    del content["sha256"]
    run.mkdir()
    (run / "run.json").write_text(json.dumps({**content, "sha256": runfile.digest(content)}))


@pytest.mark.parametrize(
    ("env_id", "changed", "named"),
    [
        ("evil_envs:Evil-v0", {}, "names a module, whose code would run"),
        (f"{POLE} evil_envs:Evil-v0", {}, "names a module, whose code would run"),
        (f"{POLE} Nowhere-v0", {}, "env_id='Nowhere-v0' is not valid"),
        (f"{POLE}  {POLE}", {}, "env_id='' is not valid"),
        ("", {}, "env_id='' is not valid"),
        ("evil_envs", {}, "env_id='evil_envs' is not valid"),
        ("SkillEmbed/LWal-v0", {}, "Did you mean 'SkillEmbed/LWall-v0'?"),
        ([POLE], {}, "env_id=.* choose a string"),
        (None, {}, "env_id=None is not valid; choose a string"),
        (" ".join([POLE] * 65), {}, "65 ids; choose at most 64"),
        (POLE, {"n_envs": 1_025}, "n_envs=1025 is not valid; choose an integer from 1 to 1,024"),
    ],
)
def test_ids_of_a_strangers_run_never_run_its_code(monkeypatch, tmp_path, env_id, changed, named):
    """The module is there to be imported, and is not."""
    (tmp_path / "evil_envs.py").write_text("raise SystemExit('its code has run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    run = tmp_path / "run"
    forge(run, env_id, **changed)
    with pytest.raises(CheckpointError, match=named):
        folder.run_of(run)
    for given in (["train", "--resume", str(run)], ["evaluate", "--skills", str(run)], ["film", "--model", str(run)]):
        refused(monkeypatch, *given)
    assert "evil_envs" not in sys.modules


@pytest.mark.parametrize(
    ("env_ids", "named"),
    [
        ([], "no env_id is given"),
        (["evil_envs:Evil-v0"], "names a module"),
        ([POLE, "Pendulum-v1"], "tasks need equal spaces"),
        (["CartPole-v1"], "not valid as an action space"),
        (["SkillEmbed/LWallPretrain-v0", "SkillEmbed/Push-v0"], "are not valid together"),
        (["InvertedPendulm-v5"], "Did you mean 'InvertedPendulum-v5'?"),
    ],
)
def test_tasks_that_can_not_be_learned_are_one_line_and_leave_nothing(monkeypatch, tmp_path, env_ids, named):
    out = tmp_path / "run"
    assert named in refused(monkeypatch, "train", *env_ids, "--out", str(out))
    assert not out.exists()


def test_the_settings_of_every_id():
    for env_id in ENVIRONMENTS:
        assert tables.default_run(env_id).n_envs == 64
    run = tables.default_run(f"{POLE} {POLE}")
    assert (run.env_ids, run.n_envs, run.settings) == ([POLE, POLE], 16, tables.OTHERS) and not run.of_the_paper
    assert tables.default_run("SkillEmbed/Spring-v0 SkillEmbed/Wall-v0").settings == tables.ARM
