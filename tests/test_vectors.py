"""Vector environments of Gymnasium serve where SB3's do, step by step as SB3's own; Dicts of vectors are flat."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from toy import Line, make_model

from skill_agent import SkillEmbedding, SkillSpaceVecEnv, load_skills, make_skill_vec_env, transfer
from skill_agent.vectors import FlatVecEnv, GymVecEnv, as_vec_env

TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"
SPACE = spaces.Dict(
    desired_goal=spaces.Box(-9, 9, (2,)), observation=spaces.Box(-1e3, 1e3, (2, 2)), achieved_goal=spaces.Box(-9, 9, ())
)


class Uneven(Line):
    """Episodes of 3, 4 or 5 steps, by chance; every second one terminates. Infos say the step."""

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=seed)
        self.length, self.terminates = int(self.np_random.integers(3, 6)), bool(self.np_random.integers(2))
        return observation, {"begun": True}

    def step(self, action):
        *step, info = super().step(action)
        return *step, {**info, "step": self.steps, "nested": {"x": self.x}}


class Goals(Uneven):
    def __init__(self):
        super().__init__()
        self.observation_space = SPACE

    def observe(self):
        return {
            "desired_goal": np.array([1.0, 2.0], np.float32),
            "observation": np.array([[self.x, self.steps], [3.0, 4.0]], np.float32),
            "achieved_goal": np.array(0.5, np.float32),
        }


def assert_same(mine, theirs):
    if isinstance(theirs, dict):
        assert mine.keys() == theirs.keys()
        for key in theirs:
            assert_same(mine[key], theirs[key])
    else:
        np.testing.assert_array_equal(mine, theirs)


def modes():
    for mode in AutoresetMode:
        yield pytest.param(lambda fns, mode=mode: SyncVectorEnv(fns, autoreset_mode=mode), id=f"sync-{mode.value}")
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP):
        yield pytest.param(lambda fns, mode=mode: AsyncVectorEnv(fns, autoreset_mode=mode), id=f"async-{mode.value}")


@pytest.mark.parametrize("make", list(modes()))
@pytest.mark.parametrize("cls", [Uneven, Goals])
def test_every_mode_is_step_by_step_what_sb3_does(make, cls):
    mine, theirs = GymVecEnv(make([cls] * 3)), DummyVecEnv([cls] * 3)
    for env in (mine, theirs):
        env.seed(5)
    assert_same(mine.reset(), theirs.reset())
    ends = set()
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 3, 1)).astype(np.float32):
        (observation, reward, done, infos), expected = mine.step(action), theirs.step(action)
        assert_same(observation, expected[0])
        np.testing.assert_array_equal(reward, expected[1])
        np.testing.assert_array_equal(done, expected[2])
        for i, (info, other) in enumerate(zip(infos, expected[3], strict=True)):
            assert_same({"TimeLimit.truncated": False, **info}, other)
            ends.add(done[i] and info["TimeLimit.truncated"])
            if done[i]:
                assert mine.reset_infos[i]["begun"]
    assert reward.dtype == np.float32 and ends == {False, True}
    mine.close()


def test_they_serve_the_learner_sac_and_a_transfer():
    model = make_model(SyncVectorEnv([Line] * 2)).learn(60)
    assert {episode["l"] for episode in model.ep_info_buffer} == {10} and model.policy.origin is None
    make_model(gymnasium.make_vec(TWO_GOALS, num_envs=2)).learn(40)
    held = SkillSpaceVecEnv(SyncVectorEnv([Line] * 2, autoreset_mode=AutoresetMode.SAME_STEP), model.policy, hold=2)
    SAC("MlpPolicy", held, learning_starts=4).learn(12)
    tiny = {"policy_kwargs": {"net_arch": [8]}, "bf16": False, "gradient_steps": 1, "train_freq": 2, "hold": 2}
    env = SyncVectorEnv([Line] * 2)
    assert transfer(model, env, 40, **tiny).hold == 2
    env.reset()  # it is left open


def test_a_batch_of_the_suite_is_the_same_from_either_side():
    mine, usual = as_vec_env(gymnasium.make_vec(TWO_GOALS, num_envs=3)), make_skill_vec_env(TWO_GOALS, 3)
    for env in (mine, usual):
        env.seed(1)
    assert_same(mine.reset(), usual.reset())
    assert type(mine.unwrapped) is type(usual.unwrapped)


class Custom(VectorEnv):
    """Neither Gymnasium's own nor SAME_STEP."""

    num_envs = 2
    single_observation_space, single_action_space = spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,))
    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012


