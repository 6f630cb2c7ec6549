"""Rollouts of trained policies: whole episodes, their successes, films, and how well z is inferred from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from skill_agent.filming import film as film
from skill_agent.filming import show_film as show_film
from skill_agent.origin import warn_of_other
from skill_agent.policy import SkillPolicy, SkillState
from skill_agent.transferred import TransferredPolicy
from skill_envs import SkillVectorEnv

Array = NDArray[np.float32]


class Rollouts(NamedTuple):
    """``n`` whole episodes of T steps."""

    state: Array  #: (n, T + 1, S)
    action: Array  #: (n, T, A), before clipping
    reward: Array  #: (n, T)
    success: NDArray[np.bool_]  #: (n, T)
    latent: Array  #: (n, T, Z) z at every step; one and the same in an episode unless z changes over time
    task: NDArray[Any]  #: (n,) int64, or (n, C) float32 parameters


class Step(NamedTuple):
    """What one step of n environments gave."""

    observation: Any  #: (n, ...) or a Dict of such
    reward: NDArray[np.float64]  #: (n,)
    success: NDArray[np.bool_]  #: (n,)


def make_batch(env_id: str, n: int, n_tasks: int, **kwargs: Any) -> VectorEnv[Any, Any, Any]:
    """``n`` environments of the suite in one batch, each for one episode.

    Args:
        env_id: an environment of the suite.
        n: number of environments.
        n_tasks: number of tasks that it must have.
        **kwargs: arguments of `SkillVectorEnv`.

    Raises:
        ValueError: the environment has another number of tasks.
    """
    env = gymnasium.make_vec(env_id, num_envs=n, autoreset_mode="Disabled", **kwargs)
    found = len(_suite(env).tasks)
    if found != n_tasks:
        raise ValueError(f"{env_id} has {found} tasks; the policy has {n_tasks}")
    return env


def _check_parameters(policy: SkillPolicy, env_id: str, env: VectorEnv[Any, Any, Any]) -> None:
    """Check that a policy's tasks have the parameters that the environment's have, or neither has any.

    Raises:
        ValueError: they have not.
    """
    space = env.single_observation_space
    of_env = space["task"] if isinstance(space, spaces.Dict) and isinstance(space["task"], spaces.Box) else None
    of_policy = policy.task_space if isinstance(policy.task_space, spaces.Box) else None
    if of_env != of_policy:
        raise ValueError(f"{env_id} has tasks with parameters in {of_env}; the policy has them in {of_policy}")


def play(env: VectorEnv[Any, Any, Any], observation: Any, choose: Callable[[Any], NDArray[Any]]) -> Iterator[Step]:
    """Step environments from their reset to their horizon: the one loop over episodes.

    Where an episode ends before, which only a divergence of the physics brings about, it earns nothing more.

    Args:
        env: from `make_batch`.
        observation: what its reset gave.
        choose: observations to actions.

    Yields:
        A `Step` for every control step.
    """
    horizon = _suite(env).max_episode_steps
    assert horizon is not None
    ended = np.zeros(env.num_envs, np.bool_)
    for _ in range(horizon):
        over = ended.copy()
        observation, reward, terminated, truncated, info = env.step(choose(observation))
        ended |= terminated | truncated
        yield Step(observation, np.where(over, 0.0, reward), info["is_success"] & ~over)


@torch.no_grad()
def rollout(
    policy: SkillPolicy,
    env_id: str,
    episodes_per_task: int,
    seed: int,
    *,
    discrete: bool = False,
    **kwargs: Any,
) -> Rollouts:
    """Run the policy for whole episodes, all in one batch.

    Args:
        policy: the networks of a trained agent.
        env_id: an environment of the suite with as many tasks as the policy.
        episodes_per_task: episodes of every task, in the order of the tasks; where a task has parameters, each draws
            its own.
        seed: seeds start states, z and actions.
        discrete: draw a Bernoulli z itself, in place of its relaxation.
        **kwargs: arguments of `SkillVectorEnv`, such as ``arc``.

    Raises:
        ValueError: the environment has another number of tasks, or tasks with other parameters.
    """
    generator = torch.Generator().manual_seed(seed)
    tasks: NDArray[Any] = np.arange(policy.n_tasks).repeat(episodes_per_task)
    env = make_batch(env_id, len(tasks), policy.n_tasks, **kwargs)
    _check_parameters(policy, env_id, env)
    warn_of_other(policy, env)
    observation, _ = env.reset(seed=seed, options=_every_task(policy, tasks))
    if isinstance(policy.task_space, spaces.Box):
        tasks = observation["task"]
    task, never = torch.as_tensor(tasks), np.zeros(len(tasks), bool)
    skill: SkillState | None = None
    actions: list[Array] = []
    latents: list[Array] = []

    def choose(observation: Any) -> Array:
        nonlocal skill
        skill = policy.next_state(task, skill, never, generator, mode=False)
        latent = torch.as_tensor(skill.latent)
        if discrete:
            latent = policy.embedding_distribution.discrete(latent)
            skill = skill._replace(latent=latent.numpy())
        latents.append(skill.latent)
        state = torch.as_tensor(_state(observation))
        code = policy.embedding_distribution.code(latent)
        action, _ = policy.act(state, code, policy.action_noise(len(state), generator))
        drawn: Array = action.numpy()
        actions.append(drawn)
        return drawn  # the suite clips it

    steps = list(play(env, observation, choose))
    env.close()
    return Rollouts(
        state=np.stack([_state(observation), *(_state(step.observation) for step in steps)], 1),
        action=np.stack(actions, 1),
        reward=np.stack([step.reward for step in steps], 1).astype(np.float32),
        success=np.stack([step.success for step in steps], 1),
        latent=np.stack(latents, 1),
        task=tasks,
    )


def _every_task(policy: SkillPolicy, tasks: NDArray[Any]) -> dict[str, Any]:
    """Options of a reset with these task indices; parameters are left to the environment's draw."""
    return {} if isinstance(policy.task_space, spaces.Box) else {"task": tasks}


