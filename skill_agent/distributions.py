"""Distribution families over z, and the embedding p(z|t)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from skill_agent.config import SkillConfig
from skill_agent.densities import (
    bernoulli_entropy,
    concrete_log_prob,
    gaussian_entropy,
    gaussian_kl,
    gaussian_log_prob,
    gaussian_sample,
)


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
    """The one-hot task in place of an embedding: the baseline. Nothing is learned or inferred."""

    def __init__(self, n_tasks: int) -> None:
        """Set the number of tasks."""
        self.dim, self.n_params, self.max_entropy = n_tasks, n_tasks, 0.0

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


def make_distributions(config: SkillConfig, n_tasks: int) -> tuple[Distribution, Distribution]:
    """The families of the embedding p(z|t) and of the inference network q(z|a, s^H)."""
    dim, bound = config.embedding_dim, config.embedding_mean_bound
    if config.embedding == "gaussian":
        return Gaussian(dim, config.embedding_log_std, bound), Gaussian(dim, config.inference_log_std, 2 * bound)
    if config.embedding == "bernoulli":
        family = Bernoulli(dim, config.temperature, bound)
        return family, Bernoulli(dim, config.temperature, 2 * bound)
    return TaskId(n_tasks), TaskId(n_tasks)


class Embedding(nn.Module):
    """p(z|t): a table of distribution parameters, which is a linear map of the one-hot task."""

    def __init__(self, family: Distribution, n_tasks: int, init_std: float = 0.0) -> None:
        """Start the tasks' means (or logits) at draws from N(0, init_std^2); with 0 only needed differences grow."""
        super().__init__()
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
