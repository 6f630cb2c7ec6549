"""Anyone's tasks as one vector environment: Gymnasium ids, callables or environments of equal spaces.

A `TaskEnv` holds one environment a task and draws a task at each episode start. Its observation is what
`skill_agent.SkillEmbedding` learns from: a Dict of "observation" (a flat Box) and "task" (Discrete), or the flat Box
alone where there is one task.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import CloudpickleWrapper

from skill_agent import env_states
from skill_agent.origin import LONGEST_NAME, of_tasks
from skill_agent.vec import SkillVecEnv, SkillVecMonitor
from skill_envs import ENVIRONMENTS, TASKS, SkillVectorEnv, checks, saved

_MOST_ENVS = 10_000  # more fill the memory before the first step

Task = str | Callable[[], gymnasium.Env[Any, Any]] | gymnasium.Env[Any, Any]
Tasks = Mapping[str, Task] | Sequence[Task] | Task


class TaskEnv(gymnasium.Env[Any, NDArray[Any]]):
    """One task of several, drawn uniformly at each episode start or fixed by ``options={"task": k}``.

    Attributes:
        task_names: names of the tasks, in the order of their indices.
        observation_keys: keys of a Dict observation, in the order in which they are flattened; empty for a Box.
        origin: what networks that are trained on it keep of it.
    """

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        """Make one environment a task.

        Args:
            tasks: name to Gymnasium id, callable that makes an environment, or environment.

        Raises:
            ValueError: no task, spaces that differ or can't be learned from, or an unknown id.
        """
        if not tasks:
            raise ValueError(f"tasks={tasks!r} is not valid; give at least one task")
        self.task_names = list(tasks)
        self._envs = [_make(name, task) for name, task in tasks.items()]
        _check_equal_spaces(self.task_names, self._envs)
        first = self._envs[0]
        box, self.observation_keys = flat_box(first.observation_space)
        self.observation_space: spaces.Space[Any] = box
        if len(self._envs) > 1:
            self.observation_space = spaces.Dict(observation=box, task=spaces.Discrete(len(self._envs)))
        if not isinstance(first.action_space, spaces.Box):
            raise ValueError(f"{first.action_space} is not valid as an action space; choose tasks with a Box")
        self.action_space = first.action_space
        self.metadata = dict(first.metadata)
        self.render_mode = first.render_mode
        self.origin = of_tasks(dict(zip(self.task_names, self._envs, strict=True)), self.observation_keys)
        self.task = 0
        self._seeds: dict[int, int] = {}  # of tasks whose environment has not begun since the seed was given
        self._begun: set[int] = set()  # tasks whose environment was ever reset

    @property
    def present(self) -> gymnasium.Env[Any, Any]:
        """The environment of the present task."""
        return self._envs[self.task]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode of a task.

        Args:
            seed: seeds the draw of the task and, once each, the tasks' environments.
            options: "task" fixes the task's index; the rest goes to its environment.

        Raises:
            ValueError: a task out of range.
        """
        super().reset(seed=seed)
        given = dict(options or {})
        drawn = int(self.np_random.integers(len(self._envs)))
        self.task = checks.integer("options['task']", given.pop("task", drawn), 0, len(self._envs) - 1)
        if seed is not None:
            # Every task's environment is seeded now, whichever is drawn first.
            self._seeds = {k: seed for k in range(len(self._envs))}
        self._begun.add(self.task)
        first_seed = self._seeds.pop(self.task, None)
        observation, info = self._envs[self.task].reset(seed=first_seed, options=given or None)
        return self._observe(observation), {**info, "task": self.task_names[self.task]}

    def step(self, action: NDArray[Any]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the task's environment; ``info["is_success"]`` is also taken from "success"."""
        observation, reward, terminated, truncated, info = self._envs[self.task].step(action)
        info = {**info, "task": self.task_names[self.task]}
        if "is_success" not in info and "success" in info:
            info["is_success"] = bool(info["success"])
        return self._observe(observation), float(reward), bool(terminated), bool(truncated), info

    def state(self) -> dict[str, Any] | None:
        """What changes from step to step, for checkpoints; None if an environment of a task can't give its state.

        See `skill_agent.env_states` for what an environment needs for that.
        """
        states: list[Any] = []
        for k, env in enumerate(self._envs):
            # Before its first episode there is nothing to ask for.
            state = env_states.of_env(env) if k in self._begun else None
            if state is None and (k in self._begun or not env_states.gives(env)):
                return None
            states.append(state)
        seeds = [self._seeds.get(k) for k in range(len(self._envs))]
        return {
            "task": self.task,
            "generator": self.np_random.bit_generator.state,
            "seeds": seeds,
            "envs": states,
        }

    def check_state(self, kept: Any) -> None:
        """Check that a state is one of `state`.

        Raises:
            ValueError: an entry is not; the message begins with its name.
        """
        saved.entries(kept, ("task", "generator", "seeds", "envs"))
        count = len(self._envs)
        checks.integer("task", kept["task"], 0, count - 1)
        saved.generator("generator", kept["generator"])
        for k, seed in enumerate(saved.sequence("seeds", kept["seeds"], count)):
            if seed is not None:
                checks.integer(f"seeds/{k}", seed, 0)
        for k, state in enumerate(saved.sequence("envs", kept["envs"], count)):
            if state is not None or k == kept["task"]:
                with saved.within(f"envs/{k}"):
                    env_states.check_env(self._envs[k], state)

    def wrong_state(self, kept: Any) -> str:
        """What `check_state` finds wrong; empty if nothing is."""
        try:
            self.check_state(kept)
        except ValueError as error:
            return str(error)
        return ""

    def set_state(self, kept: dict[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises:
            ValueError: a task's environment does not take its state.
        """
        self.task = kept["task"]
        self.np_random = saved.generator("generator", kept["generator"])
        self._seeds = {k: seed for k, seed in enumerate(kept["seeds"]) if seed is not None}
        self._begun = {k for k, state in enumerate(kept["envs"]) if state is not None}
        for k in sorted(self._begun):
            env_states.set_env(self._envs[k], kept["envs"][k])

    def render(self) -> Any:
        """Draw the task's environment."""
        return self._envs[self.task].render()

    def close(self) -> None:
        """Close every task's environment."""
        for env in self._envs:
            env.close()

    def _observe(self, observation: Any) -> Any:
        if self.observation_keys:
            parts = [np.ravel(observation[key]) for key in self.observation_keys]
            flat = np.concatenate(parts).astype(np.float32)
        else:
            flat = np.ravel(observation).astype(np.float32)
        return flat if len(self._envs) == 1 else {"observation": flat, "task": self.task}


def flat_box(space: spaces.Space[Any]) -> tuple[spaces.Box, list[str]]:
    """The flat float32 Box of an observation space, and the keys of a Dict in the order of its entries.

    Args:
        space: a Box of any shape, or a Dict of Boxes, as goal environments and several sensors have it.

    Raises:
        ValueError: an image, or a space of another kind.
    """
    keys = list(space.spaces) if isinstance(space, spaces.Dict) else []
    parts = [space.spaces[key] for key in keys] if isinstance(space, spaces.Dict) else [space]
    low, high = [], []
    for part in parts:
        if not isinstance(part, spaces.Box):
            raise ValueError(f"{part} is not valid as an observation; choose a Box, or a Dict of Boxes")
        if is_image_space(part):
            raise ValueError(f"{part} is an image, which these networks can't see; choose observations of vectors")
        low.append(np.ravel(part.low))
        high.append(np.ravel(part.high))
    lows, highs = (np.concatenate(bounds).astype(np.float32) for bounds in (low, high))
    return spaces.Box(lows, highs, dtype=np.float32), keys


def make_task_vec_env(
    tasks: Tasks,
    n_envs: int = 1,
    seed: int | None = None,
    *,
    vec_env_cls: Callable[..., VecEnv] = DummyVecEnv,
    **kwargs: Any,
) -> SkillVecMonitor:
    """Make a vector environment of several tasks, monitored, for SB3 and `skill_agent.SkillEmbedding`.

    An id of this project's suite gives its batched environment, as `make_skill_vec_env` does; so do several ids of its
    single tasks together. All else runs as ``n_envs`` copies of `TaskEnv` in an SB3 vector environment.

    Args:
        tasks: name to task; a list of tasks, named by their ids; or one task. A task is a Gymnasium id such as
            "Pendulum-v1", a callable that makes an environment, or an environment.
        n_envs: number of environments stepped together.
        seed: environment ``i`` is seeded with ``seed + i`` at the first reset; None for no seed.
        vec_env_cls: SB3's DummyVecEnv, or SubprocVecEnv for slow environments, each in a process of its own; a
            ``partial(SubprocVecEnv, start_method="fork")`` serves too. The suite's batch needs neither.
        **kwargs: of the suite's environments, or for `gymnasium.make` of each id.

    Raises:
        RuntimeError: other processes end before they have made their environments.
        TypeError: a task or ``vec_env_cls`` of another kind.
        ValueError: no task, an unknown id, spaces that differ, images, an invalid number or seed, a callable that gives
            one environment again and again, or a task that can't be sent to another process.
    """
    checks.integer("n_envs", n_envs, 1, _MOST_ENVS)
    if seed is not None:
        checks.integer("seed", seed, 0, 2**32 - 1)
    named = name_tasks(tasks)
    if not named:
        raise ValueError(f"tasks={tasks!r} is not valid; give at least one task")
    for name in named:
        if not 1 <= len(name) <= LONGEST_NAME:
            raise ValueError(f"the task name {name!r:.80} is not valid; choose 1 to at most {LONGEST_NAME} characters")
    batched = _batched_tasks(named)
    if batched is not None:
        return _batched(batched, n_envs, seed, kwargs)
    makers = {name: _maker(name, task, n_envs, kwargs) for name, task in named.items()}
    env = _vector(makers, n_envs, vec_env_cls)
    env.seed(seed)
    return SkillVecMonitor(env)


def name_tasks(tasks: Tasks) -> dict[str, Task]:
    """The tasks by name; a list's are named by their ids, callables' names or classes, numbered where these repeat."""
    if isinstance(tasks, Mapping):
        return {str(name): task for name, task in tasks.items()}
    listed = list(tasks) if isinstance(tasks, Sequence) and not isinstance(tasks, str) else [tasks]
    named: dict[str, Task] = {}
    for task in listed:
        name = _name(task)
        same = sum(other == name or other.startswith(f"{name} #") for other in named)
        named[f"{name} #{same + 1}" if same else name] = task
    return named


def _name(task: Any) -> str:
    if isinstance(task, str):
        return task
    if isinstance(task, gymnasium.Env):
        return task.spec.id if task.spec is not None else type(task.unwrapped).__name__
    return str(getattr(task, "__name__", type(task).__name__))


def _batched_tasks(named: Mapping[str, Task]) -> tuple[str, ...] | None:
    """Names of the suite's tasks if all of ``named`` are ids of the suite that one batch can run; else None."""
    if not all(isinstance(task, str) and task in ENVIRONMENTS for task in named.values()):
        return None
    environments = [ENVIRONMENTS[str(task)] for task in named.values()]
    if len(environments) > 1 and any(len(environment.tasks) > 1 for environment in environments):
        raise ValueError(f"tasks={dict(named)} are not valid together; choose ids of one task each, or one id")
    tasks = tuple(name for environment in environments for name in environment.tasks)
    first = TASKS[tasks[0]]
    same = all((TASKS[name].observation, TASKS[name].action) == (first.observation, first.action) for name in tasks)
    return tasks if same else None


def _batched(tasks: tuple[str, ...], n_envs: int, seed: int | None, kwargs: dict[str, Any]) -> SkillVecMonitor:
    horizon = max(TASKS[name].horizon for name in tasks)
    env = SkillVecEnv(SkillVectorEnv(tasks, n_envs, **{"max_episode_steps": horizon, **kwargs}))
    env.seed(seed)
    return SkillVecMonitor(env)


def _maker(name: str, task: Task, n_envs: int, kwargs: dict[str, Any]) -> Task:
    """What makes an environment of a task as often as it is needed."""
    if isinstance(task, str):
        _register(task)
        # Another process may not know what this one has registered. Ids such as "module:Name-v0" import it themselves.
        return partial(_make_id, task, kwargs, gymnasium.registry.get(task))
    if not isinstance(task, gymnasium.Env):
        if not callable(task):
            raise TypeError(f"task {name!r} is {task!r}; give a Gymnasium id, a callable or an environment")
        return task
    if n_envs == 1:
        return task
    if task.spec is not None:
        return partial(gymnasium.make, copy.deepcopy(task.spec))
    return partial(_copy, name, task)


def _vector(makers: Mapping[str, Task], n_envs: int, vec_env_cls: Callable[..., VecEnv]) -> VecEnv:
    """``n_envs`` environments of the tasks."""
    if not callable(vec_env_cls):
        raise TypeError(f"vec_env_cls={vec_env_cls!r} is not valid; choose SB3's DummyVecEnv or SubprocVecEnv")
    here = isinstance(vec_env_cls, type) and issubclass(vec_env_cls, DummyVecEnv)
    if not here:
        # What is wrong with a task is found here, since errors of other processes reach nobody.
        tried = TaskEnv(makers)
        if not any(isinstance(task, gymnasium.Env) for task in makers.values()):
            tried.close()
    try:
        env = vec_env_cls([partial(TaskEnv, makers) for _ in range(n_envs)])
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        raise RuntimeError(
            "the other processes ended before they had made their environments; they wrote why. A script that starts "
            "processes needs \"if __name__ == '__main__':\" before what it does"
        ) from error
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        for name, task in makers.items():
            _check_sendable(name, task)
        raise TypeError(f"vec_env_cls={vec_env_cls!r} is not valid ({error}); choose SB3's SubprocVecEnv") from error
    if isinstance(env, DummyVecEnv):
        inner = [id(single.unwrapped) for task_env in env.envs for single in _all_of(task_env)]
        shared = len(set(inner)) < len(inner) and len(env.envs) > 1
        if shared:
            raise ValueError(
                f"tasks={list(makers)} are not valid: a callable gives the same environment again; make a new one at "
                "every call"
            )
    return env


def _all_of(env: gymnasium.Env[Any, Any]) -> list[gymnasium.Env[Any, Any]]:
    """The environments of all tasks."""
    assert isinstance(env, TaskEnv)
    return env._envs


def _check_sendable(name: str, task: Task) -> None:
    """Check that a task can be sent to another process.

    Raises:
        ValueError: it can't.
    """
    try:
        pickle.dumps(CloudpickleWrapper(task))
    except Exception as error:
        raise ValueError(
            f"task {name!r} can't be sent to another process ({error}); give a Gymnasium id, or a callable that makes "
            "the environment there"
        ) from error


def _copy(name: str, env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    try:
        return copy.deepcopy(env)
    except Exception as error:
        raise ValueError(
            f"task {name!r}: {env} can't be copied for several environments ({error}); give a callable"
        ) from error


def check_id(env_id: str) -> None:
    """Check that an id is registered; nothing is made, and no module is imported that a stranger's id names.

    Raises:
        ValueError: it is not, or the package that registers it is missing.
    """
    _register(env_id)
    if env_id not in gymnasium.registry:
        meant = checks.did_you_mean(env_id, [*ENVIRONMENTS, *gymnasium.registry])
        raise ValueError(
            f"env_id={env_id!r} is not valid; choose from {list(ENVIRONMENTS)}, or another id of Gymnasium{meant}"
        )


def _register(env_id: str) -> None:
    """Make sure that ids of dm_control are known, if this is one: Shimmy registers them."""
    if not env_id.startswith("dm_control/"):
        return
    try:
        import shimmy
    except ImportError as error:
        raise ValueError(f"task {env_id!r} needs the package shimmy: pip install 'shimmy[dm-control]'") from error
    if env_id not in gymnasium.registry:  # registered once; again would warn of every id
        gymnasium.register_envs(shimmy)


def _make_id(env_id: str, kwargs: dict[str, Any], spec: EnvSpec | None = None) -> gymnasium.Env[Any, Any]:
    _register(env_id)
    try:
        return gymnasium.make(spec or env_id, **kwargs)
    except gymnasium.error.Error as error:
        raise ValueError(f"task {env_id!r} is not valid: {error}") from error


def _make(name: str, task: Task) -> gymnasium.Env[Any, Any]:
    env = _make_id(task, {}) if isinstance(task, str) else task
    if not isinstance(env, gymnasium.Env):
        if not callable(env):
            raise TypeError(f"task {name!r} is {task!r}; give a Gymnasium id, a callable or an environment")
        env = env()
    if not isinstance(env, gymnasium.Env):
        raise TypeError(f"task {name!r} made {env!r}, which is no gymnasium.Env")
    return env


def _check_equal_spaces(names: Sequence[str], envs: Sequence[gymnasium.Env[Any, Any]]) -> None:
    for kind in ("observation_space", "action_space"):
        first = getattr(envs[0], kind)
        for name, env in zip(names, envs, strict=True):
            space = getattr(env, kind)
            if space != first:
                raise ValueError(
                    f"tasks need equal spaces: the {kind} of {names[0]!r} is {first}, that of {name!r} is {space}"
                )
