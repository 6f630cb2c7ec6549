"""Rewards and returns of the method: pure functions of tensors.

Shapes: B windows, L steps. Names carry time: ``_t`` is step t, ``_tp1`` the next.
"""

from __future__ import annotations

import torch
from torch import Tensor


def augmented_reward(
    reward_t: Tensor, log_q_t: Tensor, entropy_t: Tensor, inference_coef: float | Tensor, entropy_coef: float
) -> Tensor:
    """The reward r-hat of equation 3: r + a2 log q(z|a, s^H) + a3 H[pi(.|s, z)]; all (B, L)."""
    return reward_t + inference_coef * log_q_t + entropy_coef * entropy_t


def trace_coefficients(
    log_prob_t: Tensor, behaviour_log_prob_t: Tensor, retrace_lambda: float, log_embedding_ratio: Tensor | None = None
) -> Tensor:
    """Retrace's c = lambda min(1, pi(a|z,s) p(z|t) / (b(a|z,s) b(z|t))) (equation 5).

    Args:
        log_prob_t: (B, L) log pi(a|s,z) of the present policy.
        behaviour_log_prob_t: (B, L) the same when the action was taken.
        retrace_lambda: lambda.
        log_embedding_ratio: (B,) log p(z|t) - log b(z|t), or None to leave it out.
    """
    log_ratio = log_prob_t - behaviour_log_prob_t
    if log_embedding_ratio is not None:
        log_ratio = log_ratio + log_embedding_ratio[:, None]
    return retrace_lambda * torch.exp(log_ratio.clamp(max=0.0))


def retrace_targets(q_t: Tensor, v_tp1: Tensor, reward_t: Tensor, discount_t: Tensor, trace_t: Tensor) -> Tensor:
    """Retrace targets for Q(s_t, a_t), bootstrapped after the last step (Munos et al., 2016).

    Q_ret(t) = r_t + discount_t [V(s_t+1) + c_t+1 (Q_ret(t+1) - Q(s_t+1, a_t+1))], with c = 0
    beyond the window: a sum of the later steps' errors, each decayed by the product of discount and
    c in between. The paper's printed equation 5 starts the product of c one step early;
    this is the recursion of Munos et al.

    Args:
        q_t: (B, L) target network's Q(s_t, a_t).
        v_tp1: (B, L) expected Q of the target network at s_t+1 under the present policy.
        reward_t: (B, L) augmented rewards.
        discount_t: (B, L) gamma, or 0 where the episode terminated.
        trace_t: (B, L) c_t; trace_t[:, 0] is not used. A zero cuts the trace before step t.

    Returns:
        (B, L) targets.
    """
    for name, tensor in (("v_tp1", v_tp1), ("reward_t", reward_t), ("discount_t", discount_t), ("trace_t", trace_t)):
        if tensor.shape != q_t.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; q_t has {tuple(q_t.shape)}")
    steps = torch.arange(q_t.shape[1], device=q_t.device)
    later = steps[None, :] > steps[:, None]  # (L, L): whether step k (second axis) is later than step t
    error_t = reward_t + discount_t * v_tp1 - q_t
    decay = torch.nn.functional.pad(discount_t[:, :-1] * trace_t[:, 1:], (1, 0))  # (B, L), from the step before
    weight = torch.where(later, decay[:, None], 1.0).cumprod(2).triu()  # (B, L, L): of the error at k in target t
    return q_t + torch.bmm(weight, error_t[..., None]).squeeze(-1)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x over the steps where mask is 1; both (B, L)."""
    return (x * mask).sum() / mask.sum()
