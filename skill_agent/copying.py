"""Deep copies of SB3's vector environments, whatever they are wrapped in."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper


def copy_env(env: VecEnv, memo: dict[int, Any]) -> VecEnv:
    """A deep copy of a vector environment; ``memo`` is that of `copy.deepcopy`.

    SB3's wrappers can't be copied by themselves: each has a table of its class, which can't be pickled, and
    VecNormalize leaves out what it wraps.
    """
    if not isinstance(env, VecEnvWrapper):
        copied: VecEnv = deepcopy(env, memo)
        return copied
    wrapper = type(env).__new__(type(env))
    memo[id(env)] = wrapper
    for name, value in vars(env).items():
        if name == "class_attributes":
            vars(wrapper)[name] = value
        elif name == "venv":
            vars(wrapper)[name] = copy_env(value, memo)
        else:
            vars(wrapper)[name] = deepcopy(value, memo)
    return wrapper
