"""The commands that list, evaluate, transfer and film: what they print and leave, and one line for each error."""

import json
import os
import sys

import numpy as np
import pytest
import torch
from test_cli import command, refused
from toy import read_video

from skill_agent import (
    SkillEmbedding,
    cli,
    export_skills,
    filming,
    load_policy,
    make_task_vec_env,
    playing,
    transferring,
)
from skill_agent.experiments.statistics import mean_interval, share_interval
from skill_envs import ENVIRONMENTS
from skill_envs.pictures import captioned, fitted

CORNER, DUPLICATE = "SkillEmbed/PointMassCorner-v0", "SkillEmbed/PointMassDuplicate-v0"
POLE = "InvertedPendulum-v5"


@pytest.fixture(scope="module")
def pole(tmp_path_factory):
    """A file of untrained skills for an environment of Gymnasium's own."""
    torch.set_num_threads(1)
    env = make_task_vec_env(POLE, 1, seed=0)
    model = SkillEmbedding("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")
    return str(export_skills(model.policy, tmp_path_factory.mktemp("pole") / "pole"))


def test_envs_lists_every_id_with_its_tasks_and_shapes_in_the_terminals_width(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    command(monkeypatch, "envs")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "tasks", "observation", "action", "steps"]
    assert [line.split()[0] for line in lines[1:]] == list(ENVIRONMENTS)
    by_id = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[1:]}
    assert by_id["SkillEmbed/LWallPretrain-v0"] == "Push, Lift 27 + task 7 100"
    assert by_id[CORNER] == "PointMassCorner 4 2 50" and by_id["SkillEmbed/PointMassRing-v0"].endswith("4 + 2 2 50")
    monkeypatch.setenv("COLUMNS", "70")
    command(monkeypatch, "envs")
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 70 and all(env_id in printed for env_id in ENVIRONMENTS)


def test_evaluate_prints_and_writes_success_and_return_with_their_intervals(monkeypatch, tmp_path, capsys):
    path = tmp_path / "new" / "evaluation.json"
    command(
        monkeypatch,
        "evaluate",
        DUPLICATE,
        "--skills",
        "pointmass",
        "--episodes",
        "6",
        "--seed",
        "3",
        "--json",
        str(path),
    )
    printed = capsys.readouterr()
    assert "24/24" in printed.err and str(path) in printed.out
    found = json.loads(path.read_text())
    assert [task["task"] for task in found["tasks"]] == list(ENVIRONMENTS[DUPLICATE].tasks)
    assert (found["env_ids"], found["skills"], found["episodes"], found["seed"]) == ([DUPLICATE], "pointmass", 6, 3)
    for task in found["tasks"]:
        assert len(task["returns"]) == len(task["successes"]) == 6
        assert task["success"] == np.mean(task["successes"])
        assert task["success_interval"] == list(share_interval(sum(task["successes"]), 6))
        assert task["return_interval"] == list(mean_interval(task["returns"]))
        assert f"{task['return']:.4g}" in printed.out
    kept = path.read_bytes()
    again = ("evaluate", DUPLICATE, "--skills", "pointmass", "--episodes", "1", "--json", str(path))
    monkeypatch.setattr(playing, "evaluate", None)
    assert "exists; choose another --json, or pass --force" in refused(monkeypatch, *again)
    assert path.read_bytes() == kept


def test_intervals_are_those_of_wilson_and_student():
    # Wilson's by hand: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), for 8 of 10.
    z, p, n = 1.959964, 0.8, 10
    middle, reach = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    np.testing.assert_allclose(
        share_interval(8, 10), [(middle - reach) / (1 + z**2 / n), (middle + reach) / (1 + z**2 / n)]
    )
    assert share_interval(0, 10)[0] == 0 and share_interval(0, 10)[1] > 0.2
    # t of 2 degrees of freedom is 4.302653; the standard error of 1, 2, 3 is 1 / sqrt(3).
    np.testing.assert_allclose(mean_interval([1, 2, 3]), [2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5], rtol=1e-6)
    assert mean_interval([5, 5, 5]) == (5, 5)


