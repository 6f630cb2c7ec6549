"""The losses of one update (paper, equations 3, 5 to 7 and 13), as functions of the networks and a batch from replay.

Shapes: B windows, L steps, S state, A action, Z code of z, T tasks (or their parameters), K critics, H states of a
segment.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor

from skill_agent.densities import gaussian_entropy, gaussian_log_prob, gaussian_sample
from skill_agent.policy import SkillPolicy
from skill_agent.replay import TrajectoryBatch
from skill_agent.returns import augmented_reward, masked_mean, retrace_targets, trace_coefficients
from skill_agent.value_bins import ValueBins

Terms = dict[str, Tensor]  # what is logged, by name: scalars, or (B, L) for their mean


class Draws(NamedTuple):
    """The random numbers of one update; compiled code can't draw them from a generator."""

    next_action: Tensor  # (B, L, A), for the targets
    latent: Tensor  # (B, L, Z), for the policy's loss
    action: Tensor  # (B, L, A), for the policy's loss
    states: Tensor | None = None  # (B, H - 1 + L, S), for the inference network
    next_latent: Tensor | None = None  # (B, Z), for the z that follows


def draw(policy: SkillPolicy, batch: TrajectoryBatch, generator: torch.Generator) -> Draws:
    """The random numbers of an update on ``batch``."""
    windows, steps, size = batch.action.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=batch.action.device)

    next_action = normal(windows, steps, size)
    latent = policy.embedding_distribution.noise((windows, steps), generator, batch.action.device)
    draws = Draws(next_action, latent, normal(windows, steps, size))
    config = policy.config
    if policy.inference is not None and config.inference_noise:
        states = normal(windows, config.segment - 1 + steps, batch.observation.shape[2])
        draws = draws._replace(states=config.inference_noise * states)
    if config.embedding_transition != "none":
        noise = policy.embedding_distribution.noise((windows,), generator, batch.action.device)
        draws = draws._replace(next_latent=noise)
    return draws


def losses(
    policy: SkillPolicy, batch: TrajectoryBatch, draws: Draws, gamma: float, versatility: Tensor
) -> tuple[Tensor, Terms]:
    """The sum of all losses on one batch, and its terms.

    Critic (equation 5), policy and embedding (6) and inference network (7) have disjoint
    parameters and gradients, so one sum and one optimiser serve them all.

    Args:
        policy: all networks.
        batch: windows from replay, with states as the networks see them.
        draws: random numbers.
        gamma: discount factor.
        versatility: () factor of a1 and a2 in force.
    """
    state_t = batch.observation[:, :-1]  # (B, L, S)
    steps = state_t.shape[1]
    task = policy.embedding.context(batch.task)[:, None].expand(-1, steps, -1)  # (B, L, T)
    code = policy.embedding_distribution.code(batch.latent)[:, None].expand(-1, steps, -1)  # (B, L, Z)

    following = next_code(policy, batch, draws)
    log_q = inference_log_prob(policy, batch, draws, following)  # (B, L)
    target_t, target_terms = critic_targets(
        policy, batch, task, code, log_q.detach(), draws.next_action, gamma, versatility, following
    )
    outputs = policy.critic_outputs(state_t, batch.action, code, task, target=False, frozen=False)  # (K, B, L, M)
    bins = policy.value_bins() if policy.config.critic_loss == "hl_gauss" else None
    critic_loss = masked_mean(critic_errors(outputs, target_t, bins).sum(0), batch.mask)
    inference_loss = -masked_mean(log_q, batch.mask)
    policy_loss, policy_terms = actor_loss(policy, state_t, task, batch, draws, versatility)
    terms = {"loss/critic": critic_loss, "loss/inference": inference_loss, "loss/actor": policy_loss}
    if bins is not None:
        terms["retrace/clipped"] = bins.outside(target_t)
    return critic_loss + inference_loss + policy_loss, terms | target_terms | policy_terms


def critic_errors(outputs: Tensor, target_t: Tensor, bins: ValueBins | None) -> Tensor:
    """How far critics are from their targets, (K, B, L): what their loss is the mean of.

    Args:
        outputs: (K, B, L, M) values, M = 1, or logits of M bins.
        target_t: (B, L).
        bins: of the logits, for a cross-entropy; None for squared distances.

    Raises:
        ValueError: the outputs are not of these bins, or of another number of steps than the targets.
    """
    expected = (*target_t.shape, 1 if bins is None else bins.bins)
    if outputs.shape[1:] != expected:
        raise ValueError(f"outputs have shape {tuple(outputs.shape)}; of one critic they have to be {expected}")
    if bins is None:
        return (outputs.squeeze(-1) - target_t).square()
    return bins.cross_entropy(outputs, target_t)


