"""States of anyone's environments for checkpoints, where the environments can give and take them.

An environment can, if its class has the methods ``state()`` and ``set_state(state)``. A state holds what changes from
step to step, in arrays and in what JSON can hold; tuples come back as lists, keys as strings. Gymnasium's time limit,
SB3's monitor and the environment's own generator are kept beside it.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from skill_envs import checks, saved

Env = gymnasium.Env[Any, Any]


def of_env(env: Env) -> dict[str, Any] | None:
    """The state of a single environment; None if it can't give one."""
    wrappers = _wrappers(env)
    if wrappers is None:
        return None
    inner = _inner(env)
    state = inner.state()  # type: ignore[attr-defined]
    if state is None:
        return None
    kept: list[Any] = []
    for wrapper in wrappers:
        if isinstance(wrapper, TimeLimit):
            kept.append(wrapper._elapsed_steps)
        elif isinstance(wrapper, Monitor):
            kept.append([[float(reward) for reward in wrapper.rewards], wrapper.needs_reset])
        else:
            kept.append(None)
    generator = inner.unwrapped._np_random
    drawn = None
    if generator is not None and isinstance(generator.bit_generator, np.random.PCG64):
        drawn = generator.bit_generator.state
    return {"wrappers": kept, "generator": drawn, "state": state}


def set_env(env: Env, kept: dict[str, Any]) -> None:
    """Let a single environment go on from what `of_env` returned and `check_env` found right.

    Raises:
        ValueError: the environment does not take its state; the message begins with "state".
    """
    for wrapper, value in zip(_wrappers(env) or [], kept["wrappers"], strict=True):
        if isinstance(wrapper, TimeLimit):
            wrapper._elapsed_steps = value
        elif isinstance(wrapper, Monitor):
            wrapper.rewards, wrapper.needs_reset = list(value[0]), value[1]
        elif isinstance(wrapper, OrderEnforcing):
            wrapper._has_reset = True
        elif isinstance(wrapper, PassiveEnvChecker):
            # It looks at the first reset and steps, which were before.
            wrapper.checked_reset = wrapper.checked_step = wrapper.checked_data_reuse = True
    inner = _inner(env)
    if kept["generator"] is not None:
        inner.unwrapped.np_random = saved.generator("generator", kept["generator"])
    try:
        inner.set_state(kept["state"])  # type: ignore[attr-defined]
    except Exception as error:
        raise ValueError(f"state is not taken by {inner}: {type(error).__name__}: {error}") from error


def check_env(env: Env, kept: Any) -> None:
    """Check what is kept of a single environment; its own state is left to its ``set_state``.

    Raises:
        ValueError: an entry is missing, unknown or wrong; the message begins with its name.
    """
    wrappers = _wrappers(env)
    if wrappers is None:
        raise ValueError(f"(whole) is the state of an environment; {env} can't take one")
    saved.entries(kept, ("wrappers", "generator", "state"))
    values = saved.sequence("wrappers", kept["wrappers"], len(wrappers))
    for i, (wrapper, value) in enumerate(zip(wrappers, values, strict=True)):
        with saved.within(f"wrappers/{i}"):
            if isinstance(wrapper, TimeLimit) and value is not None:
                checks.integer("elapsed", value, 0, saved.MOST)
            elif isinstance(wrapper, Monitor):
                rewards, needs_reset = saved.sequence("monitor", value, 2)
                checks.boolean("needs_reset", needs_reset)
                for reward in rewards if isinstance(rewards, list) else [None]:
                    checks.number("reward", reward)
    if kept["generator"] is not None:
        saved.generator("generator", kept["generator"])
    check = getattr(_inner(env), "check_state", None)
    if check is not None:
        with saved.within("state"):
            check(kept["state"])


