"""Algorithms that learned over skills, as they are: exported, evaluated and filmed; those that can't be are named."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TQC, TRPO, CrossQ, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.sac.policies import SACPolicy
from toy import make_line

from skill_agent import SkillSpaceVecEnv, TransferredPolicy, export_policy, load_policy, load_skills, make_skill_vec_env
from skill_agent.mappings import mlp_mapping

CORNER = "SkillEmbed/PointMassCorner-v0"
OFF_POLICY = (SAC, TD3, DDPG, TQC, CrossQ)


@pytest.fixture(scope="module")
def pointmass():
    torch.set_num_threads(1)
    return load_skills("pointmass")


def make(algorithm, skills, policy="MlpPolicy", hold=3, wrap=None, **kwargs):
    env = SkillSpaceVecEnv(make_skill_vec_env(CORNER, 4, seed=0), skills, hold)
    settings = {"n_steps": 8}
    if algorithm in OFF_POLICY:
        settings = {"learning_starts": 8, "buffer_size": 100, "batch_size": 4}
    elif algorithm is not A2C:
        settings["batch_size"] = 8
    given = {"policy_kwargs": {"net_arch": [8, 6]}, **settings, **kwargs}
    return algorithm(policy, env if wrap is None else wrap(env), seed=0, device="cpu", **given)


@pytest.mark.parametrize("algorithm", [SAC, TD3, DDPG, PPO, A2C, TQC, TRPO])
def test_an_algorithm_itself_is_exported_as_readmes_example_leaves_it(pointmass, tmp_path, algorithm):
    model = make(algorithm, pointmass).learn(48)
    loaded = load_policy(export_policy(model, tmp_path / "policy"))
    assert loaded.hold == 3 and loaded.origin.environment == CORNER
    observation = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    expected, _ = model.predict(observation, deterministic=True)
    assert np.ptp(expected, axis=0).max() > 0
    np.testing.assert_array_equal(loaded.predict_skill(observation, deterministic=True), expected)


class Doubled(SACPolicy):
    """Its layers are those of SAC, and its predictions are not."""

    def _predict(self, observation, deterministic=False):
        return super()._predict(observation, deterministic) * 0.5


@pytest.mark.parametrize(
    ("algorithm", "kwargs", "named"),
    [
        (SAC, {"policy": Doubled}, "Doubled can't be exported: it predicts otherwise"),
        (CrossQ, {}, "class CrossQPolicy can't be exported; choose .* or of sb3-contrib's TQC or TRPO"),
        (RecurrentPPO, {"policy": "MlpLstmPolicy"}, "RecurrentActorCriticPolicy has a memory"),
    ],
)
def test_a_policy_that_is_more_than_its_layers_is_named(pointmass, tmp_path, algorithm, kwargs, named):
    with pytest.raises(TypeError, match=named):
        export_policy(make(algorithm, pointmass, **kwargs), tmp_path / "policy")
    assert not list(tmp_path.iterdir())


def test_tqc_is_known_by_its_structure_and_needs_no_import_here():
    import skill_agent.mappings as module

    assert "sb3_contrib" not in {name.split(".")[0] for name in vars(module)}


def test_an_algorithm_of_discrete_actions_can_not_choose_z(pointmass):
    model = DQN("MlpPolicy", make_line(action_space=spaces.Discrete(3)), buffer_size=10)
    with pytest.raises(TypeError, match=r"DQNPolicy with actions in Discrete\(3\) can't choose z.*SAC, TD3 or PPO"):
        TransferredPolicy(pointmass, model.policy, 5)
    with pytest.raises(ValueError, match="DQN has no SkillSpaceVecEnv"):
        export_policy(model, "nowhere")


def test_an_algorithm_without_skills_or_with_changed_observations_is_named(pointmass, tmp_path):
    flat = SAC("MlpPolicy", make_line(), buffer_size=10)
    with pytest.raises(ValueError, match=r"SAC has no SkillSpaceVecEnv.*\(skills, model\.policy, hold\)"):
        export_policy(flat, tmp_path / "policy")
    normalised = make(SAC, pointmass, wrap=VecNormalize)
    with pytest.raises(ValueError, match=r"SAC sees what VecNormalize.*norm_obs=False"):
        export_policy(normalised, tmp_path / "policy")
    export_policy(make(SAC, pointmass, wrap=lambda env: VecNormalize(env, norm_obs=False)), tmp_path / "policy")
    with pytest.raises(TypeError, match="give a TransferredPolicy"):
        export_policy(flat.policy, tmp_path / "other")


def test_layers_behind_a_memory_of_the_same_size_are_no_mapping(pointmass):
    networks = {"net_arch": [8], "lstm_hidden_size": 4}  # as long as an observation, so that all sizes fit
    model = make(RecurrentPPO, pointmass, "MlpLstmPolicy", policy_kwargs=networks)
    with pytest.raises(TypeError, match="RecurrentActorCriticPolicy can't be exported: it predicts otherwise"):
        mlp_mapping(model.policy)
