import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import VecEnvWrapper, VecNormalize
from toy import Line, make_line, make_model

from skill_agent import RunCheckpoint, SkillEmbedding, TrainingDiverged, load_latest, make_skill_vec_env

TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"
TINY = {
    "policy_kwargs": {"net_arch": [16, 16]}, "batch_size": 8, "train_freq": 10, "gradient_steps": 2, "seed": 3,
    "learning_starts": 100, "buffer_size": 600,
}  # fmt: skip


class Broken(VecEnvWrapper):
    """Puts ``value`` into one tensor of step ``at``."""

    def __init__(self, env, tensor, at, value):
        super().__init__(env)
        self.tensor, self.at, self.value, self.steps = tensor, at, value, 0

    def reset(self):
        observation = self.venv.reset()
        if self.at == 0:
            observation["observation"][1, 2] = self.value
        return observation

    def step_wait(self):
        observation, reward, done, infos = self.venv.step_wait()
        self.steps += 1
        if self.steps == self.at:
            if self.tensor == "observation":
                observation["observation"][1, 2] = self.value
            elif self.tensor == "reward":
                reward[2] = self.value
            else:
                infos[3]["terminal_observation"]["observation"][0] = self.value
        return observation, reward, done, infos


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def parameters(agent):
    return {name: value.clone() for name, value in agent.policy.state_dict().items()}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("tensor", "at", "named"),
    [
        ("observation", 0, r"observation\['observation'\] .*\[\[1, 2\]\]"),
        ("observation", 72, r"observation\['observation'\] .*\[\[1, 2\]\]"),
        ("reward", 72, r"reward .*\[\[2\]\]"),
        ("terminal", 100, r"terminal observation of environment 3\['observation'\] .*\[\[0\]\]"),
    ],
)
def test_numbers_of_the_environment(tensor, at, named, value):
    env = Broken(make_skill_vec_env(TWO_GOALS, 4, seed=5), tensor, at, value)
    agent = SkillEmbedding("MultiInputPolicy", env, **TINY)
    with pytest.raises(TrainingDiverged, match=named):
        agent.learn(800)
    assert agent.num_timesteps == 4 * at  # at once
    assert all(value.isfinite().all() for value in agent.policy.state_dict().values())
    assert np.isfinite(agent.replay_buffer.observations).all() and np.isfinite(agent.replay_buffer.rewards).all()


def make_agent():
    return SkillEmbedding("MultiInputPolicy", make_skill_vec_env(TWO_GOALS, 4, seed=5), **TINY)


@pytest.mark.parametrize(("array", "named"), [("rewards", "loss/critic"), ("latent", "loss/inference")])
def test_loss(array, named):
    agent = make_agent().learn(400)
    before, updates = parameters(agent), agent._n_updates
    getattr(agent.replay_buffer, array)[:] = np.nan
    with pytest.raises(TrainingDiverged, match=named):
        agent.train(5, 8)
    after = parameters(agent)
    assert agent._n_updates == updates and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_gradient_of_a_finite_loss(value):
    agent = make_agent().learn(400)
    before = parameters(agent)
    agent.policy.actor.weights[0].register_hook(lambda gradient: gradient.masked_fill(gradient == gradient, value))
    with pytest.raises(TrainingDiverged, match=r"not finite: gradient of actor\.weights\.0$"):
        agent.train(1, 8)
    after = parameters(agent)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_loss_with_finite_gradients():
    agent = make_agent().learn(400)
    losses = agent.losses

    def overflowing(*args):
        loss, terms = losses(*args)
        return loss + torch.inf, {**terms, "loss/actor": terms["loss/actor"] + torch.inf}

    agent.losses = overflowing
    with pytest.raises(TrainingDiverged, match=r"not finite: loss/actor$"):
        agent.train(1, 8)


def test_the_last_good_checkpoint_stays(tmp_path):
    agent = make_agent()
    agent.learn(400, RunCheckpoint(tmp_path, every_steps=200))
    agent.replay_buffer.rewards[:] = np.inf
    with pytest.raises(TrainingDiverged):
        agent.learn(400, RunCheckpoint(tmp_path, every_steps=40), reset_num_timesteps=False)
    resumed = make_agent()
    assert load_latest(resumed, tmp_path)[0].name == "step-000000400"
    resumed.learn(400, reset_num_timesteps=False)
    assert np.isfinite(resumed.replay_buffer.rewards).all()


