"""Stops training at the first number that is not finite, before it reaches replay or a parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from skill_agent.policy import SkillPolicy

Observation = NDArray[Any] | Mapping[str, NDArray[Any]]
_NAMED = 5  # tensors named in a message


class TrainingDiverged(RuntimeError):
    """A number was not finite; the message names the tensor.

    Replay is still good. Parameters are those from before the last round of updates, and good as well.
    """


def check_observation(name: str, observation: Observation) -> None:
    """Check an array, or a dict of arrays.

    Raises:
        TrainingDiverged: something in it is not finite.
    """
    if isinstance(observation, Mapping):
        for key, value in observation.items():
            check_observation(f"{name}[{key!r}]", value)
    elif not np.isfinite(observation).all():
        where = np.argwhere(~np.isfinite(observation))
        raise TrainingDiverged(
            f"training stopped: {name} of shape {np.shape(observation)} is not finite at {where[:_NAMED].tolist()}"
        )


def check_transition(
    observation: Observation, reward: NDArray[Any], done: NDArray[Any], infos: list[dict[str, Any]]
) -> None:
    """Check what a step of the environments gave.

    Args:
        observation: (n_envs, ...) each.
        reward: (n_envs,).
        done: (n_envs,), where ``infos`` may hold a "terminal_observation".
        infos: one per environment.

    Raises:
        TrainingDiverged: something in it is not finite.
    """
    check_observation("observation", observation)
    check_observation("reward", reward)
    for i in np.flatnonzero(done):
        if (terminal := infos[i].get("terminal_observation")) is not None:
            check_observation(f"terminal observation of environment {i}", terminal)


def check_parameters(module: nn.Module) -> None:
    """Check every parameter and buffer of a module.

    Raises:
        TrainingDiverged: one is not finite.
    """
    _stop(name for name, value in module.state_dict().items() if not _finite(value))


def check_learning_rate(optimizer: torch.optim.Optimizer) -> None:
    """Check the learning rates that an optimiser is about to use.

    Raises:
        TrainingDiverged: one is not finite.
    """
    for group in optimizer.param_groups:
        if not math.isfinite(group["lr"]):
            raise TrainingDiverged(f"training stopped: the learning rate is {group['lr']}; choose a finite one")


def clip_gradients(policy: SkillPolicy, loss: Tensor, terms: Mapping[str, Tensor], max_norm: float) -> Tensor:
    """Clip the gradients to a global norm.

    Args:
        policy: whose parameters have gradients.
        loss: scalar that the gradients are of.
        terms: what the loss consists of, by name; named if the loss or a gradient is not finite.
        max_norm: the largest norm.

    Returns:
        The norm before clipping.

    Raises:
        TrainingDiverged: loss or gradient is not finite; no parameter has been changed.
    """
    gradients = [p.grad for p in policy.trained_parameters if p.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # faster than clip_grad_norm_
    if not math.isfinite(size := norm.item()):  # scaling would bring one NaN into every gradient
        broken = [name for name, term in terms.items() if not _finite(term)]
        named = ((name, p.grad) for name, p in policy.named_parameters() if p.grad is not None)
        broken += [f"gradient of {name}" for name, gradient in named if not _finite(gradient)]
        _stop(broken or ["the norm of all gradients together"])
    if not math.isfinite(loss.item()):
        _stop([name for name, term in terms.items() if not _finite(term)] or ["the loss"])
    if size > max_norm:
        torch._foreach_mul_(gradients, max_norm / size)
    return norm


def _finite(value: Tensor) -> bool:
    return bool(value.isfinite().all())


def _stop(broken: Iterable[str]) -> None:
    names = list(broken)
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise TrainingDiverged(f"training stopped: not finite: {', '.join(names[:_NAMED])}{more}")
