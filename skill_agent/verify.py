"""What a checkpoint has to hold to fit a model: every entry's name, kind, shape, dtype and range.

Sizes from a file reach native code: fused Adam writes as far as a moment's parameter is long, whatever the moment's
own length. So all of a state is checked here against the model, before `skill_agent.snapshot.set_state` uses any of it.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecMonitor, VecNormalize
from torch import Tensor

from skill_agent import env_states, generators, snapshot
from skill_agent.skill_space import SkillSpaceVecEnv
from skill_agent.vec import SkillVecEnv
from skill_agent.vectors import moments
from skill_envs import checks, saved

if TYPE_CHECKING:
    from skill_agent.agent import SkillEmbedding

_PARTS = (
    *("counters", "episode_start", "skill", "statistics", "policy", "optimizer", "replay", "envs"),
    *("random", "global_random"),
)


def check(model: SkillEmbedding, state: dict[str, Any], other_device: bool = False) -> None:
    """Check that a state that was read is one of `snapshot.state` of such a model.

    Args:
        model: the model that is to go on from it; it is not changed.
        state: with arrays for tensors, lists for tuples and strings for keys, as JSON has it.
        other_device: the state was saved on another kind of device, whose random states have other sizes.

    Raises:
        ValueError: an entry is missing, unknown or wrong; the message begins with its name.
    """
    saved.entries(state, _PARTS)
    buffer = model.replay_buffer
    assert buffer is not None
    with saved.within("counters"):
        _check_counters(model, state["counters"])
    running = state["counters"]["_last_obs"] is not None
    starts = state["episode_start"]
    if running or starts is not None:
        saved.array("episode_start", starts, (model.n_envs,), np.bool_)
    with saved.within("skill"):
        # In the middle of an episode there is a z.
        _check_skill(model, state["skill"], needed=running and not starts.all())
    with saved.within("statistics"):
        _check_statistics(model, state["statistics"])
    with saved.within("policy"):
        _check_tensors(state["policy"], model.policy.state_dict())
    with saved.within("optimizer"):
        _check_optimizer(model.policy.optimizer, state["optimizer"])
    with saved.within("replay"):
        buffer.check_state(state["replay"], model.policy.n_tasks)
    layers = snapshot.layers(model)
    for i, (layer, kept) in enumerate(zip(layers, saved.sequence("envs", state["envs"], len(layers)), strict=True)):
        with saved.within(f"envs/{i}"):
            _check_layer(layer, kept, running)
    with saved.within("random"):
        saved.entries(state["random"], ("learner", "torch"))
        saved.generator("learner", state["random"]["learner"])
        generators.check_torch("torch", state["random"]["torch"], None if other_device else model._generator.device)
    with saved.within("global_random"):
        kept = state["global_random"]
        saved.entries(kept, ("python", "numpy", "torch"))
        generators.check_python("python", kept["python"])
        with saved.within("numpy"):
            generators.check_numpy(kept["numpy"])
        generators.check_torch("torch", kept["torch"], torch.device("cpu"))


# The learner --------------------------------------------------------------------------------------


def _check_counters(model: SkillEmbedding, kept: Any) -> None:
    saved.entries(kept, snapshot.counters(model))
    if snapshot.CLOCK in kept:
        for i, share in enumerate(saved.sequence(snapshot.CLOCK, kept[snapshot.CLOCK], 2)):
            checks.number(f"{snapshot.CLOCK}/{i}", share, 0, 1)
    for name in ("num_timesteps", "_total_timesteps", "_episode_num", "_n_updates"):
        checks.integer(name, kept[name], 0, saved.MOST)
    checks.number("_current_progress_remaining", kept["_current_progress_remaining"], most=1)
    for name in ("_last_obs", "_last_original_obs"):
        if kept[name] is not None:
            _check_observation(name, kept[name], model)
    if kept["_last_obs"] is not None or kept["_last_episode_starts"] is not None:
        saved.array("_last_episode_starts", kept["_last_episode_starts"], (model.n_envs,), np.bool_)


def _check_observation(name: str, kept: Any, model: SkillEmbedding) -> None:
    """Check observations of all environments."""
    space = model.observation_space
    if not isinstance(space, spaces.Dict):
        saved.array(name, kept, (model.n_envs, *(space.shape or ())), space.dtype)
        return
    with saved.within(name):
        saved.entries(kept, space.spaces)
        for key, part in space.items():
            limits: tuple[int | None, int | None] = (None, None)
            if isinstance(part, spaces.Discrete):
                limits = (int(part.start), int(part.start + part.n - 1))
            saved.array(key, kept[key], (model.n_envs, *(part.shape or ())), part.dtype, *limits)


def _check_skill(model: SkillEmbedding, kept: Any, needed: bool) -> None:
    if needed or kept is not None:
        saved.entries(kept, ("latent", "age"))
        saved.array("latent", kept["latent"], (model.n_envs, model.policy.embedding_distribution.dim), np.float32)
        saved.array("age", kept["age"], (model.n_envs,), np.int64, 0, saved.MOST)


def _check_statistics(model: SkillEmbedding, kept: Any) -> None:
    """Check the latest episodes' returns, lengths and times, and their successes."""
    episodes, successes = saved.sequence("(whole)", kept, 2)
    for i, parts in enumerate((episodes, successes)):
        if parts is not None and (not isinstance(parts, list) or len(parts) > model._stats_window_size):
            raise ValueError(f"{i} is {parts!r:.80}; it has to be None or at most {model._stats_window_size} entries")
    for i, episode in enumerate(episodes or []):
        with saved.within(f"0/{i}"):
            if not isinstance(episode, dict) or not {"r", "l", "t"} <= set(episode):
                raise ValueError(f"(whole) is {episode!r:.80}; it has to hold r, l and t")
            for name, value in episode.items():
                _check_scalar(name, value)
    for i, success in enumerate(successes or []):
        _check_scalar(f"1/{i}", success)


