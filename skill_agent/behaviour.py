"""One step of behaviour: what acts while it learns, and what Retrace needs to know of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor

from skill_agent.divergence import check_observation
from skill_agent.policy import SkillPolicy, SkillState
from skill_agent.replay import BehaviourStep

Act = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def act(policy: SkillPolicy, observation: Tensor, latent: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions (n, A), log-probabilities (n,) for observations (n, S), latents (n, Z) and N(0, 1) noise (n, A)."""
    return policy.act(observation, policy.embedding_distribution.code(latent), noise)


@torch.no_grad()
def behave(
    policy: SkillPolicy,
    last_observation: Any,
    state: SkillState | None,
    starts: NDArray[Any],
    generator: torch.Generator,
    drawn: Act,
) -> tuple[NDArray[Any], SkillState, BehaviourStep]:
    """Act in every environment.

    Args:
        policy: what acts.
        last_observation: of n environments, with their tasks where there are several.
        state: the recurrent state after the last step; None before the first one.
        starts: (n,) bool, whether an episode begins.
        generator: source of z and actions.
        drawn: draws the actions: `act` of this policy, compiled perhaps.

    Returns:
        Actions as the environment takes them, the recurrent state, and what replay keeps of the step.

    Raises:
        TrainingDiverged: an action is not finite.
    """
    observation, task = policy.split(obs_as_tensor(last_observation, policy.device))
    state = policy.next_state(task, state, starts, generator, False)
    latent = torch.as_tensor(state.latent, device=policy.device)
    noise = policy.action_noise(len(task), generator)
    action, log_prob = drawn(observation, latent, noise)
    check_observation("action", action.numpy(force=True))
    latent_log_prob = torch.zeros(len(task))
    if policy.config.trace_embedding_ratio:
        latent_log_prob = policy.embedding_distribution.log_prob(policy.embedding(task), latent)
    step = BehaviourStep(
        action=action.numpy(force=True),
        log_prob=log_prob.numpy(force=True),
        latent=state.latent,
        latent_log_prob=latent_log_prob.numpy(force=True),
        task=task.numpy(force=True),
        age=state.age,
    )
    return policy.env_action(action), state, step
