"""Distribution families over z, and the embedding p(z|t)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from gymnasium import spaces
from torch import Tensor, nn

from skill_agent.config import EMBEDDINGS, SkillConfig
from skill_agent.densities import (
    bernoulli_entropy,
    concrete_log_prob,
    gaussian_entropy,
    gaussian_kl,
    gaussian_log_prob,
    gaussian_sample,
)
from skill_agent.observations import TaskSpace, example_tasks
from skill_agent.perceptrons import Perceptrons


def bounded(raw: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Map reals smoothly into bounds; 0 goes to the middle."""
    low, high = bounds
    return low + 0.5 * (high - low) * (1 + torch.tanh(raw))


class Distribution(ABC):
    """A family of distributions over latents z, as functions of parameters (n, n_params).

    The latent is what is sampled and stored; the code is what the policy and the critic see.
    """

    n_params: int
    dim: int
    max_entropy: float  # [nat], the most that a distribution of the family can have

    @abstractmethod
    def noise(self, shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
        """The noise (*shape, dim) that `sample` needs; None draws it from torch's global generator."""

    @abstractmethod
    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """Latents (n, dim) from parameters and noise, differentiable in the parameters."""

    @abstractmethod
    def log_prob(self, params: Tensor, latent: Tensor) -> Tensor:
        """Log-density (n,) of latents (n, dim)."""

    @abstractmethod
    def entropy(self, params: Tensor) -> Tensor:
        """Entropy (n,) [nat]."""

    @abstractmethod
    def mode(self, params: Tensor) -> Tensor:
        """The most likely latents (n, dim)."""

    @abstractmethod
    def mean_code(self, params: Tensor) -> Tensor:
        """Expected code (n, dim)."""

    @abstractmethod
    def kl(self, params_p: Tensor, params_q: Tensor) -> Tensor:
        """KL(p || q) (n,) [nat]."""

    def code(self, latent: Tensor) -> Tensor:
        """What the networks see of a latent: (n, dim) to (n, dim)."""
        return latent

    def discrete(self, latent: Tensor) -> Tensor:
        """The draw that a relaxed latent stands for; the latent itself where nothing is relaxed."""
        return latent


class Gaussian(Distribution):
    """Diagonal Gaussian with bounded mean and log standard deviation."""

    def __init__(self, dim: int, log_std: tuple[float, float], mean_bound: float) -> None:
        """Set the bounds; nothing else stops p(z|t) from inflating or collapsing."""
        self.dim, self.n_params = dim, 2 * dim
        self._log_std, self._mean_bound = log_std, mean_bound
        self.max_entropy = dim * (0.5 * math.log(2 * math.pi * math.e) + log_std[1])

    def mean_log_std(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, (n, dim) each."""
        mean, log_std = params.chunk(2, dim=-1)
        return self._mean_bound * torch.tanh(mean / self._mean_bound), bounded(log_std, self._log_std)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
        """N(0, 1)."""
        return torch.randn(*shape, self.dim, generator=generator, device=device)

    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """Reparameterised draw."""
        return gaussian_sample(*self.mean_log_std(params), noise)

    def log_prob(self, params: Tensor, latent: Tensor) -> Tensor:
        """Log-density."""
        return gaussian_log_prob(latent, *self.mean_log_std(params))

    def entropy(self, params: Tensor) -> Tensor:
        """Closed form."""
        return gaussian_entropy(self.mean_log_std(params)[1])

    def mode(self, params: Tensor) -> Tensor:
        """The mean."""
        return self.mean_log_std(params)[0]

    def mean_code(self, params: Tensor) -> Tensor:
        """The mean."""
        return self.mean_log_std(params)[0]

    def kl(self, params_p: Tensor, params_q: Tensor) -> Tensor:
        """Closed form."""
        return gaussian_kl(*self.mean_log_std(params_p), *self.mean_log_std(params_q))


class Bernoulli(Distribution):
    """Independent Bernoulli variables by the Concrete relaxation (Maddison et al., 2017).

    Latents live in logit space; the code is 2 sigmoid(latent) - 1, in (-1, 1). The entropy is
    that of the discrete variables: in logit space the relaxed one does not depend on the logits.
    """

    _MODE = 10.0  # latent whose code is 1 to four digits

    def __init__(self, dim: int, temperature: float, logit_bound: float) -> None:
        """Set the temperature of the relaxation and the bound of the logits."""
        self.dim, self.n_params = dim, dim
        self._temperature, self._bound = temperature, logit_bound
        self.max_entropy = dim * (2 - math.log(temperature))  # of logistic variables of scale 1 / temperature

    def logits(self, params: Tensor) -> Tensor:
        """Bounded logits of probability 1, (n, dim)."""
        return self._bound * torch.tanh(params / self._bound)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
        """Uniform in (0, 1)."""
        return torch.rand(*shape, self.dim, generator=generator, device=device)

    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """Reparameterised draw in logit space."""
        logistic = torch.logit(noise.clamp(1e-6, 1 - 1e-6))
        return (self.logits(params) + logistic) / self._temperature

    def log_prob(self, params: Tensor, latent: Tensor) -> Tensor:
        """Log-density in logit space."""
        return concrete_log_prob(latent, self.logits(params), self._temperature)

    def entropy(self, params: Tensor) -> Tensor:
        """Entropy of the discrete variables."""
        return bernoulli_entropy(self.logits(params))

    def mode(self, params: Tensor) -> Tensor:
        """A latent far out on the likelier side."""
        return self.discrete(params)

    def discrete(self, latent: Tensor) -> Tensor:
        """A latent far out on the same side."""
        return torch.where(latent >= 0, self._MODE, -self._MODE)

    def mean_code(self, params: Tensor) -> Tensor:
        """Expected discrete code, in (-1, 1)."""
        return 2 * torch.sigmoid(self.logits(params)) - 1

    def kl(self, params_p: Tensor, params_q: Tensor) -> Tensor:
        """KL of the discrete variables."""
        p, q = self.logits(params_p), self.logits(params_q)
        softplus = nn.functional.softplus
        ones = torch.sigmoid(p) * (softplus(-q) - softplus(-p))
        return (ones + torch.sigmoid(-p) * (softplus(q) - softplus(p))).sum(-1)

    def code(self, latent: Tensor) -> Tensor:
        """Into (-1, 1)."""
        return 2 * torch.sigmoid(latent) - 1


class TaskId(Distribution):
    """The one-hot task, or its parameters, in place of an embedding: the baseline. Nothing is learned or inferred."""

    def __init__(self, context_dim: int) -> None:
        """Set the number of tasks, or of parameters."""
        self.dim, self.n_params, self.max_entropy = context_dim, context_dim, 0.0

    def noise(self, shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
        """Nothing is drawn."""
        return torch.zeros(*shape, self.dim, device=device)

    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        """The one-hot task."""
        return params

    def log_prob(self, params: Tensor, latent: Tensor) -> Tensor:
        """Zero: the draw is certain."""
        return torch.zeros(params.shape[:-1], device=params.device)

    def entropy(self, params: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros(params.shape[:-1], device=params.device)

    def mode(self, params: Tensor) -> Tensor:
        """The one-hot task."""
        return params

    def mean_code(self, params: Tensor) -> Tensor:
        """The one-hot task."""
        return params

    def kl(self, params_p: Tensor, params_q: Tensor) -> Tensor:
        """Zero between equal tasks, infinite between others."""
        return torch.where((params_p == params_q).all(-1), 0.0, math.inf)


def make_distributions(config: SkillConfig, context_dim: int) -> tuple[Distribution, Distribution]:
    """The families of the embedding p(z|t) and of the inference network q(z|a, s^H).

    Args:
        config: settings.
        context_dim: T, the number of tasks, or C, the number of a task's parameters.

    Raises:
        ValueError: the embedding has no family here.
    """
    dim, bound = config.embedding_dim, config.embedding_mean_bound
    if config.embedding == "gaussian":
        return Gaussian(dim, config.embedding_log_std, bound), Gaussian(dim, config.inference_log_std, 2 * bound)
    if config.embedding == "bernoulli":
        family = Bernoulli(dim, config.temperature, bound)
        return family, Bernoulli(dim, config.temperature, 2 * bound)
    if config.embedding == "task_id":
        return TaskId(context_dim), TaskId(context_dim)
    others = [name for name in EMBEDDINGS if name != config.embedding]
    raise ValueError(f"embedding={config.embedding!r} has no family; choose from {others}")


class Embedding(nn.Module):
    """p(z|t): a table of distribution parameters, which is a linear map of the one-hot task.

    Attributes:
        n_tasks: T.
    """

    def __init__(self, family: Distribution, n_tasks: int, init_std: float = 0.0) -> None:
        """Start the tasks' means (or logits) at draws from N(0, init_std^2); with 0 only needed differences grow."""
        super().__init__()
        self.n_tasks = n_tasks
        self.table: nn.Parameter | Tensor
        if isinstance(family, TaskId):
            self.register_buffer("table", torch.eye(n_tasks))
        else:
            self.table = nn.Parameter(torch.zeros(n_tasks, family.n_params))
            if init_std:
                nn.init.normal_(self.table.data[:, : family.dim], std=init_std)

    def forward(self, task: Tensor) -> Tensor:
        """Parameters (n, n_params) for task indices (n,)."""
        return self.table[task]

    def context(self, task: Tensor) -> Tensor:
        """What the critic sees of task indices (n,): the one-hot tasks (n, T)."""
        return torch.eye(self.n_tasks, device=task.device)[task]


class ParameterEmbedding(nn.Module):
    """p(z|c) of tasks with continuous parameters c: a network from c to the distribution's parameters.

    Its methods are those of `Embedding`, with parameters (n, C) in place of indices (n,).
    """

    def __init__(
        self, family: Distribution, space: spaces.Box, config: SkillConfig, activation: type[nn.Module]
    ) -> None:
        """Build the network.

        Args:
            family: of p(z|c).
            space: of c, with finite bounds.
            config: hidden layers, and the spread of the means over c at the start.
            activation: between layers.
        """
        super().__init__()
        self._low, self._high = space.low.tolist(), space.high.tolist()
        self.network: Perceptrons | None = None
        if isinstance(family, TaskId):
            return
        sizes = [len(self._low), *config.embedding_net_arch, family.n_params]
        self.network = Perceptrons(1, sizes, activation, config.bf16)
        with torch.no_grad():
            # As a table does, it begins with one distribution for all tasks, or with means of a given spread.
            last = self.network.weights[-1]
            if config.embedding_init_std:
                # Orthogonal, so that no direction of c is lost in z from the start.
                nn.init.orthogonal_(last[0, :, : family.dim])
                last[..., family.dim :] = 0.0
                means = self(example_tasks(space, last.device))[:, : family.dim]
                last[..., : family.dim] *= config.embedding_init_std / means.std(0).clamp(min=1e-6)
            else:
                last.zero_()
            self.network.biases[-1].zero_()

    def forward(self, task: Tensor) -> Tensor:
        """Parameters (..., n_params) for c (..., C)."""
        context = self.context(task)
        if self.network is None:
            return context
        outputs: Tensor = self.network(context.flatten(0, -2))[0]
        return outputs.reshape(*context.shape[:-1], -1)

    def context(self, task: Tensor) -> Tensor:
        """What the networks see of c (..., C): the same, scaled from its bounds to [-1, 1]."""
        low, high = task.new_tensor(self._low), task.new_tensor(self._high)
        return 2 * ((task - low) / (high - low)) - 1


def make_embedding(
    family: Distribution, space: TaskSpace, config: SkillConfig, activation: type[nn.Module]
) -> Embedding | ParameterEmbedding:
    """P(z|t) of tasks in ``space``, by their index or by their parameters."""
    if isinstance(space, spaces.Box):
        return ParameterEmbedding(family, space, config, activation)
    return Embedding(family, int(space.n), config.embedding_init_std)