def success_rate(rollouts: Rollouts, n_tasks: int) -> list[float]:
    """Share of episodes of each task that end in the goal region; of all where the one task has parameters."""
    final = rollouts.success[:, -1]
    if rollouts.task.ndim > 1:
        return [float(final.mean())]
    return [float(final[rollouts.task == k].mean()) for k in range(n_tasks)]


@torch.no_grad()
def inference_error(policy: SkillPolicy, rollouts: Rollouts) -> Array:
    """Distance of the mean of q(z|a_i, s_i^H) from z, averaged over the dimensions of z, in code space: (n, T).

    Where q sees the next z as well, it is the mode of p(z' | z, t).
    """
    horizon, segment = rollouts.action.shape[1], policy.config.segment
    state = policy.features(torch.as_tensor(rollouts.state[:, :-1]))
    padding = state[:, :1].expand(-1, segment - 1, -1)
    segments = torch.cat((padding, state), dim=1).unfold(1, segment, 1).transpose(2, 3)  # (n, T, H, S)
    latent, family = torch.as_tensor(rollouts.latent), policy.embedding_distribution
    following = None
    if policy.transition is not None:
        task = torch.as_tensor(rollouts.task).repeat_interleave(horizon, dim=0)
        following = family.code(family.mode(policy.following(latent.flatten(0, 1), task)))
    params = policy.inferred(torch.as_tensor(rollouts.action).flatten(0, 1), segments.flatten(0, 1), following)
    inferred = policy.inference_distribution.mean_code(params).unflatten(0, (-1, horizon))  # (n, T, Z)
    used = family.code(latent)
    error: Array = (inferred - used).abs().mean(-1).numpy()
    return error


@torch.no_grad()
def embedding_kl(policy: SkillPolicy) -> NDArray[np.float64]:
    """KL(p(z|t_i) || p(z|t_j)) [nat] between all tasks, which have no parameters: (T, T)."""
    table = policy.embedding(torch.arange(policy.n_tasks))
    rows = table[:, None].expand(-1, policy.n_tasks, -1)
    kl: NDArray[np.float64] = policy.embedding_distribution.kl(rows, rows.transpose(0, 1)).double().numpy()
    return kl


def episodes(
    policy: TransferredPolicy, env_id: str, n: int, seed: int, deterministic: bool = False, **kwargs: Any
) -> tuple[Array, NDArray[np.bool_]]:
    """Run whole episodes of a one-task environment.

    Args:
        policy: with SB3's ``predict``.
        env_id: an environment of the suite.
        n: episodes, all in one batch.
        seed: seeds start states; actions are drawn from torch's global generator, which is left as it was.
        deterministic: mean z and mean actions.
        **kwargs: arguments of `SkillVectorEnv`, such as ``layout``.

    Returns:
        Rewards and successes, (n, T) each.
    """
    env = make_batch(env_id, n, n_tasks=1, **kwargs)
    warn_of_other(policy, env)
    observation, _ = env.reset(seed=seed)
    choose = _predicting(policy, deterministic)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        steps = list(play(env, observation, choose))
    env.close()
    reward = np.stack([step.reward for step in steps], 1).astype(np.float32)
    success = np.stack([step.success for step in steps], 1)
    return reward, success


def _predicting(policy: SkillPolicy | TransferredPolicy, deterministic: bool = False) -> Callable[[Any], NDArray[Any]]:
    """The policy's ``predict`` as a function of the observation; it keeps the recurrent state of one episode."""
    state: tuple[NDArray[Any], ...] | None = None

    def choose(observation: Any) -> NDArray[Any]:
        nonlocal state
        action, state = policy.predict(observation, state, deterministic=deterministic)
        return action

    return choose


def _suite(env: VectorEnv[Any, Any, Any]) -> SkillVectorEnv:
    vector = env.unwrapped
    assert isinstance(vector, SkillVectorEnv)
    return vector


def _state(observation: Any) -> Array:
    state: Array = observation["observation"] if isinstance(observation, dict) else observation
    return state
