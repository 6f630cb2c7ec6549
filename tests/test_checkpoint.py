import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from skill_agent import (
    CheckpointError,
    RunCheckpoint,
    SkillEmbedding,
    TrainingDiverged,
    checkpoint,
    cli,
    load_checkpoint,
    load_latest,
    make_skill_vec_env,
    save_checkpoint,
    snapshot,
)

ROOT = Path(__file__).parent.parent
TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"
TINY = {
    "policy_kwargs": {"net_arch": [16, 16]}, "batch_size": 8, "train_freq": 10, "gradient_steps": 2, "seed": 3,
    "learning_starts": 100, "buffer_size": 600, "z_period": 20,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def make_agent(env_id=TWO_GOALS, env_seed=5, **settings):
    policy = "MlpPolicy" if "FourGoals" in env_id else "MultiInputPolicy"
    return SkillEmbedding(policy, make_skill_vec_env(env_id, 4, seed=env_seed), **{**TINY, **settings})


def contents(agent):
    """All that a checkpoint holds of an agent, without the wall clock."""
    arrays = {}
    rest = snapshot.split(snapshot.state(agent), "", arrays)
    for episode in rest["dict"]["statistics"][0] or []:
        del episode["dict"]["t"]
    return rest, {name: array.copy() for name, array in arrays.items()}


def assert_identical(first, second):
    assert first[0] == second[0]
    assert first[1].keys() == second[1].keys()
    for name, array in first[1].items():
        assert array.dtype == second[1][name].dtype, name
        np.testing.assert_array_equal(array, second[1][name], err_msg=name)


@pytest.mark.parametrize(
    ("env_id", "settings"),
    [
        (TWO_GOALS, {}),  # 800 steps fill the buffer, 360 do not
        ("SkillEmbed/PointMassFourGoals-v0", {"embedding": "bernoulli", "buffer_size": 5_000}),
        ("SkillEmbed/LWallPretrain-v0", {"embedding": "task_id"}),
    ],
)
@pytest.mark.parametrize("first", [360, 800])
def test_n_and_m_steps_are_n_then_m_from_a_checkpoint(tmp_path, env_id, settings, first):
    unbroken = make_agent(env_id, **settings).learn(first)
    saved = contents(unbroken)
    path = save_checkpoint(unbroken, tmp_path)
    assert_identical(contents(unbroken), saved)  # saving changes nothing
    unbroken.learn(440, reset_num_timesteps=False)
    expected = contents(unbroken)

    resumed = make_agent(env_id, env_seed=77, **{**settings, "seed": 4})
    load_checkpoint(resumed, path)
    assert_identical(contents(resumed), saved)
    resumed.learn(440, reset_num_timesteps=False)
    assert resumed.num_timesteps == first + 440 and resumed._n_updates > 0
    assert_identical(contents(resumed), expected)


def test_every_array_of_the_replay_is_saved():
    buffer = make_agent().replay_buffer
    arrays = {name for name, value in vars(buffer).items() if isinstance(value, np.ndarray)}
    assert arrays == {*buffer.state()["rows"], "_last_stretch"}


def test_saving_in_the_middle_of_learning_is_exact(tmp_path):
    unbroken = make_agent(learning_rate=lambda remaining: 1e-3 * remaining).learn(1_000)
    stopped = make_agent(learning_rate=lambda remaining: 1e-3 * remaining)
    extra = {"curve": [1, {"success": 0.5}]}
    stopped.learn(1_000, RunCheckpoint(tmp_path, every_steps=200, keep=2, extra=lambda: extra))
    assert_identical(contents(stopped), contents(unbroken))
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-000000800", "step-000001000"]
    resumed = make_agent(learning_rate=lambda remaining: 1e-3 * remaining)
    assert load_checkpoint(resumed, tmp_path / "step-000000800") == extra
    resumed.learn(200, reset_num_timesteps=False)
    assert_identical(contents(resumed), contents(unbroken))


def test_a_checkpoint_holds_no_pickles_and_loads_without_any(tmp_path, monkeypatch):
    path = save_checkpoint(make_agent().learn(200), tmp_path)
    assert sorted(p.name for p in path.iterdir()) == ["arrays.safetensors", "manifest.json", "state.json"]
    forbidden = lambda *_, **__: pytest.fail("unpickled")  # noqa: E731
    for name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.loads", "torch.load"):
        monkeypatch.setattr(name, forbidden)
    load_checkpoint(make_agent(), path)


def test_nothing_good_is_overwritten(tmp_path):
    agent = make_agent().learn(200)
    path = save_checkpoint(agent, tmp_path)
    with pytest.raises(FileExistsError, match="step-000000200 exists"):
        save_checkpoint(agent, tmp_path)
    with pytest.raises(FileExistsError, match=r"step-000000200.*later step.*0; load the latest"):
        make_agent().learn(200, RunCheckpoint(tmp_path, every_steps=40))
    (path / "state.json").write_bytes(b"{}")
    assert save_checkpoint(agent, tmp_path) == path  # a damaged one is
    load_checkpoint(make_agent(), path)


def test_a_training_that_a_callback_stops_amid_a_rollout_goes_on_exactly(tmp_path):
    class Stop(BaseCallback):
        def _on_step(self):
            return self.num_timesteps < 132

    agent = make_agent().learn(1_000, [Stop(), RunCheckpoint(tmp_path, every_steps=40)])
    resumed = make_agent()
    assert load_latest(resumed, tmp_path)[0].name == "step-000000132"
    agent, resumed = (a.learn(400, reset_num_timesteps=False) for a in (agent, resumed))
    assert_identical(contents(resumed), contents(agent))


@pytest.mark.parametrize("options", [{}, {"norm_obs": False}])
def test_normalised_environments_go_on_exactly(tmp_path, options):
    def make():
        env = VecNormalize(make_skill_vec_env(TWO_GOALS, 4, seed=5), norm_obs_keys=["observation"], **options)
        return SkillEmbedding("MultiInputPolicy", env, **TINY)

    agent = make().learn(400)
    path = save_checkpoint(agent, tmp_path)
    resumed = make()
    load_checkpoint(resumed, path)
    agent, resumed = (a.learn(400, reset_num_timesteps=False) for a in (agent, resumed))
    assert_identical(contents(resumed), contents(agent))


def test_checkpoints_by_the_clock(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])

    class Clock(BaseCallback):
        def _on_step(self):
            now[0] += 1.0  # a rollout takes 10 s
            return True

    make_agent().learn(400, [Clock(), RunCheckpoint(tmp_path, every_seconds=25, keep=None)])
    steps = [int(p.name[5:]) for p in checkpoint.list_checkpoints(tmp_path)]
    assert steps == [120, 240, 360, 400]


