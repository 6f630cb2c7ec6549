"""What is set after construction stays set: in the environment, its copies and its checkpoints."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from toy import assert_equal, make_model

from skill_agent import CheckpointError, load_latest, make_skill_vec_env, save_checkpoint
from skill_envs import SkillVectorEnv

TWO_GOALS, PUSH = "SkillEmbed/PointMassTwoGoals-v0", "SkillEmbed/Push-v0"


def actions(env, count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


# What is set stays set ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("reward_type", "shaped"), ("max_episode_steps", 3), ("render_mode", "rgb_array"), ("note", [1])],
)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_what_is_set_after_construction_belongs_to_copies(name, value, duplicate):
    env = SkillVectorEnv(["PointMassLeft"], 2, max_episode_steps=9)
    setattr(env, name, value)
    twin = duplicate(env)
    assert getattr(twin, name) == value
    outer = make_skill_vec_env(TWO_GOALS, 2)
    outer.set_attr(name, value)
    assert duplicate(outer).get_attr(name) == [value] * 2


def test_what_is_set_acts_in_the_copy():
    env = SkillVectorEnv(["PointMassLeft"], 2)
    env.reward_type, env.max_episode_steps = "shaped", 2
    twin = copy.deepcopy(env)
    twin.reset(seed=0)
    _, reward, _, truncated, _ = twin.step(actions(env, 1)[0])
    assert (reward > 0).all() and not truncated.any()
    assert twin.step(actions(env, 1)[0])[3].all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("reward_type", "nonsense"), ("max_episode_steps", 0), ("max_episode_steps", float("nan")), ("render_mode", "x")],
)
def test_nonsense_can_not_be_set(name, value):
    env, outer = SkillVectorEnv(["PointMassLeft"], 2), make_skill_vec_env(TWO_GOALS, 2)
    before = [getattr(env, name), *outer.get_attr(name)]
    for setter in (lambda: setattr(env, name, value), lambda: outer.set_attr(name, value)):
        with pytest.raises(ValueError, match=f"{name}="):
            setter()
    assert [getattr(env, name), *outer.get_attr(name)] == before
    with pytest.raises(AttributeError):
        env.autoreset_mode = AutoresetMode.DISABLED


def test_generators_of_the_spaces_belong_to_copies():
    env = SkillVectorEnv(["PointMassLeft", "PointMassRight"], 2)
    for space in ("action_space", "observation_space", "single_action_space", "single_observation_space"):
        getattr(env, space).seed(3)
        getattr(env, space).sample()
        twin = copy.deepcopy(env)
        assert_equal(getattr(twin, space).sample(), getattr(env, space).sample())


def shaped_model():
    model = make_model(make_skill_vec_env(TWO_GOALS, 2, seed=3))
    return model, model.get_env()


def test_what_is_set_is_in_checkpoints(tmp_path):
    model, env = shaped_model()
    model.learn(20)
    env.set_attr("reward_type", "shaped")
    env.set_attr("max_episode_steps", 9)
    save_checkpoint(model, tmp_path)
    twin, other = shaped_model()
    load_latest(twin, tmp_path)
    assert other.get_attr("reward_type") == ["shaped"] * 2 and other.get_attr("max_episode_steps") == [9] * 2
    for each in (model, twin):
        each.learn(60, reset_num_timesteps=False)
    for name, value in model.policy.state_dict().items():
        torch.testing.assert_close(value, twin.policy.state_dict()[name], rtol=0, atol=0)


def test_what_was_not_set_in_a_checkpoint_is_as_it_was_made(tmp_path):
    model, _ = shaped_model()
    save_checkpoint(model.learn(20), tmp_path)
    twin, other = shaped_model()
    other.set_attr("reward_type", "shaped")
    load_latest(twin, tmp_path)
    assert other.get_attr("reward_type") == ["paper"] * 2


def test_a_checkpoint_of_environments_made_otherwise_is_refused(tmp_path):
    model, _ = shaped_model()
    save_checkpoint(model.learn(20), tmp_path)
    twin = make_model(make_skill_vec_env(TWO_GOALS, 2, seed=3, reward_type="sparse"))
    with pytest.raises(CheckpointError, match=r"settings.*'paper'.*'sparse'"):
        load_latest(twin, tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{}, {"reward_type": "x", "max_episode_steps": 3}, {"reward_type": "paper", "max_episode_steps": 0}, None, 3],
)
def test_a_state_in_which_nonsense_was_set_is_refused_and_changes_nothing(wrong):
    env = SkillVectorEnv(["PointMassLeft"], 2)
    env.reset(seed=0)
    state = {**env.state(), "set": wrong}
    before = env.reset(seed=1)[0]
    with pytest.raises(ValueError, match=r"^set/"):
        env.set_state(state)
    assert env.reward_type == "paper"
    np.testing.assert_array_equal(env.reset(seed=1)[0], before)


def test_a_state_goes_on_in_the_middle_of_an_autoreset():
    env, twin = (SkillVectorEnv(["Push"], 2, max_episode_steps=3, autoreset_mode="NextStep") for _ in range(2))
    env.reset(seed=0)
    for action in actions(env, 3):
        env.step(action)  # both have just ended
    twin.set_state(env.state())
    for action in actions(env, 6, seed=1):
        for mine, expected in zip(twin.step(action)[:4], env.step(action)[:4], strict=True):
            assert_equal(mine, expected)


def test_seeds_and_generators_belong_to_copies():
    env = SkillVectorEnv(["Push"], 2)
    env.reset(seed=4)
    twin = pickle.loads(pickle.dumps(env))
    assert twin.np_random_seed == (4, 5)
    assert_equal(twin.reset()[0], env.reset()[0])
    single = gymnasium.make(PUSH).unwrapped
    single.reset(seed=4)
    copied = copy.deepcopy(single)
    assert copied.np_random is copied.batch.np_random[0] and copied.np_random is not single.np_random


def test_what_is_set_on_a_single_environment_acts():
    env = gymnasium.make(TWO_GOALS)
    env.unwrapped.reward_type = "shaped"
    env.reset(seed=0)
    assert env.step(np.zeros(2))[1] > 0
    assert copy.deepcopy(env).unwrapped.reward_type == env.unwrapped.batch.reward_type == "shaped"
    for name in ("reward_type", "render_mode"):
        with pytest.raises(ValueError, match=f"{name}='nonsense' is not valid"):
            setattr(env.unwrapped, name, "nonsense")
