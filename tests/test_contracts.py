"""What Gymnasium and SB3 ask of vector environments, compared with their own."""

import copy
import pickle
import sys
import types

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import wrappers
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as vector_wrappers
from stable_baselines3.common.vec_env import VecVideoRecorder
from toy import make_model

from skill_agent import SkillSpaceVecEnv, load_skills, make_skill_vec_env
from skill_envs import SkillVectorEnv, checks

TWO_GOALS, PUSH = "SkillEmbed/PointMassTwoGoals-v0", "SkillEmbed/Push-v0"


def actions(env, count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


def assert_equal(mine, theirs):
    if isinstance(theirs, dict):
        assert mine.keys() == theirs.keys()
        for key in theirs:
            assert_equal(mine[key], theirs[key])
    else:
        np.testing.assert_array_equal(mine, theirs)


# Autoreset ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("env_id", [TWO_GOALS, PUSH, "SkillEmbed/RailPush-v0"])
def test_autoreset_is_that_of_gymnasium_bit_for_bit(env_id, mode):
    ours = gymnasium.make_vec(env_id, num_envs=3, max_episode_steps=7, autoreset_mode=mode, reward_type="shaped")
    single = [lambda: gymnasium.make(env_id, max_episode_steps=7, reward_type="shaped") for _ in range(3)]
    theirs = SyncVectorEnv(single, autoreset_mode=mode)
    assert ours.metadata["autoreset_mode"] is mode
    assert_equal(ours.reset(seed=4)[0], theirs.reset(seed=4)[0])
    for action in actions(ours, 24):
        mine, expected = ours.step(action), theirs.step(action)
        for a, b in zip(mine[:4], expected[:4], strict=True):
            assert_equal(a, b)
        assert_equal(mine[4]["is_success"], expected[4]["is_success"])


def test_next_step_resets_after_a_divergence_and_a_masked_reset():
    env = gymnasium.make_vec(TWO_GOALS, num_envs=3, autoreset_mode="NextStep", max_episode_steps=5)
    env.reset(seed=0)
    env.physics.qvel[1] = np.nan
    *_, truncated, info = env.step(actions(env, 1)[0])
    assert truncated.tolist() == info["physics_error"].tolist() == [False, True, False]
    observation, reward, _, truncated, info = env.step(actions(env, 1)[0])
    assert not truncated.any() and reward[1] == 0 and "physics_error" not in info
    assert np.abs(observation["observation"][1, 2:]).max() == 0  # at rest, where an episode starts
    for action in actions(env, 3):
        *_, truncated, _ = env.step(action)
    assert truncated.tolist() == [True, False, True]
    env.reset(options={"reset_mask": np.array([True, False, False])})  # 2 is reset by the next step
    ends = [env.step(action)[3].tolist() for action in actions(env, 6)]
    assert [row.index(True) if any(row) else None for row in ends] == [None, 1, None, None, 0, 2]


@pytest.mark.parametrize(
    "wrap",
    [
        vector_wrappers.FlattenObservation,
        lambda env: vector_wrappers.TransformObservation(env, lambda obs: obs, env.observation_space),
        lambda env: vector_wrappers.RescaleObservation(env, -1.0, 1.0),
        lambda env: vector_wrappers.DtypeObservation(env, np.float64),
        vector_wrappers.NormalizeObservation,
        vector_wrappers.NormalizeReward,
        lambda env: vector_wrappers.ClipReward(env, -1, 1),
        vector_wrappers.RecordEpisodeStatistics,
        lambda env: vector_wrappers.RescaleAction(env, -2.0, 2.0),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of the wrappers about the precision of bounds
def test_wrappers_of_gymnasium_take_the_batch(wrap):
    env = wrap(gymnasium.make_vec(PUSH, num_envs=2, autoreset_mode=AutoresetMode.NEXT_STEP, max_episode_steps=4))
    env.reset(seed=0)
    for action in actions(env, 10):
        observation, *_ = env.step(action)
    assert observation.shape == (2, 27) and np.isfinite(observation).all()


def test_a_copy_goes_on_in_the_middle_of_an_autoreset():
    env = gymnasium.make_vec(TWO_GOALS, num_envs=2, autoreset_mode=AutoresetMode.NEXT_STEP, max_episode_steps=3)
    env.reset(seed=0)
    for action in actions(env, 3):
        env.step(action)  # both have just ended
    twin = pickle.loads(pickle.dumps(env.unwrapped))
    for action in actions(env, 6, seed=1):
        assert_equal(twin.step(action)[0], env.step(action)[0])


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


@pytest.mark.parametrize("indices", [[1], 0, [0, 0], range(1)])
def test_what_one_environment_of_a_batch_can_not_have_alone_is_refused(indices):
    env = make_skill_vec_env(TWO_GOALS, 2)
    for call in (
        lambda: env.set_attr("reward_type", "shaped", indices=indices),
        lambda: env.env_method("render", indices=indices),
    ):
        with pytest.raises(ValueError, match=r"indices=.* is not valid: the 2 environments are one batch"):
            call()
    assert env.get_attr("reward_type") == ["paper"] * 2
    env.set_attr("reward_type", "sparse", indices=[1, 0])
    assert env.get_attr("reward_type", indices=[1]) == ["sparse"]


# Order of calls, seeds and masks ------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [lambda: gymnasium.make(PUSH).unwrapped, lambda: gymnasium.make_vec(PUSH, 2).unwrapped]
)
def test_step_needs_a_reset_and_an_open_environment(make):
    env = make()
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step(np.zeros(env.action_space.shape))
    env.reset(seed=0)
    env.step(np.zeros(env.action_space.shape))
    env.close()
    with pytest.raises(gymnasium.error.ClosedEnvironmentError, match="close"):
        env.step(np.zeros(env.action_space.shape))
    env.reset()  # it is open again
    env.step(np.zeros(env.action_space.shape))


def test_generators_and_seeds_are_tuples_as_gymnasiums():
    ours, theirs = gymnasium.make_vec(PUSH, 3), SyncVectorEnv([lambda: gymnasium.make(PUSH)] * 3)
    for seed in (5, [7, 2, 9]):
        ours.reset(seed=seed)
        theirs.reset(seed=seed)
        assert ours.np_random_seed == theirs.np_random_seed and isinstance(ours.np_random, tuple)
        for mine, other in zip(ours.np_random, theirs.np_random, strict=True):
            assert mine.bit_generator.state == other.bit_generator.state
    drawn = gymnasium.make_vec(PUSH, 2)
    drawn.reset()
    again = gymnasium.make_vec(PUSH, 2)
    assert_equal(again.reset(seed=list(drawn.np_random_seed))[0], copy.deepcopy(drawn).unwrapped._observe())


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True, float("nan"), [1], [1, -1], [1, 2.5], "ab", {1: 2, 3: 4}])
def test_a_seed_that_is_none_is_named_and_changes_nothing(seed):
    env = gymnasium.make_vec(PUSH, 2)
    env.reset(seed=0)
    before = env.np_random_seed
    with pytest.raises(ValueError, match=r"seed(\[\d\])?="):
        env.reset(seed=seed)
    assert env.np_random_seed == before


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros(3, bool), np.ones(2, bool), np.ones((3, 1), bool), np.ones(3), np.ones(3, int), [True, False, True],
        True, None, "yes",
    ],
)  # fmt: skip
def test_a_wrong_mask_raises_as_gymnasiums_own(mask):
    theirs = SyncVectorEnv([lambda: gymnasium.make(TWO_GOALS)] * 3, autoreset_mode=AutoresetMode.DISABLED)
    ours = gymnasium.make_vec(TWO_GOALS, 3, autoreset_mode=AutoresetMode.DISABLED)
    errors = []
    for env in (theirs, ours):
        env.reset(seed=0)
        with pytest.raises((TypeError, ValueError)) as error:
            env.reset(options={"reset_mask": mask})
        errors.append(error.type)
    assert errors[0] is errors[1] and "reset_mask" in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_envs", 1.5), ("num_envs", True), ("num_threads", -1), ("num_threads", 2.0), ("max_episode_steps", 1.5),
        ("max_episode_steps", float("nan")), ("max_episode_steps", "9"), ("reward_type", None), ("reward_type", 1),
        ("render_mode", 1), ("autoreset_mode", None), ("autoreset_mode", 1), ("width", 480.0), ("height", "480"),
    ],
)  # fmt: skip
def test_arguments_of_the_wrong_kind_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}=.* is not valid; choose"):
        SkillVectorEnv(["PointMassLeft"], **{"num_envs": 2, name: value})
    if name not in ("num_envs",):
        with pytest.raises(ValueError, match=f"{name}=.* is not valid; choose"):
            make_skill_vec_env(TWO_GOALS, 2, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("n_envs", 0), ("n_envs", 2.0), ("seed", -1), ("seed", "x"), ("seed", 0.5)]
)
def test_arguments_of_the_adapter_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}="):
        make_skill_vec_env(TWO_GOALS, **{name: value})


def test_seeds_of_checks():
    assert checks.seeds(None, 2) == [None, None] and checks.seeds(3, 2) == [3, 4]
    assert checks.seeds((np.int64(1), None), 2) == [1, None] and checks.seeds(np.array([1, 2]), 2) == [1, 2]


# SB3 ----------------------------------------------------------------------------------------------


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
    assert SkillSpaceVecEnv(env, skills, hold=5).metadata["render_fps"] == rate // 5
    assert SkillSpaceVecEnv(env, skills, hold=100).metadata["render_fps"] == 1


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


def test_wrappers_of_single_environments_still_work():
    env = wrappers.FlattenObservation(gymnasium.make(TWO_GOALS))
    assert env.reset(seed=0)[0].shape == (6,)
