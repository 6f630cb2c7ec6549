"""Infos as Gymnasium's vector environments give them: arrays, and beside each the mask of who has an entry."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skill_envs.arrays import Bool, Float

Observation = NDArray[np.float32] | dict[str, NDArray[Any]]


def of(present: Bool, outside: Float, diverged: Bool | None = None) -> dict[str, Any]:
    """Infos of a reset or step.

    Args:
        present: (n,) the environments that were reset or stepped.
        outside: (n,) their distances to the nearest goal region [m].
        diverged: (n,) where the physics diverged; None is nowhere.
    """
    info = {"is_success": (outside <= 0.0) & present, "_is_success": present.copy()}
    if diverged is not None and diverged.any():
        info["physics_error"], info["_physics_error"] = diverged.copy(), diverged.copy()
    return info


def final(done: Bool, observation: Observation, info: dict[str, Any]) -> dict[str, Any]:
    """What SAME_STEP autoreset adds: the last observations and infos of the episodes that are ``done`` (n,)."""
    final_obs = np.full(len(done), None, dtype=object)
    for i in np.flatnonzero(done):
        final_obs[i] = row(observation, int(i))
    final_info = {key: value & done for key, value in info.items()}
    return {
        "final_obs": final_obs,
        "_final_obs": done.copy(),
        "final_info": final_info,
        "_final_info": done.copy(),
    }


def row(observation: Observation, i: int) -> Any:
    """Observation of environment ``i`` as its single observation space has it."""
    if isinstance(observation, dict):
        return {"observation": observation["observation"][i].copy(), "task": observation["task"][i].copy()}
    return observation[i].copy()


def single(info: dict[str, Any], i: int) -> dict[str, bool]:
    """Infos of environment ``i`` as a single environment gives them."""
    found = {}
    for key, value in info.items():
        if not key.startswith("_") and info[f"_{key}"][i]:
            found[key] = bool(value[i])
    return found
