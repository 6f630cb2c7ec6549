"""Densities, draws and entropies of the distributions that the method uses: pure functions of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gaussian_log_prob(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log-density of a diagonal Gaussian, summed over the last axis: (..., d) to (...)."""
    return _log_density((x - mean) * torch.exp(-log_std), log_std)


def _log_density(standardised: Tensor, log_std: Tensor) -> Tensor:
    return (-0.5 * standardised.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


def gaussian_sample(mean: Tensor, log_std: Tensor, noise: Tensor) -> Tensor:
    """Reparameterised draw from a diagonal Gaussian by N(0, 1) noise: (..., d) to (..., d)."""
    return mean + torch.exp(log_std) * noise


def gaussian_draw(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """A draw from a diagonal Gaussian by N(0, 1) noise, (..., d), and its log-density, (...)."""
    return gaussian_sample(mean, log_std, noise), _log_density(noise, log_std)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Entropy [nat] of a diagonal Gaussian: (..., d) to (...)."""
    return (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


def gaussian_kl(mean_p: Tensor, log_std_p: Tensor, mean_q: Tensor, log_std_q: Tensor) -> Tensor:
    """KL(p || q) [nat] of two diagonal Gaussians: (..., d) to (...)."""
    variance_ratio = torch.exp(2 * (log_std_p - log_std_q))
    shift = ((mean_p - mean_q) * torch.exp(-log_std_q)).square()
    return 0.5 * (variance_ratio + shift - 1 - torch.log(variance_ratio)).sum(-1)


def concrete_log_prob(x: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """Log-density of relaxed Bernoulli variables in logit space, summed: (..., d) to (...).

    Maddison et al. (2017), appendix B, for the logistic variable before the sigmoid: finite for
    every finite x, unlike the density of the variable in (0, 1).
    """
    shifted = logits - temperature * x
    return (math.log(temperature) + shifted - 2 * torch.nn.functional.softplus(shifted)).sum(-1)


def bernoulli_entropy(logits: Tensor) -> Tensor:
    """Entropy [nat] of independent Bernoulli variables: (..., d) to (...)."""
    softplus = torch.nn.functional.softplus
    return (torch.sigmoid(logits) * softplus(-logits) + torch.sigmoid(-logits) * softplus(logits)).sum(-1)
