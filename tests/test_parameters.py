"""Tasks with continuous parameters c in place of an index: p(z|c), and all that holds c."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sharing import forge
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from toy import make_model

from skill_agent import (
    CheckpointError,
    SkillConfig,
    SkillEmbedding,
    SkillsFileError,
    SkillSpaceVecEnv,
    TransferredPolicy,
    export_policy,
    load_checkpoint,
    load_policy,
    load_skills,
    make_skill_vec_env,
    objective,
    rollouts,
    save_checkpoint,
)
from skill_agent.distributions import make_distributions, make_embedding
from skill_agent.observations import example_tasks
from skill_agent.skill_space import skill_space

torch.set_num_threads(1)
RING = "SkillEmbed/PointMassRing-v0"
BOUNDS = spaces.Box(np.array([2.0, -3.0], np.float32), np.array([6.0, 1.0], np.float32))
EMBEDDINGS = ("gaussian", "bernoulli", "task_id")


class Slope(gymnasium.Env):
    """A point on a line, whose goal is at c[0] + c[1]; c is drawn anew in each episode."""

    observation_space = spaces.Dict(observation=spaces.Box(-100, 100, (2,), np.float32), task=BOUNDS)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.c = self.np_random.uniform(BOUNDS.low, BOUNDS.high).astype(np.float32)
        self.x, self.steps = 0.0, 0
        return self.observe(), {}

    def step(self, action):
        self.x += float(action[0])
        self.steps += 1
        return self.observe(), -abs(self.x - float(self.c.sum())), False, self.steps == 6, {}

    def observe(self):
        # The second entry tells which c is right.
        return {"observation": np.array([self.x, self.c.sum()], np.float32), "task": self.c}


def make_slope(n_envs=2):
    return make_vec_env(Slope, n_envs, seed=0)


def embedding_of(kind="gaussian", space=BOUNDS, **settings):
    config = SkillConfig(embedding=kind, embedding_net_arch=(8,), **settings)
    family, _ = make_distributions(config, spaces.flatdim(space))
    return family, make_embedding(family, space, config, torch.nn.ELU)


# The embedding ------------------------------------------------------------------------------------


def test_the_context_is_c_between_its_bounds_and_one_hot_of_an_index():
    _, embedding = embedding_of()
    c = torch.tensor([[2.0, 1.0], [4.0, -1.0], [6.0, -3.0]])
    assert embedding.context(c).tolist() == [[-1, 1], [0, 0], [1, -1]]
    wide = spaces.Box(-1.7e38, 1.7e38, (2,), np.float32)
    assert embedding_of(space=wide)[1].context(torch.full((1, 2), 1.7e38)).tolist() == [[1, 1]]
    _, table = embedding_of(space=spaces.Discrete(3))
    assert table.context(torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_it_begins_alike_for_all_c_or_with_means_of_a_given_spread(kind):
    c = example_tasks(BOUNDS, torch.device("cpu"))
    assert BOUNDS.contains(c[0].numpy()) and (c.std(0) > 1).all()
    _, embedding = embedding_of(kind)
    assert (embedding(c) == 0).all()
    family, spread = embedding_of(kind, embedding_init_std=0.7)
    params = spread(c)
    np.testing.assert_allclose(params[:, : family.dim].std(0).detach(), 0.7, rtol=1e-4)
    assert (params[:, family.dim :] == 0).all()  # the standard deviations


@pytest.mark.parametrize("seed", range(10))
def test_a_linear_one_begins_with_every_direction_of_c_in_z(seed):
    torch.manual_seed(seed)
    square = spaces.Box(-1, 1, (2,), np.float32)
    config = SkillConfig(embedding_net_arch=(), embedding_init_std=1.0, embedding_dim=2)
    family, _ = make_distributions(config, 2)
    embedding = make_embedding(family, square, config, torch.nn.ELU)
    (weights,) = embedding.network.weights
    smallest, largest = np.sort(np.linalg.svd(weights[0, :, :2].detach().numpy(), compute_uv=False))
    assert smallest > 0.8 * largest
    c = example_tasks(square, torch.device("cpu"))
    middle = embedding((c[:1] + c[1:2]) / 2)
    np.testing.assert_allclose(middle.detach(), (embedding(c[:1]) + embedding(c[1:2])).detach() / 2, atol=1e-6)


def test_it_learns_a_function_of_c():
    family, embedding = embedding_of()
    c = example_tasks(BOUNDS, torch.device("cpu"))
    goal = embedding.context(c)[:, :1] * torch.tensor([1.0, -1.0, 0.5])
    optimizer = torch.optim.Adam(embedding.parameters(), 1e-2)
    for _ in range(300):
        loss = (family.mode(embedding(c)) - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.01
    assert embedding(c[None]).shape == (1, 256, family.n_params)


def test_with_task_id_c_itself_is_the_code():
    model = make_model(make_slope(), embedding="task_id")
    c = torch.tensor([[2.0, 1.0], [6.0, -3.0]])
    assert model.policy.embedding_distribution.dim == 2
    assert model.policy.draw_latent(c, None).tolist() == [[-1, 1], [1, -1]]
    assert not list(model.policy.embedding.parameters())


# Learning -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_replay_keeps_each_c_with_its_steps_and_all_networks_learn(kind):
    model = make_model(make_slope(3), embedding=kind, trace_embedding_ratio=True)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(120)
    batch = model._sample(64)
    assert batch.task.shape == (64, 2) and batch.task.dtype == torch.float32
    np.testing.assert_allclose(batch.task.sum(1), batch.observation[:, 0, 1], atol=1e-5)
    changed = {name.split(".")[0] for name, value in model.policy.state_dict().items() if (value != before[name]).any()}
    learned = {"actor", "critics", "critics_target", "state_mean", "state_scale"}
    assert changed - {"critics_target"} == learned - {"critics_target"} | (
        set() if kind == "task_id" else {"embedding", "inference"}
    )


def test_the_losses_see_c():
    model = make_model(make_slope()).learn(60)
    batch = model.features(model._sample(8))
    draws = objective.draw(model.policy, batch, torch.Generator().manual_seed(0))
    other = batch._replace(task=torch.as_tensor(BOUNDS.low).expand(8, -1))
    (_, terms), (_, changed) = model.losses(batch, draws), model.losses(other, draws)
    for name in ("loss/critic", "policy/value", "embedding/entropy"):
        assert terms[name] != changed[name], name
    # The entropy is that of the batch's parameters.
    policy = model.policy
    expected = policy.embedding_distribution.entropy(policy.embedding(batch.task)).mean()
    torch.testing.assert_close(terms["embedding/entropy"], expected)


def test_statistics_of_vec_normalize_may_not_change_c():
    env = VecNormalize(make_slope())
    with pytest.raises(
        ValueError, match=r"norm_obs_keys=\['observation', 'task'\] is not valid.*choose \['observation'\]"
    ):
        make_model(env).learn(20)
    model = make_model(VecNormalize(make_slope(), norm_obs_keys=["observation"])).learn(60)
    assert BOUNDS.contains(model._sample(4).task[0].numpy()) and model._n_updates > 0


# Acting -------------------------------------------------------------------------------------------


def observations(n=3):
    c = example_tasks(BOUNDS, torch.device("cpu")).numpy()[:n]
    return {"observation": np.zeros((n, 2), np.float32), "task": c}


def test_predictions_depend_on_c_one_by_one_or_in_a_batch():
    policy = make_model(make_slope(), embedding_init_std=1.0).policy
    batch = observations()
    action, state = policy.predict(batch, deterministic=True)
    assert action.shape == (3, 1) and len(np.unique(state.latent[:, 0])) == 3
    for i in range(3):
        one, alone = policy.predict({key: value[i] for key, value in batch.items()}, deterministic=True)
        np.testing.assert_allclose(one, action[i], atol=1e-5)
        np.testing.assert_allclose(alone.latent[0], state.latent[i], atol=1e-5)
    kept, later = policy.predict({**batch, "task": batch["task"][::-1].copy()}, state, deterministic=True)
    np.testing.assert_array_equal(later.latent, state.latent)  # z is drawn once in an episode
    np.testing.assert_array_equal(kept, action)


@pytest.mark.parametrize(
    ("task", "named"),
    [
        ([[2.0, 1.1]], r"task=\[2.0, 1.1.*choose parameters in Box"), ([[np.nan, 0]], "task.*finite"),
        ([[2.0, 1.0, 0.0]], "task"), ([["2", "1"]], "task"), ([[2.0, 1.0]] * 2, "task"), (3, "task"),
    ],
)  # fmt: skip
def test_what_is_no_c_is_named(task, named):
    policy = make_model(make_slope()).policy
    with pytest.raises(ValueError, match=named):
        policy.predict({"observation": np.zeros((1, 2), np.float32), "task": np.array(task)})


# Files and checkpoints ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_files_hold_what_c_may_be(tmp_path, kind):
    model = make_model(make_slope(), embedding=kind, embedding_net_arch=(5, 4)).learn(60)
    batch = observations()
    expected, _ = model.policy.predict(batch, deterministic=True)
    skills = load_skills(model.export_skills(tmp_path / "skills"))
    assert skills.observation_space == model.observation_space and skills.config == model.config
    np.testing.assert_array_equal(skills.predict(batch, deterministic=True)[0], expected)
    model.save(tmp_path / "model.zip")
    for loaded in (
        SkillEmbedding.load(tmp_path / "model.zip", make_slope(), trust=True),
        SkillEmbedding.load(tmp_path / "skills.safetensors", make_slope()),
    ):
        np.testing.assert_array_equal(loaded.predict(batch, deterministic=True)[0], expected)
        assert loaded.learn(20).num_timesteps >= 20


@pytest.mark.parametrize(
    ("description", "arrays", "named"),
    [
        (lambda d: d.update(task_parameters=1), lambda a: None, "task_parameters=1"),
        (lambda d: d.update(task_parameters=False), lambda a: None, "task_low"),
        (lambda d: d.pop("task_parameters"), lambda a: None, "task_low"),
        (lambda d: None, lambda a: a.pop("task_high"), "task_high"),
        (lambda d: None, lambda a: a.update(task_low=np.full(2, np.nan, np.float32)), "task are not below"),
        (lambda d: None, lambda a: a.update(task_high=np.full(2, np.inf, np.float32)), "finite bounds"),
        (lambda d: None, lambda a: a.update(task_high=np.zeros((2, 1), np.float32)), r"task are \(2,\)"),
        (lambda d: None, lambda a: a.update(task_low=a["task_high"].copy()), "the lower below the upper"),
        (
            lambda d: None,
            lambda a: a.update({f"task_{k}": np.full(2000, v, np.float32) for k, v in (("low", 0), ("high", 1))}),
            r"task are \(2000,\)",
        ),
        (
            lambda d: None,
            lambda a: a.update({f"task_{k}": np.full(3, v, np.float32) for k, v in (("low", 0), ("high", 1))}),
            r"embedding\.network\.weights\.0 is",
        ),
        (lambda d: None, lambda a: a["embedding.network.biases.0"].fill(np.nan), "not finite"),
        (lambda d: d["config"].update(embedding_net_arch=[5] * 17), lambda a: None, "embedding_net_arch"),
        (lambda d: d["config"].update(embedding_net_arch=[10**9]), lambda a: None, r"embedding_net_arch\[0\]=10+"),
        (lambda d: d["config"].update(embedding_net_arch=[4096] * 16), lambda a: None, "parameters; at most"),
        (lambda d: d["config"].update(embedding_net_arch=[9]), lambda a: None, r"embedding\.network\.\w+\.0 is"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, description, arrays, named):
    path = make_model(make_slope(), embedding_net_arch=(8,)).export_skills(tmp_path / "skills")
    forge(path, tmp_path / "forged.safetensors", description, arrays)
    with pytest.raises(SkillsFileError, match=f"forged.*({named})"):
        load_skills(tmp_path / "forged.safetensors")


def test_a_checkpoint_of_another_arc_or_with_other_parameters_is_refused(tmp_path):
    model = make_model(make_skill_vec_env(RING, 2, seed=0)).learn(40)
    model.env.set_options({"task": (0.6, 0.8)})
    path = save_checkpoint(model, tmp_path)
    load_checkpoint(make_model(make_skill_vec_env(RING, 2, seed=0)), path)
    with pytest.raises(CheckpointError, match="held_out"):
        load_checkpoint(make_model(make_skill_vec_env(RING, 2, seed=0, arc="held_out")), path)
    state = model.replay_buffer.state()
    state["rows"]["task"] = state["rows"]["task"].astype(np.float64)
    with pytest.raises(ValueError, match=r"rows/task is float64 .*float32"):
        model.replay_buffer.check_state(state, 1)
    state["rows"]["task"] = np.full_like(model.replay_buffer.state()["rows"]["task"], np.nan)
    with pytest.raises(ValueError, match="rows/task holds nan"):
        model.replay_buffer.check_state(state, 1)


# Rollouts and transfer ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ring():
    return make_model(make_skill_vec_env(RING, 2, seed=0), embedding_init_std=1.0).learn(40).policy


@pytest.fixture(scope="module")
def plain():
    """Skills without parameters, of the same observations."""
    return make_model(make_skill_vec_env("SkillEmbed/PointMassFourGoals-v0", 2, seed=0)).learn(40).policy


def test_rollouts_draw_c_from_the_environment(ring):
    held = rollouts.rollout(ring, RING, 16, seed=0, arc="held_out")
    assert held.task.shape == (16, 2) and (held.task >= 0).all() and held.success.shape == (16, 50)
    assert rollouts.success_rate(held, 1) == [held.success[:, -1].mean()]
    assert rollouts.inference_error(ring, held).shape == (16, 50)
    trained = rollouts.rollout(ring, RING, 16, seed=0)
    assert (trained.task.min(1) < 0).all()
    again = rollouts.rollout(ring, RING, 16, seed=0)
    np.testing.assert_array_equal(trained.state, again.state)


def test_skills_with_and_without_parameters_are_not_taken_for_each_other(ring, plain):
    with pytest.raises(ValueError, match=r"tasks with parameters in Box.*; the policy has them in None"):
        rollouts.rollout(plain, RING, 2, seed=0)
    with pytest.raises(ValueError, match="tasks with parameters in None; the policy has them in Box"):
        rollouts.rollout(ring, "SkillEmbed/PointMassFourGoals-v0", 2, seed=0)


def test_films_show_a_goal_of_their_own(ring):
    frames, fps = rollouts.film(ring, RING, episodes=1, seed=0)
    assert len(frames) == 50 and frames[0].shape == (320, 320, 3) and fps == 10


def test_the_space_of_skills_holds_the_draws_of_all_c(ring):
    draws = ring.draw_latent(example_tasks(ring.task_space, ring.device), torch.Generator().manual_seed(0))
    space = skill_space(ring, width=4.0)
    assert space.shape == (3,) and ring.embedding_distribution.dim == 3
    assert ((draws.detach().numpy() >= space.low) & (draws.detach().numpy() <= space.high)).mean() > 0.99


@pytest.mark.parametrize("of", ["ring", "plain"])
def test_a_transfer_sees_c_behind_the_observation(of, request, tmp_path):
    skills = request.getfixturevalue(of)
    env = SkillSpaceVecEnv(make_skill_vec_env(RING, 3, seed=0), skills, hold=5)
    assert env.observation_space.shape == (6,) and env.observation_space.high[-2:].tolist() == [1, 1]
    observation = env.reset()
    assert observation.shape == (3, 6) and np.allclose(np.hypot(*observation[:, 4:].T), 1)
    for _ in range(10):
        last, (observation, _, done, infos) = observation, env.step(np.zeros((3, 3)))
    assert done.all()
    np.testing.assert_array_equal(infos[0]["terminal_observation"][4:], last[0, 4:])
    settings = {"learning_starts": 8, "policy_kwargs": {"net_arch": [8]}, "device": "cpu"}
    plain_env = make_skill_vec_env(RING, 3, seed=0, arc="held_out")
    for learner in (SAC("MlpPolicy", env, **settings), make_model(env, embedding="task_id")):
        policy = TransferredPolicy(skills, learner.learn(40).policy, 5)
        path = export_policy(policy, tmp_path / type(learner).__name__)
        observation = plain_env.reset()
        action, state = policy.predict(observation, deterministic=True)
        joined = np.concatenate((observation["observation"], observation["task"]), 1)
        np.testing.assert_array_equal(policy.predict(joined, deterministic=True)[0], action)
        np.testing.assert_array_equal(load_policy(path).predict(observation, deterministic=True)[0], action)
        one = {key: value[0] for key, value in observation.items()}
        assert policy.predict(one, deterministic=True)[0].shape == (2,)
        other = {**observation, "task": -observation["task"]}
        assert (policy.predict(other, deterministic=True)[1].code != state.code).any()
        reward, success = rollouts.episodes(policy, RING, 4, seed=0)
        assert reward.shape == success.shape == (4, 50)
        with pytest.raises(ValueError, match=r"observation.*\(3, 6\)"):
            policy.predict(observation["observation"])


def test_what_can_not_be_transferred_is_named(plain):
    with pytest.raises(ValueError, match="transferred to one task, whose observation is a vector"):
        SkillSpaceVecEnv(make_skill_vec_env("SkillEmbed/PointMassTwoGoals-v0", 2), plain)
    env = SkillSpaceVecEnv(make_skill_vec_env("SkillEmbed/PointMassFourGoals-v0", 2, seed=0), plain)
    policy = TransferredPolicy(plain, make_model(env, embedding="task_id").policy, 5)
    with pytest.raises(ValueError, match="observation with keys"):
        policy.predict(make_skill_vec_env(RING, 2, seed=0).reset())
