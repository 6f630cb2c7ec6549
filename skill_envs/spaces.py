"""The spaces of the environments, from the channels of their tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from skill_envs.task import Channel, Task


def box(channels: Sequence[Channel]) -> spaces.Box:
    """The box that a vector with these channels lies in."""
    low = [channel.low for channel in channels]
    high = [channel.high for channel in channels]
    return spaces.Box(np.array(low, np.float32), np.array(high, np.float32))


def observation_space(tasks: Sequence[Task]) -> spaces.Space[Any]:
    """A Box for one task; else a Dict of "observation", such a box, and "task".

    The latter is an index where there are several tasks, and a Box where the one task has parameters.
    """
    vector = box(tasks[0].observation)
    parameters = tasks[0].parameters
    if parameters is not None:
        return spaces.Dict(observation=vector, task=box(parameters.channels))
    if len(tasks) == 1:
        return vector
    return spaces.Dict(observation=vector, task=spaces.Discrete(len(tasks)))