@pytest.mark.parametrize(
    ("rate", "named"),
    [
        (float("inf"), "the learning rate is inf"),
        (lambda _: float("nan"), "the learning rate is nan"),
        (1e38, "not finite"),
    ],
)
def test_a_learning_rate_that_ruins_parameters_is_an_error_and_they_stay_good(tmp_path, rate, named):
    model = make_model(make_line(2, n_tasks=2))
    model.learn(40)
    before, updates = parameters(model), model._n_updates
    model.lr_schedule = rate if callable(rate) else lambda _: rate
    with pytest.raises(TrainingDiverged, match=named):
        model.learn(200, reset_num_timesteps=False)
    after = parameters(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model._n_updates == updates  # those that were undone don't count
    model.save(tmp_path / "model")


def test_the_last_update_is_checked_as_well(monkeypatch):
    model = make_model(make_line(2, n_tasks=2)).learn(40)
    good = model.policy.optimizer.step

    def ruin(*_):
        good()
        model.policy.actor.weights[0].data[0, 0, 0] = float("nan")

    monkeypatch.setattr(model.policy.optimizer, "step", ruin)
    with pytest.raises(TrainingDiverged, match=r"actor\.weights\.0"):
        model.train(1, 8)


def test_a_model_that_is_not_finite_is_never_saved(tmp_path):
    model = make_model(make_line(2))
    model.policy.critics.biases[0].data[0] = float("inf")
    with pytest.raises(TrainingDiverged, match=r"critics\.biases\.0"):
        model.save(tmp_path / "model")
    with pytest.raises(TrainingDiverged, match=r"critics\.biases\.0"):
        model.policy.save(tmp_path / "policy.pt")
    assert not list(tmp_path.iterdir())


def test_an_action_that_is_not_finite_is_named():
    model = make_model(make_line(2))
    model.policy.actor.biases[0].data[:] = float("nan")
    with pytest.raises(TrainingDiverged, match="action of shape"):
        model.learn(10)


@pytest.mark.parametrize("broken", ["observation", "reward"])
def test_frozen_statistics_hide_no_infinite_number(monkeypatch, broken):
    env = VecNormalize(make_line(2), training=False)
    model = make_model(env)
    good = Line.step

    def step(self, action):
        observation, reward, *rest = good(self, action)
        if self.steps == 3:
            if broken == "reward":
                reward = float("inf")
            else:
                observation[0] = np.inf
        return observation, reward, *rest

    monkeypatch.setattr(Line, "step", step)
    with pytest.raises(TrainingDiverged, match=f"{broken} of shape"):
        model.learn(50)
    assert np.isfinite(model.replay_buffer.observations).all() and np.isfinite(model.replay_buffer.rewards).all()


@pytest.mark.parametrize(
    ("tensor", "value", "named"),
    [
        ("observation", 1e39, r"observation of shape \(2, 2\) is not finite in float32 at \[\[0, 0\]"),
        ("observation", -1e300, r"observation of shape \(2, 2\) is not finite in float32"),
        ("observation", 1e38, "mean of the observations"),
        ("observation", 1e25, "standard deviation of the observations"),
        ("reward", -1e39, "reward of shape"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # SB3 casts rewards itself
def test_finite_numbers_that_float32_can_not_hold(monkeypatch, tensor, value, named):
    """Replay, networks and their statistics are float32, whatever the environment's numbers are."""
    model = make_model(make_line(2, obs_dtype=np.float64))
    good = Line.step

    def step(self, action):
        observation, reward, *rest = good(self, action)
        if self.steps == 3:
            if tensor == "reward":
                reward = value
            else:
                observation[0] = value
        return observation, reward, *rest

    monkeypatch.setattr(Line, "step", step)
    with pytest.raises(TrainingDiverged, match=named):
        model.learn(100)
    assert np.isfinite(model.replay_buffer.observations).all() and np.isfinite(model.replay_buffer.rewards).all()
    assert all(value.isfinite().all() for value in model.policy.state_dict().values())
