"""K perceptrons evaluated together, with a hand-written gradient for the paper's activation, ELU."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

_LOG2_E = math.log2(math.e)


class Perceptrons(nn.Module):
    """K perceptrons of the same sizes: weights (K, in, out), one batched product a layer."""

    def __init__(self, count: int, sizes: list[int], activation: type[nn.Module] = nn.ELU, bf16: bool = False) -> None:
        """Initialise as ``nn.Linear`` does.

        Args:
            count: K.
            sizes: layer sizes, input first.
            activation: between layers.
            bf16: multiply in bfloat16, all layers but the last; parameters and results stay float32. ELU only.
        """
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for size_in, size_out in pairwise(sizes):
            bound = 1 / math.sqrt(size_in)
            self.weights.append(nn.Parameter(torch.empty(count, size_in, size_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(count, 1, size_out).uniform_(-bound, bound)))
        self.activation = None if activation is nn.ELU else activation()
        self.bf16 = bf16

    def forward(self, x: Tensor, frozen: bool = False, count: int | None = None) -> Tensor:
        """Outputs (K, n, out) of inputs (n, in).

        Args:
            x: (n, in).
            frozen: pass gradients to the inputs only.
            count: evaluate only the first ``count`` perceptrons.
        """
        weights, biases = list(self.weights), list(self.biases)
        if count is not None:
            weights, biases = [w[:count] for w in weights], [b[:count] for b in biases]
        if frozen:
            weights, biases = [w.detach() for w in weights], [b.detach() for b in biases]
        if self.activation is None:
            result: Tensor = _EluPerceptrons.apply(x, self.bf16, *weights, *biases)  # type: ignore[no-untyped-call]
            return result
        h = x.expand(len(weights[0]), *x.shape)
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            h = torch.baddbmm(bias, self.activation(h) if i else h, weight)
        return h


class _EluPerceptrons(torch.autograd.Function):
    """Forward and backward of all layers at once: a third of the operations that autograd would run.

    ELU is computed by exp2, which is vectorised on CPUs; expm1 and exp are not. Its derivative is 1
    above 0 and exp(x) below, so that both passes share one exponential.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bf16: bool, *parameters: Tensor) -> Tensor:
        weights, biases = parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]
        h = x.expand(len(weights[0]), *x.shape)
        saved, slopes = [], []
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            if i:
                slope = h.clamp(max=0.0).mul_(_LOG2_E).exp2_()
                h.clamp_(min=0.0).add_(slope).sub_(1.0)
                slopes.append(slope)
            if bf16 and i + 1 < len(weights):
                h, weight = h.bfloat16(), weight.bfloat16()
                saved += [h, weight]
                h = torch.bmm(h, weight).float().add_(bias)
            else:
                saved += [h, weight]
                h = torch.baddbmm(bias, h, weight)
        ctx.save_for_backward(*saved, *slopes)
        ctx.layers = len(weights)
        return h

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, ...]:
        layers, g = ctx.layers, grad[0]
        saved, slopes = ctx.saved_tensors[: 2 * layers], ctx.saved_tensors[2 * layers :]
        needed = ctx.needs_input_grad
        weight_grads: list[Tensor | None] = [None] * layers
        bias_grads: list[Tensor | None] = [None] * layers
        for i in range(layers - 1, -1, -1):
            h, weight = saved[2 * i], saved[2 * i + 1]
            factor = g.to(h.dtype)
            if needed[2 + i]:
                weight_grads[i] = torch.bmm(h.transpose(1, 2), factor).float()
                bias_grads[i] = g.sum(1, keepdim=True)
            if i or needed[0]:
                g = torch.bmm(factor, weight.transpose(1, 2)).float()
                if i:
                    g *= slopes[i - 1]
        return g.sum(0) if needed[0] else None, None, *weight_grads, *bias_grads
