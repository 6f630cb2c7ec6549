"""Evaluation of any model in any environments: what counts, what does not, and whom it takes."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import VecNormalize
from toy import Line, make_line, make_model

from skill_agent import SkillSpaceVecEnv, TransferredPolicy, load_policy, load_skills, make_skill_vec_env, rollouts
from skill_agent.filming import film
from skill_agent.playing import environments, evaluate, player

CORNER, DUPLICATE = "SkillEmbed/PointMassCorner-v0", "SkillEmbed/PointMassDuplicate-v0"


class Lengths(gymnasium.Env):
    """An episode whose seed is s has s % 5 + 1 steps, each with a reward of 1; it is a success if s is even."""

    observation_space = spaces.Box(-1000, 1000, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    tells = True

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        # A later episode, which nobody asked for, is long and rich.
        self.left, self.reward, self.even = (
            (seed % 5 + 1, 1.0, seed % 2 == 0) if seed is not None else (50, 100.0, False)
        )
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.left -= 1
        info = {"is_success": self.even} if self.tells else {}
        return np.zeros(2, np.float32), self.reward, self.left == 0, False, info


class Silent(Lengths):
    tells = False


class Endless(Lengths):
    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, {}


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return make_model(make_line())


@pytest.mark.parametrize("n_envs", [1, 3, 8, 20])
def test_one_episode_of_each_seed_counts_however_many_run_together(model, n_envs):
    (result,) = evaluate(model, Lengths, 8, seed=2, n_envs=n_envs)
    seeds = np.arange(2, 10)
    np.testing.assert_array_equal(result.returns, seeds % 5 + 1)
    np.testing.assert_array_equal(result.success, seeds % 2 == 0)
    assert result.task == "Lengths"


def test_an_environment_that_tells_nothing_of_success_has_none_and_one_without_an_end_is_named(model, monkeypatch):
    assert evaluate(model, Silent, 3)[0].success is None
    monkeypatch.setattr("skill_agent.playing._MOST_STEPS", 20)
    with pytest.raises(ValueError, match="Endless: an episode has not ended after 20 steps; give it a time limit"):
        evaluate(model, Endless, 1)


def test_the_suite_gives_what_its_own_rollouts_give():
    policy = load_policy("pointmass")
    before = torch.get_rng_state()
    (found,) = evaluate(policy, CORNER, 20, seed=4, deterministic=True)
    assert torch.equal(before, torch.get_rng_state())
    reward, success = rollouts.episodes(policy, CORNER, 20, seed=4, deterministic=True)
    np.testing.assert_allclose(found.returns, reward.sum(1), rtol=1e-6)
    np.testing.assert_array_equal(found.success, success[:, -1])
    told = []
    tasks = evaluate(load_skills("pointmass"), DUPLICATE, 3, n_envs=5, done=told.append)
    assert [len(task.returns) for task in tasks] == [3] * 4 and told == [5, 5, 2]
    assert np.mean([task.success.mean() for task in tasks]) > 0.8  # each was played at its own task


def test_algorithms_are_taken_as_they_are_with_their_skills_or_without():
    skills = load_skills("pointmass")
    env = SkillSpaceVecEnv(make_skill_vec_env(CORNER, 2, seed=0), skills, 3)
    over_skills = SAC("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, buffer_size=10, seed=0, device="cpu")
    assert isinstance(player(over_skills), TransferredPolicy)
    joined = TransferredPolicy(skills, over_skills.policy, 3)
    for each in (over_skills, joined):
        (found,) = evaluate(each, CORNER, 4, seed=1, deterministic=True)
        np.testing.assert_array_equal(found.returns, evaluate(joined, CORNER, 4, seed=1, deterministic=True)[0].returns)
    frames, fps = film(over_skills, CORNER, 1, seed=0)
    assert len(frames) == 50 and frames[0].shape == (320, 320, 3) and fps == 10
    flat = SAC("MlpPolicy", make_line(), policy_kwargs={"net_arch": [8]}, buffer_size=10, device="cpu")
    assert evaluate(flat, Line, 2)[0].returns.shape == (2,)
    normalised = SAC("MlpPolicy", VecNormalize(make_line()), buffer_size=10, device="cpu")
    with pytest.raises(ValueError, match="sees what VecNormalize makes"):
        evaluate(normalised, Line, 2)
    with pytest.raises(TypeError, match=r"3 has no predict\(\)"):
        evaluate(3, Line, 2)


def test_vector_environments_of_sb3_and_of_gymnasium_are_taken_and_left_open(model):
    theirs = gymnasium.vector.SyncVectorEnv([Line, Line], autoreset_mode="SameStep")
    suite = make_skill_vec_env(CORNER, 3, seed=0)
    for policy, env in ((model, theirs), (model, make_line(3)), (load_policy("pointmass"), suite)):
        (found,) = evaluate(policy, env, 5)
        assert found.returns.shape == (5,)
        env.reset()
    with environments(load_policy("pointmass"), suite, 1) as same:
        assert same is suite


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"episodes": 0}, "episodes=0"),
        ({"episodes": 2.5}, "episodes=2.5"),
        ({"seed": -1}, "seed=-1"),
        ({"n_envs": 0}, "n_envs=0"),
        ({"tasks": "Pendulm-v1"}, "Did you mean: `Pendulum`"),
        ({"tasks": DUPLICATE}, "has 4 tasks; the policy has 1"),
        (
            {"tasks": CORNER},
            r"observations of shape \(4,\) and actions of shape \(2,\); the policy has .*\(2,\) and .*\(1,\)",
        ),
        ({"tasks": "SkillEmbed/PointMassRing-v0"}, "has tasks with parameters in Box"),
    ],
)
def test_wrong_arguments_are_named(model, arguments, named):
    given = {"tasks": Line, "episodes": 1, **arguments}
    with pytest.raises(ValueError, match=named):
        evaluate(model, **given)