@torch.no_grad()
def next_code(policy: SkillPolicy, batch: TrajectoryBatch, draws: Draws) -> Tensor | None:
    """Codes (B, Z) of the z' that follows each window's z, drawn of the present p(z'|z,t); None without a transition.

    Given z, the next one depends on nothing else, so that a new draw is as good as the z' that came in fact. There is
    one after an episode's last z as well, as there is a state whose value is bootstrapped with.
    """
    if draws.next_latent is None:
        return None
    params = policy.following(batch.latent, batch.task)
    return policy.embedding_distribution.code(policy.embedding_distribution.sample(params, draws.next_latent))


@torch.no_grad()
def critic_targets(
    policy: SkillPolicy,
    batch: TrajectoryBatch,
    task: Tensor,
    code: Tensor,
    log_q: Tensor,
    next_action: Tensor,
    gamma: float,
    versatility: Tensor,
    following: Tensor | None = None,
) -> tuple[Tensor, Terms]:
    """Retrace targets (B, L) of the augmented reward, recomputed with the present networks.

    Args:
        policy: all networks.
        batch: windows from replay.
        task: (B, L, T) one-hot.
        code: (B, L, Z).
        log_q: (B, L) log q(z|a, s^H).
        next_action: (B, L, A) noise.
        gamma: discount factor.
        versatility: () factor of a1 and a2.
        following: (B, Z) from `next_code`; None takes every z to last.
    """
    config = policy.config
    codes = torch.cat((code, code[:, -1:]), dim=1)  # (B, L + 1, Z)
    if following is not None:
        codes = torch.cat((code[:, :1], torch.where(_ends(policy, batch), following[:, None], code)), dim=1)
    mean, log_std = policy.action_distribution(batch.observation, codes)
    entropy_t = gaussian_entropy(log_std[:, :-1])
    log_prob_t = gaussian_log_prob(batch.action, mean[:, :-1], log_std[:, :-1])
    action_tp1 = gaussian_sample(mean[:, 1:], log_std[:, 1:], next_action)

    # The constant makes ignorance worth 0: it moves no optimum, and spares the critic learning it.
    clipped_log_q = (log_q + policy.embedding_distribution.max_entropy).clamp(
        -config.inference_clip, config.inference_clip
    )
    inference_coef = config.inference_coef * versatility
    reward_t = augmented_reward(batch.reward, clipped_log_q, entropy_t, inference_coef, config.policy_entropy_coef)
    embedding_ratio = None
    if config.trace_embedding_ratio:
        embedding_ratio = (
            policy.embedding_distribution.log_prob(policy.embedding(batch.task), batch.latent) - batch.latent_log_prob
        )
    trace_t = trace_coefficients(log_prob_t, batch.log_prob, config.retrace_lambda, embedding_ratio) * batch.mask

    # Every step needs two values: Q(s_t, a_t) of the action that was taken, and V(s_t+1) at an action drawn now. They
    # are packed along the axis of steps, so that one forward pass serves both. Q of the first step cancels
    # out of its target; it is left out, and so the first half of the pack is one step shorter.
    states = torch.cat((batch.observation[:, 1:-1], batch.observation[:, 1:]), dim=1)  # (B, 2 L - 1, S)
    actions = torch.cat((batch.action[:, 1:], action_tp1), dim=1)
    packed_codes = torch.cat((code[:, 1:], codes[:, 1:]), dim=1)
    tasks = torch.cat((task[:, 1:], task), dim=1)
    values = policy.value(states, actions, packed_codes, tasks, target=True, frozen=True).amin(0)  # (B, 2 L - 1)
    q_t, v_tp1 = torch.nn.functional.pad(values, (1, 0)).chunk(2, dim=1)
    transition_terms = {}
    if policy.transition is not None:
        # What the draw of the next z is worth by itself, more than one of p(z|t) would be.
        gained = config.embedding_entropy_coef * versatility * _entropy_gained(policy, batch.latent, batch.task)  # (B,)
        v_tp1 = v_tp1 + torch.where(_ends(policy, batch)[..., 0], gained[:, None], 0.0)
        transition_terms = {"reward/transition_entropy": gained.mean()}
    targets = retrace_targets(q_t, v_tp1, reward_t, gamma * batch.discount, trace_t)
    return targets, {
        "reward/task": batch.reward,
        "reward/inference": inference_coef * clipped_log_q,
        "reward/policy_entropy": config.policy_entropy_coef * entropy_t,
        "retrace/mean_trace": trace_t,
        "retrace/mean_target": targets,
        **transition_terms,
    }


