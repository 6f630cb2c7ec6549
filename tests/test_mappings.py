"""Mappings z = f(x) that SB3's own algorithms learn over frozen skills: as one file, in films, and in acting."""

import functools

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.sac.policies import SACPolicy

from skill_agent import (
    SkillSpaceVecEnv,
    TransferredPolicy,
    export_policy,
    load_policy,
    load_skills,
    make_skill_vec_env,
    rollouts,
    tensorfile,
)
from skill_agent.mappings import MlpMapping, mlp_mapping

CORNER = "SkillEmbed/PointMassCorner-v0"
HOLD = 5
OFF_POLICY = {"learning_starts": 8, "buffer_size": 100, "batch_size": 4}
ON_POLICY = {"n_steps": 8}
LEAKY = functools.partial(torch.nn.LeakyReLU, negative_slope=0.5)


@pytest.fixture(scope="module")
def pointmass():
    torch.set_num_threads(1)
    return load_skills("pointmass")


def make(algorithm, pointmass, steps=0, net_arch=(8, 6), policy="MlpPolicy", **kwargs):
    env = SkillSpaceVecEnv(make_skill_vec_env(CORNER, 4, seed=0), pointmass, HOLD)
    settings = ON_POLICY if algorithm in (PPO, A2C) else OFF_POLICY
    if algorithm is PPO:
        settings = settings | {"batch_size": 8}
    policy_kwargs = {"net_arch": list(net_arch), **kwargs.pop("policy_kwargs", {})}
    model = algorithm(policy, env, policy_kwargs=policy_kwargs, seed=0, device="cpu", **settings, **kwargs)
    return model.learn(steps) if steps else model


@pytest.mark.parametrize(
    ("algorithm", "kwargs"),
    [
        (SAC, {}),
        (SAC, {"policy_kwargs": {"activation_fn": torch.nn.Tanh}}),
        (SAC, {"net_arch": ()}),
        (TD3, {}),
        (TD3, {"net_arch": ()}),
        (DDPG, {"net_arch": (5,)}),
        (PPO, {}),
        (PPO, {"policy_kwargs": {"net_arch": {"pi": [4, 3], "vf": [7]}, "activation_fn": torch.nn.ELU}}),
        (A2C, {"net_arch": ()}),
    ],
    ids=["SAC", "SAC of Tanh", "linear SAC", "TD3", "linear TD3", "DDPG", "PPO", "PPO of two parts", "linear A2C"],
)
def test_the_mapping_of_every_algorithm_is_in_the_file(pointmass, tmp_path, monkeypatch, algorithm, kwargs):
    model = make(algorithm, pointmass, steps=48, **kwargs)
    policy = TransferredPolicy(pointmass, model.policy, HOLD)
    before = torch.get_rng_state()
    path = export_policy(policy, tmp_path / "policy")
    for name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.loads", "torch.load"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("unpickled"))
    loaded = load_policy(path)
    assert torch.equal(before, torch.get_rng_state())
    assert loaded.hold == HOLD and loaded.mapping.action_space == model.action_space
    observation = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    expected = policy.predict_skill(observation, deterministic=True)
    assert np.ptp(expected, axis=0).max() > 0  # it depends on x
    np.testing.assert_array_equal(loaded.predict_skill(observation, deterministic=True), expected)
    np.testing.assert_array_equal(
        loaded.predict_skill(observation[0], deterministic=True), policy.predict_skill(observation[0], True)
    )
    # Draws too are the same, by the same generator.
    drawn = []
    for each in (policy, loaded):
        torch.manual_seed(0)
        drawn.append(each.predict_skill(observation))
    np.testing.assert_allclose(*drawn, rtol=1e-5, atol=1e-6)
    assert (algorithm in (TD3, DDPG)) == np.array_equal(drawn[1], expected)
    first, second = (rollouts.episodes(each, CORNER, 4, seed=1, deterministic=True) for each in (policy, loaded))
    np.testing.assert_array_equal(first[0], second[0])


def test_what_was_loaded_is_exported_again_filmed_and_saved(pointmass, tmp_path):
    model = make(SAC, pointmass)
    first = export_policy(TransferredPolicy(pointmass, model.policy, HOLD), tmp_path / "first")
    second = export_policy(load_policy(first), tmp_path / "second")
    (described, arrays), (described_again, arrays_again) = (tensorfile.read(path) for path in (first, second))
    assert described == described_again and described["mapping"]["kind"] == "mlp"
    assert arrays.keys() == arrays_again.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(arrays_again[name], array, err_msg=name)
    frames, _ = rollouts.film(load_policy(first), CORNER, 1, seed=0)
    assert np.ptp(frames[0]) > 0
    load_policy(first).mapping.save(tmp_path / "mapping.pt")
    observation = np.ones((3, 4), np.float32)
    again = MlpMapping.load(tmp_path / "mapping.pt").predict(observation, deterministic=True)[0]
    np.testing.assert_array_equal(again, model.predict(observation, deterministic=True)[0])


def test_the_file_holds_copies(pointmass):
    model = make(SAC, pointmass)
    mapping = mlp_mapping(model.policy)
    kept = mapping.hidden[0].weight.clone()
    model.policy.actor.latent_pi[0].weight.data.zero_()
    assert torch.equal(mapping.hidden[0].weight, kept)


class OwnExtractor(BaseFeaturesExtractor):
    def __init__(self, space):
        super().__init__(space, 3)
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, observation):
        return self.layer(observation)


class OwnActorPolicy(SACPolicy):
    def make_actor(self, features_extractor=None):
        actor = super().make_actor(features_extractor)
        actor.latent_pi.insert(1, torch.nn.LayerNorm(8))
        return actor


class Constant(BasePolicy):
    def _predict(self, observation, deterministic=False):
        return torch.zeros(len(observation), 3)


