"""The networks of one agent as an SB3 policy, with z as its recurrent state."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from skill_agent import arguments
from skill_agent.densities import gaussian_draw
from skill_agent.divergence import check_parameters
from skill_agent.networks import NET_ARCH as NET_ARCH
from skill_agent.networks import SkillNetworks
from skill_agent.observations import check_kind, check_lengths, check_tasks
from skill_agent.origin import Origin
from skill_agent.trust import warn_of_pickles
from skill_envs import checks


class SkillState(NamedTuple):
    """The recurrent state of `SkillPolicy.predict`."""

    latent: NDArray[np.float32]  # (n, Z)
    age: NDArray[np.int64]  # (n,) steps since the latent was drawn


class SkillPolicy(SkillNetworks):
    """Acts by the networks of `SkillNetworks`, whose arguments and attributes it has: a policy of SB3.

    Attributes:
        origin: the environment that it was trained on; None if that is not known.
    """

    origin: Origin | None = None

    def act(self, observation: Tensor, code: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Draw actions from pi(a|s,z): everything that acts, acts here.

        Args:
            observation: (n, S) without the task, as the environment gives it.
            code: (n, Z).
            noise: (n, A) from `action_noise`.

        Returns:
            Actions (n, A), not yet clipped, and their log-densities (n,). `env_action` makes them an environment's.
        """
        mean, log_std = self.action_distribution(self.features(observation), code)
        return gaussian_draw(mean, log_std, noise)

    def action_noise(self, count: int, generator: torch.Generator | None = None, deterministic: bool = False) -> Tensor:
        """N(0, 1) noise (count, A) for `act`, by a generator or torch's global one; zeros give the mean action."""
        shape = (count, math.prod(self.action_space.shape))
        if deterministic:
            return torch.zeros(shape, device=self.device)
        return torch.randn(shape, generator=generator, device=self.device)

    def draw_latent(self, task: Tensor, generator: torch.Generator | None, deterministic: bool = False) -> Tensor:
        """Latents (n, Z) for tasks (n,) or (n, C): a draw from p(z|t), or its mode."""
        return self._draw(self.embedding(task), generator, deterministic)

    def _draw(self, params: Tensor, generator: torch.Generator | None, deterministic: bool) -> Tensor:
        """Latents (n, Z) of distributions (n, n_params): a draw, or the mode."""
        if deterministic:
            return self.embedding_distribution.mode(params)
        noise = self.embedding_distribution.noise(tuple(params.shape[:-1]), generator, self.device)
        return self.embedding_distribution.sample(params, noise)

    def split(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Flat observations (n, S) without the task, and task indices (n,) or parameters (n, C)."""
        if isinstance(obs, dict):
            flat = obs["observation"].float().reshape(-1, self.state_dim)
            if isinstance(self.task_space, spaces.Box):
                return flat, obs["task"].float().reshape(-1, *self.task_space.shape)
            return flat, obs["task"].long().reshape(-1)
        return obs.float().reshape(-1, self.state_dim), torch.zeros(len(obs), dtype=torch.long, device=obs.device)

    def next_state(
        self,
        task: Tensor,
        state: SkillState | None,
        starts: NDArray[Any],
        generator: torch.Generator | None,
        mode: bool,
    ) -> SkillState:
        """Advance the recurrent state: draw z where an episode starts, and the next one after ``z_period`` steps."""
        n = len(task)
        if state is None:
            state = SkillState(np.zeros((n, self.embedding_distribution.dim), np.float32), np.full(n, -1, np.int64))
        first = starts | (state.age < 0)
        age = np.where(first, 0, state.age + 1)
        if self.config.z_period is not None:
            age %= self.config.z_period
        latent = np.array(state.latent, np.float32)
        fresh = age == 0
        if fresh.any():
            params = self.embedding(task)
            if self.transition is not None:
                of_an_episode = self._tensor(first)[:, None]
                params = torch.where(of_an_episode, params, self.following(self._tensor(latent), task))
            latent[fresh] = self._draw(params, generator, mode).numpy(force=True)[fresh]
        return SkillState(latent, age)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array, device=self.device)

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Actions for observations; pass the returned state back in to keep z within an episode.

        Args:
            observation: one observation or a batch, of finite numbers.
            state: the `SkillState` returned by the last call; None draws z afresh.
            episode_start: (n,) bool, where z is drawn afresh.
            deterministic: the mode of z and the mean action, in place of draws.

        Returns:
            Actions within the bounds of the action space, and the new state.

        Raises:
            ValueError: an observation of the wrong kind or shape, an observation or a z that is not finite, a task
                out of range, or a state or ``episode_start`` for another number of observations.
        """
        self.set_training_mode(False)
        checks.boolean("deterministic", deterministic)
        check_kind(observation, self.observation_space)
        obs, batched = self.obs_to_tensor(observation)
        flat, task = self.split(obs)
        n = len(flat)
        starts = np.zeros(n, bool)
        if episode_start is not None:
            starts = arguments.booleans("episode_start", episode_start)
        lengths = {"task": len(task), "episode_start": len(starts)}
        last = None
        if state is not None:
            last = self._check_state(state)
            lengths["state"] = len(last.age)
        check_tasks(task, self.task_space)
        check_lengths(n, lengths)
        with torch.no_grad():
            now = self.next_state(task, last, starts, None, deterministic)
            code = self.embedding_distribution.code(torch.as_tensor(now.latent, device=self.device))
            action, _ = self.act(flat, code, self.action_noise(n, None, deterministic))
        scaled = self.env_action(action)
        return (scaled if batched else scaled[0]), now

    def _check_state(self, state: tuple[NDArray[Any], ...]) -> SkillState:
        """A recurrent state of finite numbers, z (n, Z) and ages (n,); else a ValueError."""
        latent, age = arguments.pair("state", state)
        age = arguments.whole_numbers("state's age", age).reshape(-1)
        latent = arguments.array("state's z", latent, (len(age), self.embedding_distribution.dim))
        return SkillState(latent.astype(np.float32, copy=False), age)

    def env_action(self, action: Tensor) -> NDArray[Any]:
        """Actions (n, A) as the environment takes them: within its bounds, of its shape and type."""
        space = self.action_space
        scaled = action.numpy(force=True).reshape(-1, *space.shape)
        if not self._unit_bounds:
            scaled = self.unscale_action(scaled)
        within: NDArray[Any] = np.clip(scaled, space.low, space.high)
        return within.astype(space.dtype, copy=False)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Actions for a freshly drawn z; SB3 calls it only through `predict`, overridden above."""
        flat, task = self.split(observation)
        code = self.embedding_distribution.code(self.draw_latent(task, None, deterministic))
        action, _ = self.act(flat, code, self.action_noise(len(flat), None, deterministic))
        return action

    @classmethod
    def load(cls, path: str, device: torch.device | str = "auto", *, trust: bool = False) -> Self:
        """As in SB3; the file holds pickles."""
        warn_of_pickles(path, trust, "a file of export_skills, by load_skills")
        return super().load(path, device)

    def save(self, path: str) -> None:
        """As in SB3.

        Raises:
            TrainingDiverged: a parameter is not finite.
        """
        check_parameters(self)
        super().save(path)
