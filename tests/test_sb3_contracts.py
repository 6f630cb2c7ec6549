"""What SB3 asks of vector environments: one environment's attributes and methods, copies and videos."""

import copy
import pickle
import sys
import types

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import SubprocVecEnv, VecVideoRecorder
from toy import assert_equal, make_model

from skill_agent import SkillSpaceVecEnv, load_skills, make_skill_vec_env
from skill_agent.vec import SkillVecEnv

TWO_GOALS, PUSH = "SkillEmbed/PointMassTwoGoals-v0", "SkillEmbed/Push-v0"


def actions(env, count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


# Copies and videos ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_the_environment_of_sb3_can_be_copied_and_goes_on(duplicate):
    env = make_skill_vec_env(TWO_GOALS, 2, seed=3)
    env.reset()
    env.step(np.full((2, 2), 0.5))
    twin = duplicate(env)
    for action in np.random.default_rng(0).uniform(-1, 1, (60, 2, 2)):
        (observation, reward, done, _), (expected, *rest, _) = twin.step(action), env.step(action)
        assert_equal(observation, expected)
        assert_equal(reward, rest[0])
        assert_equal(done, rest[1])


def test_a_model_is_copied_with_its_environments():
    model = make_model(make_skill_vec_env(TWO_GOALS, 2, seed=3)).learn(60)
    twin = copy.deepcopy(model)
    for each in (model, twin):
        torch.manual_seed(0)
        each.learn(60, reset_num_timesteps=False)
    for name, value in model.policy.state_dict().items():
        torch.testing.assert_close(value, twin.policy.state_dict()[name], rtol=0, atol=0)
    assert twin.env is not model.env and twin.get_env().unwrapped.env is not model.get_env().unwrapped.env


@pytest.mark.parametrize(("env_id", "rate"), [("SkillEmbed/PointMassCorner-v0", 10), ("SkillEmbed/LWall-v0", 20)])
def test_frames_per_second_reach_sb3(env_id, rate):
    env = make_skill_vec_env(env_id, 2)
    assert env.metadata["render_fps"] == env.unwrapped.metadata["render_fps"] == rate
    skills = load_skills("pointmass" if rate == 10 else "lwall")
    assert SkillSpaceVecEnv(env, skills, hold=5).metadata["render_fps"] == rate / 5
    assert SkillSpaceVecEnv(env, skills, hold=100).metadata["render_fps"] == rate / 100
    many = make_vec_env(
        f"skill_envs:{env_id}", 1, vec_env_cls=SubprocVecEnv
    )  # of whose metadata SB3 knows only by asking
    assert SkillSpaceVecEnv(many, skills, hold=4).metadata["render_fps"] == rate / 4
    many.close()


@pytest.mark.parametrize("hold", [0, 2])
def test_videos_of_sb3_have_the_rate_of_the_environment(tmp_path, monkeypatch, hold):
    monkeypatch.setitem(sys.modules, "moviepy", types.ModuleType("moviepy"))  # it would encode the frames
    env = make_skill_vec_env("SkillEmbed/PointMassCorner-v0", 1, seed=0, render_mode="rgb_array", width=64, height=64)
    if hold:
        env = SkillSpaceVecEnv(env, load_skills("pointmass"), hold=hold)
    recorder = VecVideoRecorder(env, str(tmp_path), lambda step: step == 0, video_length=4)
    assert recorder.frames_per_sec == (10 / hold if hold else 10)
    recorder.reset()
    recorder.step(np.zeros((1, *env.action_space.shape)))
    assert len(recorder.recorded_frames) == 2 and recorder.recorded_frames[0].shape == (64, 64, 3)
    recorder.recorded_frames.clear()  # nothing is to be encoded


# One environment of the batch -----------------------------------------------------------------------


@pytest.mark.parametrize("indices", [[1], 0, [0, 0], range(1), -1, np.int64(1)])
def test_what_one_environment_of_a_batch_can_not_have_alone_is_refused(indices):
    env = make_skill_vec_env(TWO_GOALS, 2)
    for call in (
        lambda: env.set_attr("reward_type", "shaped", indices=indices),
        lambda: env.env_method("state", indices=indices),
    ):
        with pytest.raises(ValueError, match=r"indices=.* is not valid: the 2 environments are one batch"):
            call()
    assert env.get_attr("reward_type") == ["paper"] * 2
    env.set_attr("reward_type", "sparse", indices=[1, 0])
    assert env.get_attr("reward_type", indices=[1]) == ["sparse"]


@pytest.mark.parametrize("indices", [2, [0, 5], -3, "0", 1.0, [None], {}.values])
def test_indices_that_no_environment_has_are_named(indices):
    env = make_skill_vec_env(TWO_GOALS, 2)
    for call in (
        lambda: env.get_attr("task", indices),
        lambda: env.set_attr("note", 1, indices),
        lambda: env.env_method("reset", indices=indices),
        lambda: env.env_is_wrapped(Monitor, indices),
    ):
        with pytest.raises(ValueError, match=r"ind(ex|ices)=.* is not valid; choose"):
            call()


@pytest.mark.parametrize("indices", [None, [1], 0, [2, 0], -1])
def test_attributes_are_those_of_sb3s_own(indices):
    ours, theirs = make_skill_vec_env(TWO_GOALS, 3, seed=4), make_vec_env(TWO_GOALS, 3, seed=4)
    for env in (ours, theirs):
        env.reset()
    for name in ("action_space", "observation_space", "np_random_seed", "reward_type"):
        assert ours.get_attr(name, indices) == theirs.get_attr(name, indices)
    states = [[rng.bit_generator.state for rng in env.get_attr("np_random", indices)] for env in (ours, theirs)]
    assert states[0] == states[1]
    tasks = ours.env_method("state")[0]["task"]
    chosen = tasks if indices is None else np.atleast_1d(tasks[indices])
    assert ours.get_attr("task", indices) == chosen.tolist()


@pytest.mark.parametrize("indices", [None, [1], 0, [2, 0], -1])
@pytest.mark.parametrize("options", [None, {"task": 1}])
def test_some_environments_are_reset_as_sb3s_own(indices, options):
    ours, theirs = make_skill_vec_env(TWO_GOALS, 3, seed=4), make_vec_env(TWO_GOALS, 3, seed=4)
    for env in (ours, theirs):
        env.reset()
    for seed in (None, 9):
        mine, expected = (
            env.env_method("reset", indices=indices, seed=seed, options=options) for env in (ours, theirs)
        )
        for (observation, info), (other, other_info) in zip(mine, expected, strict=True):
            assert_equal(observation, other)
            assert info == other_info
    for action in np.random.default_rng(0).uniform(-1, 1, (120, 3, 2)).astype(np.float32):
        (observation, _, done, _), (other, _, other_done, _) = ours.step(action), theirs.step(action)
        assert_equal(observation, other)
        assert_equal(done, other_done)


def test_every_environment_gives_its_own_frame():
    env = make_skill_vec_env(TWO_GOALS, 2, seed=0, render_mode="rgb_array", width=64, height=48)
    env.set_options([{"task": 0}, {"task": 1}])
    env.reset()
    frames = env.env_method("render")
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 2 and (frames[0] != frames[1]).any()
    np.testing.assert_array_equal(env.env_method("render", indices=[1])[0], frames[1])
    env.close()


def test_a_render_mode_that_is_set_draws():
    env = make_skill_vec_env("SkillEmbed/PointMassCorner-v0", 1, seed=0, width=64, height=48)
    env.reset()
    env.set_attr("render_mode", "rgb_array")
    assert env.unwrapped.render_mode == "rgb_array" and env.render().shape == (48, 64, 3)
    env.close()


@pytest.mark.parametrize("name", ["num_envs", "physics", "tasks", "autoreset_mode", "metadata", "action_space", "step"])
def test_what_the_environments_are_made_of_can_not_be_set(name):
    env = make_skill_vec_env(TWO_GOALS, 2)
    before = getattr(env.unwrapped.env, name)
    with pytest.raises(AttributeError, match=rf"{name} can't be set; choose from \['reward_type'"):
        env.set_attr(name, 7)
    assert getattr(env.unwrapped.env, name) == before
    env.set_attr("note", 7)
    env.set_attr("note", 8)
    assert env.get_attr("note") == [8, 8]


@pytest.mark.parametrize("options", [[{"task": 1}], [{"task": 1}] * 3, [1, 2], [None, {"task": 1}]])
def test_options_that_are_not_one_for_each_environment_are_named(options):
    env = make_skill_vec_env(TWO_GOALS, 2)
    env.set_options(options)
    with pytest.raises(ValueError, match="options="):
        env.reset()


def test_only_the_environment_that_diverged_tells_of_it():
    ours, theirs = make_skill_vec_env(TWO_GOALS, 2, seed=1), make_vec_env(TWO_GOALS, 2, seed=1)
    for env in (ours, theirs):
        env.reset()
    ours.unwrapped.env.physics.qvel[1] = np.nan
    theirs.envs[1].unwrapped.batch.physics.qvel[0] = np.nan
    infos = ours.step(np.zeros((2, 2)))[3], theirs.step(np.zeros((2, 2)))[3]
    assert infos[0][1]["physics_error"] is infos[1][1]["physics_error"] is True
    for mine, expected in zip(*infos, strict=True):
        # SB3's own environments say at every step that no episode was truncated, and never the task's name.
        assert {*mine, "TimeLimit.truncated"} == {*expected, "task"}


@pytest.mark.parametrize("env", [None, "SkillEmbed/Push-v0", gymnasium.make(PUSH)])
def test_only_batches_of_the_suite_are_adapted(env):
    with pytest.raises(ValueError, match="choose a SkillVectorEnv"):
        SkillVecEnv(env)