UNLIKE = {
    "custom": Custom,
    "async without shared memory": lambda: AsyncVectorEnv([Line] * 2, shared_memory=False),
    "suite": lambda: gymnasium.make_vec(TWO_GOALS, 2, autoreset_mode="NextStep"),
}


@pytest.mark.parametrize("kind", list(UNLIKE))
def test_a_mode_that_can_not_be_sb3s_is_named(kind):
    env = UNLIKE[kind]()
    with pytest.raises(ValueError, match=r"autoreset_mode=.*choose SAME_STEP"):
        SkillEmbedding("MlpPolicy", env)
    if isinstance(env, AsyncVectorEnv):
        env.close()


def test_what_is_no_vector_environment_is_named():
    with pytest.raises(TypeError, match="choose a vector environment"):
        as_vec_env(Line())


def test_options_are_the_same_for_all():
    env = GymVecEnv(SyncVectorEnv([Line] * 2))
    env.set_options([{"a": 1}, {"a": 2}])
    with pytest.raises(ValueError, match="takes the same for all"):
        env.reset()


def test_attributes_reach_single_environments_where_they_can():
    env = GymVecEnv(SyncVectorEnv([Line] * 2))
    env.reset()
    assert env.get_attr("length") == [10, 10] and env.get_attr("length", 1) == [10]
    env.set_attr("length", 3, indices=1)
    assert env.get_attr("length") == [10, 3]
    assert len(env.env_method("observe", indices=[0])) == 1
    assert env.has_attr("length") and not env.has_attr("nothing")
    apart = GymVecEnv(AsyncVectorEnv([Line] * 2))
    assert not apart.has_attr("length")
    with pytest.raises(AttributeError, match="choose a SyncVectorEnv"):
        apart.env_method("observe")
    apart.reset()
    apart.close()


# Dicts of vectors ---------------------------------------------------------------------------------


def test_a_dict_of_vectors_is_flat_in_the_order_that_the_file_keeps(tmp_path):
    model = make_model(make_vec_env(Goals, 2)).learn(40)
    keys = tuple(SPACE.spaces)
    assert load_skills(model.export_skills(tmp_path / "skills")).origin.observation_keys == keys
    assert model.env.observation_keys == list(keys) and model.observation_space.shape == (7,)
    raw, flat = make_vec_env(Goals, 2, seed=3), FlatVecEnv(make_vec_env(Goals, 2, seed=3))
    before, after = raw.reset(), flat.reset()
    for _ in range(8):
        for i in range(2):
            expected = np.concatenate([np.ravel(before[key][i]) for key in keys])
            np.testing.assert_array_equal(after[i], expected)
            assert flat.observation_space.contains(after[i])
        before, _, done, infos = raw.step(np.zeros((2, 1), np.float32))
        after, _, _, own = flat.step(np.zeros((2, 1), np.float32))
        for i in np.flatnonzero(done):
            last = infos[i]["terminal_observation"]
            expected = np.concatenate([np.ravel(last[key]) for key in keys])
            np.testing.assert_array_equal(own[i]["terminal_observation"], expected)


def test_a_single_goal_environment_and_a_vector_environment_of_them_are_learned_from():
    for env in (Goals(), SyncVectorEnv([Goals] * 2)):
        assert make_model(env).learn(30).observation_space.shape == (7,)


def test_what_was_normalised_before_is_refused():
    env = VecNormalize(make_vec_env(Goals, 2))
    with pytest.raises(ValueError, match="normalised before it is flat"):
        make_model(env)
    make_model(VecNormalize(as_vec_env(make_vec_env(Goals, 2)))).learn(30)


class Camera(Line):
    def __init__(self, alone):
        super().__init__()
        image = spaces.Box(0, 255, (8, 8, 3), np.uint8)
        self.observation_space = image if alone else spaces.Dict(camera=image, joints=spaces.Box(-1, 1, (2,)))


@pytest.mark.parametrize("alone", [False, True])
def test_images_are_refused(alone):
    with pytest.raises(ValueError, match="image, which these networks can't see"):
        SkillEmbedding("MultiInputPolicy", Camera(alone))