def _wrappers(env: Env) -> list[Env] | None:
    """The wrappers around what gives its state, from the outside in; None where one is not known, or none gives it."""
    found: list[Env] = []
    while not _gives(env):
        if not isinstance(env, TimeLimit | OrderEnforcing | PassiveEnvChecker | Monitor):
            return None
        found.append(env)
        env = env.env
    return found


def gives(env: Env) -> bool:
    """Whether an environment can give and take its state."""
    return _wrappers(env) is not None


def _inner(env: Env) -> Env:
    """What gives its state, inside wrappers."""
    while not _gives(env) and isinstance(env, gymnasium.Wrapper):
        env = env.env
    return env


def _gives(env: Env) -> bool:
    # Of the class: many environments keep an array by the name of state.
    return all(callable(getattr(type(env), name, None)) for name in ("state", "set_state"))


# Vector environments ------------------------------------------------------------------------------


def of_vector(env: VecEnv, running: bool) -> dict[str, Any]:
    """The states of all environments of a vector environment, and their tasks; None for states that can't be had.

    Args:
        env: the innermost vector environment.
        running: whether episodes have begun; before, there are no states.

    Raises:
        TypeError: a state holds what no checkpoint can keep.
    """
    states: list[Any] = []
    if not running:
        states = []
    elif isinstance(env, DummyVecEnv):
        states = [of_env(single) for single in env.envs]
    elif _of_tasks(env):
        states = env.env_method("state")
    whole = bool(states) and all(state is not None for state in states)
    if whole:
        _check_savable("", states)
    return {"tasks": _tasks(env), "envs": states if whole else None}


def check_vector(env: VecEnv, kept: Any) -> None:
    """Check what `of_vector` kept, as far as that is known here.

    Raises:
        ValueError: an entry is missing, unknown or wrong; the message begins with its name.
    """
    saved.entries(kept, ("tasks", "envs"))
    if kept["tasks"] != _tasks(env):
        raise ValueError(f"tasks are {kept['tasks']!r:.200}; this model's are {_tasks(env)}")
    if kept["envs"] is None:
        return
    for i, state in enumerate(saved.sequence("envs", kept["envs"], env.num_envs)):
        with saved.within(f"envs/{i}"):
            if isinstance(env, DummyVecEnv):
                check_env(env.envs[i], state)
                continue
            # In another process an exception would end the environment.
            wrong = env.env_method("wrong_state", state, indices=i)[0] if _of_tasks(env) else "(whole) is unknown"
            if wrong:
                raise ValueError(wrong)


def set_vector(env: VecEnv, kept: dict[str, Any]) -> bool:
    """Let environments go on from what `of_vector` returned; whether they could.

    Raises:
        ValueError: an environment does not take its state.
    """
    if kept["envs"] is None:
        return False
    for i, state in enumerate(kept["envs"]):
        if isinstance(env, DummyVecEnv):
            set_env(env.envs[i], state)
        else:
            env.env_method("set_state", state, indices=i)
    # Those of a new model would begin other episodes.
    env._reset_seeds()
    env._reset_options()
    return True


def _check_savable(name: str, value: Any) -> None:
    """Check that a checkpoint can keep a state; else a TypeError that names the entry."""
    if isinstance(value, dict):
        for key, part in value.items():
            _check_savable(f"{name}/{key}", part)
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            _check_savable(f"{name}/{i}", part)
    elif isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"the environments' state {name} is an array of {value.dtype}; choose numbers or bool")
    elif value is not None and not isinstance(value, str | int | float | np.generic):
        kind = type(value).__name__
        raise TypeError(f"the environments' state {name} is a {kind}; choose arrays and what JSON can hold")


def _of_tasks(env: VecEnv) -> bool:
    """Whether the environments are `skill_agent.tasks.TaskEnv`, perhaps in other processes."""
    return env.has_attr("task_names") and env.has_attr("observation_keys")


def _tasks(env: VecEnv) -> list[str] | None:
    return list(env.get_attr("task_names", 0)[0]) if _of_tasks(env) else None
