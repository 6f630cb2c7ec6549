"""SB3's vector environments: the adapter of the suite, and VecNormalize."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize
from toy import make_line, make_model

from skill_agent import SkillEmbedding, make_skill_vec_env

TWO_GOALS, FOUR_GOALS = "SkillEmbed/PointMassTwoGoals-v0", "SkillEmbed/PointMassFourGoals-v0"


# The adapter --------------------------------------------------------------------------------------


def play(env, n_steps, seed=0):
    """Every output of ``n_steps`` steps with the same random actions."""
    env.seed(seed)
    rng, outputs = np.random.default_rng(seed), [env.reset()]
    for _ in range(n_steps):
        outputs.append(env.step(rng.uniform(-1, 1, (env.num_envs, 2)).astype(np.float32)))
    return outputs


@pytest.mark.parametrize("env_id", [TWO_GOALS, FOUR_GOALS])
def test_the_adapter_is_what_sb3_makes_of_single_environments(env_id):
    ours, theirs = (play(make(env_id, n_envs=3), 60) for make in (make_skill_vec_env, make_vec_env))

    def assert_equal(a, b):
        for x, y in zip(a.values(), b.values(), strict=True) if isinstance(a, dict) else [(a, b)]:
            np.testing.assert_array_equal(x, y)

    assert_equal(ours[0], theirs[0])
    ends = 0
    for (obs, reward, done, infos), (obs_, reward_, done_, infos_) in zip(ours[1:], theirs[1:], strict=True):
        assert_equal(obs, obs_)
        np.testing.assert_array_equal(done, done_)
        np.testing.assert_allclose(reward, reward_, rtol=1e-6)
        for info, info_ in zip(infos, infos_, strict=True):
            assert info["is_success"] == info_["is_success"]
            assert info.get("TimeLimit.truncated", False) == info_.get("TimeLimit.truncated", False)
            assert ("terminal_observation" in info) == ("terminal_observation" in info_) == ("episode" in info)
            if "episode" in info:
                ends += 1
                assert_equal(info["terminal_observation"], info_["terminal_observation"])
                assert info["episode"]["l"] == info_["episode"]["l"]
    assert ends == 3


def test_an_episode_ends_by_truncation_with_its_own_last_observation():
    env = make_skill_vec_env(TWO_GOALS, 2, max_episode_steps=5)
    *_, before, (after, _, done, infos) = play(env, 5)
    assert done.all() and not before[2].any()
    for i, info in enumerate(infos):
        assert info["TimeLimit.truncated"] is True
        last = info["terminal_observation"]
        assert env.observation_space.contains(last) and last["task"] == before[0]["task"][i]
        moved = [np.abs(x["observation"][i] - last["observation"]).max() for x in (before[0], after)]
        assert moved[0] < moved[1], "the end of the old episode, not the start of the new one"


def test_the_learner_keeps_the_true_successor_and_no_termination():
    model = make_model(make_skill_vec_env(TWO_GOALS, 2, max_episode_steps=5)).learn(40)
    replay = model.replay_buffer
    ends = np.flatnonzero(replay.dones[:19, 0])
    assert ends.tolist() == [4, 9, 14] and replay.timeouts[ends].all()
    assert (replay.next_observations[ends] != replay.observations[ends + 1]).any(-1).all()
    batch = replay.sample_windows(64, 4, 3, np.random.default_rng(0))
    assert (batch.discount == 1).all()


def test_termination_is_kept_apart_from_truncation():
    model = make_model(make_line(2, terminates=True)).learn(40)
    batch = model.replay_buffer.sample_windows(200, 4, 3, np.random.default_rng(0))
    ended = (batch.observation[:, 1:, 1] == 10) & (batch.mask == 1)
    assert ended.any() and (batch.discount[ended] == 0).all()
    assert (batch.discount[(batch.mask == 1) & ~ended] == 1).all()


def test_options_fix_the_task_of_every_environment():
    env = make_skill_vec_env(TWO_GOALS, 3, max_episode_steps=2)
    env.set_options([{"task": k} for k in (1, 0, 1)])
    assert env.reset()["task"].tolist() == [1, 0, 1]
    assert [env.step(np.zeros((3, 2)))[0]["task"].tolist() for _ in range(4)] == [[1, 0, 1]] * 4
    env.set_options({"task": 0})
    assert env.reset()["task"].tolist() == [0, 0, 0]


def test_options_for_some_environments_only_are_an_error():
    env = make_skill_vec_env(TWO_GOALS, 2)
    for options in ([{"task": 1}, {}], [{}, {"task": 1}]):
        env.set_options(options)
        with pytest.raises(ValueError, match="task"):
            env.reset()


def test_unknown_options_are_errors():
    env = make_skill_vec_env(TWO_GOALS, 2)
    env.set_options({"goal": 1})
    with pytest.raises(KeyError, match="goal"):
        env.reset()


def test_what_sb3_asks_of_a_vector_environment():
    env = make_skill_vec_env(TWO_GOALS, 3)
    assert len(env.get_attr("reward_type")) == 3 and env.get_attr("num_envs", [0]) == [3]
    assert env.env_is_wrapped(Monitor) == [False] * 3
    env.reset()
    assert [info["is_success"] for info in env.unwrapped.reset_infos] == [False] * 3
    env.set_attr("note", 7)
    assert env.get_attr("note", 1) == [7]
    with pytest.raises(AttributeError):
        env.get_attr("nothing")
    env.close()


@pytest.mark.parametrize("mode", ["Disabled", "NextStep"])
def test_other_autoreset_modes_are_errors(mode):
    with pytest.raises(ValueError, match="autoreset_mode"):
        make_skill_vec_env(TWO_GOALS, 2, autoreset_mode=mode)


# VecNormalize -------------------------------------------------------------------------------------


def make_normalised(n_envs=2, n_tasks=2, **kwargs):
    keys = {"norm_obs_keys": ["observation"]} if n_tasks > 1 else {}
    return VecNormalize(make_line(n_envs, n_tasks=n_tasks), **keys, **kwargs)


@pytest.mark.parametrize("n_tasks", [1, 2])
def test_replay_holds_what_the_environment_gave(n_tasks):
    model = make_model(make_normalised(n_tasks=n_tasks)).learn(60)
    replay = model.replay_buffer
    assert replay.observations[:30, :, 0].min() > 50, "positions, not deviations"
    assert replay.observations[:30, 0, 1].tolist() == [*range(10)] * 3
    np.testing.assert_allclose(replay.next_observations[:30, 0, 1], [*range(1, 11)] * 3, atol=1e-4)
    assert (replay.rewards[:30] <= 0).all() and replay.rewards[:30].min() < -0.3


@pytest.mark.parametrize("n_tasks", [1, 2])
def test_samples_are_normalised(n_tasks):
    model = make_model(make_normalised(n_tasks=n_tasks)).learn(60)
    env = model.get_vec_normalize_env()
    plain, normal = (model.replay_buffer.sample_windows(16, 4, 3, np.random.default_rng(0), env) for env in (None, env))
    rms = env.obs_rms if n_tasks == 1 else env.obs_rms["observation"]
    for name in ("observation", "context"):
        expected = (getattr(plain, name).numpy() - rms.mean) / np.sqrt(rms.var + env.epsilon)
        np.testing.assert_allclose(getattr(normal, name), expected, rtol=1e-3, atol=1e-3)
        assert getattr(normal, name).dtype == torch.float32
    np.testing.assert_allclose(normal.reward, plain.reward / np.sqrt(env.ret_rms.var + env.epsilon), rtol=1e-4)


def test_training_samples_normalised_windows(monkeypatch):
    model = make_model(make_normalised())
    seen = []
    losses = model.losses
    monkeypatch.setattr(model, "losses", lambda *args: (seen.append(args[0].observation.abs().max()), losses(*args))[1])
    model.learn(60)
    assert len(seen) == model._n_updates > 0 and max(seen) < 20


def test_the_policy_sees_normalised_observations(monkeypatch):
    model = make_model(make_normalised())
    seen = []
    split = model.policy.split
    monkeypatch.setattr(model.policy, "split", lambda obs: (seen.append(obs["observation"].abs().max()), split(obs))[1])
    model.learn(60)
    assert len(seen) == 30 and max(seen) <= 10


@pytest.mark.parametrize("settings", [{"norm_obs": False}, {"norm_reward": False}, {"training": False}], ids=str)
def test_parts_of_the_normalisation(settings):
    model = make_model(make_normalised(**settings)).learn(40)
    assert model._n_updates > 0


def test_evaluation_uses_the_statistics_of_training(tmp_path):
    model, env = make_model(make_normalised()), make_normalised(training=False)
    model.learn(60, EvalCallback(env, n_eval_episodes=2, eval_freq=30, best_model_save_path=str(tmp_path), verbose=0))
    trained = model.get_vec_normalize_env().obs_rms["observation"]
    assert np.array_equal(env.obs_rms["observation"].mean, trained.mean)
    evaluate_policy(model, env, 2)


def test_saving_the_statistics_apart(tmp_path):
    model = make_model(make_normalised()).learn(40)
    model.save(tmp_path / "model")
    model.get_vec_normalize_env().save(tmp_path / "statistics")
    env = VecNormalize.load(tmp_path / "statistics", make_line(2, n_tasks=2))
    loaded = SkillEmbedding.load(tmp_path / "model", env=env)
    assert loaded.get_vec_normalize_env() is env
    loaded.learn(40, reset_num_timesteps=False)


def test_setting_the_environment_changes_the_normalisation():
    model = make_model(make_normalised()).learn(40)
    model.set_env(make_line(2, n_tasks=2))
    assert model.get_vec_normalize_env() is None
    env = make_normalised()
    model.set_env(env)
    assert model.get_vec_normalize_env() is env


def test_the_suite_normalised():
    env = VecNormalize(make_skill_vec_env(TWO_GOALS, 3, max_episode_steps=5), norm_obs_keys=["observation"])
    model = make_model(env).learn(60)
    assert model._n_updates > 0 and np.abs(model.replay_buffer.observations).max() < 10
