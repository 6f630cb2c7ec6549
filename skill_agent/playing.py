"""Anyone's policy in anyone's tasks, one episode of each environment at a time: for evaluation and for films."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_wrapper

from skill_agent.observations import split_observation_space
from skill_agent.origin import origin_of, warn_of_other
from skill_agent.policy import SkillPolicy
from skill_agent.skill_space import SkillSpaceVecEnv
from skill_agent.tasks import Tasks, make_task_vec_env, name_tasks
from skill_agent.transferred import TransferredPolicy, transferred_of
from skill_agent.vectors import as_vec_env
from skill_envs import ENVIRONMENTS, checks

_MOST_STEPS = 1_000_000  # of an episode
_SUITE_ENVS, _OTHER_ENVS = 64, 8  # stepped together; the suite's are one batch

Played = Tasks | VecEnv | VectorEnv[Any, Any, Any]
Model = Any  # a policy or an algorithm, with SB3's ``predict``


class Moment(NamedTuple):
    """What n environments show before a step."""

    code: NDArray[np.float32] | None  # (n, Z) z in use; None where nothing has one
    success: NDArray[np.bool_] | None  # (n,) at the last step; None where the environments don't say
    over: NDArray[np.bool_]  # (n,) whose episode has ended


class Outcome(NamedTuple):
    """What came of an episode of n environments."""

    returns: NDArray[np.float64]  # (n,) sums of rewards
    success: NDArray[np.bool_] | None  # (n,) at the end; None where the environments don't say


class TaskResult(NamedTuple):
    """What came of the episodes of a task."""

    task: str
    returns: NDArray[np.float64]  # (episodes,)
    success: NDArray[np.bool_] | None  # (episodes,) at the end; None where the environment doesn't say


def player(model: Model) -> Any:
    """What acts in place of a model: the policy of an algorithm, together with the skills that it chooses z for.

    Raises:
        TypeError: it has no ``predict``.
        ValueError: an algorithm that sees what VecNormalize makes of observations.
    """
    if isinstance(model, BaseAlgorithm):
        if model.env is not None and unwrap_vec_wrapper(model.env, SkillSpaceVecEnv) is not None:
            return transferred_of(model)
        normalised = model.get_vec_normalize_env()
        if normalised is not None and normalised.norm_obs and not isinstance(model.policy, SkillPolicy):
            raise ValueError(
                "this algorithm sees what VecNormalize makes of observations, which its policy does not keep; "
                "train with norm_obs=False"
            )
        return model.policy
    if not callable(getattr(model, "predict", None)):
        raise TypeError(f"{model!r:.200} has no predict(); give a policy, or an algorithm of SB3")
    return model


def number_of_tasks(policy: Any) -> int:
    """How many tasks a policy tells apart."""
    return policy.n_tasks if isinstance(policy, SkillPolicy) else _count(_seen_by(policy))


def _seen_by(policy: Any) -> Any:
    """The observation space of what acts; None if it does not say."""
    return policy.skills.box if isinstance(policy, TransferredPolicy) else getattr(policy, "observation_space", None)


def _count(space: Any) -> int:
    task = space.spaces.get("task") if isinstance(space, spaces.Dict) else None
    return int(task.n) if isinstance(task, spaces.Discrete) else 1


@contextmanager
def environments(policy: Any, tasks: Played, n_envs: int, **kwargs: Any) -> Iterator[VecEnv]:
    """Environments of the tasks that a policy can act in; those that are made here are closed in the end.

    Args:
        policy: from `player`.
        tasks: ids, callables or environments as of `make_task_vec_env`, or a vector environment of SB3 or Gymnasium.
        n_envs: number of environments that are made.
        **kwargs: for `make_task_vec_env`.

    Raises:
        ValueError: an unknown id, or tasks that are others than the policy's in number or shape.
    """
    theirs = isinstance(tasks, VecEnv | VectorEnv)
    env = as_vec_env(tasks) if isinstance(tasks, VecEnv | VectorEnv) else make_task_vec_env(tasks, n_envs, **kwargs)
    try:
        _check_spaces(policy, env)
        warn_of_other(policy, env, stacklevel=4)
        yield env
    finally:
        if not theirs:
            env.close()


def _check_spaces(policy: Any, env: VecEnv) -> None:
    """Check that a policy has as many tasks as environments have, with observations and actions of their shapes.

    Raises:
        ValueError: it has not.
    """
    seen = _seen_by(policy)
    if seen is None:
        return
    count, expected = _count(env.observation_space), number_of_tasks(policy)
    if count != expected:
        raise ValueError(f"{_said(env)} has {count} tasks; the policy has {expected}")
    box, task = split_observation_space(env.observation_space)
    actions = policy.skills.action_space if isinstance(policy, TransferredPolicy) else policy.action_space
    own_box, own_task = split_observation_space(seen)
    # A transferred policy sees parameters of its task beside the skills' observations.
    if isinstance(policy, SkillPolicy) and task != own_task:
        raise ValueError(f"{_said(env)} has tasks with parameters in {task}; the policy has them in {own_task}")
    found = {"observations": box.shape, "actions": env.action_space.shape}
    needed = {"observations": own_box.shape, "actions": actions.shape}
    if found != needed:
        raise ValueError(f"{_said(env)} has {_shapes(found)}; the policy has {_shapes(needed)}")


def _said(env: VecEnv) -> str:
    """The environment by its name."""
    origin = origin_of(env)
    return "the environment" if origin is None else origin.environment or ", ".join(origin.tasks)


def _shapes(shapes: dict[str, Any]) -> str:
    return " and ".join(f"{name} of shape {shape}" for name, shape in shapes.items())


def play(
    policy: Any,
    env: VecEnv,
    seed: int,
    tasks: Sequence[int],
    *,
    deterministic: bool = False,
    show: Callable[[Moment], object] | None = None,
) -> Outcome:
    """Play one episode in every environment.

    Args:
        policy: from `player`; its draws are of torch's global generator.
        env: from `environments`.
        seed: environment ``i`` is seeded with ``seed + i``.
        tasks: (n,) task of each environment; not used where there is one.
        deterministic: as of ``predict``.
        show: called before each step, until the last episode has ended.

    Raises:
        ValueError: an episode does not end.
    """
    env.seed(seed)
    if _count(env.observation_space) > 1:
        env.set_options([{"task": int(task)} for task in tasks])
    observation: Any = env.reset()
    n, state = env.num_envs, None
    over, starts = np.zeros(n, np.bool_), np.ones(n, np.bool_)
    returns, success = np.zeros(n), np.zeros(n, np.bool_)
    says = False  # whether the environments tell of success
    for _ in range(_MOST_STEPS):
        action, state = policy.predict(observation, state, starts, deterministic=deterministic)
        if show is not None:
            show(Moment(_code(policy, state), success.copy() if says else None, over.copy()))
        observation, reward, starts, infos = env.step(action)
        # What an environment does after its episode is another one.
        returns += np.where(over, 0.0, reward)
        for i in np.flatnonzero(~over):
            if "is_success" in infos[i]:
                says, success[i] = True, bool(infos[i]["is_success"])
        over |= starts
        if over.all():
            return Outcome(returns, success if says else None)
    raise ValueError(f"{_said(env)}: an episode has not ended after {_MOST_STEPS:,} steps; give it a time limit")


def _code(policy: Any, state: Any) -> NDArray[np.float32] | None:
    """Z in use (n, Z) of a recurrent state, if there is any."""
    if isinstance(policy, TransferredPolicy):
        code: NDArray[np.float32] = state.code
        return code
    if isinstance(policy, SkillPolicy):
        latent = torch.as_tensor(state.latent, device=policy.device)
        return policy.embedding_distribution.code(latent).numpy(force=True)
    return None


def evaluate(
    model: Model,
    tasks: Played,
    episodes: int = 100,
    *,
    seed: int = 0,
    deterministic: bool = False,
    n_envs: int | None = None,
    layout: int = 0,
    done: Callable[[int], object] | None = None,
) -> list[TaskResult]:
    """Play whole episodes of every task, and tell what came of them.

    Args:
        model: skills, a transferred policy, or any algorithm or policy of SB3 with the environment's spaces. Skills
            draw a fresh z for each episode.
        tasks: ids, callables or environments as of `make_task_vec_env`; or a vector environment, of SB3 or Gymnasium,
            which is left open.
        episodes: episodes of each task.
        seed: seeds start states, z and actions; torch's global generator is left as it was.
        deterministic: the mode of z and mean actions, in place of draws.
        n_envs: environments stepped together; by default 64 of the suite, which are one batch, and 8 of others.
        layout: where the fixtures are, of tasks of the suite that have several layouts.
        done: called with the number of episodes that have just ended.

    Returns:
        A `TaskResult` for each task, in their order.

    Raises:
        TypeError: a model or a task of another kind.
        ValueError: an unknown id, an argument out of range, or tasks that are not the model's.
    """
    checks.integer("episodes", episodes, least=1)
    checks.integer("seed", seed, least=0)
    policy = player(model)
    n_tasks = number_of_tasks(policy)
    wanted = np.arange(n_tasks).repeat(episodes)
    if n_envs is None:
        n_envs = _SUITE_ENVS if of_suite(tasks) else _OTHER_ENVS
    n_envs = min(checks.integer("n_envs", n_envs, least=1), len(wanted))
    returns, success = np.zeros(len(wanted)), np.zeros(len(wanted), np.bool_)
    says = True
    with environments(policy, tasks, n_envs, **of_layout(layout, tasks)) as env, torch.random.fork_rng():
        torch.manual_seed(seed)
        for first in range(0, len(wanted), env.num_envs):
            chosen = wanted[first : first + env.num_envs]
            count = len(chosen)
            filled = np.zeros(env.num_envs, np.int64)  # what is left over in the last round counts for nothing
            filled[:count] = chosen
            outcome = play(policy, env, seed + first, filled.tolist(), deterministic=deterministic)
            returns[first : first + count] = outcome.returns[:count]
            says &= outcome.success is not None
            if outcome.success is not None:
                success[first : first + count] = outcome.success[:count]
            if done is not None:
                done(count)
        names = task_names(env, n_tasks)
    results = []
    for k, name in enumerate(names):
        results.append(TaskResult(name, returns[wanted == k], success[wanted == k] if says else None))
    return results


def task_names(env: VecEnv, n_tasks: int) -> list[str]:
    """The tasks by name, or by number where they have none."""
    origin = origin_of(env)
    if origin is not None and len(origin.tasks) == n_tasks:
        return list(origin.tasks)
    return [f"task {k}" for k in range(n_tasks)]


def of_layout(layout: int, tasks: Played) -> dict[str, Any]:
    """A layout as an argument of environments that are made; none for 0, which others than the suite's have too.

    Raises:
        ValueError: the layout of other environments, or of a vector environment, which is made already.
    """
    if layout != 0 and not of_suite(tasks):
        raise ValueError(f"layout={layout!r} is not valid with {tasks!r:.200}; choose 0, or ids of the suite")
    return {"layout": layout} if layout != 0 else {}


def of_suite(tasks: Played) -> bool:
    """Whether all tasks are ids of the suite."""
    if isinstance(tasks, VecEnv | VectorEnv):
        return False
    return all(isinstance(task, str) and task in ENVIRONMENTS for task in name_tasks(tasks).values())
