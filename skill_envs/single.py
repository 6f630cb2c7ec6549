"""The single environment, the batch-of-one view of `skill_envs.env.SkillVectorEnv`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from skill_envs import checks
from skill_envs.env import SkillVectorEnv, row
from skill_envs.render import RENDER_MODES


class SkillEnv(gymnasium.Env[Any, NDArray[Any]]):
    """The single environment: a `SkillVectorEnv` of one, without its time limit and autoreset.

    ``gymnasium.make`` adds the time limit (`gymnasium.wrappers.TimeLimit`).
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 10}  # noqa: RUF012

    def __init__(self, tasks: Sequence[str], **kwargs: Any) -> None:
        """Take the arguments of `SkillVectorEnv`, less those about batches.

        Args:
            tasks: names from `skill_envs.TASKS`.
            **kwargs: reward_type, render_mode, width, height.

        Raises:
            TypeError: an unknown keyword argument.
            ValueError: an invalid value; the message lists the valid ones.
        """
        valid = ("reward_type", "render_mode", "width", "height")
        checks.no_unknown({k: v for k, v in kwargs.items() if k not in valid}, valid)
        self.batch = SkillVectorEnv(tasks, 1, autoreset_mode=AutoresetMode.DISABLED, num_threads=1, **kwargs)
        self.metadata = {k: v for k, v in self.batch.metadata.items() if k != "autoreset_mode"}
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space
        self.render_mode = self.batch.render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode; ``options={"task": k}`` fixes its task.

        Raises:
            KeyError: an unknown option.
            ValueError: a task out of range.
        """
        super().reset(seed=seed)
        self.batch.use_generators([self.np_random])
        observation, info = self.batch.reset(options=options)
        return row(observation, 0), self._single(info)

    def step(self, action: NDArray[Any]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance by one control step; see `SkillVectorEnv.step`.

        Raises:
            ValueError: an action of the wrong shape, or not finite.
        """
        action = np.asarray(action)
        if action.shape != self.action_space.shape:
            raise ValueError(f"action of shape {action.shape} is not valid; the shape is {self.action_space.shape}")
        observation, reward, terminated, truncated, info = self.batch.step(action[None])
        return row(observation, 0), float(reward[0]), bool(terminated[0]), bool(truncated[0]), self._single(info)

    def render(self) -> Any:
        """Draw the scene; see `skill_envs.render.Renderer.frame`."""
        frames = self.batch.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Free the renderer; may be called more than once."""
        self.batch.close()

    @property
    def model(self) -> mujoco.MjModel:
        """The model of the current task; a copy, edits do not reach the simulation."""
        return self.batch.physics.write_model(0)

    @property
    def data(self) -> mujoco.MjData:
        """The current state, after ``mj_forward``; a copy, edits do not reach the simulation."""
        return self.batch.physics.write_data(0)

    @staticmethod
    def _single(info: dict[str, Any]) -> dict[str, Any]:
        return {key: bool(value[0]) for key, value in info.items() if not key.startswith("_")}