@pytest.mark.parametrize(
    ("algorithm", "kwargs", "named"),
    [
        (SAC, {"use_sde": True}, "SACPolicy with use_sde=True"),
        (PPO, {"use_sde": True}, "ActorCriticPolicy with use_sde=True"),
        (PPO, {"policy_kwargs": {"features_extractor_class": OwnExtractor}}, "with a OwnExtractor"),
        (SAC, {"policy_kwargs": {"activation_fn": LEAKY}}, r"LeakyReLU\(negative_slope=0.5\)"),
        (SAC, {"policy": OwnActorPolicy}, "LayerNorm"),
    ],
)
def test_a_part_that_a_file_can_not_hold_is_named(pointmass, tmp_path, algorithm, kwargs, named):
    policy = TransferredPolicy(pointmass, make(algorithm, pointmass, **kwargs).policy, HOLD)
    with pytest.raises(TypeError, match=named):
        export_policy(policy, tmp_path / "policy")
    assert not list(tmp_path.iterdir())


def test_a_policy_of_another_class_is_named(pointmass, tmp_path):
    model = make(SAC, pointmass)
    own = Constant(model.observation_space, model.action_space)
    with pytest.raises(TypeError, match=r"class Constant can't be exported.*SAC, TD3, DDPG, PPO or A2C, or of"):
        export_policy(TransferredPolicy(pointmass, own, HOLD), tmp_path / "policy")
    with pytest.raises(TypeError, match=r"class SAC is not valid.*model\.policy"):
        TransferredPolicy(pointmass, model, HOLD)


def test_a_mapping_that_does_not_fit_the_skills_is_an_error(pointmass):
    policy = make(SAC, pointmass).policy
    for hold in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="hold="):
            TransferredPolicy(pointmass, policy, hold)
    arm = load_skills("lwall")
    with pytest.raises(ValueError, match=r"mapping's observations have shape \(4,\); the skills need \(27,\)"):
        TransferredPolicy(arm, policy, HOLD)
    box = spaces.Box(-1, 1, (2,), np.float32)
    with pytest.raises(ValueError, match=r"mapping's actions have shape \(2,\); the skills need \(3,\)"):
        TransferredPolicy(pointmass, Constant(policy.observation_space, box), HOLD)


@pytest.mark.parametrize("z", [np.zeros((4, 2)), np.zeros((3, 3)), np.zeros(3), np.full((4, 3), np.nan)])
def test_a_wrong_z_is_an_error_at_once(pointmass, z):
    env = SkillSpaceVecEnv(make_skill_vec_env(CORNER, 4, seed=0), pointmass, HOLD)
    env.reset()
    with pytest.raises(ValueError, match=r"the shape is \(4, 3\)|is not finite"):
        env.step(z)


def test_numbers_that_are_not_finite_are_never_written(pointmass, tmp_path):
    model = make(PPO, pointmass)
    model.policy.log_std.data[1] = torch.nan
    with pytest.raises(RuntimeError, match="not finite: log_std"):
        export_policy(TransferredPolicy(pointmass, model.policy, HOLD), tmp_path / "policy")
    assert not list(tmp_path.iterdir())


def forge(path, out, change_description, change_arrays):
    """A file whose digest is right and whose content is not."""
    description, arrays = tensorfile.read(path)
    change_description(description["mapping"])
    change_arrays(arrays)
    out.write_bytes(tensorfile.pack(description, arrays))


def nothing(_):
    return None


@pytest.mark.parametrize(
    ("description", "arrays", "named"),
    [
        (lambda d: d.update(kind="cnn"), nothing, "kind='cnn'"),
        (lambda d: d.update(activation="os.system"), nothing, r"activation='os\.system'"),
        (lambda d: d.update(net_arch=[4_000, 6]), nothing, "size mismatch"),
        (lambda d: d.update(net_arch=[10**12, 6]), nothing, r"a width in net_arch of a mapping=1000000000000"),
        (lambda d: d.update(net_arch=[8, 0]), nothing, "a width in net_arch of a mapping=0"),
        (lambda d: d.update(net_arch=[1] * 10**3), nothing, "at most 16 layers"),
        (lambda d: d.update(spread="wide"), nothing, "spread='wide'"),
        (lambda d: d.update(spread="none"), nothing, r"log_std\.weight"),
        (lambda d: d.update(squash="yes"), nothing, "squash='yes'"),
        (nothing, lambda a: a.pop("mapping/mean.bias"), r"mean\.bias"),
        (nothing, lambda a: a.update({"mapping/more": np.zeros(3, np.float32)}), "more"),
        (nothing, lambda a: a.update({"mapping/mean.bias": np.zeros(3, np.float64)}), "float64"),
        (nothing, lambda a: a.update({"mapping/mean.bias": np.full(3, np.nan, np.float32)}), r"mean\.bias"),
        (nothing, lambda a: a.update({"mapping/action_high": np.full(3, np.inf, np.float32)}), "bounds of z"),
        (nothing, lambda a: a.update({"mapping/action_high": np.zeros(2, np.float32)}), "bounds of the action"),
        (nothing, lambda a: a.update({"mapping/observation_low": np.full(4, np.nan, np.float32)}), "bounds of the obs"),
        (nothing, lambda a: a.update({"mapping/observation_low": np.zeros((), np.float32)}), "bounds of the obs"),
    ],
)
def test_a_wrong_description_is_an_error(pointmass, tmp_path, description, arrays, named):
    path = export_policy(TransferredPolicy(pointmass, make(SAC, pointmass).policy, HOLD), tmp_path / "policy")
    forge(path, tmp_path / "forged.safetensors", description, arrays)
    with pytest.raises(ValueError, match=named):
        load_policy(tmp_path / "forged.safetensors")
