import csv
import shutil
import sys

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure

from skill_agent import SkillConfig, SkillEmbedding, make_skill_vec_env, objective
from skill_agent.config import EMBEDDINGS
from skill_agent.densities import gaussian_sample
from skill_agent.policy import SkillState
from skill_agent.returns import retrace_targets
from skill_agent.rollouts import rollout

TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"
TINY = {"policy_kwargs": {"net_arch": [16, 16]}, "batch_size": 8, "train_freq": 10, "gradient_steps": 2, "seed": 3}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def make_agent(env_id=TWO_GOALS, n_envs=4, **settings):
    policy = "MlpPolicy" if "FourGoals" in env_id else "MultiInputPolicy"
    env = make_skill_vec_env(env_id, n_envs, seed=5)
    return SkillEmbedding(policy, env, **{**TINY, "learning_starts": 100, **settings})


def sample(agent, batch_size=16):
    return agent.features(agent._sample(batch_size))


def draw(agent, batch):
    return objective.draw(agent.policy, batch, agent._generator)


def inferred(agent, batch, draws=None):
    return objective.inference_log_prob(agent.policy, batch, draws or draw(agent, batch))


def test_two_runs_with_the_same_seed_have_bit_identical_parameters():
    first, second = (make_agent().learn(2_000).policy.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = make_agent(seed=4).learn(2_000).policy.state_dict()
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("embedding", ["gaussian", "bernoulli", "task_id"])
def test_learning_updates_every_network_and_logs_every_term(tmp_path, embedding):
    agent = make_agent(embedding=embedding)
    before = {name: value.detach().clone() for name, value in agent.policy.state_dict().items()}
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(4_000, log_interval=4)
    agent.logger.close()
    for name, value in agent.policy.state_dict().items():
        assert torch.isfinite(value).all(), name
        changes = not (embedding == "task_id" and name == "embedding.table")
        assert torch.equal(value, before[name]) != changes, name
    with open(tmp_path / "progress.csv", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    for name in (
        "reward/task", "reward/inference", "reward/policy_entropy", "loss/critic", "loss/inference", "loss/actor",
        "retrace/mean_trace", "retrace/mean_target", "embedding/entropy", "policy/entropy", "train/learning_rate",
        "rollout/success_rate", "rollout/ep_rew_mean",
    ):  # fmt: skip
        assert np.isfinite(float(last[name])), name


def test_the_target_network_is_copied_every_period():
    agent = make_agent(target_period=7, learning_starts=0, gradient_steps=0)
    agent.learn(400)
    start = agent.policy.critics_target.weights[0].clone()
    agent.train(6, 8)
    assert torch.equal(agent.policy.critics_target.weights[0], start)
    agent.train(1, 8)
    assert torch.equal(agent.policy.critics_target.weights[0], agent.policy.critics.weights[0])
    assert not torch.equal(agent.policy.critics.weights[0], start)


# Each coefficient moves its own term, by the gradient that finite differences give ---------------


def embedding_gradient(agent, batch, **changes):
    agent.config = agent.policy.config = SkillConfig(**{**vars(agent.config), **changes})
    agent._generator.manual_seed(0)
    agent.policy.zero_grad()
    loss, terms = agent.losses(batch, draw(agent, batch))
    loss.backward()
    return terms, {name: p.grad.clone() for name, p in agent.policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("embedding", ["gaussian", "bernoulli"])
def test_a1_adds_the_gradient_of_the_embedding_entropy(embedding):
    agent = make_agent(embedding=embedding, embedding_entropy_coef=0.0).learn(1_000)
    with torch.no_grad():
        agent.policy.embedding.table.add_(0.3 * torch.randn_like(agent.policy.embedding.table))
    batch = sample(agent)
    _, without = embedding_gradient(agent, batch)
    _, with_term = embedding_gradient(agent, batch, embedding_entropy_coef=2.0)
    table, tasks, step = agent.policy.embedding.table, torch.arange(2), 1e-3
    numeric = torch.zeros_like(table)
    for index in np.ndindex(*table.shape):
        values = []
        for sign in (1, -1):
            moved = table.detach().clone().double()
            moved[index] += sign * step
            values.append(agent.policy.embedding_distribution.entropy(moved[tasks]).mean())
        numeric[index] = (values[0] - values[1]) / (2 * step)
    assert numeric.abs().max() > 0.01
    moved = with_term["embedding.table"] - without["embedding.table"]
    torch.testing.assert_close(moved, -2.0 * numeric, atol=1e-4, rtol=1e-3)
    for name in without:
        if name != "embedding.table":
            torch.testing.assert_close(with_term[name], without[name], msg=name)


def test_a2_moves_the_target_by_log_q_and_the_critic_gradient_only():
    agent = make_agent(inference_coef=0.0).learn(1_000)
    batch = sample(agent)
    log_q = inferred(agent, batch).detach() + agent.policy.embedding_distribution.max_entropy
    terms0, without = embedding_gradient(agent, batch)
    terms1, with_term = embedding_gradient(agent, batch, inference_coef=0.5)
    assert not terms0["reward/inference"].any()
    torch.testing.assert_close(terms1["reward/inference"], 0.5 * log_q.clamp(-10, 10))
    for name in without:
        same = torch.allclose(without[name], with_term[name], atol=1e-7)
        assert same != name.startswith("critics."), name


def test_tasks_start_with_the_same_z_or_apart():
    same, apart = make_agent().policy.embedding.table, make_agent(embedding_init_std=2.0).policy.embedding.table
    assert not same.any() and apart[:, :3].std() > 0.5 and not apart[:, 3:].any()
    with pytest.raises(ValueError, match=r"embedding_init_std=-1 is not valid"):
        make_agent(embedding_init_std=-1)


def test_with_inference_channels_log_q_depends_on_these_entries_alone():
    agent = make_agent(inference_channels=(0, 1), segment=2).learn(1_000)
    batch = sample(agent)
    log_q = inferred(agent, batch)

    def changes(**fields):
        return (inferred(agent, batch._replace(**fields)) != log_q).any().item()

    velocity, position = batch.observation.clone(), batch.observation.clone()
    velocity[..., 2:] += 1.0
    position[..., 0] += 1.0
    assert not changes(action=batch.action + 1.0) and not changes(observation=velocity)
    assert changes(observation=position)
    whole = make_agent(segment=2)
    assert whole.policy.inference.weights[0].shape[1] == 2 + 2 * 4
    assert agent.policy.inference.weights[0].shape[1] == 2 * 2
    with pytest.raises(ValueError, match=r"inference_channels=\(4,\) is not valid; choose from 0 to 3"):
        make_agent(inference_channels=(4,))
    with pytest.raises(ValueError, match=r"inference_channels=\(\) is not valid"):
        make_agent(inference_channels=())


def test_inference_noise_blurs_the_states_that_log_q_sees_and_nothing_else():
    agent = make_agent(inference_noise=0.5, segment=2).learn(1_000)
    batch = sample(agent)
    draws = draw(agent, batch)
    assert draws.states.shape == (*batch.action.shape[:1], 1 + batch.action.shape[1], 4)
    assert 0.4 < draws.states.std() < 0.6
    clear = draws._replace(states=None)
    shifted = batch._replace(
        context=batch.context + draws.states[:, :1],
        observation=torch.cat((batch.observation[:, :-1] + draws.states[:, 1:], batch.observation[:, -1:]), dim=1),
    )
    log_q = inferred(agent, batch, draws)
    torch.testing.assert_close(log_q, inferred(agent, shifted, clear))
    assert (log_q - inferred(agent, batch, clear)).abs().max() > 0
    noisy, without = (agent.losses(batch, d)[1] for d in (draws, clear))
    torch.testing.assert_close(noisy["loss/actor"], without["loss/actor"])
    assert draw(make_agent().learn(1_000), batch).states is None
    with pytest.raises(ValueError, match=r"inference_noise=-1 is not valid"):
        make_agent(inference_noise=-1)


def test_a3_moves_reward_and_policy_but_not_embedding_or_inference():
    agent = make_agent(policy_entropy_coef=0.0).learn(1_000)
    batch = sample(agent)
    terms0, without = embedding_gradient(agent, batch)
    terms1, with_term = embedding_gradient(agent, batch, policy_entropy_coef=0.5)
    assert not terms0["reward/policy_entropy"].any() and terms1["reward/policy_entropy"].all()
    for name in without:
        same = torch.allclose(without[name], with_term[name], atol=1e-7)
        # The policy's entropy depends on z, so it reaches the embedding as well, through the reparameterised z.
        assert same == name.startswith("inference."), name
    policy_only = {name: with_term[name] - without[name] for name in without if name.startswith("actor.")}
    direct = torch.autograd.grad(-0.5 * _policy_entropy(agent, batch), list(agent.policy.actor.parameters()))
    for (name, difference), gradient in zip(policy_only.items(), direct, strict=True):
        torch.testing.assert_close(difference, gradient, msg=name, atol=1e-6, rtol=1e-3)


def _policy_entropy(agent, batch):
    agent._generator.manual_seed(0)
    draws = draw(agent, batch)  # the same as in losses()
    state = batch.observation[:, :-1]
    task = torch.eye(agent.policy.n_tasks)[batch.task][:, None].expand(-1, batch.mask.shape[1], -1)
    return objective.actor_loss(agent.policy, state, task, batch, draws, agent._versatility)[1]["policy/entropy"]


# Behaviour ---------------------------------------------------------------------------------------


def test_replay_holds_the_behaviour_that_acted():
    agent = make_agent(learning_starts=10_000, z_period=20, trace_embedding_ratio=True)
    agent.learn(400)  # no update: the present networks are the behaviour
    batch = sample(agent, 64)
    code = agent.policy.embedding_distribution.code(batch.latent)[:, None].expand(-1, batch.mask.shape[1], -1)
    mean, log_std = agent.policy.action_distribution(batch.observation[:, :-1], code)
    from skill_agent.densities import gaussian_log_prob

    valid = batch.mask == 1
    log_prob = gaussian_log_prob(batch.action, mean, log_std)
    torch.testing.assert_close(log_prob[valid], batch.log_prob[valid], atol=1e-5, rtol=1e-5)
    latent_log_prob = agent.policy.embedding_distribution.log_prob(agent.policy.embedding(batch.task), batch.latent)
    torch.testing.assert_close(latent_log_prob, batch.latent_log_prob, atol=1e-5, rtol=1e-5)
    assert (batch.action.abs() > 1).any(), "actions are stored before clipping"
    lengths = np.unique(agent.replay_buffer.stretch[agent.replay_buffer.stretch[:, 0] >= 0, 0], return_counts=True)[1]
    assert set(lengths) == {20, 10}, "z is redrawn every 20 steps and at the episode's end after 50"


def test_predict_carries_z_as_state():
    agent = make_agent()
    observation = agent.env.reset()
    action, state = agent.predict(observation)
    assert action.shape == (4, 2) and isinstance(state, SkillState) and state.latent.shape == (4, 3)
    starts = np.array([False, True, False, False])
    _, later = agent.predict(observation, state, starts)
    changed = (later.latent != state.latent).any(axis=1)
    assert changed.tolist() == [False, True, False, False] and later.age.tolist() == [1, 0, 1, 1]
    single = {"observation": observation["observation"][0], "task": observation["task"][0]}
    action, state = agent.predict(single, deterministic=True)
    assert action.shape == (2,) and agent.action_space.contains(action)
    again, _ = agent.predict(single, deterministic=True)
    assert (action == again).all()


def test_predict_redraws_z_with_a_period():
    agent = make_agent(z_period=3)
    observation, state, draws = agent.env.reset(), None, []
    for _ in range(7):
        _, state = agent.predict(observation, state)
        draws.append(state.latent[0].tolist())
    assert draws[0] == draws[1] == draws[2] != draws[3] == draws[5] != draws[6]


def test_save_and_load_give_equal_actions_and_go_on_learning(tmp_path):
    agent = make_agent().learn(1_000)
    agent.save(tmp_path / "model")
    observation = agent.env.reset()
    loaded = SkillEmbedding.load(tmp_path / "model", env=make_skill_vec_env(TWO_GOALS, 4))
    assert loaded.config == agent.config
    expected, _ = agent.predict(observation, deterministic=True)
    actual, _ = loaded.predict(observation, deterministic=True)
    assert (expected == actual).all()
    loaded.learn(400, reset_num_timesteps=False)
    assert loaded.num_timesteps > agent.num_timesteps
    assert (loaded.replay_buffer.age[0] == 0).all(), "the environments were reset, so z was drawn afresh"


def test_other_environments_work_too():
    agent = SkillEmbedding("MlpPolicy", "Pendulum-v1", **{**TINY, "learning_starts": 50, "train_freq": (1, "episode")})
    agent.learn(450)
    assert agent.num_timesteps == 600 and agent._n_updates == 6  # whole episodes, 2 updates after each
    rewards, lengths = evaluate_policy(agent, agent.env, 2, return_episode_rewards=True)
    assert len(rewards) == 2 and lengths == [200, 200]
    action, _ = agent.predict(agent.env.observation_space.sample())
    assert agent.action_space.contains(action)


def test_a_single_env_of_the_suite_works():
    agent = SkillEmbedding("MultiInputPolicy", gymnasium.make(TWO_GOALS), **{**TINY, "learning_starts": 20})
    agent.learn(150)
    assert agent._n_updates > 0 and len(agent.ep_success_buffer) == 3


def test_a_tiny_training_beats_the_untrained_policy():
    settings = {
        "policy_kwargs": {"net_arch": [32, 32]}, "gamma": 0.95, "window": 5, "n_critics": 1, "target_period": 20,
        "learning_rate": 3e-3, "inference_coef": 0.01, "policy_log_std": (-2.5, 0.0), "gradient_steps": 50,
    }  # fmt: skip
    env = make_skill_vec_env(TWO_GOALS, 32, seed=1, reward_type="shaped")
    agent = SkillEmbedding("MultiInputPolicy", env, seed=1, **settings)
    before = rollout(agent.policy, TWO_GOALS, 64, seed=9).reward.sum(1).mean()
    agent.learn(48_000)
    after = rollout(agent.policy, TWO_GOALS, 64, seed=9).reward.sum(1).mean()
    assert after > before + 8, (before, after)


# Bad input ---------------------------------------------------------------------------------------


def test_bad_settings_are_errors_that_name_the_choices():
    env = make_skill_vec_env(TWO_GOALS, 2)
    with pytest.raises(TypeError, match=r"\['alpha'\].*inference_coef"):
        SkillEmbedding("MultiInputPolicy", env, alpha=1.0)
    with pytest.raises(ValueError, match=rf"embedding='categorical'.*{', '.join(map(repr, EMBEDDINGS))}"):
        SkillEmbedding("MultiInputPolicy", env, embedding="categorical")
    with pytest.raises(ValueError, match=r"window=0"):
        SkillEmbedding("MultiInputPolicy", env, window=0)
    with pytest.raises(ValueError, match=r"\['vf'\].*'pi', 'qf', 'inference'"):
        SkillEmbedding("MultiInputPolicy", env, policy_kwargs={"net_arch": {"vf": [8]}})
    with pytest.raises(TypeError, match=r"not both: \['window'\]"):
        SkillEmbedding("MultiInputPolicy", env, config=SkillConfig(), window=3)
    with pytest.raises(ValueError, match="MultiInputPolicy"):
        SkillEmbedding("MlpPolicy", env)
    with pytest.raises(ValueError, match=r"env_id='SkillEmbed/Nothing-v0'.*PointMassTwoGoals"):
        make_skill_vec_env("SkillEmbed/Nothing-v0")
    with pytest.raises(AssertionError, match="Discrete"):
        SkillEmbedding("MlpPolicy", "CartPole-v1")


def test_predict_rejects_tasks_out_of_range_and_tuples():
    agent = make_agent()
    observation = agent.env.reset()
    with pytest.raises(ValueError, match=r"task=\[0, 1, 2, 0\].*0 to 1"):
        agent.predict({**observation, "task": np.array([0, 1, 2, 0])})
    with pytest.raises(ValueError, match="unpack"):
        agent.predict(gymnasium.make(TWO_GOALS).reset())


def test_importing_the_learner_does_not_change_the_number_of_threads():
    import subprocess

    code = "import torch; n = torch.get_num_threads(); import skill_agent; assert torch.get_num_threads() == n"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("activation", [torch.nn.ELU, torch.nn.Tanh])
def test_gradients_are_those_of_the_loss_and_lie_in_memory_as_the_parameters_do(activation):
    agent = make_agent(policy_kwargs={"net_arch": [8, 8], "activation_fn": activation}).learn(400)
    batch = agent._sample(16)
    draws = draw(agent, batch)
    loss, terms = agent.losses(agent.features(batch), draws)
    agent.policy.optimizer.zero_grad()
    loss.backward()
    found_loss, found_terms, found = agent.gradients(batch, draws)
    assert torch.equal(loss, found_loss) and set(terms) == set(found_terms)
    for parameter, gradient in zip(agent.policy.trained_parameters, found, strict=True):
        assert torch.equal(parameter.grad, gradient) and parameter.is_contiguous() and gradient.is_contiguous()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from torch.compile itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiles C++")
def test_what_is_compiled_is_the_same_and_compiled_once():
    agent = make_agent(compile=True, learning_starts=0, gradient_steps=0).learn(400)
    batch = agent._sample(16)
    draws = draw(agent, batch)
    torch.testing.assert_close(agent._compiled["gradients"](batch, draws), agent.gradients(batch, draws))
    assert all(gradient.is_contiguous() for gradient in agent._compiled["gradients"](batch, draws)[2])
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        assert torch._dynamo.explain(agent.gradients)(batch, draws).graph_break_count == 0
    with torch._dynamo.config.patch(error_on_recompile=True):
        agent.train(3, 16)
        agent.learn(200, reset_num_timesteps=False)
    state, latent, noise = batch.observation[:, 0], batch.latent, draws.action[:, 0]
    torch.testing.assert_close(
        agent._compiled["behaviour"](state, latent, noise), agent.behaviour(state, latent, noise)
    )


@pytest.mark.parametrize(("start", "power", "early_factor"), [(0.0, 4.0, 0.0625), (3.0, 1.0, 2.0)])
def test_versatility_changes_with_a_power_of_progress(start, power, early_factor):
    settings = {"versatility_start": start, "versatility_power": power, "versatility_warmup": 0.5}
    agent = make_agent(**settings, inference_coef=0.1, embedding_entropy_coef=2.0).learn(400)
    agent.lr_schedule = lambda _: 0.0  # one and the same policy
    batch = sample(agent)
    draws, terms = draw(agent, batch), []
    for progress in (0.25, 0.9):
        agent._current_progress_remaining = 1 - progress
        agent.train(1, 8)
        terms.append(agent.losses(batch, draws)[1])
    early, late = terms
    torch.testing.assert_close(early["reward/inference"], early_factor * late["reward/inference"])
    assert late["reward/inference"].abs().max() > 0
    entropy = late["embedding/entropy"]
    difference = 2.0 * (1.0 - early_factor) * entropy
    torch.testing.assert_close(early["loss/actor"] - late["loss/actor"], difference, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"versatility_warmup=2 is not valid; choose a finite number from 0 to 1"):
        make_agent(versatility_warmup=2)
    with pytest.raises(ValueError, match=r"versatility_power=0 is not valid"):
        make_agent(versatility_power=0)


def test_targets_are_those_of_all_values():
    agent = make_agent(retrace_lambda=0.9).learn(1_000)
    batch = sample(agent)
    draws, log_q = draw(agent, batch), torch.randn_like(batch.reward)
    steps = batch.mask.shape[1]
    task = torch.eye(agent.policy.n_tasks)[batch.task][:, None].expand(-1, steps, -1)
    code = agent.policy.embedding_distribution.code(batch.latent)[:, None].expand(-1, steps, -1)
    targets, terms = objective.critic_targets(
        agent.policy, batch, task, code, log_q, draws.next_action, agent.gamma, agent._versatility
    )

    def value(state, action):
        return agent.policy.value(state, action, code, task, target=True, frozen=True).amin(0)

    before, after = batch.observation[:, :-1], batch.observation[:, 1:]
    next_action = gaussian_sample(*agent.policy.action_distribution(after, code), draws.next_action)
    reward = sum(terms[f"reward/{name}"] for name in ("task", "inference", "policy_entropy"))
    expected = retrace_targets(
        value(before, batch.action), value(after, next_action), reward, agent.gamma * batch.discount,
        terms["retrace/mean_trace"],
    )  # fmt: skip
    assert terms["retrace/mean_trace"].mean() > 0.1
    torch.testing.assert_close(targets, expected, atol=1e-5, rtol=1e-5)


# The embedding's own learning rate ----------------------------------------------------------------


@pytest.mark.parametrize("env_id", ["SkillEmbed/PointMassTwoGoals-v0", "SkillEmbed/PointMassRing-v0"])
def test_the_embedding_learns_at_its_own_rate(env_id):
    def steps(rate):
        """How far the first update of Adam, whose steps are as long as the rate, moves embedding and critics."""
        env = make_skill_vec_env(env_id, 4, seed=5)
        settings = {"embedding_init_std": 0.5, "learning_rate": 0.01, "policy_kwargs": {"net_arch": [8]}, "seed": 3}
        agent = SkillEmbedding("MultiInputPolicy", env, embedding_rate=rate, learning_starts=100, **settings)
        agent.learn(200)
        agent.policy.optimizer.state.clear()
        before = {name: value.detach().clone() for name, value in agent.policy.named_parameters()}
        agent.train(1, 8)
        change = {
            name: (value.detach() - before[name]).abs().max().item() for name, value in agent.policy.named_parameters()
        }
        own = max(value for name, value in change.items() if name.startswith("embedding."))
        return own, max(value for name, value in change.items() if name.startswith("critics."))

    slow, fast = steps(0.1), steps(1.0)
    assert fast[0] == pytest.approx(0.01, rel=0.3) and slow[0] == pytest.approx(0.1 * fast[0], rel=0.3)
    assert slow[1] == pytest.approx(fast[1], rel=0.05)


# A warm-up that waits for the tasks ---------------------------------------------------------------


def episodes(*successes):
    """As SB3's buffer has them: of each task, one episode for each of its letters, + or -."""
    return [{"r": 0.0, "task": k, "success": c == "+"} for k, found in enumerate(successes) for c in found]


@pytest.mark.parametrize(
    ("successes", "moves_on"),
    [(("++", "+-"), True), (("++", "--"), False), (("++", "+--"), False), (("++", ""), False), (("", ""), False)],
)
def test_the_warm_up_moves_on_while_every_task_succeeds_and_back_otherwise(successes, moves_on):
    agent = make_agent(versatility_success=0.5, versatility_warmup=1.0, versatility_power=1.0)
    agent.set_logger(configure(None, []))
    agent.versatility_clock, agent._current_progress_remaining = (0.3, 0.4), 0.4
    agent.ep_info_buffer = episodes(*successes)
    expected = 0.5 if moves_on else 0.1
    assert agent._versatility_progress() == pytest.approx(expected)
    assert agent.versatility_clock == pytest.approx((expected, 0.6))
    assert agent._versatility_progress() == pytest.approx(expected), "the training has not gone on"
    agent._current_progress_remaining = 0.9  # `learn` was called anew
    assert agent._versatility_progress() == pytest.approx(expected)
    assert agent.versatility_clock[1] == pytest.approx(0.1)


def test_the_warm_up_stays_between_its_ends():
    agent = make_agent(versatility_success=0.5, versatility_warmup=1.0)
    agent.set_logger(configure(None, []))
    for clock, successes, expected in (((0.1, 0.0), ("-", "-"), 0.0), ((0.9, 0.0), ("+", "+"), 1.0)):
        agent.versatility_clock, agent._current_progress_remaining = clock, 0.2
        agent.ep_info_buffer = episodes(*successes)
        assert agent._versatility_progress() == expected


def test_training_waits_for_the_tasks_with_the_growth_of_a1_and_a2():
    settings = {"versatility_warmup": 0.5, "versatility_power": 1.0, "learning_starts": 50}
    grown = make_agent(**settings).learn(1_200)
    waiting = make_agent(**settings, versatility_success=1.0).learn(1_200)
    assert float(grown._versatility) == 1.0 and float(waiting._versatility) < 0.5


def test_tasks_that_do_not_tell_their_success_are_an_error():
    env = make_skill_vec_env("SkillEmbed/PointMassRing-v0", 4, seed=5)
    agent = SkillEmbedding("MultiInputPolicy", env, versatility_success=0.5, learning_starts=10, device="cpu")
    with pytest.raises(ValueError, match="versatility_success needs tasks with an index"):
        agent.learn(1_000)
