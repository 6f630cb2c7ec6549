import json
import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from malice import flip, rewrite
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from skill_agent import (
    CheckpointError,
    RunCheckpoint,
    SkillConfig,
    SkillEmbedding,
    TrainingDiverged,
    checkpoint,
    config,
    formats,
    load_checkpoint,
    load_latest,
    make_skill_vec_env,
    manifest,
    save_checkpoint,
    snapshot,
)

ROOT = Path(__file__).parent.parent
OLD = ROOT / "tests/data/0.1.0"
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
        ("SkillEmbed/PointMassRing-v0", {"embedding_init_std": 0.5}),
        (TWO_GOALS, {"embedding_rate": 0.25, "embedding_init_std": 0.5}),
        (TWO_GOALS, {"versatility_success": 0.01, "versatility_warmup": 0.5, "versatility_power": 1.0}),
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
    named = rf"step-000000400/{name} is (damaged|missing)"
    with pytest.raises(CheckpointError, match=named):
        load_checkpoint(agent, path.parent)
    assert_identical(contents(agent), before)
    with pytest.warns(UserWarning, match=rf"{named}.*trying the checkpoint before it"):
        found, _ = load_latest(agent, folder)
    assert found.name == "step-000000200" and agent.num_timesteps == 200
    agent.learn(200, RunCheckpoint(folder, every_steps=200), reset_num_timesteps=False)
    again = make_agent(buffer_size=100)
    assert load_latest(again, folder)[0].name == "step-000000400"  # made again, and good


def test_every_single_bit_of_a_manifest_matters_and_the_manifest_is_blamed(folder):
    path = folder / "step-000000400" / "manifest.json"
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        flip(path, bit)
        with pytest.raises(CheckpointError, match=r"step-000000400/manifest\.json is damaged"):
            manifest.read(path.parent)
        assert not checkpoint._is_good(path.parent), bit
        path.write_bytes(data)
    assert checkpoint._is_good(path.parent)


def test_of_a_manifest_without_a_checksum_it_is_said_that_either_file_may_be_damaged(tmp_path):
    kept = Path(shutil.copytree(OLD / "checkpoints", tmp_path / "kept")) / "step-000000100"
    data = (kept / "manifest.json").read_bytes()
    for bit in range(8 * len(data)):
        flip(kept / "manifest.json", bit)
        with pytest.raises(CheckpointError, match=r"step-000000100/.*manifest\.json is damaged"):
            manifest.read(kept)
        (kept / "manifest.json").write_bytes(data)
    flip(kept / "state.json", 99)
    with pytest.raises(CheckpointError, match=r"step-000000100/state\.json or its manifest\.json is damaged"):
        manifest.read(kept)


def test_a_checkpoint_of_a_later_version_is_neither_read_nor_passed_over_nor_removed(folder, monkeypatch):
    monkeypatch.setattr(manifest, "FORMAT", 2)
    make_agent(buffer_size=100).learn(600, RunCheckpoint(folder.parent / "newer", every_steps=600))
    shutil.move(folder.parent / "newer/step-000000600", folder)
    agent = make_agent(buffer_size=100)
    with pytest.raises(CheckpointError, match=r"step-000000600/manifest\.json is of another version: format=2"):
        load_latest(agent, folder)
    load_checkpoint(agent, folder / "step-000000400")
    with pytest.raises(FileExistsError, match=r"step-000000600 is of a later step"):
        agent.learn(200, RunCheckpoint(folder, every_steps=200), reset_num_timesteps=False)
    assert (folder / "step-000000600/arrays.safetensors").exists()


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
    [
        ({"gamma": 0.5}, "gamma: 0.99 saved, 0.5 here"),
        ({"window": 3}, r"config\.window: 10 saved, 3 here$"),
        ({"buffer_size": 200}, "buffer_size"),
    ],
)
def test_other_settings_are_errors(folder, settings, named):
    with pytest.raises(CheckpointError, match=named):
        load_latest(make_agent(**{"buffer_size": 100, **settings}), folder)


@pytest.mark.parametrize(
    ("path", "saved", "here"), [("config.bf16", True, False), ("config.compile", True, False), ("torch_threads", 2, 1)]
)
def test_other_ways_to_compute_are_warned_of_and_the_training_goes_on(folder, path, saved, here):
    def computed_in_another_way(state, arrays):
        settings = state["dict"]["settings"]["dict"]
        section, _, name = path.rpartition(".")
        assert (settings[section]["dict"] if section else settings)[name] == here
        (settings[section]["dict"] if section else settings)[name] = saved

    rewrite(folder / "step-000000400", computed_in_another_way)
    agent = make_agent(buffer_size=100)
    named = rf"\({re.escape(path)}: {saved} saved, {here} here\)"
    with pytest.warns(UserWarning, match=rf"computed in another way {named}.*no longer bit-identical"):
        load_latest(agent, folder)
    agent.learn(40, reset_num_timesteps=False)
    assert agent.num_timesteps == 440


