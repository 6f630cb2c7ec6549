"""The state of a training as nested dicts of arrays and JSON values."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from copy import deepcopy
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecMonitor, VecNormalize
from torch import Tensor

from skill_agent import env_states
from skill_agent.policy import SkillState
from skill_agent.skill_space import SkillSpaceVecEnv
from skill_agent.vec import SkillVecEnv
from skill_agent.vectors import FlatVecEnv, moments

if TYPE_CHECKING:
    from skill_agent.agent import SkillEmbedding

COUNTERS = (
    *("num_timesteps", "_total_timesteps", "_current_progress_remaining", "_episode_num", "_n_updates"),
    *("_last_obs", "_last_original_obs", "_last_episode_starts"),
)
CLOCK = "versatility_clock"  # another one, where the warm-up waits for the tasks
MONITOR = ("episode_returns", "episode_lengths", "episode_count")
NORMALIZE = ("returns", "old_obs", "old_reward")
# Settings, by their paths, that decide only how numbers are computed: where they differ, a training goes on, with other
# rounding. Checkpoints of 0.1.0 lack the last two.
HOW = ("config.compile", "config.bf16", "device", "torch_threads")
# The same of an optimiser's groups; the model's own stay in force.
OPTIMIZER_HOW = ("foreach", "fused", "capturable", "differentiable")


def settings(model: SkillEmbedding) -> dict[str, Any]:
    """What must be equal for the training to go on as if it had not stopped; see `HOW`."""
    policy, buffer = model.policy, model.replay_buffer
    assert buffer is not None
    return {
        "config": asdict(model.config),
        "net_arch": policy.net_arch,
        "activation": policy.activation_fn.__name__,
        "optimizer": type(policy.optimizer).__name__,
        "observation_space": str(model.observation_space),
        "action_space": str(model.action_space),
        "n_envs": model.n_envs,
        "buffer_size": [buffer.buffer_size, buffer.n_envs],
        **{name: getattr(model, name) for name in ("batch_size", "gamma", "learning_starts", "gradient_steps")},
        "train_freq": [model.train_freq.frequency, model.train_freq.unit.value],  # type: ignore[union-attr]
        "device": model.device.type,
        "torch_threads": torch.get_num_threads(),
    }


def counters(model: SkillEmbedding) -> tuple[str, ...]:
    """Attributes of a model that are kept as they are."""
    return (*COUNTERS, CLOCK) if model.config.versatility_success else COUNTERS


def state(model: SkillEmbedding) -> dict[str, Any]:
    """All that changes while a model learns, and the global random states; arrays may be views.

    Raises:
        TypeError: the environments' state can't be saved.
    """
    assert model.replay_buffer is not None
    return {
        "counters": {name: getattr(model, name) for name in counters(model)},
        "episode_start": getattr(model, "_episode_start", None),
        "skill": None if model._skill is None else model._skill._asdict(),
        "statistics": [None if b is None else list(b) for b in (model.ep_info_buffer, model.ep_success_buffer)],
        "policy": model.policy.state_dict(),
        "optimizer": model.policy.optimizer.state_dict(),
        "replay": model.replay_buffer.state(),
        "envs": [_env_state(env, model._last_obs is not None) for env in layers(model)],
        "random": {"learner": model._rng.bit_generator.state, "torch": model._generator.get_state()},
        "global_random": {
            "python": random.getstate(),
            "numpy": np.random.get_state(legacy=False),
            "torch": torch.get_rng_state(),
        },
    }


def set_state(model: SkillEmbedding, state: dict[str, Any], other_device: bool = False) -> bool:
    """Go on from what `state` returned, in a model of the same `settings`.

    Args:
        model: the model.
        state: one that `skill_agent.verify.check` found right; nothing is checked here.
        other_device: the state was saved on another kind of device: draws of torch can't go on where they were, and
            begin at a seed made of their old state.

    Returns:
        Whether the environments go on too; if not, new episodes will begin.

    Raises:
        ValueError: an environment does not take its state.
    """
    assert model.replay_buffer is not None
    taken = [_set_env_state(env, kept) for env, kept in zip(layers(model), state["envs"], strict=True)]
    for name in counters(model):
        setattr(model, name, state["counters"][name])
    if state["episode_start"] is not None:
        model._episode_start = state["episode_start"]
    model._skill = None if state["skill"] is None else SkillState(**state["skill"])
    window = model._stats_window_size
    model.ep_info_buffer, model.ep_success_buffer = (
        None if kept is None else deque(kept, maxlen=window) for kept in state["statistics"]
    )
    model.policy.load_state_dict({k: torch.from_numpy(v) for k, v in state["policy"].items()})
    _set_optimizer_state(model.policy.optimizer, state["optimizer"])
    model.replay_buffer.set_state(state["replay"])
    model._rng.bit_generator.state = state["random"]["learner"]
    if other_device:
        digest = hashlib.sha256(state["random"]["torch"].tobytes()).digest()
        model._generator.manual_seed(int.from_bytes(digest[:4], "big"))
    else:
        model._generator.set_state(torch.from_numpy(state["random"]["torch"]))
    version, internal, gauss = state["global_random"]["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(state["global_random"]["numpy"])
    torch.set_rng_state(torch.from_numpy(state["global_random"]["torch"]))
    if all(taken) or model.num_timesteps == 0:
        return True
    running = model._last_obs is not None
    _begin_episodes(model)
    return not running


def _begin_episodes(model: SkillEmbedding) -> None:
    """Let the next call of `learn` reset the environments, to other episodes than those of the training's beginning."""
    assert model.env is not None
    assert model.replay_buffer is not None
    model._last_obs = None
    model.replay_buffer.end_stretches()
    model.env.seed(int(deepcopy(model._rng).integers(2**31)))


