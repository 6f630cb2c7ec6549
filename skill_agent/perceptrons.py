"""K perceptrons evaluated together, with a hand-written gradient for the paper's activation, ELU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

_LOG2_E = math.log2(math.e)


def _multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for it; older releases of torch can't tell, and then it is taken to."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    found = {"bf16": True} if capabilities is None else capabilities()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


# Where they have to be emulated, an update in bfloat16 takes over ten times as long as in float32.
BFLOAT16 = _multiplies_bfloat16()


class Perceptrons(nn.Module):
    """K perceptrons of the same sizes: weights (K, in, out), one batched product a layer."""

    def __init__(self, count: int, sizes: list[int], activation: type[nn.Module] = nn.ELU, bf16: bool = False) -> None:
        """Initialise as ``nn.Linear`` does.

        Args:
            count: K.
            sizes: layer sizes, input first.
            activation: between layers.
            bf16: multiply in bfloat16 if the processor can, all layers but the last; parameters and results stay
                float32. ELU only.
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
            bf16 = self.bf16 and (BFLOAT16 or x.device.type != "cpu")
            if not torch.is_grad_enabled():
                return _elu_layers(x, bf16, weights, biases)[0]
            result: Tensor = _EluPerceptrons.apply(x, bf16, *weights, *biases)  # type: ignore[no-untyped-call]
            return result
        h = torch.baddbmm(biases[0], x.expand(len(weights[0]), *x.shape), weights[0])
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            h = torch.baddbmm(bias, self.activation(h), weight)
        return h


class _EluPerceptrons(torch.autograd.Function):
    """Forward and backward of all layers at once: a third of the operations that autograd would run.

    In bfloat16, what is between the layers stays bfloat16. The last layer, whose few columns are no work, is evaluated
    in float32, so that results are not rounded.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bf16: bool, *parameters: Tensor) -> Tensor:
        layers = len(parameters) // 2
        result, saved = _elu_layers(x, bf16, parameters[:layers], parameters[layers:])
        ctx.save_for_backward(*saved)
        return result

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, ...]:
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad  # needed: of x, bf16 and the parameters
        g, kind = grad[0], grad[0].dtype
        layers = len(saved) // 2
        weight_grads: list[Tensor | None] = [None] * layers
        bias_grads: list[Tensor | None] = [None] * layers
        for i in range(layers - 1, -1, -1):
            h, weight = saved[2 * i], saved[2 * i + 1]
            if needed[2 + i]:
                bias_grads[i] = g.sum(1, keepdim=True).to(kind)
            g = g.to(h.dtype)
            if needed[2 + i]:
                product = torch.bmm if i + 1 < layers else _narrow
                weight_grads[i] = product(h.transpose(1, 2), g).to(kind)
            if i or needed[0]:
                back = weight.to(h.dtype).transpose(1, 2)
                # With one column, the product is the outer one.
                g = g * back if g.shape[2] == 1 else torch.bmm(g, back)
            if i:
                g = torch.ops.aten.elu_backward(g, 1.0, 1.0, 1.0, True, h)  # its derivative follows from its result
        x_grad = g.to(kind).sum(0) if needed[0] else None
        return x_grad, None, *weight_grads, *bias_grads


def _elu_layers(
    x: Tensor, bf16: bool, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Outputs, and every layer's input and weights."""
    kind = torch.bfloat16 if bf16 else x.dtype
    h = x.to(kind).expand(len(weights[0]), *x.shape)
    saved = []
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        weight = weight.to(kind)
        saved += [h, weight]
        # In bfloat16, baddbmm would write the bias in a pass of its own.
        raw = torch.bmm(h, weight).float().add_(bias) if bf16 else torch.baddbmm(bias, h, weight)
        h = _elu(raw, kind)
    return _narrow(h.to(x.dtype), weights[-1]).add_(biases[-1]), [*saved, h, weights[-1]]


def _elu(x: Tensor, kind: torch.dtype) -> Tensor:
    """ELU, as ``kind``, by exp2, which is vectorised on CPUs; expm1 and exp are not."""
    below = x.clamp(max=0.0).mul_(_LOG2_E).exp2_().sub_(1.0)
    return torch.maximum(x, below, out=below).to(kind)


def _narrow(a: Tensor, b: Tensor) -> Tensor:
    """The batched product a @ b for few columns of b: the other order takes up to ten times longer on CPUs."""
    return torch.bmm(b.transpose(1, 2), a.transpose(1, 2)).transpose(1, 2)
