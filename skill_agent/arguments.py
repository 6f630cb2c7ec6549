"""What is valid for arguments that are no settings of the method: of the learner, of its networks and of who acts.

The settings of the method have their checks at their fields; see `skill_agent.config`. Every error is a ValueError
that names the argument, its value and what is valid.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import TrainFreq
from stable_baselines3.common.utils import get_device
from torch import nn

from skill_agent.config import DEEPEST, WIDEST, SkillConfig
from skill_envs import checks

Check = Callable[[str, Any], Any]  # of name and value; the value as it is kept, or a ValueError

MOST_STEPS = 10**12
# Files of skills have the same limits, so that whatever is built can be exported and loaded.
LONGEST_HOLD = 10_000
SEEDS = 2**32  # NumPy's global generator takes seeds below this


def optional(check: Check) -> Check:
    """The check that lets None pass as well."""

    def checked(name: str, value: Any) -> Any:
        return None if value is None else check(name, value)

    return checked


def one_or_more(name: str, value: Any, most: int = 10**9) -> int:
    """``value`` if it is an integer from 1 to ``most``."""
    return checks.integer(name, value, 1, most)


def steps(name: str, value: Any, least: int = 0) -> int:
    """A count of steps as an int; a whole float such as 1e6 is one as well, since users write them so."""
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return checks.integer(name, int(value) if whole else value, least, MOST_STEPS)


def path(name: str, value: Any) -> Any:
    """``value`` if it is a path."""
    # No system has names with NUL, and the empty name would be the working folder.
    named = isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str)
    if not named or not str(value) or "\0" in str(value):
        raise ValueError(f"{name}={value!r} is not valid; choose a path")
    return value


def text(name: str, value: Any) -> str:
    """``value`` if it is a string."""
    if not isinstance(value, str):
        raise ValueError(f"{name}={value!r} is not valid; choose a string")
    return value


def function(name: str, value: Any) -> Any:
    """``value`` if it can be called."""
    if not callable(value):
        raise ValueError(f"{name}={value!r} is not valid; choose a function")
    return value


def mapping(name: str, value: Any) -> dict[str, Any]:
    """``value`` if it is a dict whose keys are strings."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{name}={value!r} is not valid; choose a dict of keyword arguments")
    return value


def config(name: str, value: Any) -> SkillConfig:
    """``value`` if it is a config."""
    if not isinstance(value, SkillConfig):
        raise ValueError(f"{name}={value!r} is not valid; choose a SkillConfig")
    return value


def subclass(base: type) -> Check:
    """The check for classes below ``base``."""

    def checked(name: str, value: Any) -> Any:
        if not isinstance(value, type) or not issubclass(value, base):
            raise ValueError(f"{name}={value!r} is not valid; choose a class below {base.__name__}")
        return value

    return checked


# The learner --------------------------------------------------------------------------------------


def _learning_rate(name: str, value: Any) -> Any:
    """A number, or a schedule, whose first value is looked at."""
    if callable(value):
        _learning_rate(f"{name}(1.0)", value(1.0))
        return value
    return checks.number(name, value, 0, 1_000)


def _gamma(name: str, value: Any) -> float:
    gamma = checks.number(name, value, 0, 1)
    if gamma == 1:
        raise ValueError(f"{name}={value!r} is not valid; choose a number from 0 to below 1")
    return gamma


def _train_freq(name: str, value: Any) -> int | tuple[int, str]:
    """Steps, or a pair of how many and "step" or "episode"."""
    if isinstance(value, TrainFreq):  # what SB3 makes of it
        value = (value.frequency, value.unit.value)
    if not isinstance(value, list | tuple):
        return one_or_more(name, value)
    if len(value) != 2:
        raise ValueError(f"{name}={value!r} is not valid; choose an integer, or a pair such as (1, 'episode')")
    count = one_or_more(f"{name}[0]", value[0])
    checks.one_of(f"{name}[1]", value[1], ["step", "episode"])
    return count, value[1]


def device(name: str, value: Any) -> torch.device | str:
    """``value`` if numbers can be held there; as in SB3, "auto" and "cuda" are the CPU where there is no GPU."""
    try:
        torch.zeros((), device=get_device(value)).item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{name}={value!r} is not valid; choose a device of torch such as 'cpu' ({reason})") from error
    return value  # type: ignore[no-any-return]


# Of the constructor, all but the policy and the environment.
LEARNER: dict[str, Check] = {
    "learning_rate": _learning_rate,
    "buffer_size": partial(steps, least=1),
    "learning_starts": steps,
    "batch_size": partial(one_or_more, most=10**6),
    "gamma": _gamma,
    "train_freq": _train_freq,
    "gradient_steps": partial(checks.integer, least=-1, most=10**9),
    "policy_kwargs": optional(mapping),
    "stats_window_size": one_or_more,
    "tensorboard_log": optional(path),
    "verbose": partial(checks.integer, least=0, most=2),
    "seed": optional(partial(checks.integer, least=0, most=SEEDS - 1)),
    "device": device,
    "config": config,
    "ray": optional(text),
}
# Those that can be set on a model, or given to `load`, and are used in the next call of `learn`.
LATER = ("learning_rate", "learning_starts", "batch_size", "gamma", "train_freq", "gradient_steps", "config")


