"""Checks of saved random states, whose positions index native memory, before any generator takes them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from skill_envs import checks, saved


def check_python(name: str, kept: Any) -> None:
    """Check a state of Python's random module, as JSON has it.

    Raises:
        ValueError: it is none.
    """
    version, internal, gauss = saved.sequence(name, kept, 3)
    made = random.Random(0)
    try:
        made.setstate((version, tuple(internal), gauss))
        whole = made.getstate() == (version, tuple(internal), gauss)
    except (OverflowError, TypeError, ValueError):
        whole = False
    if not whole or not (gauss is None or isinstance(gauss, float)):
        raise ValueError(f"{name} is not a state of Python's random module")


def check_numpy(kept: Any) -> None:
    """Check a state of NumPy's global generator.

    Raises:
        ValueError: it is none.
    """
    saved.entries(kept, ("bit_generator", "state", "has_gauss", "gauss"))
    checks.one_of("bit_generator", kept["bit_generator"], ("MT19937",))
    checks.integer("has_gauss", kept["has_gauss"], 0, 1)
    checks.number("gauss", kept["gauss"])
    with saved.within("state"):
        saved.entries(kept["state"], ("key", "pos"))
        saved.array("key", kept["state"]["key"], (624,), np.uint32)
        checks.integer("pos", kept["state"]["pos"], 0, 624)


def check_torch(name: str, kept: Any, device: torch.device | None) -> None:
    """Check a state of one of torch's generators.

    Args:
        name: of the entry, for the message.
        kept: the state.
        device: of the generator; None where it is another kind of device than the model's, and only bytes are needed.

    Raises:
        ValueError: it is none.
    """
    if device is None:
        shape = kept.shape if isinstance(kept, np.ndarray) else ()
        saved.array(name, kept, shape, np.uint8)
        return
    made = torch.Generator(device)
    own = made.get_state().numpy()
    state = torch.from_numpy(saved.array(name, kept, own.shape, own.dtype))
    try:
        made.set_state(state)
        whole = torch.equal(made.get_state(), state)
    except RuntimeError:
        whole = False
    if not whole:
        raise saved.ArrayError(f"{name} is not a state of torch's generator")