def _check_scalar(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        checks.number(name, value, -saved.MOST, saved.MOST)


# Tensors ------------------------------------------------------------------------------------------


def _check_tensors(kept: Any, own: dict[str, Tensor]) -> None:
    """Check arrays against the tensors that they are to fill."""
    saved.entries(kept, own)
    for name, tensor in own.items():
        _check_tensor(name, kept[name], tensor)


def _check_tensor(name: str, kept: Any, own: Tensor) -> None:
    like = own.numpy(force=True)
    saved.array(name, kept, like.shape, like.dtype)


def _check_optimizer(optimizer: torch.optim.Optimizer, kept: Any) -> None:
    saved.entries(kept, ("state", "param_groups"))
    stepped = _stepped(optimizer)
    moments = kept["state"]
    # Before the first update there are none.
    if moments != {}:
        own_moments = {str(index): own for index, own in stepped["state"].items()}
        with saved.within("state"):
            saved.entries(moments, own_moments)
            for index, own in own_moments.items():
                with saved.within(index):
                    saved.entries(moments[index], own)
                    for name, value in own.items():
                        _check_setting(name, moments[index][name], value)
    own_groups = stepped["param_groups"]
    for i, group in enumerate(saved.sequence("param_groups", kept["param_groups"], len(own_groups))):
        with saved.within(f"param_groups/{i}"):
            _check_group(group, own_groups[i])


def _check_group(kept: Any, own: dict[str, Any]) -> None:
    # An earlier version of torch may have known fewer settings; the model's own stay in force.
    missing = set(own) - set(kept) if isinstance(kept, dict) else set()
    saved.entries(kept, set(own) - (missing - {"lr", "params"}))
    for name, value in kept.items():
        if name == "params":
            if value != own["params"]:
                raise ValueError(f"params is {value!r:.80}; it has to be {own['params']}")
        elif name not in snapshot.OPTIMIZER_HOW:
            _check_setting(name, value, own[name])


def _check_setting(name: str, kept: Any, own: Any) -> None:
    """Check that a value is of the kind of the optimiser's own."""
    if isinstance(own, Tensor):
        _check_tensor(name, kept, own)
    elif isinstance(own, bool) or own is None:
        if kept is not own:
            raise ValueError(f"{name} is {kept!r:.80}; it has to be {own}")
    elif isinstance(own, tuple):
        for i, (part, own_part) in enumerate(zip(saved.sequence(name, kept, len(own)), own, strict=True)):
            _check_setting(f"{name}/{i}", part, own_part)
    else:
        checks.number(name, kept, 0, saved.MOST)


def _stepped(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of a copy of an optimiser after a step: what it keeps of each parameter, whatever its kind."""
    copied = deepcopy(optimizer)
    for group in copied.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    copied.step()
    return copied.state_dict()


# Environments -------------------------------------------------------------------------------------


def _check_layer(layer: VecEnv, kept: Any, running: bool) -> None:
    if isinstance(layer, SkillVecEnv):
        _check_suite(layer, kept, running)
    elif isinstance(layer, SkillSpaceVecEnv):
        layer.check_state(kept, running)
    elif isinstance(layer, VecMonitor | VecNormalize):
        _check_wrapper(layer, kept)
    elif isinstance(layer, VecEnvWrapper):
        saved.entries(kept, ())
    else:
        env_states.check_vector(layer, kept)


def _check_wrapper(layer: VecMonitor | VecNormalize, kept: Any) -> None:
    saved.entries(kept, ("values", "moments"))
    n = layer.num_envs
    values, own_moments = kept["values"], moments(layer)
    with saved.within("values"):
        saved.entries(values, snapshot.MONITOR if isinstance(layer, VecMonitor) else snapshot.NORMALIZE)
        if isinstance(layer, VecMonitor):
            saved.array("episode_returns", values["episode_returns"], (n,), np.float32)
            saved.array("episode_lengths", values["episode_lengths"], (n,), np.int32, 0)
            checks.integer("episode_count", values["episode_count"], 0, saved.MOST)
        else:
            _check_normalized(layer, values)
    with saved.within("moments"):
        saved.entries(kept["moments"], own_moments)
        for key, own in own_moments.items():
            with saved.within(key):
                saved.entries(kept["moments"][key], ("mean", "var", "count"))
                _check_moment("mean", kept["moments"][key]["mean"], np.shape(own.mean), None)
                _check_moment("var", kept["moments"][key]["var"], np.shape(own.var), 0)
                _check_moment("count", kept["moments"][key]["count"], (), 0)


def _check_normalized(layer: VecNormalize, values: dict[str, Any]) -> None:
    n = layer.num_envs
    saved.array("returns", values["returns"], (n,), np.float64)
    reward = values["old_reward"]
    # There is none before the first reset.
    before = isinstance(reward, np.ndarray) and reward.size == 0
    saved.array("old_reward", reward, (0,) if before else (n,), np.float64 if before else np.float32)
    space, old = layer.observation_space, values["old_obs"]
    if old is None:
        return
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    old = old if isinstance(space, spaces.Dict) else {"": old}
    with saved.within("old_obs"):
        saved.entries(old, parts)
        for key, part in parts.items():
            saved.array(key, old[key], (n, *(part.shape or ())), part.dtype)


def _check_moment(name: str, kept: Any, shape: tuple[int, ...], least: float | None) -> None:
    """Check a running mean, variance or count; one without a shape may be a number."""
    if shape == () and not isinstance(kept, np.ndarray):
        checks.number(name, kept, least)
    else:
        saved.array(name, kept, shape, np.float64, least)


def _check_suite(layer: SkillVecEnv, kept: Any, running: bool) -> None:
    saved.entries(kept, ("env", "seeds", "options"))
    with saved.within("env"):
        layer.env.check_state(kept["env"])
        if running:
            saved.sequence("generators", kept["env"]["generators"], layer.num_envs)
    for i, seed in enumerate(saved.sequence("seeds", kept["seeds"], layer.num_envs)):
        if seed is not None:
            checks.integer(f"seeds/{i}", seed, 0)
    for i, options in enumerate(saved.sequence("options", kept["options"], layer.num_envs)):
        with saved.within(f"options/{i}"):
            saved.entries(options, () if options == {} else ("task",))
            if options != {}:
                described = layer.env.tasks[0].parameters
                if described is None:
                    checks.integer("task", options["task"], 0, len(layer.env.tasks) - 1)
                else:
                    checks.task_parameters(options["task"], described, 1)