def test_one_episode_has_no_interval_and_an_environment_may_not_tell_of_success(monkeypatch, capsys, pole):
    command(monkeypatch, "evaluate", POLE, "--skills", pole, "--episodes", "1", "--deterministic")
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith(POLE) and "not told" in row and "one episode has none" in row


def tiny_transfer(monkeypatch):
    monkeypatch.setitem(transferring.MAPPING, "gradient_steps", 1)
    monkeypatch.setitem(transferring.MAPPING, "bf16", False)


def test_transfer_learns_with_a_bar_and_leaves_a_policy_that_is_evaluated(monkeypatch, tmp_path, capsys):
    tiny_transfer(monkeypatch)
    out = tmp_path / "new" / "policy.safetensors"
    given = ("transfer", CORNER, "--skills", "pointmass", "--timesteps", "640", "--hold", "2", "--n-envs", "8")
    command(monkeypatch, *given, "--out", str(out))
    printed = capsys.readouterr()
    assert "640/640" in printed.err and "50/50" in printed.err
    assert printed.out.splitlines()[-1] == f"{out}; film it with: skill-embed film {CORNER} --policy {out}"
    policy = load_policy(out)
    assert policy.hold == 2 and policy.origin.environment == CORNER
    monkeypatch.setattr(transferring, "transfer", None)
    assert "exists; choose another --out" in refused(monkeypatch, *given, "--out", str(out))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transfer"], "no env_id is given"),
        (["transfer", "SkillEmbed/Lwall-v0", "--skills", "lwall"], "Did you mean 'SkillEmbed/LWall-v0'?"),
        (["transfer", CORNER], "[] is not valid; give --skills"),
        (["transfer", CORNER, "--skills", "pointmas"], "Did you mean 'pointmass'?"),
        (["transfer", CORNER, "--skills", "pointmass", "--out", "policy.zip"], "a file that ends in .safetensors"),
        (["transfer", CORNER, "--skills", "pointmass", "--hold", "0"], "hold=0 is not valid"),
        (["transfer", CORNER, "--skills", "pointmass", "--n-envs", "10001"], "n_envs=10001 is not valid"),
        (["transfer", CORNER, "--skills", "pointmass", "--timesteps", "1"], "total_timesteps=1 is not valid"),
        (["transfer", "SkillEmbed/LWall-v0", "--skills", "pointmass"], "shape"),
        (["evaluate"], "no env_id is given"),
        (["evaluate", "Pendulm-v1", "--policy", "pointmass"], "Did you mean 'Pendulum-v1'?"),
        (["evaluate", CORNER], "[] is not valid; give one of --skills, --policy and --model"),
        (["evaluate", CORNER, "--skills", "lwall", "--policy", "lwall"], "['skills', 'policy'] is not valid"),
        (["evaluate", CORNER, "--policy", "nobody"], "nobody is neither a file nor one of the names"),
        (["evaluate", CORNER, "--policy", "pointmass", "--episodes", "0"], "episodes=0 is not valid"),
        (["evaluate", CORNER, "--policy", "pointmass", "--seed", "-1"], "seed=-1 is not valid"),
        (["evaluate", CORNER, "--skills", "pointmass"], f"{CORNER} has 1 tasks; the policy has 4"),
        (["evaluate", "SkillEmbed/LWall-v0", "--policy", "pointmass"], "observations of shape (27,)"),
        (["evaluate", CORNER, "--policy", "."], ". is a folder without policy.safetensors"),
        (["evaluate", CORNER, "--policy", "pointmass", "--json", "."], ". exists"),
        (["film", CORNER, "--policy", "pointmas"], "Did you mean 'pointmass'?"),
        (["reproduce", "fgi2"], "Did you mean 'fig2'?"),
        (["trian"], "command='trian' is not valid; choose from"),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(monkeypatch, *arguments)
    # transfer makes the folder of its policy before it learns.
    assert [name for name in os.listdir(tmp_path) if name != "runs"] == [] and not list(tmp_path.glob("runs/*"))


