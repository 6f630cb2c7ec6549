"""Values as classes: a scalar target spread over bins by a Gaussian, and the value that logits of the bins stand for.

HL-Gauss of Imani and White (2018), *Improving Regression Performance with Distributional Losses*, for values as in
Farebrother et al. (2024), *Stop Regressing: Training Value Functions via Classification for Scalable Deep RL*, whose
ratio of sigma to the bins' width, 0.75, is kept. All functions are of tensors alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

SIGMA_RATIO = 0.75  # of the Gaussian's standard deviation to the width of a bin
_LEAST_LOGIT = -10.0  # of `logits_of`: bins without a share can still be learned


class ValueBins(NamedTuple):
    """M bins of equal width between two values."""

    low: float
    high: float
    bins: int  # M

    @property
    def width(self) -> float:
        """Of one bin."""
        return (self.high - self.low) / self.bins

    def edges(self, like: Tensor) -> Tensor:
        """Their edges, (M + 1,), of the type and device of ``like``."""
        return torch.linspace(self.low, self.high, self.bins + 1, dtype=like.dtype, device=like.device)

    def centres(self, like: Tensor) -> Tensor:
        """Their centres, (M,), of the type and device of ``like``."""
        edges = self.edges(like)
        return (edges[:-1] + edges[1:]) / 2

    def shares(self, value: Tensor) -> Tensor:
        """Shares (..., M) of values (...) in the bins: of a Gaussian around the value, cut off at the ends.

        Values outside are clipped to the ends, where half of the Gaussian is left; so values should stay a few bins
        within them.
        """
        scaled = (self.edges(value) - value.clamp(self.low, self.high)[..., None]) / (SIGMA_RATIO * self.width)
        below = torch.erf(scaled / math.sqrt(2))  # (..., M + 1)
        return below.diff(dim=-1) / (below[..., -1:] - below[..., :1])

    def outside(self, value: Tensor) -> Tensor:
        """Whether values (...) are clipped, as 0 or 1."""
        return ((value < self.low) | (value > self.high)).to(value.dtype)

    def expectation(self, logits: Tensor) -> Tensor:
        """The values (...) that logits (..., M) stand for: the centres' mean by the logits' softmax.

        Raises:
            ValueError: there is not one logit a bin.
        """
        self._check(logits)
        return torch.softmax(logits, dim=-1) @ self.centres(logits)

    def cross_entropy(self, logits: Tensor, value: Tensor) -> Tensor:
        """Minus the mean of the logits' log-probability over the shares of values.

        Args:
            logits: (..., M).
            value: (...), or a shape that goes with it.

        Returns:
            (...).

        Raises:
            ValueError: there is not one logit a bin.
        """
        self._check(logits)
        return -(self.shares(value) * torch.log_softmax(logits, dim=-1)).sum(-1)

    def logits_of(self, value: Tensor) -> Tensor:
        """Logits (..., M) that stand for values (...), about."""
        return self.shares(value).log().clamp(min=_LEAST_LOGIT)

    def _check(self, logits: Tensor) -> None:
        if logits.shape[-1] != self.bins:
            raise ValueError(f"logits have shape {tuple(logits.shape)}; the last axis has to be {self.bins} bins")
