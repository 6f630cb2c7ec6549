"""The options of the critics, norms and the loss by classes, in the learner."""

import pytest
import torch
from test_agent import draw, make_agent, sample

from skill_agent import SkillEmbedding, load_skills, make_skill_vec_env
from skill_agent.checkpoint import load_checkpoint, save_checkpoint

OPTIONS = [
    {"critic_norm": "layer"},
    {"critic_norm": "rms", "critic_loss": "hl_gauss"},
    {"critic_loss": "hl_gauss", "critic_bins": 31, "critic_support": (-10, 50), "n_critics": 3},
]


def same_parameters(first, second):
    a, b = first.policy.state_dict(), second.policy.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_without_the_options_nothing_changes():
    usual = make_agent().learn(600)
    named = make_agent(critic_norm="none", critic_loss="mse", critic_bins=7, critic_support=(0, 1)).learn(600)
    assert same_parameters(usual, named) and usual._n_updates > 10
    assert not same_parameters(usual, make_agent(critic_norm="layer").learn(600))


@pytest.mark.parametrize("options", OPTIONS)
def test_learning_with_an_option_trains_all_and_goes_on_from_files(options, tmp_path):
    options = {**options, "target_period": 7}
    agent = make_agent(**options)
    start = {name: value.detach().clone() for name, value in agent.policy.state_dict().items()}
    agent.learn(800)
    for name, value in agent.policy.state_dict().items():
        assert value.isfinite().all() and not torch.equal(value, start[name]), name

    checkpoint = save_checkpoint(agent, tmp_path / "checkpoints")
    resumed = make_agent(**options)
    load_checkpoint(resumed, checkpoint)
    for each in (agent, resumed):
        each.learn(400, reset_num_timesteps=False)
    assert same_parameters(agent, resumed)

    agent.save(tmp_path / "model")
    loaded = SkillEmbedding.load(tmp_path / "model", env=make_skill_vec_env("SkillEmbed/PointMassTwoGoals-v0", 4))
    assert loaded.config == agent.config and same_parameters(agent, loaded)
    shared = load_skills(agent.export_skills(tmp_path / "skills", critics=True))
    batch = sample(agent)
    task = torch.eye(2)[batch.task]
    code = agent.policy.embedding_distribution.code(batch.latent)
    arguments = (batch.observation[:, 0], batch.action[:, 0], code, task)
    values = [policy.value(*arguments, target=True, frozen=True) for policy in (agent.policy, shared)]
    assert values[0].shape == (agent.config.n_critics, 16) and torch.equal(*values)


def test_values_start_near_zero_whatever_the_support():
    agent = make_agent(critic_loss="hl_gauss", critic_support=(-20, 300), critic_norm="rms").learn(400)
    fresh, batch = make_agent(critic_loss="hl_gauss", critic_support=(-20, 300), critic_norm="rms"), sample(agent)
    task, code = torch.eye(2)[batch.task], fresh.policy.embedding_distribution.code(batch.latent)
    values = fresh.policy.value(batch.observation[:, 0], batch.action[:, 0], code, task, target=True, frozen=True)
    assert values.abs().max() < 8  # of 320


def test_the_policy_climbs_the_expectation_of_the_first_critic():
    agent = make_agent(critic_loss="hl_gauss").learn(600)
    policy, batch = agent.policy, sample(agent)
    steps = batch.mask.shape[1]
    task = torch.eye(2)[batch.task][:, None].expand(-1, steps, -1)
    code = policy.embedding_distribution.code(batch.latent)[:, None].expand(-1, steps, -1)
    state, action = batch.observation[:, :-1], batch.action.clone().requires_grad_()
    value = policy.value(state, action, code, task, target=False, frozen=True, count=1)
    (found,) = torch.autograd.grad(value.sum(), action)
    inputs = torch.cat((state, action, code, task), -1).flatten(0, -2)
    probabilities = torch.softmax(policy.critics(inputs)[0], -1)
    centres = policy.value_bins().centres(inputs)
    torch.testing.assert_close(value[0].flatten(), (probabilities * centres).sum(-1), atol=1e-4, rtol=1e-4)
    (expected,) = torch.autograd.grad((probabilities * centres).sum(), action)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    assert found.abs().max() > 0


def test_targets_take_the_least_expectation_and_the_share_beyond_the_support_is_logged():
    agent = make_agent(critic_loss="hl_gauss", critic_support=(-20, 120)).learn(600)
    batch = sample(agent)
    draws = draw(agent, batch)
    _, terms = agent.losses(batch, draws)
    target = terms["retrace/mean_target"]
    assert not terms["retrace/clipped"].any()
    outside = batch._replace(reward=batch.reward + 1e3 * (torch.arange(len(batch.reward)) % 2)[:, None])
    _, terms = agent.losses(outside, draws)
    assert terms["retrace/clipped"][1::2].all() and not terms["retrace/clipped"][::2].any()
    assert terms["loss/critic"].isfinite() and target.isfinite().all()
    assert "retrace/clipped" not in make_agent().learn(400).losses(batch, draws)[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from torch.compile itself
def test_with_both_the_gradients_are_one_graph():
    agent = make_agent(critic_loss="hl_gauss", critic_norm="layer", learning_starts=0, gradient_steps=0).learn(400)
    batch = agent._sample(16)
    draws = draw(agent, batch)
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        traced = torch.compile(agent.gradients, backend="aot_eager", dynamic=False, fullgraph=True)
        torch.testing.assert_close(traced(batch, draws), agent.gradients(batch, draws))
