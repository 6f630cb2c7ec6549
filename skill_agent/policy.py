"""The networks of one agent as an SB3 policy, with z as its recurrent state."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from skill_agent import arguments
from skill_agent.config import SkillConfig
from skill_agent.densities import gaussian_draw
from skill_agent.distributions import Embedding, TaskId, bounded, make_distributions
from skill_agent.perceptrons import Perceptrons
from skill_envs import checks

NET_ARCH: dict[str, list[int]] = {"pi": [200, 100], "qf": [200, 200], "inference": [200, 200]}

_SMALLEST_STD = 0.05  # channels that hardly vary are not blown up
_LARGEST_STATE = 10.0  # standard deviations


class SkillState(NamedTuple):
    """The recurrent state of `SkillPolicy.predict`."""

    latent: NDArray[np.float32]  # (n, Z)
    age: NDArray[np.int64]  # (n,) steps since the latent was drawn


class SkillPolicy(BasePolicy):
    """Embedding p(z|t), policy pi(a|s,z), inference network q(z|a, s^H) and critics.

    Attributes:
        n_tasks: T, 1 for a Box observation.
        state_dim: S, of the observation without the task, flattened.
        embedding: parameters of p(z|t).
        actor: (state, code of z) to mean and log standard deviation of the action.
        inference: (action, state segment) to parameters of q(z|a, s^H); None for "task_id".
        critics: (state, action, code of z, one-hot task) to values.
        critics_target: a copy of ``critics``, refreshed now and then.
    """

    action_space: spaces.Box

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        config: SkillConfig | None = None,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ELU,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Build the networks.

        Args:
            observation_space: a Box, or a Dict of "observation" (Box) and "task" (Discrete).
            action_space: a Box.
            lr_schedule: learning rate by remaining progress.
            config: settings of the method.
            net_arch: widths of hidden layers, one list for all networks or a dict of "pi", "qf" and "inference"; by
                default the paper's. A list has at most 16 widths of at most 4,096.
            activation_fn: between layers.
            optimizer_class: one optimiser serves all networks.
            optimizer_kwargs: for the optimiser, without the learning rate.

        Raises:
            ValueError: an observation space or network of another kind, or another invalid argument.
        """
        arguments.networks(
            {
                "action_space": action_space,
                "lr_schedule": lr_schedule,
                "config": config,
                "activation_fn": activation_fn,
                "optimizer_class": optimizer_class,
                "optimizer_kwargs": optimizer_kwargs,
            }
        )
        if optimizer_kwargs is None:
            optimizer_kwargs = {"fused": True} if optimizer_class is torch.optim.Adam else {}
        super().__init__(
            observation_space,
            action_space,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            squash_output=True,
        )
        self.activation_fn = activation_fn
        self.config = config or SkillConfig()
        self.net_arch = _check_net_arch(net_arch)
        self.box, self.n_tasks = split_observation_space(observation_space)
        self.state_dim, action_dim = math.prod(self.box.shape), math.prod(action_space.shape)
        self.embedding_distribution, self.inference_distribution = make_distributions(self.config, self.n_tasks)
        state_dim, z_dim, arch = self.state_dim, self.embedding_distribution.dim, self.net_arch
        self._unit_bounds = bool((action_space.low == -1).all() and (action_space.high == 1).all())

        self.state_mean: Tensor
        self.state_scale: Tensor
        self.register_buffer("state_mean", torch.zeros(state_dim))
        self.register_buffer("state_scale", torch.ones(state_dim))
        self.embedding = Embedding(self.embedding_distribution, self.n_tasks, self.config.embedding_init_std)

        def perceptrons(count: int, *sizes: int) -> Perceptrons:
            return Perceptrons(count, list(sizes), activation_fn, self.config.bf16)

        self.actor = perceptrons(1, state_dim + z_dim, *arch["pi"], 2 * action_dim)
        with torch.no_grad():
            self.actor.weights[0][:, state_dim:] *= self.config.z_gain
        self.inference: Perceptrons | None = None
        if not isinstance(self.embedding_distribution, TaskId):
            channels = self.config.inference_channels
            if channels is not None and not all(0 <= channel < state_dim for channel in channels):
                raise ValueError(f"inference_channels={channels} is not valid; choose from 0 to {state_dim - 1}")
            inputs = self.config.segment * (state_dim if channels is None else len(channels))
            inputs += action_dim if channels is None else 0
            self.inference = perceptrons(1, inputs, *arch["inference"], self.inference_distribution.n_params)
        critic_inputs = state_dim + action_dim + z_dim + self.n_tasks
        self.critics = perceptrons(self.config.n_critics, critic_inputs, *arch["qf"], 1)
        self.critics_target = perceptrons(self.config.n_critics, critic_inputs, *arch["qf"], 1)
        self.critics_target.load_state_dict(self.critics.state_dict())
        self.critics_target.requires_grad_(False)

        self.trained_parameters = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = optimizer_class(self.trained_parameters, lr=lr_schedule(1), **optimizer_kwargs)  # type: ignore[call-arg]

    # States -----------------------------------------------------------------------------------

    def fit_normalisation(self, observation: NDArray[np.float32]) -> None:
        """Measure each channel's mean and standard deviation on observations (n, S), once."""
        self.state_mean.copy_(torch.as_tensor(observation.mean(0)))
        self.state_scale.copy_(torch.as_tensor(1 / np.maximum(observation.std(0), _SMALLEST_STD)))

    def features(self, observation: Tensor) -> Tensor:
        """States (..., S) as the networks see them, of observations (..., S)."""
        return ((observation - self.state_mean) * self.state_scale).clamp(-_LARGEST_STATE, _LARGEST_STATE)

    def parameters_to_vector(self) -> NDArray[Any]:
        """All parameters as one vector, the statistics of observations first: without them the networks see others."""
        vector: NDArray[Any] = nn.utils.parameters_to_vector(self._vectorised()).numpy(force=True)
        return vector

    def load_from_vector(self, vector: NDArray[Any]) -> None:
        """Take all parameters from what `parameters_to_vector` returned."""
        nn.utils.vector_to_parameters(
            torch.as_tensor(vector, dtype=torch.float, device=self.device), self._vectorised()
        )

    def _vectorised(self) -> list[Tensor]:
        return [self.state_mean, self.state_scale, *self.parameters()]

    # Distributions ----------------------------------------------------------------------------

    def action_parameters(self, state: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of pi(a|s,z) before its tanh, and its log standard deviation.

        Args:
            state: (..., S).
            code: (..., Z).

        Returns:
            (..., A) each.
        """
        inputs = torch.cat((state, code), dim=-1)
        raw_mean, log_std = self.actor(inputs.flatten(0, -2)).reshape(*inputs.shape[:-1], -1).chunk(2, dim=-1)
        return raw_mean, bounded(log_std, self.config.policy_log_std)

    def action_distribution(self, state: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Mean, in (-1, 1), and log standard deviation of pi(a|s,z); shapes as of `action_parameters`.

        Actions are clipped to [-1, 1] only where they are applied.
        """
        raw_mean, log_std = self.action_parameters(state, code)
        return torch.tanh(raw_mean), log_std

    def value(
        self,
        state: Tensor,
        action: Tensor,
        code: Tensor,
        task: Tensor,
        *,
        target: bool,
        frozen: bool,
        count: int | None = None,
    ) -> Tensor:
        """Q(s, a; z, t) of every critic: (..., d) inputs to (K, ...).

        Args:
            state: (..., S).
            action: (..., A).
            code: (..., Z).
            task: (..., T) one-hot.
            target: use the target network.
            frozen: pass gradients to the inputs only.
            count: evaluate only the first ``count`` critics.
        """
        inputs = torch.cat((state, action, code, task), dim=-1)
        critics = self.critics_target if target else self.critics
        values: Tensor = critics(inputs.flatten(0, -2), frozen, count)
        return values.reshape(-1, *inputs.shape[:-1])

    def inferred(self, action: Tensor, segments: Tensor) -> Tensor:
        """Parameters of q(z|a, s^H), or of q(z|s^H) for some entries of the states (``inference_channels``).

        Args:
            action: (n, A).
            segments: (n, H, S), oldest state first.
        """
        assert self.inference is not None, "the task_id embedding has no inference network"
        channels = self.config.inference_channels
        if channels is None:
            inputs = torch.cat((action, segments.flatten(1)), dim=-1)
        else:
            inputs = segments[..., list(channels)].flatten(1)
        parameters: Tensor = self.inference(inputs)[0]
        return parameters

    # Acting -----------------------------------------------------------------------------------

    def act(self, observation: Tensor, code: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Draw actions from pi(a|s,z): everything that acts, acts here.

        Args:
            observation: (n, S) without the task, as the environment gives it.
            code: (n, Z).
            noise: (n, A) from `action_noise`.

        Returns:
            Actions (n, A), not yet clipped, and their log-densities (n,). `env_action` makes them an environment's.
        """
        mean, log_std = self.action_distribution(self.features(observation), code)
        return gaussian_draw(mean, log_std, noise)

    def action_noise(self, count: int, generator: torch.Generator | None = None, deterministic: bool = False) -> Tensor:
        """N(0, 1) noise (count, A) for `act`, by a generator or torch's global one; zeros give the mean action."""
        shape = (count, math.prod(self.action_space.shape))
        if deterministic:
            return torch.zeros(shape, device=self.device)
        return torch.randn(shape, generator=generator, device=self.device)

    def draw_latent(self, task: Tensor, generator: torch.Generator | None, deterministic: bool = False) -> Tensor:
        """Latents (n, Z) for tasks (n,): a draw from p(z|t), or its mode."""
        params = self.embedding(task)
        if deterministic:
            return self.embedding_distribution.mode(params)
        noise = self.embedding_distribution.noise(tuple(task.shape), generator, self.device)
        return self.embedding_distribution.sample(params, noise)

    def split(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Flat observations (n, S) without the task, and task indices (n,)."""
        if isinstance(obs, dict):
            return obs["observation"].float().reshape(-1, self.state_dim), obs["task"].long().reshape(-1)
        return obs.float().reshape(-1, self.state_dim), torch.zeros(len(obs), dtype=torch.long, device=obs.device)

    def next_state(
        self,
        task: Tensor,
        state: SkillState | None,
        starts: NDArray[Any],
        generator: torch.Generator | None,
        mode: bool,
    ) -> SkillState:
        """Advance the recurrent state: redraw z where an episode starts or ``z_period`` has passed."""
        n = len(task)
        if state is None:
            state = SkillState(np.zeros((n, self.embedding_distribution.dim), np.float32), np.full(n, -1, np.int64))
        age = np.where(starts | (state.age < 0), 0, state.age + 1)
        if self.config.z_period is not None:
            age %= self.config.z_period
        latent = np.array(state.latent, np.float32)
        fresh = age == 0
        if fresh.any():
            drawn = self.draw_latent(task, generator, mode).numpy(force=True)
            latent[fresh] = drawn[fresh]
        return SkillState(latent, age)

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Actions for observations; pass the returned state back in to keep z within an episode.

        Args:
            observation: one observation or a batch, of finite numbers.
            state: the `SkillState` returned by the last call; None draws z afresh.
            episode_start: (n,) bool, where z is drawn afresh.
            deterministic: the mode of z and the mean action, in place of draws.

        Returns:
            Actions within the bounds of the action space, and the new state.

        Raises:
            ValueError: an observation of the wrong kind or shape, an observation or a z that is not finite, a task
                out of range, or a state or ``episode_start`` for another number of observations.
        """
        self.set_training_mode(False)
        checks.boolean("deterministic", deterministic)
        if isinstance(observation, tuple):
            raise ValueError("observation is a tuple; with gymnasium, unpack first: obs, info = env.reset()")
        space = self.observation_space
        keys = sorted(space.spaces) if isinstance(space, spaces.Dict) else []
        given = sorted(map(str, observation)) if isinstance(observation, dict) else []
        if given != keys:
            raise ValueError(f"an observation with keys {given} is not valid; choose {keys or space}")
        if isinstance(observation, dict):
            arguments.array("observation['observation']", observation["observation"])
            arguments.whole_numbers("observation['task']", observation["task"])
        else:
            arguments.array("observation", observation)
        obs, batched = self.obs_to_tensor(observation)
        flat, task = self.split(obs)
        if len(task) and not 0 <= int(task.min()) <= int(task.max()) < self.n_tasks:
            raise ValueError(f"task={task.tolist()} is not valid; choose integers from 0 to {self.n_tasks - 1}")
        starts = np.zeros(len(task), bool)
        if episode_start is not None:
            starts = arguments.booleans("episode_start", episode_start)
        skill = None if state is None else self._check_state(state)
        sizes = {"task": len(task), "state": len(task if skill is None else skill.age), "episode_start": len(starts)}
        if set(sizes.values()) != {len(flat)}:
            raise ValueError(f"lengths {sizes} are not valid with {len(flat)} observations; choose as many of each")
        with torch.no_grad():
            skill = self.next_state(task, skill, starts, None, deterministic)
            code = self.embedding_distribution.code(torch.as_tensor(skill.latent, device=self.device))
            action, _ = self.act(flat, code, self.action_noise(len(flat), None, deterministic))
        scaled = self.env_action(action)
        return (scaled if batched else scaled[0]), skill

    def _check_state(self, state: tuple[NDArray[Any], ...]) -> SkillState:
        """A recurrent state of finite numbers, z (n, Z) and ages (n,); else a ValueError."""
        latent, age = arguments.pair("state", state)
        age = arguments.whole_numbers("state's age", age).reshape(-1)
        latent = arguments.array("state's z", latent, (len(age), self.embedding_distribution.dim))
        return SkillState(latent.astype(np.float32, copy=False), age)

    def env_action(self, action: Tensor) -> NDArray[Any]:
        """Actions (n, A) as the environment takes them: within its bounds, of its shape and type."""
        space, scaled = self.action_space, action.numpy(force=True).reshape(-1, *self.action_space.shape)
        if not self._unit_bounds:
            scaled = self.unscale_action(scaled)
        within: NDArray[Any] = np.clip(scaled, space.low, space.high)
        return within.astype(space.dtype, copy=False)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Actions for a freshly drawn z; SB3 calls it only through `predict`, overridden above."""
        flat, task = self.split(observation)
        code = self.embedding_distribution.code(self.draw_latent(task, None, deterministic))
        action, _ = self.act(flat, code, self.action_noise(len(flat), None, deterministic))
        return action

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "config": self.config,
            "net_arch": self.net_arch,
            "activation_fn": self.activation_fn,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }


def split_observation_space(space: spaces.Space[Any]) -> tuple[spaces.Box, int]:
    """The Box part of an observation space and its number of tasks.

    Raises:
        ValueError: the space is neither a Box nor a Dict of "observation" and "task".
    """
    box, n_tasks = space, 1
    if isinstance(space, spaces.Dict):
        task = space.spaces.get("task")
        if set(space.spaces) != {"observation", "task"} or not isinstance(task, spaces.Discrete):
            raise ValueError(f"{space} is not valid; a Dict needs 'observation' (Box) and 'task' (Discrete)")
        if task.start != 0:
            raise ValueError(f"task={task} is not valid; tasks are numbered from start=0")
        box, n_tasks = space.spaces["observation"], int(task.n)
    if not isinstance(box, spaces.Box):
        raise ValueError(f"observation_space={space} is not valid; an observation is a Box, alone or in a Dict")
    return box, n_tasks


def _check_net_arch(net_arch: list[int] | dict[str, list[int]] | None) -> dict[str, list[int]]:
    """Hidden layers of every network; else a ValueError."""
    if net_arch is None:
        net_arch = {}
    if not isinstance(net_arch, dict):
        return dict.fromkeys(NET_ARCH, arguments.hidden_layers("net_arch", net_arch))
    unknown = [name for name in net_arch if name not in NET_ARCH]
    if unknown:
        raise ValueError(f"unknown net_arch keys {unknown}; valid ones are {list(NET_ARCH)}")
    own = {name: arguments.hidden_layers(f"net_arch[{name!r}]", widths) for name, widths in net_arch.items()}
    return {**NET_ARCH, **own}