def test_a_checkpoint_of_another_kind_of_device_goes_on_with_draws_of_its_own(folder):
    rewrite(folder / "step-000000400", lambda state, arrays: move_to_cuda(state, arrays))
    draws = []
    for seed in (3, 4):
        agent = make_agent(buffer_size=100, seed=seed)
        with pytest.warns(UserWarning, match=r"device: 'cuda' saved, 'cpu' here"):
            load_latest(agent, folder)
        draws.append(torch.rand(3, generator=agent._generator))
    assert (draws[0] == draws[1]).all()


def move_to_cuda(state, arrays):
    state["dict"]["settings"]["dict"]["device"] = "cuda"
    arrays["/model/random/torch"] = np.arange(16, dtype=np.uint8)


def test_other_environments_are_errors(folder):
    env = make_skill_vec_env(TWO_GOALS, 4, reward_type="shaped")
    with pytest.raises(CheckpointError, match=r"'reward_type': 'paper'.*valid:.*'shaped'"):
        load_latest(SkillEmbedding("MultiInputPolicy", env, **{**TINY, "buffer_size": 100}), folder)


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


# Files of 0.1.0 -----------------------------------------------------------------------------------


def make_agent_of_0_1_0(**settings):
    return make_agent_with_two_envs(z_period=20, **settings)


def make_agent_with_two_envs(**settings):
    schedule = {"buffer_size": 200, "learning_starts": 40, "train_freq": 10, "gradient_steps": 2}
    networks = {"policy_kwargs": {"net_arch": [8, 8]}, "batch_size": 4, "window": 4, "segment": 3}
    env = make_skill_vec_env(TWO_GOALS, 2, seed=0)
    return SkillEmbedding("MultiInputPolicy", env, seed=0, device="cpu", **networks, **schedule, **settings)


@pytest.fixture
def kept(tmp_path):
    return Path(shutil.copytree(OLD / "checkpoints", tmp_path / "kept"))


def test_a_checkpoint_of_0_1_0_goes_on_as_if_it_were_new(kept):
    unbroken = make_agent_of_0_1_0().learn(100)
    resumed = make_agent_of_0_1_0()
    assert load_latest(resumed, kept) == (kept / "step-000000100", None)
    arrays, old = contents(unbroken)[1], contents(resumed)[1]
    learned = [name for name in arrays if name.startswith(("/policy", "/optimizer", "/replay", "/envs"))]
    assert len(learned) > 50
    for name in learned:  # the machine that wrote it may round otherwise
        np.testing.assert_allclose(old[name], arrays[name], rtol=1e-4, atol=1e-4, err_msg=name)
    resumed.learn(100, RunCheckpoint(kept, every_steps=20), reset_num_timesteps=False)
    again = make_agent_of_0_1_0()
    assert load_latest(again, kept)[0].name == "step-000000200"
    assert_identical(contents(again), contents(resumed))


def test_a_setting_that_is_added_lets_old_checkpoints_load(kept, monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Longer(SkillConfig):
        added: int = config._setting(7, config._integer(0, 9), "newer than the file")

    monkeypatch.setattr(formats, "SkillConfig", Longer)
    valid = {**TINY, "buffer_size": 200, "learning_starts": 40, "policy_kwargs": {"net_arch": [8, 8]}, "batch_size": 4}

    def make(**added):
        env = make_skill_vec_env(TWO_GOALS, 2, seed=0)
        method = Longer(z_period=20, window=4, segment=3, **added)
        settings = {name: value for name, value in valid.items() if name not in ("z_period", "seed")}
        return SkillEmbedding("MultiInputPolicy", env, seed=0, device="cpu", config=method, **settings)

    agent = make()
    load_latest(agent, kept)
    assert agent.num_timesteps == 100
    with pytest.raises(CheckpointError, match=r"config\.added: 7 saved, 8 here"):
        load_latest(make(added=8), kept)
    monkeypatch.setattr(formats, "BEFORE", {"added": 8})
    load_latest(make(added=8), kept)


def test_a_setting_that_is_renamed_lets_old_checkpoints_load(kept, monkeypatch):
    def write_the_old_name(state, arrays):
        config = state["dict"]["settings"]["dict"]["config"]["dict"]
        config["stretch"] = config.pop("z_period")

    rewrite(kept / "step-000000100", write_the_old_name)
    with pytest.raises(CheckpointError, match=r"state\.json: settings/unknown settings \['stretch'\]"):
        load_latest(make_agent_of_0_1_0(), kept)
    monkeypatch.setitem(formats.RENAMED, "stretch", "z_period")
    load_latest(make_agent_of_0_1_0(), kept)
    with pytest.raises(CheckpointError, match=r"config\.z_period: 20 saved, 10 here"):
        load_latest(make_agent_with_two_envs(z_period=10), kept)


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