def _set_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Undo what JSON did to the keys and tuples of an optimiser's state; how it computes stays the model's own."""
    groups = []
    for present, kept in zip(optimizer.state_dict()["param_groups"], state["param_groups"], strict=True):
        group = dict(present)
        for name, value in kept.items():
            if name not in OPTIMIZER_HOW:
                group[name] = _as(present[name], value)
        groups.append(group)
    moments: dict[int, dict[str, Any]] = {}
    for index, values in state["state"].items():
        moments[int(index)] = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in values.items()}
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _as(present: Any, kept: Any) -> Any:
    """A value of JSON's and safetensors' as what it was."""
    if isinstance(present, tuple):
        return tuple(kept)
    return torch.from_numpy(kept) if isinstance(kept, np.ndarray) else kept


def layers(model: SkillEmbedding) -> list[VecEnv]:
    """The vector environment and what it wraps, from the outside in.

    Raises:
        TypeError: a wrapper whose state can't be saved.
    """
    layers: list[VecEnv] = []
    env: VecEnv | None = model.env
    known = (VecMonitor, VecNormalize, FlatVecEnv, SkillSpaceVecEnv)
    while env is not None:
        # What another wrapper keeps, such as statistics, would be lost without a word.
        if isinstance(env, VecEnvWrapper) and not isinstance(env, known):
            names = [kind.__name__ for kind in known]
            raise TypeError(f"the state of {type(env).__name__} can't be saved; the wrappers that can are {names}")
        layers.append(env)
        env = env.venv if isinstance(env, VecEnvWrapper) else None
    return layers


def _env_state(env: VecEnv, running: bool) -> dict[str, Any]:
    if isinstance(env, SkillVecEnv | SkillSpaceVecEnv):
        return env.state()
    if isinstance(env, FlatVecEnv):
        return {}
    if not isinstance(env, VecEnvWrapper):
        return env_states.of_vector(env, running)
    names = MONITOR if isinstance(env, VecMonitor) else NORMALIZE
    return {
        "values": {name: getattr(env, name, None) for name in names},
        "moments": {key: dict(vars(value)) for key, value in moments(env).items()},
    }


def _set_env_state(env: VecEnv, state: dict[str, Any]) -> bool:
    """Whether the environment goes on where it was."""
    if isinstance(env, SkillVecEnv | SkillSpaceVecEnv):
        env.set_state(state)
        return True
    if isinstance(env, FlatVecEnv):
        return True
    if not isinstance(env, VecEnvWrapper):
        return env_states.set_vector(env, state)
    for name, value in state["values"].items():
        setattr(env, name, value)
    for key, value in moments(env).items():
        vars(value).update(state["moments"][key])
    return True


# To one JSON value and named arrays, and back -----------------------------------------------------


def split(value: Any, path: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """What JSON can hold of a value; its arrays and tensors go into ``arrays``, by their path."""
    if isinstance(value, Tensor):
        value = value.numpy(force=True)
    if isinstance(value, np.ndarray):
        arrays[path] = value if value.flags.c_contiguous else value.copy()
        return {"array": path}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {"dict": {str(k): split(v, f"{path}/{k}", arrays) for k, v in value.items()}}
    if isinstance(value, list | tuple):
        return [split(v, f"{path}/{i}", arrays) for i, v in enumerate(value)]
    return value


def join(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Undo `split`; tuples have become lists, keys strings and tensors arrays.

    Raises:
        ValueError: this is nothing that `split` gave: an array is missing, unknown or in another place.
    """
    unused = dict(arrays)
    joined = _join(value, "", unused)
    if unused:
        raise ValueError(f"the array {next(iter(unused))} is unknown")
    return joined


def _join(value: Any, path: str, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_join(v, f"{path}/{i}", arrays) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if value == {"array": path}:
        if path not in arrays:
            raise ValueError(f"the array {path} is missing")
        return arrays.pop(path).copy()  # writable, whatever the reader gives
    if value.keys() != {"dict"} or not isinstance(value["dict"], dict):
        raise ValueError(f"the entry {path} is {value!r:.80}, which no checkpoint holds")
    return {k: _join(v, f"{path}/{k}", arrays) for k, v in value["dict"].items()}
