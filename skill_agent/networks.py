"""The networks of one agent: embedding, policy, inference network and critics, and what they are functions of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from skill_agent import arguments
from skill_agent.config import SkillConfig
from skill_agent.distributions import TaskId, bounded, make_distributions, make_embedding
from skill_agent.divergence import check_observation
from skill_agent.observations import example_tasks, split_observation_space
from skill_agent.perceptrons import Perceptrons
from skill_agent.value_bins import ValueBins
from skill_envs import checks

NET_ARCH: dict[str, list[int]] = {"pi": [200, 100], "qf": [200, 200], "inference": [200, 200]}

_SMALLEST_STD = 0.05  # channels that hardly vary are not blown up
_LARGEST_STATE = 10.0  # standard deviations
_SPREAD_OVER = 256  # z


class SkillNetworks(BasePolicy):
    """Embedding p(z|t), policy pi(a|s,z), inference network q(z|a, s^H) and critics.

    Attributes:
        task_space: of task indices, or of continuous parameters c in their place.
        n_tasks: T, 1 for a Box observation and for tasks with parameters.
        state_dim: S, of the observation without the task, flattened.
        embedding: parameters of p(z|t), and the context, which is what the critic sees of a task.
        actor: (state, code of z) to mean and log standard deviation of the action.
        inference: (action, state segment) to parameters of q(z|a, s^H); None for "task_id".
        critics: (state, action, code of z, context) to values, or to logits of bins of values.
        critics_target: a copy of ``critics``, refreshed now and then.
        transition: (code of z, context) to what p(z'|z,t) differs from p(z|t) by, of the z' that follows z; None
            unless it is learned.
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
            observation_space: a Box, or a Dict of "observation" (Box) and "task" (Discrete, or a Box of parameters).
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
            # One kernel for all parameters; other optimisers may not have it.
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
        self.box, self.task_space = split_observation_space(observation_space)
        self.n_tasks = int(self.task_space.n) if isinstance(self.task_space, spaces.Discrete) else 1
        context_dim = spaces.flatdim(self.task_space)  # T, or C
        self.embedding_distribution, self.inference_distribution = make_distributions(self.config, context_dim)
        state_dim, action_dim = math.prod(self.box.shape), math.prod(action_space.shape)
        z_dim = self.embedding_distribution.dim
        self.state_dim = state_dim
        self._unit_bounds = bool((action_space.low == -1).all() and (action_space.high == 1).all())

        self.state_mean: Tensor
        self.state_scale: Tensor
        self.register_buffer("state_mean", torch.zeros(state_dim))
        self.register_buffer("state_scale", torch.ones(state_dim))
        self.embedding = make_embedding(self.embedding_distribution, self.task_space, self.config, activation_fn)

        def perceptrons(count: int, *sizes: int, norm: str = "none") -> Perceptrons:
            return Perceptrons(count, list(sizes), activation_fn, self.config.bf16, norm)

        self.actor = perceptrons(1, state_dim + z_dim, *self.net_arch["pi"], 2 * action_dim)
        with torch.no_grad():
            self.actor.weights[0][:, state_dim:] *= self.config.z_gain
        self.inference: Perceptrons | None = None
        if not isinstance(self.embedding_distribution, TaskId):
            channels = self.config.inference_channels
            if channels is None:
                inputs = self.config.segment * state_dim + action_dim
            else:
                inputs = self.config.segment * len(channels)
                if max(channels) >= state_dim:
                    raise ValueError(f"inference_channels={channels} is not valid; choose from 0 to {state_dim - 1}")
            learned = self.config.embedding_transition == "learned"
            inputs += z_dim if learned else 0  # the next z
            self.inference = perceptrons(1, inputs, *self.net_arch["inference"], self.inference_distribution.n_params)
        critic_inputs = state_dim + action_dim + z_dim + context_dim
        critic_outputs = self.config.critic_bins if self.config.critic_loss == "hl_gauss" else 1
        critic_sizes = (critic_inputs, *self.net_arch["qf"], critic_outputs)
        self.critics = perceptrons(self.config.n_critics, *critic_sizes, norm=self.config.critic_norm)
        self.critics_target = perceptrons(self.config.n_critics, *critic_sizes, norm=self.config.critic_norm)
        if self.config.critic_loss == "hl_gauss":
            with torch.no_grad():
                self.critics.biases[-1].copy_(self.value_bins().logits_of(torch.zeros(())))
        self.critics_target.load_state_dict(self.critics.state_dict())
        self.critics_target.requires_grad_(False)
        self.transition: Perceptrons | None = None
        if self.config.embedding_transition == "learned":
            n_params = self.embedding_distribution.n_params
            self.transition = perceptrons(1, z_dim + context_dim, *self.net_arch["inference"], n_params)
            self._spread_transition()

        self.trained_parameters = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = optimizer_class(self._parameter_groups(), lr=lr_schedule(1), **optimizer_kwargs)  # type: ignore[call-arg]

    @torch.no_grad()
    def _spread_transition(self) -> None:
        """Let p(z'|z,t) start as p(z|t), or with means that differ between z as much as the settings say."""
        assert self.transition is not None
        last, spread = self.transition.weights[-1], self.config.transition_init_std
        if spread:
            z_dim = self.embedding_distribution.dim
            code = self.embedding_distribution.code(torch.randn(_SPREAD_OVER, z_dim))
            context = self.embedding.context(example_tasks(self.task_space, code.device))
            context = context[torch.arange(_SPREAD_OVER) % len(context)]
            means = self.transition(torch.cat((code, context), dim=-1))[0][:, :z_dim]
            last[..., :z_dim] *= spread / means.std(0).clamp(min=1e-6)
            last[..., z_dim:] = 0.0
        else:
            last.zero_()
        self.transition.biases[-1].zero_()

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser trains; what z is drawn from is a second group where it has a learning rate of its own."""
        if self.config.embedding_rate == 1:
            return [{"params": self.trained_parameters}]
        of_embedding = {id(p) for module in (self.embedding, self.transition) if module for p in module.parameters()}
        groups: list[list[nn.Parameter]] = [[], []]
        for parameter in self.trained_parameters:
            groups[id(parameter) in of_embedding].append(parameter)
        return [{"params": group} for group in groups if group]

    def set_embedding_rate(self) -> None:
        """Let p(z|t) and p(z'|z,t) learn at their own rate, after the optimiser was given one for all."""
        for group in self.optimizer.param_groups[1:]:
            group["lr"] *= self.config.embedding_rate

    # States -----------------------------------------------------------------------------------

    def fit_normalisation(self, observation: NDArray[np.float32]) -> None:
        """Measure each channel's mean and standard deviation on observations (n, S), once.

        Raises:
            TrainingDiverged: one is not finite; nothing has been changed.
        """
        # Squares of numbers beyond 1e19 overflow, and their channel would be multiplied by zero.
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = observation.mean(0), observation.std(0)
        check_observation("mean of the observations", mean)
        check_observation("standard deviation of the observations", std)
        self.state_mean.copy_(torch.as_tensor(mean))
        self.state_scale.copy_(torch.as_tensor(1 / np.maximum(std, _SMALLEST_STD)))

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
        outputs = self.actor(inputs.flatten(0, -2)).reshape(*inputs.shape[:-1], -1)  # (..., 2 A)
        raw_mean, log_std = outputs.chunk(2, dim=-1)
        return raw_mean, bounded(log_std, self.config.policy_log_std)

    def action_distribution(self, state: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Mean, in (-1, 1), and log standard deviation of pi(a|s,z); shapes as of `action_parameters`.

        Actions are clipped to [-1, 1] only where they are applied.
        """
        raw_mean, log_std = self.action_parameters(state, code)
        return torch.tanh(raw_mean), log_std

    def following(self, latent: Tensor, task: Tensor) -> Tensor:
        """Parameters (n, n_params) of p(z'|z,t), of the z' that follows latents (n, Z) of tasks (n,).

        They are those of p(z|t), and what ``transition`` adds.
        """
        params: Tensor = self.embedding(task)
        if self.transition is None:
            return params
        inputs = torch.cat((self.embedding_distribution.code(latent), self.embedding.context(task)), dim=-1)
        change: Tensor = self.transition(inputs)[0]
        return params + change

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
            task: (..., T) one-hot, or (..., C) scaled parameters.
            target: use the target network.
            frozen: pass gradients to the inputs only.
            count: evaluate only the first ``count`` critics.
        """
        outputs = self.critic_outputs(state, action, code, task, target=target, frozen=frozen, count=count)
        return outputs.squeeze(-1) if self.config.critic_loss == "mse" else self.value_bins().expectation(outputs)

    def critic_outputs(
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
        """What every critic's last layer gives, (K, ..., M): values, M = 1, or logits of M bins; see `value`."""
        inputs = torch.cat((state, action, code, task), dim=-1)
        critics = self.critics_target if target else self.critics
        outputs: Tensor = critics(inputs.flatten(0, -2), frozen, count)
        return outputs.reshape(-1, *inputs.shape[:-1], outputs.shape[-1])

    def value_bins(self) -> ValueBins:
        """The bins of values that logits of the critics are of (``critic_loss="hl_gauss"``)."""
        return ValueBins(*self.config.critic_support, self.config.critic_bins)

    def inferred(self, action: Tensor, segments: Tensor, next_code: Tensor | None = None) -> Tensor:
        """Parameters of q(z|a, s^H), or of q(z|s^H) for some entries of the states (``inference_channels``).

        Args:
            action: (n, A).
            segments: (n, H, S), oldest state first.
            next_code: (n, Z) of the next z, which q sees where the transition is learned: q(z|z', a, s^H).
        """
        assert self.inference is not None, "the task_id embedding has no inference network"
        channels = self.config.inference_channels
        if channels is None:
            inputs = torch.cat((action, segments.flatten(1)), dim=-1)
        else:
            inputs = segments[..., list(channels)].flatten(1)
        if self.transition is not None:
            assert next_code is not None, "q(z|z', a, s^H) of a learned transition needs the next z"
            inputs = torch.cat((inputs, next_code), dim=-1)
        parameters: Tensor = self.inference(inputs)[0]
        return parameters

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


def _check_net_arch(net_arch: list[int] | dict[str, list[int]] | None) -> dict[str, list[int]]:
    """Hidden layers of every network; else a ValueError."""
    if net_arch is None:
        net_arch = {}
    if not isinstance(net_arch, dict):
        return dict.fromkeys(NET_ARCH, arguments.hidden_layers("net_arch", net_arch))
    unknown = [name for name in net_arch if name not in NET_ARCH]
    if unknown:
        meant = checks.did_you_mean(unknown, NET_ARCH)
        raise ValueError(f"unknown net_arch keys {unknown}; valid ones are {list(NET_ARCH)}{meant}")
    own = {name: arguments.hidden_layers(f"net_arch[{name!r}]", widths) for name, widths in net_arch.items()}
    return {**NET_ARCH, **own}