# Damage -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("checkpoints")
    make_agent(buffer_size=100).learn(400, RunCheckpoint(folder, every_steps=200))
    return folder


@pytest.fixture
def folder(two_checkpoints, tmp_path):
    return Path(shutil.copytree(two_checkpoints, tmp_path / "copy"))


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["arrays.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing", "longer"])
def test_damage_is_named_and_the_previous_checkpoint_is_used(folder, name, damage):
    path = folder / "step-000000400" / name
    data = path.read_bytes()
    if damage == "flipped":
        flip(path, random.Random(0).randrange(8 * len(data)))
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "longer": data + b"0"}[damage])
    agent = make_agent(buffer_size=100)
    before = contents(agent)
    # Of a flipped digest in the manifest, only the disagreement can be known.
    named = (
        r"step-000000400/.* is damaged: .*manifest"
        if (name, damage) == ("manifest.json", "flipped")
        else (rf"step-000000400/{name} is (damaged|missing)")
    )
    with pytest.raises(CheckpointError, match=named):
        load_checkpoint(agent, path.parent)
    assert_identical(contents(agent), before)
    with pytest.warns(UserWarning, match=rf"{named}.*trying the checkpoint before it"):
        found, _ = load_latest(agent, folder)
    assert found.name == "step-000000200" and agent.num_timesteps == 200
    agent.learn(200, RunCheckpoint(folder, every_steps=200), reset_num_timesteps=False)
    again = make_agent(buffer_size=100)
    assert load_latest(again, folder)[0].name == "step-000000400"  # made again, and good


def test_every_single_bit_of_a_manifest_matters(folder):
    path = folder / "step-000000400" / "manifest.json"
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        flip(path, bit)
        assert not checkpoint._is_good(path.parent), bit
        path.write_bytes(data)
    assert checkpoint._is_good(path.parent)


def test_no_good_checkpoint_is_an_error_and_none_at_all_is_none(folder, tmp_path):
    for path in checkpoint.list_checkpoints(folder):
        (path / "manifest.json").unlink()
    with (
        pytest.warns(UserWarning),
        pytest.raises(CheckpointError, match=r"no good checkpoint:.*000400.*missing.*000200.*missing"),
    ):
        load_latest(make_agent(buffer_size=100), folder)
    assert load_latest(make_agent(), tmp_path / "nowhere") is None


def test_leftovers_of_killed_saves_are_removed_and_never_read(folder):
    newest = folder / "step-000000400"
    shutil.copytree(newest, folder / ".tmp-step-000000600")
    agent = make_agent(buffer_size=100)
    assert load_latest(agent, folder)[0] == newest
    agent.learn(200, RunCheckpoint(folder, every_steps=200, keep=1), reset_num_timesteps=False)
    assert [p.name for p in folder.iterdir()] == ["step-000000600"]


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"gamma": 0.5}, "gamma: 0.99 saved, 0.5 here"), ({"window": 3}, "config"), ({"buffer_size": 200}, "buffer_size")],
)
def test_other_settings_are_errors(folder, settings, named):
    with pytest.raises(CheckpointError, match=named):
        load_latest(make_agent(**{"buffer_size": 100, **settings}), folder)


