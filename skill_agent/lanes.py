"""Replay of several workers: each has a ring of its own, so that its steps stand one behind the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecNormalize

from skill_agent.replay import EMPTY, BehaviourStep, TrajectoryReplayBuffer
from skill_envs import saved


class Stretch(NamedTuple):
    """Consecutive steps of n environments, as replay keeps them."""

    observation: NDArray[np.float32]  # (steps, n, S)
    next_observation: NDArray[np.float32]  # (steps, n, S), the true successors, also at ends
    behaviour: BehaviourStep  # each entry (steps, n, ...)
    reward: NDArray[np.float32]  # (steps, n)
    done: NDArray[np.bool_]  # (steps, n)
    timeout: NDArray[np.bool_]  # (steps, n), where an episode was truncated


class LaneReplayBuffer(TrajectoryReplayBuffer):
    """A lane of columns for each worker; windows and contexts are those of as many environments in one process.

    Attributes:
        n_lanes: number of workers.
    """

    _least_stretch = EMPTY  # lanes may be filled unequally

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        latent_dim: int,
        device: torch.device | str,
        n_envs: int,
        n_parameters: int | None,
        n_lanes: int,
    ) -> None:
        """Allocate the buffer; arguments are those of `TrajectoryReplayBuffer`, ``n_envs`` of each lane."""
        total = n_envs * n_lanes
        super().__init__(buffer_size, observation_space, action_space, latent_dim, device, total, n_parameters)
        self.n_lanes = n_lanes
        self._lane_pos = np.zeros(n_lanes, np.int64)
        self._lane_full = np.zeros(n_lanes, np.bool_)

    def add_stretch(self, lane: int, steps: Stretch) -> None:
        """Append consecutive steps of one worker's environments."""
        kept = min(len(steps.reward), self.buffer_size)  # what would be overwritten at once is left out
        pos = int(self._lane_pos[lane])
        rows = (pos + np.arange(kept)) % self.buffer_size
        columns = self._columns(lane)
        behaviour = steps.behaviour
        begun = np.cumsum(behaviour.age == 0, axis=0)
        stretch = self._last_stretch[columns] + begun
        self._last_stretch[columns] = stretch[-1]
        for array, values in (
            (self.observations, steps.observation),
            (self.next_observations, steps.next_observation),
            (self.actions, behaviour.action),
            (self.rewards, steps.reward),
            (self.dones, steps.done),
            (self.timeouts, steps.timeout),
            *self._behaviour_of(behaviour, stretch),
        ):
            array[rows, columns] = values[-kept:]
        self._lane_full[lane] |= pos + kept >= self.buffer_size
        self._lane_pos[lane] = (pos + kept) % self.buffer_size

    def end_lane(self, lane: int) -> None:
        """Part what a lane holds from what comes next: no window has both, and neither comes before the other."""
        self._last_stretch[self._columns(lane)] += 2

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: steps come from a worker, by `add_stretch`.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("replay of workers takes whole stretches of one worker; use add_stretch")

    def size(self) -> int:
        """Rows in use, of the fullest lane."""
        return int(self._filled().max())

    def stored_observations(self, env: VecNormalize | None = None) -> NDArray[np.float32]:
        """All observations in replay, (n, S), normalised by ``env``."""
        return self._normalise(self.observations[self.stretch != EMPTY], env)

    def state(self) -> dict[str, Any]:
        """As of `TrajectoryReplayBuffer`, with a place for each lane."""
        return {**super().state(), "pos": self._lane_pos, "full": self._lane_full}

    def set_state(self, state: dict[str, Any]) -> None:
        """Hold what `state` returned."""
        super().set_state(state)
        self._lane_pos, self._lane_full = np.array(state["pos"]), np.array(state["full"])
        self.pos, self.full = 0, False  # SB3's, which have no meaning here

    def _check_filled(self, pos: Any, full: Any) -> int:
        saved.array("pos", pos, (self.n_lanes,), np.int64, 0, self.buffer_size - 1)
        saved.array("full", full, (self.n_lanes,), np.bool_)
        return int(np.where(full, self.buffer_size, pos).max())

    def _drawn_steps(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        filled = self._filled()
        ends = np.cumsum(filled)
        place = rng.integers(ends[-1], size=count)
        lane = np.searchsorted(ends, place, side="right")
        in_lane = rng.integers(self.n_envs // self.n_lanes, size=count)
        return place - (ends - filled)[lane], lane * (self.n_envs // self.n_lanes) + in_lane

    def _filled(self) -> NDArray[np.int64]:
        """Rows in use of each lane."""
        return np.where(self._lane_full, self.buffer_size, self._lane_pos)

    def _columns(self, lane: int) -> slice:
        width = self.n_envs // self.n_lanes
        return slice(lane * width, (lane + 1) * width)
