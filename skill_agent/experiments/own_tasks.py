"""What is measured in runs of anyone's tasks: return and success of each task, and how far the embeddings are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from skill_agent import playing
from skill_agent.policy import SkillPolicy
from skill_agent.rollouts import embedding_kl

ON_THE_WAY, IN_THE_END = 4, 20  # episodes of each task


def measure(policy: SkillPolicy, env_ids: Sequence[str], episodes: int, seed: int) -> dict[str, Any]:
    """Mean return and share of successes of each task, in a form that JSON can hold.

    "success" is missing where the environments don't tell, "kl" where tasks have parameters.
    """
    results = playing.evaluate(policy, list(env_ids), episodes, seed=seed)
    measured: dict[str, Any] = {
        "tasks": [result.task for result in results],
        "return": [round(float(result.returns.mean()), 3) for result in results],
    }
    successes = [result.success for result in results if result.success is not None]
    if len(successes) == len(results):
        measured["success"] = [float(success.mean()) for success in successes]
    if isinstance(policy.task_space, spaces.Discrete):
        measured["kl"] = np.round(embedding_kl(policy), 4).tolist()
    return measured