def learner(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `SkillEmbedding` as they are kept.

    Raises:
        ValueError: an invalid one.
    """
    return {name: LEARNER[name](name, value) for name, value in given.items()}


def policy_and_env(policy: Any, env: Any, base: type, init_setup_model: Any) -> None:
    """Check a policy, the name of one or a class below ``base``, and an environment or its id.

    Raises:
        ValueError: one of another kind.
    """
    if not isinstance(policy, str):
        subclass(base)("policy", policy)
    # Without its networks, a model can get an environment later; `load` makes one like that.
    if env is None and not checks.boolean("_init_setup_model", init_setup_model):
        return
    # As in SB3, anything that resets and steps is an environment.
    if not isinstance(env, str) and not (hasattr(env, "reset") and hasattr(env, "step")):
        raise ValueError(f"env={env!r} is not valid; choose an environment or its id")


def episodes_of_one(train_freq: Any, n_envs: int) -> None:
    """Check that updates after whole episodes are for one environment, as SB3 has it.

    Raises:
        ValueError: there are more environments.
    """
    kept = _train_freq("train_freq", train_freq)
    if isinstance(kept, tuple) and kept[1] == "episode" and n_envs > 1:
        raise ValueError(f"train_freq={kept!r} is not valid with n_envs={n_envs}; choose a number of steps")


def _callback(name: str, value: Any) -> Any:
    callbacks = value if isinstance(value, list) else [value]
    for callback in callbacks:
        # SB3's callbacks are no functions.
        if not callable(callback) and not hasattr(callback, "on_step"):
            raise ValueError(f"{name}={value!r} is not valid; choose a callback, a list of callbacks or a function")
    return value


LEARN: dict[str, Check] = {
    "total_timesteps": steps,
    "callback": optional(_callback),
    "log_interval": optional(one_or_more),
    "tb_log_name": text,
    "reset_num_timesteps": checks.boolean,
    "progress_bar": checks.boolean,
}


def learn(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `SkillEmbedding.learn` as they are kept.

    Raises:
        ValueError: an invalid one.
    """
    return {name: LEARN[name](name, value) for name, value in given.items()}


# Networks -----------------------------------------------------------------------------------------


def hidden_layers(name: str, value: Any) -> list[int]:
    """Widths of a network's hidden layers; none make it linear."""
    if not isinstance(value, list | tuple) or len(value) > DEEPEST:
        raise ValueError(f"{name}={value!r:.200} is not valid; choose a list of at most {DEEPEST} widths")
    return [one_or_more(f"{name}[{i}]", width, WIDEST) for i, width in enumerate(value)]


def action_space(name: str, value: Any) -> spaces.Box:
    """``value`` if it is a Box with finite bounds."""
    if not isinstance(value, spaces.Box) or not value.is_bounded():
        raise ValueError(f"{name}={value!r} is not valid; choose a Box with finite bounds")
    return value


NETWORKS: dict[str, Check] = {
    "action_space": action_space,
    "lr_schedule": function,
    "config": optional(config),
    "activation_fn": subclass(nn.Module),
    "optimizer_class": subclass(torch.optim.Optimizer),
    "optimizer_kwargs": optional(mapping),
}


def networks(given: dict[str, Any]) -> None:
    """Check arguments of `SkillPolicy`.

    Raises:
        ValueError: an invalid one.
    """
    for name, value in given.items():
        NETWORKS[name](name, value)


# Acting -------------------------------------------------------------------------------------------


def array(name: str, value: Any, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """``value`` as an array of finite numbers, of ``shape`` if one is given."""
    try:
        found = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name}={value!r:.200} is not an array of numbers") from error
    if found.dtype.kind not in "iufb":
        raise ValueError(f"{name}={value!r:.200} is not an array of numbers")
    if shape is not None and found.shape != shape:
        raise ValueError(f"{name} of shape {found.shape} is not valid; the shape is {shape}")
    # The networks see float32, in which larger numbers are infinite.
    with np.errstate(over="ignore"):
        broken = ~np.isfinite(found.astype(np.float32))
    if broken.any():
        where = np.argwhere(broken)[0].tolist()
        raise ValueError(f"{name} is not finite in float32: {found[broken][0]!r} at {where}")
    return found


def pair(name: str, value: Any) -> tuple[Any, Any]:
    """The two parts of a recurrent state, z and its age."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{name}={value!r:.200} is not valid; choose None or what predict() returned")
    return value[0], value[1]


def whole_numbers(name: str, value: Any, shape: tuple[int, ...] | None = None) -> NDArray[np.int64]:
    """``value`` as an array of integers; whole floats are taken for integers."""
    found = array(name, value, shape)
    whole = found.astype(np.int64)
    if found.dtype.kind == "b" or (whole != found).any():
        raise ValueError(f"{name}={value!r:.200} is not valid; choose integers")
    return whole


def booleans(name: str, value: Any) -> NDArray[np.bool_]:
    """``value`` as a flat array of booleans; 0 and 1 are taken for them."""
    found = array(name, value).reshape(-1)
    if not np.isin(found, (0, 1)).all():
        raise ValueError(f"{name}={value!r:.200} is not valid; choose True or False for each observation")
    return found.astype(bool)
