"""Z over time (equation 13): what follows a z, in acting, in the losses, and where nothing is learned of it."""

import numpy as np
import pytest
import torch

from skill_agent import SkillConfig, SkillEmbedding, make_skill_vec_env, objective, rollouts
from skill_agent.densities import gaussian_entropy, gaussian_sample
from skill_agent.returns import retrace_targets
from skill_agent.skill_space import skill_space
from skill_envs import TASKS

PERIOD = 5
TOUR, TWO_GOALS = "SkillEmbed/PointMassTour-v0", "SkillEmbed/PointMassTwoGoals-v0"
LEARNED = {"z_period": PERIOD, "embedding_transition": "learned"}
TINY = {
    "policy_kwargs": {"net_arch": [16, 16]}, "batch_size": 8, "train_freq": 10, "gradient_steps": 2, "seed": 3,
    "learning_starts": 100, "window": 4, "segment": 3, "embedding_init_std": 0.5, "device": "cpu",
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def make(env_id=TWO_GOALS, **settings):
    policy = "MultiInputPolicy" if env_id == TWO_GOALS else "MlpPolicy"
    return SkillEmbedding(policy, make_skill_vec_env(env_id, 4, seed=5), **{**TINY, **settings})


def moved(agent):
    """The agent with a transition that adds something, and a wide one."""
    with torch.no_grad():
        agent.policy.transition.weights[-1].normal_(generator=torch.Generator().manual_seed(1))
    return agent


def sample(agent, count=64):
    batch = agent.features(agent._sample(count))
    agent._generator.manual_seed(0)
    return batch, objective.draw(agent.policy, batch, agent._generator)


def same_networks(learned, other):
    """Give ``learned`` the other's networks; its q does not see the next z, and its transition adds nothing."""
    state = learned.policy.state_dict()
    for name, value in other.policy.state_dict().items():
        state[name] = value
    seen = other.policy.inference.weights[0]
    unseen = torch.zeros(1, learned.policy.embedding_distribution.dim, seen.shape[2])
    state["inference.weights.0"] = torch.cat((seen, unseen), dim=1)
    learned.policy.load_state_dict(state)


# The special case ---------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"embedding": "bernoulli", "inference_noise": 0.1, "n_critics": 1}])
def test_a_transition_that_is_p_of_z_given_t_is_the_redraw_of_z_period(settings):
    settings = {**settings, "z_period": PERIOD, "learning_starts": 10_000}
    again = make(embedding_transition="redraw", **settings)
    learned = make(embedding_transition="learned", **settings)
    same_networks(learned, again)
    for agent in (learned, again):
        agent.learn(240)
    for name, rows in again.replay_buffer.state()["rows"].items():
        np.testing.assert_array_equal(learned.replay_buffer.state()["rows"][name], rows, err_msg=name)

    (batch, draws), (other_batch, other_draws) = sample(learned), sample(again)
    assert all(torch.equal(a, b) for a, b in zip(batch, other_batch, strict=True))
    assert torch.equal(draws.next_latent, other_draws.next_latent)
    assert batch.follows.any() and batch.first.any() and objective._ends(learned.policy, batch).any()
    loss, terms, gradients = learned.gradients(batch, draws)
    other_loss, other_terms, other_gradients = again.gradients(other_batch, other_draws)
    torch.testing.assert_close(loss, other_loss, atol=1e-5, rtol=1e-5)
    for name, term in other_terms.items():
        torch.testing.assert_close(terms[name], term, atol=1e-5, rtol=1e-5, msg=name)
    assert set(terms) - set(other_terms) == {"reward/transition_entropy"} and terms["reward/transition_entropy"] == 0
    found = dict(zip((name for name, _ in named(learned)), gradients, strict=True))
    for (name, parameter), gradient in zip(named(again), other_gradients, strict=True):
        shared = found[name][:, : parameter.shape[1]] if name == "inference.weights.0" else found[name]
        torch.testing.assert_close(shared, gradient, atol=1e-5, rtol=1e-4, msg=name)


def named(agent):
    return [(name, p) for name, p in agent.policy.named_parameters() if p.requires_grad]


def test_z_period_alone_differs_only_in_the_value_behind_a_redraw():
    settings = {"z_period": PERIOD, "learning_starts": 10_000}
    alone, redraw = (make(**settings, embedding_transition=kind).learn(200) for kind in ("none", "redraw"))
    for name, rows in alone.replay_buffer.state()["rows"].items():
        np.testing.assert_array_equal(redraw.replay_buffer.state()["rows"][name], rows, err_msg=name)
    (batch, draws), (_, chain_draws) = sample(alone), sample(redraw)
    terms, chain_terms = alone.losses(batch, draws)[1], redraw.losses(batch, chain_draws)[1]
    for name in set(terms) - {"loss/critic", "retrace/mean_target", "retrace/mean_trace"}:
        of_steps = batch.mask == 1 if terms[name].ndim else ...
        assert torch.equal(terms[name][of_steps], chain_terms[name][of_steps]), name
    targets, chain_targets = terms["retrace/mean_target"], chain_terms["retrace/mean_target"]
    ends = (objective._ends(redraw.policy, batch)[..., 0] & (batch.mask == 1)).any(1)
    inside = (batch.mask == 1) & ~ends[:, None]
    torch.testing.assert_close(targets[inside], chain_targets[inside])
    last = batch.mask.sum(1).long() - 1
    behind = (targets - chain_targets)[torch.arange(len(last)), last].abs()
    assert ends.any() and inside.any() and (behind[ends] > 0).all()


# The learned transition ---------------------------------------------------------------------------


def test_a_z_is_drawn_of_what_follows_the_last_one():
    policy = moved(make(**LEARNED)).policy
    task, never = torch.tensor([0, 1, 1]), np.zeros(3, bool)
    state, generator = None, torch.Generator().manual_seed(4)
    for step in range(2 * PERIOD):
        starts = np.array([False, False, step == PERIOD])
        last, twin = state, torch.Generator().set_state(generator.get_state())
        with torch.no_grad():
            state = policy.next_state(task, last, starts if step else never, generator, False)
            if step == 0:
                params = policy.embedding(task)
            elif step == PERIOD:
                params = policy.following(torch.as_tensor(last.latent), task)
                params[2] = policy.embedding(task)[2]
            else:
                assert (state.latent == last.latent).all()
                continue
            noise = policy.embedding_distribution.noise((3,), twin, policy.device)
            expected = policy.embedding_distribution.sample(params, noise)
        np.testing.assert_array_equal(state.latent, expected.numpy())
    assert not torch.allclose(policy.following(torch.ones(3, 3), task), policy.embedding(task))


def test_targets_bootstrap_with_the_next_z_and_its_entropy():
    agent = moved(make(**LEARNED, embedding_entropy_coef=0.7).learn(300))
    policy, family = agent.policy, agent.policy.embedding_distribution
    batch, draws = sample(agent)
    steps = batch.mask.shape[1]
    task = torch.eye(2)[batch.task][:, None].expand(-1, steps, -1)
    code = batch.latent[:, None].expand(-1, steps, -1)
    following = objective.next_code(policy, batch, draws)
    log_q = torch.randn_like(batch.reward)
    versatility = torch.tensor(0.5)
    targets, terms = objective.critic_targets(
        policy, batch, task, code, log_q, draws.next_action, agent.gamma, versatility, following
    )
    params = policy.following(batch.latent, batch.task)
    torch.testing.assert_close(following, family.sample(params, draws.next_latent))
    gained = gaussian_entropy(family.mean_log_std(params)[1])
    gained = gained - gaussian_entropy(family.mean_log_std(policy.embedding(batch.task))[1])
    # By hand, step by step: the z that acts next, and the worth of its draw where it is another one.
    next_codes, bonus = code.clone(), torch.zeros(code.shape[:2])
    for b in range(len(code)):
        for i in range(steps):
            if batch.age[b, i] == PERIOD - 1:
                next_codes[b, i], bonus[b, i] = following[b], 0.7 * 0.5 * gained[b]
    assert bonus.abs().max() > 0

    def value(state, action, z):
        return policy.value(state, action, z, task, target=True, frozen=True).amin(0)

    before, after = batch.observation[:, :-1], batch.observation[:, 1:]
    next_action = gaussian_sample(*policy.action_distribution(after, next_codes), draws.next_action)
    reward = sum(terms[f"reward/{name}"] for name in ("task", "inference", "policy_entropy"))
    expected = retrace_targets(
        value(before, batch.action, code), value(after, next_action, next_codes) + bonus, reward,
        agent.gamma * batch.discount, terms["retrace/mean_trace"],
    )  # fmt: skip
    valid = batch.mask == 1
    torch.testing.assert_close(targets[valid], expected[valid], atol=1e-5, rtol=1e-5)


def test_each_loss_moves_its_own_networks():
    agent = moved(make(**LEARNED).learn(300))
    batch, draws = sample(agent)
    policy = agent.policy
    following = objective.next_code(policy, batch, draws)
    log_q = objective.inference_log_prob(policy, batch, draws, following)
    assert not following.requires_grad
    other = objective.inference_log_prob(policy, batch, draws, following + 1)
    assert not torch.allclose(log_q, other), "q sees the next z"
    parameters = dict(named(agent))
    touched = torch.autograd.grad(log_q.sum(), list(parameters.values()), allow_unused=True)
    assert {n.split(".")[0] for n, g in zip(parameters, touched, strict=True) if g is not None} == {"inference"}

    task = torch.eye(2)[batch.task][:, None].expand(-1, batch.mask.shape[1], -1)
    state = batch.observation[:, :-1]
    loss = objective.actor_loss(policy, state, task, batch, draws, agent._versatility)[0]
    touched = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    moving = {n.split(".")[0] for n, g in zip(parameters, touched, strict=True) if g is not None}
    assert moving == {"embedding", "actor", "transition"}
    first = batch._replace(follows=torch.zeros_like(batch.follows), first=torch.ones_like(batch.first))
    loss = objective.actor_loss(policy, state, task, first, draws, agent._versatility)[0]
    touched = torch.autograd.grad(loss, list(policy.transition.parameters()), allow_unused=True)
    assert all(g is None or not g.any() for g in touched), "a first z follows nothing"


def test_the_entropy_of_each_draw_is_weighed_by_a1():
    agent = moved(make(**LEARNED).learn(300))
    batch, draws = sample(agent)
    policy, family = agent.policy, agent.policy.embedding_distribution
    terms = agent.losses(batch, draws)[1]
    every = family.entropy(policy.embedding(torch.arange(2))).mean()
    gained = []
    for b in range(len(batch.task)):
        of, last = batch.task[b : b + 1], batch.last_latent[b : b + 1]
        if batch.follows[b]:
            more = family.entropy(policy.following(last, of)) - family.entropy(policy.embedding(of))
            gained.append(more.item())
        else:
            gained.append(0.0)
    torch.testing.assert_close(terms["embedding/entropy"], every + np.float32(np.mean(gained)), atol=1e-5, rtol=1e-5)
    assert abs(np.mean(gained)) > 1e-3


def test_a_z_whose_past_replay_has_lost_is_taken_as_it_is():
    agent = moved(make(**LEARNED).learn(300))
    batch, draws = sample(agent)
    lost = batch._replace(follows=torch.zeros_like(batch.follows), first=torch.zeros_like(batch.first))
    loss = agent.losses(lost, draws)[1]["loss/actor"]
    other = draws._replace(latent=draws.latent + 1)
    assert torch.equal(loss, agent.losses(lost, other)[1]["loss/actor"])
    assert not torch.equal(agent.losses(batch, draws)[1]["loss/actor"], agent.losses(batch, other)[1]["loss/actor"])


def test_new_episodes_after_a_stop_follow_nothing():
    agent = make(**LEARNED, train_freq=7, learning_starts=10_000)
    agent.learn(4 * 7)
    agent.learn(4 * 21)  # the first episodes were left after 7 steps
    batch = agent._sample(400)
    begun = torch.as_tensor(agent.replay_buffer.latent[7])
    fresh = (batch.latent[:, None] == begun).all(-1).any(1)
    assert fresh.any() and not batch.follows[fresh].any() and batch.follows[~fresh].any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from torch.compile itself
def test_losses_of_a_chain_are_one_graph():
    agent = make(**LEARNED, learning_starts=10_000).learn(100)
    batch = agent._sample(16)
    draws = objective.draw(agent.policy, batch, agent._generator)
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        assert torch._dynamo.explain(agent.gradients)(batch, draws).graph_break_count == 0


# Everything else that has to know -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"embedding_transition": "redraw"}, "z_period=None"),
        ({"embedding_transition": "learned"}, "z_period=None"),
        (LEARNED | {"embedding": "task_id"}, "embedding='task_id'"),
        (LEARNED | {"trace_embedding_ratio": True}, "trace_embedding_ratio=True"),
    ],
)
def test_what_a_transition_needs_is_named(settings, named):
    with pytest.raises(ValueError, match=rf"^embedding_transition='\w+' is not valid with {named}"):
        SkillConfig(**settings)


