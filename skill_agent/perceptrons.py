"""K perceptrons evaluated together, with a hand-written gradient for the paper's activation, ELU.

Hidden layers may be normalised: activation(norm(h W) + b). The bias is the norm's shift. There is no gain: the next
layer's weights have one (Xu et al., 2019, *Understanding and Improving Layer Normalization*).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

_LOG2_E = math.log2(math.e)
_NORM_EPSILON = 1e-5  # added to the variance, as in torch's layer norm


def _multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for it; older releases of torch can't tell, and then it is taken to."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    found = {"bf16": True} if capabilities is None else capabilities()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


# Where they have to be emulated, an update in bfloat16 takes over ten times as long as in float32.
BFLOAT16 = _multiplies_bfloat16()


class Perceptrons(nn.Module):
    """K perceptrons of the same sizes: weights (K, in, out), one batched product a layer."""

    def __init__(
        self,
        count: int,
        sizes: list[int],
        activation: type[nn.Module] = nn.ELU,
        bf16: bool = False,
        norm: str = "none",
    ) -> None:
        """Initialise as ``nn.Linear`` does.

        Args:
            count: K.
            sizes: layer sizes, input first.
            activation: between layers.
            bf16: multiply in bfloat16 if the processor can, all layers but the last; parameters and results stay
                float32. ELU only.
            norm: of hidden layers: "none"; "layer" (Ba et al., 2016), to mean 0 and variance 1; or "rms" (Zhang and
                Sennrich, 2019), to a mean square of 1.
        """
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for size_in, size_out in pairwise(sizes):
            bound = 1 / math.sqrt(size_in)
            self.weights.append(nn.Parameter(torch.empty(count, size_in, size_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(count, 1, size_out).uniform_(-bound, bound)))
        self.activation = None if activation is nn.ELU else activation()
        self.bf16, self.norm = bf16, norm

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
                return _elu_layers(x, bf16, self.norm, weights, biases)[0]
            result: Tensor = _EluPerceptrons.apply(x, bf16, self.norm, *weights, *biases)  # type: ignore[no-untyped-call]
            return result
        h = x.expand(len(weights[0]), *x.shape)
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            if self.norm == "none":
                raw = torch.baddbmm(bias, h, weight)
            else:
                raw = normalised(torch.bmm(h, weight), self.norm)[0] + bias
            h = self.activation(raw)
        return torch.baddbmm(biases[-1], h, weights[-1])


class _EluPerceptrons(torch.autograd.Function):
    """Forward and backward of all layers at once: a third of the operations that autograd would run.

    In bfloat16, what is between the layers stays bfloat16. The last layer, whose few columns are no work, is evaluated
    in float32, so that results are not rounded.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bf16: bool, norm: str, *parameters: Tensor) -> Tensor:
        layers = len(parameters) // 2
        result, saved, normed = _elu_layers(x, bf16, norm, parameters[:layers], parameters[layers:])
        ctx.save_for_backward(*saved, *normed)
        ctx.norm = norm
        return result

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, ...]:
        kept, needed = ctx.saved_tensors, ctx.needs_input_grad[3:]  # needed: of the parameters, after x, bf16 and norm
        g, kind = grad[0], grad[0].dtype
        layers = len(needed) // 2
        saved, normed = kept[: 2 * layers], kept[2 * layers :]
        weight_grads: list[Tensor | None] = [None] * layers
        bias_grads: list[Tensor | None] = [None] * layers
        for i in range(layers - 1, -1, -1):
            h, weight = saved[2 * i], saved[2 * i + 1]
            if needed[i]:
                bias_grads[i] = g.sum(1, keepdim=True).to(kind)
            if normed and i + 1 < layers:
                g = _norm_backward(g, normed[2 * i], normed[2 * i + 1], ctx.norm)
            g = g.to(h.dtype)
            if needed[i]:
                product = torch.bmm if i + 1 < layers else _narrow
                weight_grads[i] = product(h.transpose(1, 2), g).to(kind)
            if i or ctx.needs_input_grad[0]:
                back = weight.to(h.dtype).transpose(1, 2)
                # With one column, the product is the outer one.
                g = g * back if g.shape[2] == 1 else torch.bmm(g, back)
            if i:
                g = torch.ops.aten.elu_backward(g, 1.0, 1.0, 1.0, True, h)  # its derivative follows from its result
        x_grad = g.to(kind).sum(0) if ctx.needs_input_grad[0] else None
        return x_grad, None, None, *weight_grads, *bias_grads


def _elu_layers(
    x: Tensor, bf16: bool, norm: str, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Outputs, every layer's input and weights, and with a norm what `normalised` gave for every hidden layer."""
    kind = torch.bfloat16 if bf16 else x.dtype
    h = x.to(kind).expand(len(weights[0]), *x.shape)
    saved, normed = [], []
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        weight = weight.to(kind)
        saved += [h, weight]
        if norm != "none":
            unit, scale = normalised(torch.bmm(h, weight).to(x.dtype), norm)
            normed += [unit.to(kind), scale]
            raw = unit + bias
        elif bf16:
            raw = torch.bmm(h, weight).float().add_(bias)  # baddbmm would write the bias in a pass of its own
        else:
            raw = torch.baddbmm(bias, h, weight)
        h = _elu(raw, kind)
    return _narrow(h.to(x.dtype), weights[-1]).add_(biases[-1]), [*saved, h, weights[-1]], normed


def normalised(x: Tensor, norm: str) -> tuple[Tensor, Tensor]:
    """The last axis of x (..., d) to a mean square of 1, and what it was multiplied by, (..., 1).

    Args:
        x: (..., d).
        norm: "layer" takes the mean off before, "rms" does not.
    """
    if norm == "layer":
        x = x - x.mean(-1, keepdim=True)
    scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + _NORM_EPSILON)
    return x * scale, scale


def _norm_backward(g: Tensor, unit: Tensor, scale: Tensor, norm: str) -> Tensor:
    """The gradient for the input of `normalised`, from that for its result.

    With y = s x and s = (mean(x^2) + epsilon)^(-1/2), ds/dx_j = -s^3 x_j / d. So dy_i/dx_j is
    s (1[i = j] - y_i y_j / d), and the gradient is s (g - y mean(g y)). Taking the mean off is its own transpose, so
    that "layer" takes it off the gradient too.

    Args:
        g: (..., d) for the result.
        unit: (..., d) the result, y.
        scale: (..., 1) s.
        norm: as of `normalised`.
    """
    g, unit = g.to(scale.dtype), unit.to(scale.dtype)
    back = g - unit * (g * unit).mean(-1, keepdim=True)
    if norm == "layer":
        back = back - back.mean(-1, keepdim=True)
    return back * scale


def _elu(x: Tensor, kind: torch.dtype) -> Tensor:
    """ELU, as ``kind``, by exp2, which is vectorised on CPUs; expm1 and exp are not."""
    below = x.clamp(max=0.0).mul_(_LOG2_E).exp2_().sub_(1.0)
    return torch.maximum(x, below, out=below).to(kind)


def _narrow(a: Tensor, b: Tensor) -> Tensor:
    """The batched product a @ b for few columns of b: the other order takes up to ten times longer on CPUs."""
    return torch.bmm(b.transpose(1, 2), a.transpose(1, 2)).transpose(1, 2)