def _ends(policy: SkillPolicy, batch: TrajectoryBatch) -> Tensor:
    """Whether another z acts from the next step on, (B, L, 1) bool."""
    return ((batch.age + 1) % (policy.config.z_period or 1) == 0)[..., None]


def _entropy_gained(policy: SkillPolicy, latent: Tensor, task: Tensor) -> Tensor:
    """H[p(z'|z,t)] - H[p(z|t)], (B,), for latents (B, Z) of tasks (B,)."""
    family = policy.embedding_distribution
    return family.entropy(policy.following(latent, task)) - family.entropy(policy.embedding(task))


def inference_log_prob(
    policy: SkillPolicy, batch: TrajectoryBatch, draws: Draws, following: Tensor | None = None
) -> Tensor:
    """Log q(z|a_i, s_i^H) of the stored z at every step, (B, L); 0 without an inference network.

    Where the transition is learned, it is log q(z|z', a_i, s_i^H) with the code of z' from `next_code`.
    """
    if policy.inference is None:
        return torch.zeros_like(batch.reward)
    steps = batch.action.shape[1]
    states = torch.cat((batch.context, batch.observation[:, :-1]), dim=1)  # (B, H - 1 + L, S)
    if draws.states is not None:
        states = states + draws.states
    segments = states.unfold(1, policy.config.segment, 1).transpose(2, 3)  # (B, L, H, S)
    after = None
    if following is not None:
        after = following[:, None].expand(-1, steps, -1).flatten(0, 1)
    params = policy.inferred(batch.action.flatten(0, 1), segments.flatten(0, 1), after)
    latent = batch.latent[:, None].expand(-1, steps, -1).flatten(0, 1)
    return policy.inference_distribution.log_prob(params, latent).reshape(-1, steps)


def actor_loss(
    policy: SkillPolicy, state_t: Tensor, task: Tensor, batch: TrajectoryBatch, draws: Draws, versatility: Tensor
) -> tuple[Tensor, Terms]:
    """Minus equation 6: Q + a3 H[pi] at z ~ p(z|t) and a ~ pi, plus a1 H[p(z|t)].

    Where the transition is learned, a z that followed another one is drawn of p(z|last z,t) instead, whose entropy
    takes the place of H[p(z|t)].

    Args:
        policy: all networks.
        state_t: (B, L, S).
        task: (B, L, T) one-hot.
        batch: windows from replay.
        draws: random numbers.
        versatility: () factor of a1.
    """
    config = policy.config
    params = policy.embedding(batch.task)
    if policy.transition is not None:
        params = torch.where(batch.follows[:, None], policy.following(batch.last_latent, batch.task), params)
    params = params[:, None].expand(-1, state_t.shape[1], -1)
    latent = policy.embedding_distribution.sample(params, draws.latent)
    if policy.transition is not None:
        # Where replay has lost what came before, nothing says what z is drawn from.
        known = (batch.follows | batch.first)[:, None, None]
        latent = torch.where(known, latent, batch.latent[:, None])
    code = policy.embedding_distribution.code(latent)
    raw_mean, log_std = policy.action_parameters(state_t, code)
    action = gaussian_sample(torch.tanh(raw_mean), log_std, draws.action)
    value = masked_mean(policy.value(state_t, action, code, task, target=False, frozen=True, count=1)[0], batch.mask)
    policy_entropy = masked_mean(gaussian_entropy(log_std), batch.mask)
    # Parameters are too many to go through: the batch has a sample of them.
    every_task = batch.task
    if isinstance(policy.task_space, spaces.Discrete):
        every_task = torch.arange(policy.n_tasks, device=state_t.device)
    embedding_entropy = policy.embedding_distribution.entropy(policy.embedding(every_task)).mean()
    if policy.transition is not None:
        gained = _entropy_gained(policy, batch.last_latent, batch.task)
        embedding_entropy = embedding_entropy + torch.where(batch.follows, gained, 0.0).mean()
    embedding_coef = config.embedding_entropy_coef * versatility
    loss = -value - config.policy_entropy_coef * policy_entropy - embedding_coef * embedding_entropy
    saturation = raw_mean.square().mean()
    return loss + config.saturation_coef * saturation, {
        "policy/value": value,
        "policy/saturation": saturation,
        "policy/entropy": policy_entropy,
        "embedding/entropy": embedding_entropy,
    }
