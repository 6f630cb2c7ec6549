"""Trajectory replay: whole streams of steps, sampled as windows that never cross a draw of z."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from skill_envs import checks, saved

_ROWS = (
    *("observations", "next_observations", "actions", "rewards", "dones", "timeouts"),
    *("log_prob", "latent", "latent_log_prob", "task", "age", "stretch"),
)
EMPTY = -2  # stretch of a row that was never filled
# Names of 0.1.0, whose checkpoints and pickles are read, and what they are called now.
_OLD_NAMES = {"skill": "stretch", "last_skill": "last_stretch", "_last_skill": "_last_stretch"}


class BehaviourStep(NamedTuple):
    """What the behaviour policy did in one step of n environments."""

    action: NDArray[np.float32]  # (n, A), before clipping
    log_prob: NDArray[np.float32]  # (n,) log b(a|z,s)
    latent: NDArray[np.float32]  # (n, Z)
    latent_log_prob: NDArray[np.float32]  # (n,) log b(z|t); 0 unless Retrace is to use it
    task: NDArray[Any]  # (n,) int64, or (n, C) float32 parameters
    age: NDArray[np.int64]  # (n,) steps since z was drawn


class TrajectoryBatch(NamedTuple):
    """B windows of up to L steps, each within one episode and one z.

    Steps beyond the end of a window have mask 0 and repeat its last entries.
    """

    observation: Tensor  # (B, L + 1, S); entry i + 1 follows action i, also at truncations
    context: Tensor  # (B, H - 1, S), the states before the window, left-padded with the first one
    action: Tensor  # (B, L, A)
    reward: Tensor  # (B, L)
    discount: Tensor  # (B, L), 0 where the episode terminated, else 1
    mask: Tensor  # (B, L)
    log_prob: Tensor  # (B, L)
    latent: Tensor  # (B, Z)
    latent_log_prob: Tensor  # (B,)
    task: Tensor  # (B,) int64, or (B, C) parameters
    age: Tensor  # (B, L) int64, steps since z was drawn
    last_latent: Tensor  # (B, Z), the z before this one; 0 unless ``follows``
    follows: Tensor  # (B,) bool, whether another z of the same episode came before
    first: Tensor  # (B,) bool, whether z was the first of its episode; neither: replay has lost what came before


class TrajectoryReplayBuffer(ReplayBuffer):
    """Ring buffer of the last ``buffer_size`` steps, with the behaviour's log-probabilities."""

    _least_stretch = -1  # of a row in use

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        latent_dim: int,
        device: torch.device | str = "auto",
        n_envs: int = 1,
        n_parameters: int | None = None,
    ) -> None:
        """Allocate the buffer.

        Args:
            buffer_size: transitions over all environments together.
            observation_space: Box of the observation without the task; stored flat.
            action_space: Box of the action; stored flat, in units of its bounds.
            latent_dim: size of z.
            device: where sampled batches go.
            n_envs: number of environments.
            n_parameters: C, the number of parameters that a task has; None where tasks have an index.
        """
        # Whatever the types of the spaces, the networks see float32.
        observation = spaces.Box(-np.inf, np.inf, (math.prod(observation_space.shape),))
        action = spaces.Box(-np.inf, np.inf, (math.prod(action_space.shape),))
        super().__init__(buffer_size, observation, action, device, n_envs)
        shape = (self.buffer_size, n_envs)
        self.log_prob = np.zeros(shape, np.float32)
        self.latent = np.zeros((*shape, latent_dim), np.float32)
        self.latent_log_prob = np.zeros(shape, np.float32)
        self.task: NDArray[Any] = np.zeros(shape, np.int64)
        if n_parameters is not None:
            self.task = np.zeros((*shape, n_parameters), np.float32)
        self.age = np.zeros(shape, np.int64)
        self.stretch = np.full(shape, EMPTY, np.int64)  # id of the stretch of constant z
        self._last_stretch = np.full(n_envs, -1, np.int64)  # of a stretch that began before the buffer

    def add(  # type: ignore[override]
        self,
        obs: Any,
        next_obs: Any,
        action: BehaviourStep,
        reward: NDArray[Any],
        done: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Append one step of every environment; ``next_obs`` is the true successor, also at ends."""
        pos = self.pos
        self._last_stretch += action.age == 0
        for array, value in self._behaviour_of(action, self._last_stretch):
            array[pos] = value
        flat = _features(obs).reshape(self.n_envs, -1)
        next_flat = _features(next_obs).reshape(self.n_envs, -1)
        super().add(flat, next_flat, action.action, reward, done, infos)

    def extend(
        self, obs: Any, next_obs: Any, action: BehaviourStep, reward: Any, done: Any, infos: list[list[dict[str, Any]]]
    ) -> None:
        """Append several steps of every environment; the arguments are those of `add`, stacked along a first axis."""
        for i in range(len(reward)):
            step = BehaviourStep(*(values[i] for values in action))
            self.add(_step(obs, i), _step(next_obs, i), step, reward[i], done[i], infos[i])

    def _behaviour_of(self, step: BehaviourStep, stretch: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """The arrays that SB3's buffer lacks, each with what it gets of a step or of several."""
        return [
            (self.log_prob, step.log_prob),
            (self.latent, step.latent),
            (self.latent_log_prob, step.latent_log_prob),
            (self.task, step.task),
            (self.age, step.age),
            (self.stretch, stretch),
        ]

    def end_stretches(self) -> None:
        """Let no window reach from what is stored into what is added next, even if z is of the same age by chance."""
        self._last_stretch += 1

    def stored_observations(self, env: VecNormalize | None = None) -> NDArray[np.float32]:
        """All observations in replay, (n, S), normalised by ``env``."""
        return self._normalise(self.observations[: self.size()].reshape(-1, *self.obs_shape), env)

    def state(self) -> dict[str, Any]:
        """Everything stored: counters, and views of the filled part of every array."""
        rows = {name: getattr(self, name)[: self.size()] for name in _ROWS}
        return {"pos": self.pos, "full": self.full, "last_stretch": self._last_stretch, "rows": rows}

    def set_state(self, state: dict[str, Any]) -> None:
        """Hold what `state` returned, from a buffer of the same sizes; see `check_state`."""
        state = _todays_names(state)
        self.pos, self.full = state["pos"], state["full"]
        self._last_stretch[:] = state["last_stretch"]
        for name, rows in state["rows"].items():
            array = getattr(self, name)
            array[: len(rows)] = rows
            array[len(rows) :] = EMPTY if name == "stretch" else 0  # nothing is left of what was here before

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become a pickled buffer, one of 0.1.0 as well."""
        self.__dict__.update(_todays_names(state))

    def check_state(self, state: dict[str, Any], n_tasks: int) -> None:
        """Check that a state is of a buffer of the same sizes.

        Args:
            state: what may come from `state`, or from a stranger's file.
            n_tasks: the number of tasks that rows may be of, where tasks have an index.

        Raises:
            ValueError: an entry is not; the message names it.
        """
        state = _todays_names(state)
        saved.entries(state, ("pos", "full", "last_stretch", "rows"))
        size = self._check_filled(state["pos"], state["full"])
        saved.array("last_stretch", state["last_stretch"], (self.n_envs,), np.int64, -1, saved.MOST)
        limits: dict[str, tuple[float, float]] = {
            "dones": (0, 1),
            "timeouts": (0, 1),
            "age": (0, saved.MOST),
            "stretch": (self._least_stretch, saved.MOST),
        }
        if self.task.ndim == 2:
            limits["task"] = (0, n_tasks - 1)
        with saved.within("rows"):
            saved.entries(state["rows"], _ROWS)
            for name in _ROWS:
                own = getattr(self, name)
                least, most = limits.get(name, (None, None))
                saved.array(name, state["rows"][name], (size, *own.shape[1:]), own.dtype, least, most)

    def _check_filled(self, pos: Any, full: Any) -> int:
        """The rows in use of a state; else a ValueError."""
        pos = checks.integer("pos", pos, 0, self.buffer_size - 1)
        return self.buffer_size if checks.boolean("full", full) else pos

    def sample_windows(
        self,
        batch_size: int,
        window: int,
        segment: int,
        rng: np.random.Generator,
        env: VecNormalize | None = None,
    ) -> TrajectoryBatch:
        """Draw windows of consecutive steps, covering all stored steps alike.

        Args:
            batch_size: B.
            window: L, the most steps of a window.
            segment: H; the context holds the H - 1 states before the window.
            rng: source of randomness.
            env: normalises observations and rewards, as SB3's buffers do.
        """
        drawn, columns = self._drawn_steps(batch_size, rng)
        start = self._window_starts(drawn, columns, window, rng)

        offsets = np.arange(1 - segment, window)  # of the steps before the window and in it
        inside = self._same_stretch(start, columns, offsets)  # (B, H - 1 + L)
        available = inside[:, : segment - 1].sum(axis=1)  # (B,)
        # The window ends where its stretch first does; the first step is always inside.
        length = np.logical_and.accumulate(inside[:, segment - 1 :], axis=1).sum(axis=1)  # (B,)
        # Steps outside are padded by the nearest one inside.
        nearest = np.clip(offsets, -available[:, None], length[:, None] - 1)
        index = self._index(start[:, None] + nearest, columns[:, None])  # (B, H - 1 + L)
        at = index[:, segment - 1 :]  # (B, L)
        first, last = at[:, 0], at[:, -1]

        states = np.empty((batch_size, segment + window, *self.obs_shape), np.float32)
        states[:, :-1] = _rows(self.observations, index)
        # Behind the last step stands its true successor, which no row of observations holds at an episode's end.
        after = np.arange(segment + window) >= segment - 1 + length[:, None]  # (B, H + L)
        np.copyto(states, _rows(self.next_observations, last)[:, None], where=after[..., None])
        states = self._normalise(states, env)

        last_latent, follows, is_first = self._before(start, columns)
        terminated = _rows(self.dones, at) * (1 - _rows(self.timeouts, at))
        mask = (offsets[segment - 1 :] < length[:, None]).astype(np.float32)

        def tensor(array: NDArray[Any]) -> Tensor:  # what indexing gave is a copy already
            return self.to_torch(array, copy=False)

        return TrajectoryBatch(
            observation=tensor(states[:, segment - 1 :]),
            context=tensor(states[:, : segment - 1]),
            action=tensor(_rows(self.actions, at)),
            reward=tensor(self._normalize_reward(_rows(self.rewards, at), env)),
            discount=tensor(1 - terminated),
            mask=tensor(mask),
            log_prob=tensor(_rows(self.log_prob, at)),
            latent=tensor(_rows(self.latent, first)),
            latent_log_prob=tensor(_rows(self.latent_log_prob, first)),
            task=tensor(_rows(self.task, first)),
            age=tensor(_rows(self.age, at)),
            last_latent=tensor(last_latent),
            follows=tensor(follows),
            first=tensor(is_first),
        )

    def _drawn_steps(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns (count,) of stored steps, all of them alike."""
        columns = rng.integers(self.n_envs, size=count)
        return rng.integers(self.size(), size=count), columns

    def _before(
        self, row: NDArray[np.int64], column: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """What came before the z of steps (B,): the last z, whether it was of the same episode, or there was none."""
        here = self._index(row, column)
        before = self._index(row - _rows(self.age, here) - 1, column)
        own, stretch = _rows(self.stretch, here), _rows(self.stretch, before)
        # Where the ring has overwritten what came before, another stretch stands there.
        kept = (stretch == own - 1) & (stretch != EMPTY)
        ended = _rows(self.dones, before) > 0
        follows = kept & ~ended
        last_latent = np.where(follows[:, None], _rows(self.latent, before), np.float32(0))
        nothing = (stretch == EMPTY) & (own >= 0)  # the first stretch that was ever added whole
        return last_latent, follows, (kept & ended) | nothing

    def _window_starts(
        self, row: NDArray[np.int64], column: NDArray[np.int64], window: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Shift a drawn step to a random place in its window, as far as its stretch of constant z reaches back."""
        shift = np.minimum(rng.integers(window, size=len(row)), self.age[row, column])
        start: NDArray[np.int64] = row - shift * self._same_stretch(row, column, -shift[:, None])[:, 0]
        return start

    def _same_stretch(
        self, row: NDArray[np.int64], column: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether the steps at ``offsets``, (B, n) or (n,), from steps (B,) are in the same stretch of constant z."""
        other = self._index(row[:, None] + offsets, column[:, None])
        here = self._index(row, column)[:, None]
        same_stretch = _rows(self.stretch, other) == _rows(self.stretch, here)
        # Where the ring has wrapped around, the other step may be of the same stretch and a whole round away.
        consecutive = _rows(self.age, other) == _rows(self.age, here) + offsets
        same: NDArray[np.bool_] = same_stretch & consecutive
        return same

    def _index(self, row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where a step, its row not yet wrapped around, is among all steps."""
        index: NDArray[np.int64] = row % self.buffer_size * self.n_envs + column
        return index

    @staticmethod
    def _normalise(observation: NDArray[Any], env: VecNormalize | None) -> NDArray[np.float32]:
        if env is None:
            return observation
        space = env.observation_space
        if isinstance(space, spaces.Dict):
            shaped = _shaped(observation, space["observation"])
            normal: Any = env.normalize_obs({"observation": shaped})
            normal = normal["observation"]
        else:
            normal = env.normalize_obs(_shaped(observation, space))
        return np.asarray(normal, np.float32).reshape(observation.shape)


def _shaped(observation: NDArray[Any], space: spaces.Space[Any]) -> NDArray[Any]:
    """Flat observations (..., S) in the shape of their space."""
    return observation.reshape(*observation.shape[:-1], *(space.shape or ()))


def _rows(array: NDArray[Any], index: NDArray[np.int64]) -> NDArray[Any]:
    """Entries of an array (rows, n_envs, ...) at places among all steps."""
    return array.reshape(-1, *array.shape[2:]).take(index, axis=0)


def _step(obs: Any, i: int) -> Any:
    """Step ``i`` of stacked observations."""
    return {key: values[i] for key, values in obs.items()} if isinstance(obs, dict) else obs[i]


def _features(obs: Any) -> Any:
    return obs["observation"] if isinstance(obs, dict) else obs


def _todays_names(state: Any) -> Any:
    """A buffer's state, be it of 0.1.0, by the names that its parts have now."""
    if not isinstance(state, dict):
        return state  # which its check refuses
    found = dict(state)
    for old, new in _OLD_NAMES.items():
        # With both there, the old one is no entry of any version, which the check refuses as well.
        if old in found and new not in found:
            found[new] = found.pop(old)
    if "rows" in found:
        found["rows"] = _todays_names(found["rows"])
    return found
