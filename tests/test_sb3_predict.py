"""What SB3's own tests ask of its algorithms, asked of SkillEmbedding: policies, predict() and evaluation."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from toy import Line, make_line, make_model

from skill_agent import SkillEmbedding, SkillPolicy

ONE = {"observation": np.array([100, 1], np.float32), "task": 1}
MANY = {"observation": np.array([[100, 1], [101, 2], [99, 3]], np.float32), "task": np.array([0, 1, 1])}


@pytest.fixture
def model():
    return make_model(make_line(2, n_tasks=2))


# predict() ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize(("observation", "shape", "n"), [(ONE, (1,), 1), (MANY, (3, 1), 3)], ids=["one", "many"])
def test_shapes(model, observation, shape, n, deterministic):
    action, state = model.predict(observation, deterministic=deterministic)
    assert action.shape == shape and action.dtype == np.float32 and len(state.latent) == len(state.age) == n
    action, later = model.predict(observation, state, np.zeros(n, bool), deterministic)
    assert action.shape == shape and (later.latent == state.latent).all()


def test_the_policy_predicts_what_the_model_does(model):
    expected, _ = model.predict(MANY, deterministic=True)
    actual, _ = model.policy.predict(MANY, deterministic=True)
    assert (actual == expected).all()


def test_many_are_predicted_as_one_by_one(model):
    many, _ = model.predict(MANY, deterministic=True)
    ones = [
        model.predict({key: value[i] for key, value in MANY.items()}, deterministic=True)[0] for i in range(len(many))
    ]
    np.testing.assert_allclose(many, ones, rtol=1e-5)


def test_deterministic_actions_repeat_and_others_do_not(model):
    for deterministic in (True, False):
        first, second = (model.predict(MANY, deterministic=deterministic)[0] for _ in range(2))
        assert (first == second).all() == deterministic


def test_the_state_of_another_number_of_observations_is_an_error(model):
    _, state = model.predict(ONE)
    with pytest.raises(ValueError, match=r"'state': 1.*with 3 observations"):
        model.predict(MANY, state)
    with pytest.raises(ValueError, match=r"'episode_start': 2.*with 3 observations"):
        model.predict(MANY, episode_start=np.ones(2, bool))


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (MANY["observation"], "observation"),
        ({"observation": MANY["observation"]}, "task"),
        ({**MANY, "goal": np.zeros(3)}, "goal"),
        ({**MANY, "task": np.array([0, 1])}, "task"),
        ({**MANY, "observation": np.zeros((3, 5), np.float32)}, "shape"),
        ({**MANY, "task": np.array([0, 1, 2])}, "0 to 1"),
        ((MANY, {}), "unpack"),
    ],
    ids=["array", "no task", "unknown key", "too few tasks", "shape", "task out of range", "tuple"],
)
def test_wrong_observations_are_errors(model, observation, message):
    with pytest.raises(ValueError, match=message):
        model.predict(observation)


def test_a_dict_for_a_box_is_an_error():
    with pytest.raises(ValueError, match="Box"):
        make_model(make_line()).predict(MANY)


def test_predict_does_not_disturb_training(model):
    plain, disturbed = make_model(make_line(2, n_tasks=2)), make_model(make_line(2, n_tasks=2))
    plain.learn(40)
    disturbed.learn(40, lambda *_: disturbed.predict(MANY) is not None)
    assert all(torch.equal(a, b) for a, b in zip(plain.policy.parameters(), disturbed.policy.parameters(), strict=True))


# Evaluation ---------------------------------------------------------------------------------------


class Recorder:
    """A model that keeps the latents it acts by."""

    def __init__(self, model):
        self.model, self.latents = model, []

    def predict(self, *args, **kwargs):
        action, state = self.model.predict(*args, **kwargs)
        self.latents.append(state.latent.copy())
        return action, state


def test_evaluation_draws_z_at_episode_starts_and_keeps_it_within(model):
    recorder = Recorder(model)
    evaluate_policy(recorder, make_line(2, n_tasks=2), 4, deterministic=False)
    latents = np.array(recorder.latents)  # (20, 2, Z)
    assert len(latents) == 20
    same = (latents[1:] == latents[:-1]).all(-1)
    assert same[:9].all() and not same[9].any() and same[10:].all()


def test_evaluation_starts_again_where_only_one_environment_ended(model):
    env = make_line(2)
    env.envs[0].unwrapped.length = 5
    recorder = Recorder(make_model(make_line(2)))
    evaluate_policy(recorder, env, 4, deterministic=False)
    latents = np.array(recorder.latents)
    same = (latents[1:] == latents[:-1]).all(-1)
    assert not same[4, 0] and same[4, 1] and not same[9, 1]


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("n_episodes", [1, 2, 5])
def test_evaluate_policy(model, n_episodes, deterministic):
    rewards, lengths = evaluate_policy(
        model, make_line(3, n_tasks=2), n_episodes, deterministic, return_episode_rewards=True
    )
    assert len(rewards) == n_episodes and lengths == [10] * n_episodes


def test_a_policy_is_evaluated_alone_on_a_single_environment(model):
    mean, std = evaluate_policy(model.policy, Monitor(Line(n_tasks=2)), 2)
    assert np.isfinite([mean, std]).all()


# Policies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net_arch", "sizes"),
    [
        ([12], {"actor": [12], "inference": [12], "critics": [12]}),
        ([], {"actor": [], "inference": [], "critics": []}),
        ({"pi": [8], "qf": [6, 7], "inference": [5]}, {"actor": [8], "inference": [5], "critics": [6, 7]}),
        ({"pi": [8]}, {"actor": [8], "inference": [200, 200], "critics": [200, 200]}),
    ],
    ids=["list", "no hidden layer", "dict", "rest by default"],
)
def test_net_arch(net_arch, sizes):
    model = make_model(make_line(), policy_kwargs={"net_arch": net_arch}, learning_starts=0, gradient_steps=1).learn(10)
    for name, expected in sizes.items():
        weights = getattr(model.policy, name).weights
        assert [weight.shape[-1] for weight in weights][:-1] == expected, name


def test_activation():
    policy = make_model(make_line(), policy_kwargs={"net_arch": [8], "activation_fn": torch.nn.ReLU}).policy
    assert isinstance(policy.actor.activation, torch.nn.ReLU) and isinstance(policy.critics.activation, torch.nn.ReLU)


@pytest.mark.parametrize(
    ("optimizer", "kwargs"),
    [(torch.optim.AdamW, {"weight_decay": 0.3}), (torch.optim.RMSprop, None), (torch.optim.Adam, {"eps": 1e-3})],
    ids=["AdamW", "RMSprop", "Adam"],
)
def test_optimizer(optimizer, kwargs):
    policy_kwargs = {"net_arch": [8], "optimizer_class": optimizer, "optimizer_kwargs": kwargs}
    model = make_model(make_line(), policy_kwargs=policy_kwargs, learning_rate=0.01).learn(40)
    assert type(model.policy.optimizer) is optimizer and model._n_updates > 0
    assert {**(kwargs or {}), "lr": 0.01}.items() <= model.policy.optimizer.param_groups[0].items()


def test_a_policy_class_in_place_of_its_name():
    class Own(SkillPolicy):
        pass

    model = SkillEmbedding(Own, make_line(), policy_kwargs={"net_arch": [8]}, train_freq=5, gradient_steps=1)
    assert type(model.learn(10).policy) is Own


def test_training_and_evaluation_mode(model):
    model.learn(40)
    assert model.policy.training, "the last thing learn() did was an update"
    model.predict(MANY)
    assert not model.policy.training
