"""Stops training at the first number that is not finite, before it reaches replay or a parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Observation = NDArray[Any] | Mapping[str, NDArray[Any]]
_NAMED = 5  # tensors named in a message
_LARGEST = float(np.finfo(np.float32).max)  # replay and networks are float32; what is larger becomes infinite there


class TrainingDiverged(RuntimeError):
    """A number was not finite; the message names the tensor.

    Replay is still good. Parameters are those from before the last round of updates, and good as well.
    """


def check_observation(name: str, observation: Observation) -> None:
    """Check an array, or a dict of arrays.

    Raises:
        TrainingDiverged: something in it is not finite as a float32.
    """
    if isinstance(observation, Mapping):
        for key, value in observation.items():
            check_observation(f"{name}[{key!r}]", value)
        return
    finite = np.abs(observation) <= _LARGEST  # NaN is not
    if not finite.all():
        where = np.argwhere(~finite)[:_NAMED].tolist()
        raise TrainingDiverged(
            f"training stopped: {name} of shape {np.shape(observation)} is not finite in float32 at {where}"
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
        terminal = infos[i].get("terminal_observation")
        if terminal is not None:
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


@contextmanager
def parameters_kept(module: nn.Module) -> Iterator[None]:
    """Check the parameters after updates, and put them back as they were before if anything diverged.

    Raises:
        TrainingDiverged: a parameter is not finite.
    """
    before = {name: value.clone() for name, value in module.state_dict().items()}
    try:
        yield
        # Bad numbers from the last update have shown in no loss and no gradient yet.
        check_parameters(module)
    except TrainingDiverged:
        module.load_state_dict(before)
        raise


def clip_gradients(module: nn.Module, loss: Tensor, terms: Mapping[str, Tensor], max_norm: float) -> Tensor:
    """Clip the gradients to a global norm.

    Args:
        module: whose parameters have gradients.
        loss: scalar that the gradients are of.
        terms: what the loss consists of, by name; named if the loss or a gradient is not finite.
        max_norm: the largest norm.

    Returns:
        The norm before clipping.

    Raises:
        TrainingDiverged: loss or gradient is not finite; no parameter has been changed.
    """
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    found = list(gradients.values())
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(found)))  # faster than clip_grad_norm_
    size = norm.item()
    # Scaling by a norm that is not finite would bring one NaN into every gradient.
    if not math.isfinite(size) or not math.isfinite(loss.item()):
        broken = [name for name, term in terms.items() if not _finite(term)]
        broken += [f"gradient of {name}" for name, gradient in gradients.items() if not _finite(gradient)]
        _stop(broken or ["the loss" if math.isfinite(size) else "the norm of all gradients together"])
    if size > max_norm:
        torch._foreach_mul_(found, max_norm / size)
    return norm


def _finite(value: Tensor) -> bool:
    return bool(value.isfinite().all())


def _stop(broken: Iterable[str]) -> None:
    names = list(broken)
    if not names:
        return
    message = f"training stopped: not finite: {', '.join(names[:_NAMED])}"
    if len(names) > _NAMED:
        message += f" and {len(names) - _NAMED} more"
    raise TrainingDiverged(message)