def test_rollouts_change_z_as_the_policy_does():
    agent = moved(make(TOUR, z_period=20, embedding_transition="learned"))
    horizon = TASKS["PointMassTour"].horizon
    found = rollouts.rollout(agent.policy, TOUR, 3, seed=1)
    assert found.latent.shape == (3, horizon, 3)
    changes = (found.latent[:, 1:] != found.latent[:, :-1]).any(-1)
    assert (changes.sum(1) == horizon // 20 - 1).all() and changes[:, 19::20].all()
    assert rollouts.inference_error(agent.policy, found).shape == (3, horizon)
    held = rollouts.rollout(make(TOUR).policy, TOUR, 3, seed=1)
    assert (held.latent == held.latent[:, :1]).all()


@pytest.mark.parametrize("settings", [{}, LEARNED])
def test_tasks_with_parameters_have_chains_too(settings):
    env = make_skill_vec_env("SkillEmbed/PointMassRing-v0", 4, seed=5)
    agent = SkillEmbedding("MultiInputPolicy", env, **TINY, **settings).learn(600)
    found = rollouts.rollout(agent.policy, "SkillEmbed/PointMassRing-v0", 3, seed=1)
    assert (found.latent[:, 1:] != found.latent[:, :-1]).any() == bool(settings)
    assert rollouts.inference_error(agent.policy, found).shape == found.action.shape[:2]
    assert np.isfinite(skill_space(agent.policy).low).all()


def test_the_space_of_a_transfer_holds_every_z_of_the_chain():
    agent = make(TOUR, **LEARNED, embedding_log_std=(-3.0, -2.9))
    with torch.no_grad():
        agent.policy.transition.biases[-1][..., 0] = 2.5  # the first entry jumps at the first change of z
    space, mean = skill_space(agent.policy), agent.policy.embedding.table[0, 0].item()
    assert space.low[0] < mean < mean + 1.5 < space.high[0]


# How it begins ------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", [TOUR, TWO_GOALS, "SkillEmbed/PointMassRing-v0"])
def test_it_may_begin_with_z_that_differ(env_id):
    policy = "MlpPolicy" if env_id == TOUR else "MultiInputPolicy"
    env = make_skill_vec_env(env_id, 4, seed=5)
    agent = SkillEmbedding(policy, env, **{**TINY, **LEARNED, "transition_init_std": 1.5})
    networks = agent.policy
    latent = torch.randn(512, 3)
    task = torch.zeros(512, dtype=torch.long) if env_id != "SkillEmbed/PointMassRing-v0" else torch.rand(512, 2)
    change = (networks.following(latent, task) - networks.embedding(task)).detach()
    assert (change[:, :3].std(0) > 1).all() and (change[:, :3].std(0) < 2.2).all()
    assert (change[:, 3:] == 0).all()  # the standard deviations


def test_the_transition_learns_at_the_rate_of_the_embedding():
    agent = make(**LEARNED, embedding_rate=0.1, transition_init_std=1.0)
    policy = agent.policy
    slow = {id(p) for p in policy.optimizer.param_groups[1]["params"]}
    assert slow == {id(p) for module in (policy.embedding, policy.transition) for p in module.parameters()}
    policy.set_embedding_rate()
    fast_rate, slow_rate = (group["lr"] for group in policy.optimizer.param_groups)
    assert slow_rate == pytest.approx(0.1 * fast_rate)
