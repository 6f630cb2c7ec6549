import numpy as np
import pytest
import torch
from toy import TINY

from skill_agent import TransferredPolicy, load_policy, load_skills, rollouts
from skill_agent.experiments import train
from skill_agent.experiments.tables import Run
from skill_envs import ENVIRONMENTS, TASKS, SkillVectorEnv


def test_a_rollout_is_what_the_environment_says():
    agent = train.build(Run("SkillEmbed/PointMassTwoGoals-v0", 100, TINY, n_envs=2), seed=0)
    first, second = (rollouts.rollout(agent.policy, "SkillEmbed/PointMassTwoGoals-v0", 3, seed=1) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert first.state.shape == (6, 51, 4) and first.task.tolist() == [0, 0, 0, 1, 1, 1]
    for k, name in enumerate(ENVIRONMENTS["SkillEmbed/PointMassTwoGoals-v0"].tasks):
        inside = np.linalg.norm(first.state[first.task == k, 1:, :2] - TASKS[name].goals[0], axis=-1)
        assert ((inside <= TASKS[name].goal_radius) == first.success[first.task == k]).all()
    rates = rollouts.success_rate(first._replace(success=np.array([[0, 1]] * 3 + [[1, 0]] * 3, bool)), 2)
    assert rates == [1.0, 0.0]
    with pytest.raises(ValueError, match="has 4 tasks; the policy has 2"):
        rollouts.rollout(agent.policy, "SkillEmbed/PointMassDuplicate-v0", 3, seed=1)


def test_what_follows_a_divergence_earns_nothing(monkeypatch):
    agent = train.build(Run("SkillEmbed/PointMassTwoGoals-v0", 100, TINY, n_envs=2), seed=0)
    step, count = SkillVectorEnv.step, iter(range(10_000))

    def diverging(self, actions):
        observation, _, terminated, truncated, info = step(self, actions)
        truncated[0] |= next(count) % 50 == 9  # the tenth step of the first episode
        info["is_success"][:] = True
        return observation, np.ones(len(truncated)), terminated, truncated, info

    monkeypatch.setattr(SkillVectorEnv, "step", diverging)
    found = rollouts.rollout(agent.policy, "SkillEmbed/PointMassTwoGoals-v0", 1, seed=0)
    assert found.reward.sum(1).tolist() == [10, 50] and found.success.sum(1).tolist() == [10, 50]
    transferred = TransferredPolicy(load_skills("pointmass"), load_policy("pointmass").mapping, 2)
    reward, success = rollouts.episodes(transferred, "SkillEmbed/PointMassCorner-v0", 2, seed=0)
    assert reward.sum(1).tolist() == success.sum(1).tolist() == [10, 50]


def test_a_film_is_that_of_its_seed():
    policy, before = load_policy("pointmass"), torch.get_rng_state()
    first, again, other = (rollouts.film(policy, "SkillEmbed/PointMassCorner-v0", 1, seed)[0][-1] for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_inference_error_is_zero_for_a_network_that_knows_z():
    agent = train.build(Run("SkillEmbed/PointMassTwoGoals-v0", 100, TINY, n_envs=2), seed=0)
    found = rollouts.rollout(agent.policy, "SkillEmbed/PointMassTwoGoals-v0", 2, seed=1)
    constant = found._replace(latent=np.tile(np.float32([0.5, -0.5, 0.25]), (4, 50, 1)))
    with torch.no_grad():  # the last layer answers (0.5, -0.5, 0.25) whatever it sees
        net = agent.policy.inference
        net.weights[-1].zero_()
        bound = 2 * agent.config.embedding_mean_bound
        net.biases[-1][..., :3] = bound * torch.atanh(torch.tensor([0.5, -0.5, 0.25]) / bound)
    assert rollouts.inference_error(agent.policy, constant) == pytest.approx(0, abs=1e-6)
    shifted = constant._replace(latent=constant.latent + np.float32(0.3))
    assert rollouts.inference_error(agent.policy, shifted) == pytest.approx(0.3, abs=1e-5)