def test_other_environments_are_errors(folder):
    env = make_skill_vec_env(TWO_GOALS, 4, reward_type="shaped")
    with pytest.raises(CheckpointError, match=r"'reward_type': 'paper'.*valid:.*'shaped'"):
        load_latest(SkillEmbedding("MultiInputPolicy", env, **{**TINY, "buffer_size": 100}), folder)
    agent = SkillEmbedding("MlpPolicy", "Pendulum-v1", **TINY)
    with pytest.raises(TypeError, match="DummyVecEnv"):
        save_checkpoint(agent, folder)


def test_bad_arguments_are_errors(tmp_path):
    with pytest.raises(ValueError, match="keep=0"):
        save_checkpoint(make_agent(), tmp_path, keep=0)
    with pytest.raises(ValueError, match="every_seconds=None, every_steps=None"):
        RunCheckpoint(tmp_path)
    agent = make_agent()
    with torch.no_grad():
        agent.policy.actor.weights[0][0, 0] = torch.nan
    with pytest.raises(TrainingDiverged, match=r"actor\.weights\.0"):
        save_checkpoint(agent, tmp_path)
    assert list(tmp_path.iterdir()) == []


# Kills --------------------------------------------------------------------------------------------


def test_kills_lose_at_most_one_interval(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import kills

    result = kills.measure(4, 16_000)
    assert result["kills"] == 4 and result["during_saving"] >= 1
    assert result["most_steps_lost"] <= result["interval_steps"]
    assert result["end_bit_identical_to_an_unbroken_training"]


def test_the_record_of_fifty_kills():
    result = json.loads((ROOT / "benchmarks/kills.json").read_text(encoding="utf-8"))
    assert result["kills"] == 50 and result["during_saving"] >= 15
    assert result["most_steps_lost"] <= result["interval_steps"]
    assert result["end_bit_identical_to_an_unbroken_training"]


# Runs ---------------------------------------------------------------------------------------------


@pytest.fixture
def train(monkeypatch):
    def main(*arguments):
        monkeypatch.setattr(sys, "argv", ["skill-embed", "train", *map(str, arguments)])
        cli.main()

    return main


def test_a_killed_run_goes_on_by_the_command_line(tmp_path, train, capsys):
    arguments = [TWO_GOALS, "--timesteps", "6400", "--n-envs", "8", "--checkpoint-minutes", "0", "--out"]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "skill_agent.cli", "train", *arguments, str(killed)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(checkpoint.list_checkpoints(killed / "checkpoints")) < 3:
        assert process.poll() is None
    process.kill()
    process.wait()
    assert not (killed / "record.json").exists()
    damaged = checkpoint.list_checkpoints(killed / "checkpoints")[-1]
    flip(damaged / "arrays.safetensors", 100_000)
    with pytest.warns(UserWarning, match=f"{damaged.name}/arrays.safetensors is damaged"):
        train("--resume", killed)
    assert "going on from" in capsys.readouterr().out

    train(*arguments, alone)
    records = [json.loads((folder / "record.json").read_text()) for folder in (alone, killed)]
    for record in records:
        del record["train_seconds"]
        for point in record["curve"]:
            del point["seconds"]
    assert records[0] == records[1] and len(records[0]["curve"]) >= 10
    ends = [checkpoint.list_checkpoints(folder / "checkpoints") for folder in (alone, killed)]
    assert [p.name for p in ends[0]] == [p.name for p in ends[1]] and len(ends[0]) == 3
    arrays = [(paths[-1] / "arrays.safetensors").read_bytes() for paths in ends]
    assert arrays[0] == arrays[1]
    assert list(killed.glob("progress-from-*.csv"))


def test_a_finished_run_says_so_and_a_run_is_not_overwritten(tmp_path, train, capsys):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(SystemExit, match=rf"{tmp_path} exists.*--force.*--resume {tmp_path}"):
        train(TWO_GOALS, "--out", tmp_path)
    (tmp_path / "record.json").write_text("{}")
    train("--resume", tmp_path)
    assert f"{tmp_path} is finished" in capsys.readouterr().out


def test_two_processes_never_train_the_same_run(tmp_path, train):
    (tmp_path / "run.json").write_text("{}")
    with FileLock(tmp_path / ".lock"), pytest.raises(SystemExit, match="in use: another process trains this run"):
        train("--resume", tmp_path)


def test_resume_errors(tmp_path, train):
    with pytest.raises(SystemExit, match=r"has no run\.json"):
        train("--resume", tmp_path)
    with pytest.raises(SystemExit, match=r"leave out \['env_id', 'seed'\]"):
        train(TWO_GOALS, "--resume", tmp_path, "--seed", 3)
    (tmp_path / "run.json").write_text('{"settings": {"seed": 1}, "sha256": "0"}')
    with pytest.raises(SystemExit, match=r"run\.json is damaged.*SHA-256 does not match"):
        train("--resume", tmp_path)
