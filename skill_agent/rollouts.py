"""Rollouts of a trained agent, and what the paper measures on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

import skill_envs
from skill_agent.densities import gaussian_sample
from skill_agent.policy import SkillPolicy
from skill_agent.transfer import TransferredPolicy

Array = NDArray[np.float32]
BLOCK = slice(14, 17)  # of an arm's observation: the block's position


class Rollouts(NamedTuple):
    """``n`` whole episodes of T steps, one z each."""

    state: Array  # (n, T + 1, S)
    action: Array  # (n, T, A), before clipping
    reward: Array  # (n, T)
    success: NDArray[np.bool_]  # (n, T)
    latent: Array  # (n, Z)
    task: NDArray[np.int64]  # (n,)


@torch.no_grad()
def rollout(
    policy: SkillPolicy,
    env_id: str,
    episodes_per_task: int,
    seed: int,
    *,
    discrete: bool = False,
) -> Rollouts:
    """Run the policy for whole episodes, all in one batch.

    Args:
        policy: the networks of a trained agent.
        env_id: an environment of the suite with as many tasks as the policy.
        episodes_per_task: episodes of every task, in the order of the tasks.
        seed: seeds start states, z and actions.
        discrete: draw a Bernoulli z itself, in place of its relaxation.

    Raises:
        ValueError: the environment has another number of tasks.
    """
    generator = torch.Generator().manual_seed(seed)
    tasks = np.arange(policy.n_tasks).repeat(episodes_per_task)
    env = gymnasium.make_vec(env_id, num_envs=len(tasks), autoreset_mode="Disabled")
    vector = env.unwrapped
    assert isinstance(vector, skill_envs.SkillVectorEnv) and vector.max_episode_steps is not None
    if len(vector.tasks) != policy.n_tasks:
        raise ValueError(f"{env_id} has {len(vector.tasks)} tasks; the policy has {policy.n_tasks}")
    observation, _ = env.reset(seed=seed, options={"task": tasks})
    latent = policy.draw_latent(torch.as_tensor(tasks), generator)
    if discrete:
        latent = policy.embedding_distribution.discrete(latent)
    code = policy.embedding_distribution.code(latent)
    states, actions, rewards, successes = [_state(observation)], [], [], []
    ended = np.zeros(
        len(tasks), bool
    )  # before the horizon only by a divergence of the physics, which earns nothing more
    for _ in range(vector.max_episode_steps):
        mean, log_std = policy.action_distribution(policy.features(torch.as_tensor(states[-1])), code)
        action = gaussian_sample(mean, log_std, generator).numpy()
        over = ended
        observation, reward, _, ended, info = env.step(np.clip(action, -1, 1))
        ended |= over
        states.append(_state(observation))
        actions.append(action)
        rewards.append(np.where(over, 0.0, reward))
        successes.append(info["is_success"] & ~over)
    env.close()
    return Rollouts(
        np.stack(states, 1),
        np.stack(actions, 1),
        np.stack(rewards, 1).astype(np.float32),
        np.stack(successes, 1),
        latent.numpy(),
        tasks,
    )


def success_rate(rollouts: Rollouts, n_tasks: int) -> list[float]:
    """Share of episodes of each task that end in the goal region."""
    final = rollouts.success[:, -1]
    return [float(final[rollouts.task == k].mean()) for k in range(n_tasks)]


@torch.no_grad()
def inference_error(policy: SkillPolicy, rollouts: Rollouts) -> Array:
    """|mean of q(z|a_i, s_i^H) - z|, averaged over the dimensions of z, in code space: (n, T)."""
    horizon, segment = rollouts.action.shape[1], policy.config.segment
    state = policy.features(torch.as_tensor(rollouts.state[:, :-1]))
    padding = state[:, :1].expand(-1, segment - 1, -1)
    segments = torch.cat((padding, state), dim=1).unfold(1, segment, 1).transpose(2, 3)  # (n, T, H, S)
    params = policy.inferred(torch.as_tensor(rollouts.action).flatten(0, 1), segments.flatten(0, 1))
    inferred = policy.inference_distribution.mean_code(params).unflatten(0, (-1, horizon))  # (n, T, Z)
    used = policy.embedding_distribution.code(torch.as_tensor(rollouts.latent))[:, None]
    error: Array = (inferred - used).abs().mean(-1).numpy()
    return error


@torch.no_grad()
def embedding_kl(policy: SkillPolicy) -> NDArray[np.float64]:
    """KL(p(z|t_i) || p(z|t_j)) [nat] between all tasks: (T, T)."""
    table = policy.embedding(torch.arange(policy.n_tasks))
    rows = table[:, None].expand(-1, policy.n_tasks, -1)
    kl: NDArray[np.float64] = policy.embedding_distribution.kl(rows, rows.transpose(0, 1)).double().numpy()
    return kl


def episodes(
    policy: TransferredPolicy, env_id: str, n: int, seed: int, deterministic: bool = False
) -> tuple[Array, NDArray[np.bool_]]:
    """Run whole episodes of a one-task environment.

    Args:
        policy: with SB3's ``predict``.
        env_id: an environment of the suite.
        n: episodes, all in one batch.
        seed: seeds start states; actions are drawn from torch's global generator, which is left as it was.
        deterministic: mean z and mean actions.

    Returns:
        Rewards and successes, (n, T) each.
    """
    env = gymnasium.make_vec(env_id, num_envs=n, autoreset_mode="Disabled")
    vector = env.unwrapped
    assert isinstance(vector, skill_envs.SkillVectorEnv) and vector.max_episode_steps is not None
    observation, _ = env.reset(seed=seed)
    state, rewards, successes, ended = None, [], [], np.zeros(n, bool)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(vector.max_episode_steps):
            action, state = policy.predict(observation, state, deterministic=deterministic)
            over = ended
            observation, reward, _, ended, info = env.step(action)
            ended |= over
            rewards.append(np.where(over, 0.0, reward))
            successes.append(info["is_success"] & ~over)
    env.close()
    return np.stack(rewards, 1).astype(np.float32), np.stack(successes, 1)


def film(
    policy: SkillPolicy | TransferredPolicy, env_id: str, episodes: int, seed: int
) -> tuple[list[NDArray[np.uint8]], int]:
    """Frames of ``episodes`` episodes for every task, each with a fresh z, side by side by task.

    Args:
        policy: skills, or a transferred policy.
        env_id: its environment.
        episodes: episodes one after the other, for every task at once.
        seed: seeds start states, z and actions; torch's global generator is left as it was.

    Returns:
        Frames (height, width * T, 3) and frames per second.

    Raises:
        RuntimeError: no OpenGL backend is available.
        ValueError: the environment has another number of tasks.
    """
    n_tasks = policy.n_tasks if isinstance(policy, SkillPolicy) else 1
    env = gymnasium.make_vec(
        env_id, num_envs=n_tasks, autoreset_mode="Disabled", render_mode="rgb_array", width=320, height=320
    )
    vector = env.unwrapped
    assert isinstance(vector, skill_envs.SkillVectorEnv) and vector.max_episode_steps is not None
    if len(vector.tasks) != n_tasks:
        raise ValueError(f"{env_id} has {len(vector.tasks)} tasks; the policy has {n_tasks}")
    frames = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for episode in range(episodes):
            observation, _ = env.reset(seed=seed + episode * n_tasks, options={"task": np.arange(n_tasks)})
            state = None
            for _ in range(vector.max_episode_steps):
                frames.append(np.concatenate(vector.render() or (), axis=1))
                action, state = policy.predict(observation, state)
                observation, _, _, _, _ = env.step(action)
    env.close()
    return frames, int(vector.metadata["render_fps"])


def _state(observation: Any) -> Array:
    state: Array = observation["observation"] if isinstance(observation, dict) else observation
    return state