def test_a_folder_of_a_run_stands_for_what_is_in_it(monkeypatch, tmp_path, capsys, pole):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    line = refused(monkeypatch, "evaluate", POLE, "--skills", str(run))
    assert (
        f"{run} has no skills.safetensors; if the run is not finished, go on with: skill-embed train --resume" in line
    )
    os.link(pole, run / "skills.safetensors")
    command(monkeypatch, "evaluate", POLE, "--skills", str(run), "--episodes", "2")
    assert POLE in capsys.readouterr().out
    out = tmp_path / "v.gif"
    command(monkeypatch, "film", POLE, "--skills", str(run), "--episodes", "1", "--out", str(out), "--width", "60")
    assert out.stat().st_size > 0


def test_a_film_of_foreign_tasks_has_the_size_asked_for(monkeypatch, tmp_path, capsys, pole):
    out = tmp_path / "v.mp4"
    command(monkeypatch, "film", POLE, "--skills", pole, "--episodes", "2", "--out", str(out), "--height", "200")
    assert capsys.readouterr().out.strip() == str(out)
    frames = read_video(out, 200, 320)
    assert len(frames) > 2 and frames.std() > 5


# Pictures ---------------------------------------------------------------------------------------


def test_a_caption_can_be_switched_off_and_leaves_the_rest_of_the_picture_alone():
    shown = {}
    for caption in (False, True):
        frames = shown[caption] = []
        filming.show_film(
            frames.append, load_policy("pointmass"), CORNER, 1, seed=0, width=160, height=160, caption=caption
        )
    plain, worded = (np.array(shown[caption]) for caption in (False, True))
    changed = (plain != worded).any(axis=(0, 3))
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert rows.size and rows.max() < 60 and columns.max() < 150
    assert not np.array_equal(worded[0][:40], worded[-1][:40])  # z is another, or a success was reached


def test_words_are_the_task_z_and_the_success():
    code = np.array([[0.123, -1.5, 0.0], [1, 2, 3]], np.float32)
    moment = playing.Moment(code, np.array([False, True]), np.zeros(2, bool))
    assert filming.words("SkillEmbed/LWall-v0", moment, 0) == ["LWall-v0", "z +0.12  -1.50  +0.00", "no success yet"]
    assert filming.words("Lift", moment, 1)[-1] == "success"
    assert filming.words("run", playing.Moment(None, None, np.zeros(1, bool)), 0) == ["run"]
    assert filming.words("six", playing.Moment(np.ones((1, 6)), None, np.zeros(1, bool)), 0)[1].count("+1.0") == 6


@pytest.mark.parametrize("size", [(16, 16), (48, 400), (320, 320), (1000, 100)])
def test_a_caption_fits_pictures_of_any_size(size):
    picture = np.full((*size, 3), 120, np.uint8)
    before = picture.copy()
    worded = captioned(picture, ["dm_control/humanoid_CMU-stand-v0", "z +0.12", "success"])
    assert worded.shape == picture.shape and (worded != picture).any() and np.array_equal(picture, before)


def test_pictures_are_scaled_as_a_whole():
    wide = np.full((100, 200, 3), 250, np.uint8)
    found = fitted(wide, 64, 64)
    assert found.shape == (64, 64, 3) and (found[16:48] > 200).all() and (found[:15] == 0).all()
    assert fitted(wide, 200, 100) is wide


def test_the_films_shadows_are_cheaper_and_look_the_same():
    """At most .5 % of the pixels differ visibly; the default of the environments is not touched."""
    import gymnasium

    from skill_envs.render import FILM_SHADOW_SIZE

    frames = []
    for arguments in ({}, {"shadow_size": FILM_SHADOW_SIZE}, {"shadow_size": 0}):
        env = gymnasium.make("SkillEmbed/LWall-v0", render_mode="rgb_array", width=160, height=160, **arguments)
        env.reset(seed=0)
        frames.append(env.render().astype(int))
        env.close()
    whole, film, none = frames
    assert (np.abs(film - whole).max(-1) > 16).mean() < 0.005
    assert (np.abs(none - whole).max(-1) > 16).mean() > 0.05


def test_help_names_every_command(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        command(monkeypatch, "--help")
    printed = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert name in printed
    assert sys.argv[0] == "skill-embed"
