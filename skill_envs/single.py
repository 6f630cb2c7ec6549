"""The single environment, the batch-of-one view of `skill_envs.env.SkillVectorEnv`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import mujoco
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from skill_envs import checks, infos
from skill_envs.env import SkillVectorEnv
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
            **kwargs: reward_type, arc, layout, render_mode, width, height, shadow_size.

        Raises:
            TypeError: an unknown keyword argument.
            ValueError: an invalid value; the message lists the valid ones.
        """
        valid = ("reward_type", "arc", "layout", "render_mode", "width", "height", "shadow_size")
        checks.no_unknown({k: v for k, v in kwargs.items() if k not in valid}, valid)
        self.batch = SkillVectorEnv(tasks, 1, autoreset_mode=AutoresetMode.DISABLED, num_threads=1, **kwargs)
        self.metadata = {k: v for k, v in self.batch.metadata.items() if k != "autoreset_mode"}
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    @property
    def render_mode(self) -> str | None:
        """One of `skill_envs.render.RENDER_MODES`, or None; may be set."""
        return self.batch.render_mode

    @render_mode.setter
    def render_mode(self, value: str | None) -> None:
        self.batch.render_mode = value

    @property
    def reward_type(self) -> str:
        """One of "paper", "sparse" and "shaped"; may be set."""
        return self.batch.reward_type

    @reward_type.setter
    def reward_type(self, value: str) -> None:
        self.batch.reward_type = value

    @property
    def layout(self) -> int:
        """Where the task's fixtures are; it can't be changed."""
        return int(self.batch.layout[0])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode; ``options={"task": k}`` fixes its task, or the parameters of its task.

        Raises:
            KeyError: an unknown option.
            ValueError: options that are no dict, a task out of range, or a seed that is no integer of at least 0.
        """
        # Checked before anything is seeded.
        options = checks.reset_options(options, ["task"])
        if "task" in options:
            self.batch.check_task(options["task"])
        super().reset(seed=None if seed is None else checks.integer("seed", seed, least=0))
        self.batch.use_generators([self.np_random])
        observation, info = self.batch.reset(options=options)
        return infos.row(observation, 0), infos.single(info, 0)

    def step(self, action: NDArray[Any]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance by one control step; see `SkillVectorEnv.step`.

        Raises:
            ValueError: an action of the wrong shape, or not finite.
        """
        # Here, so that the message names the shape of a single action.
        action = checks.finite_actions(action, self.action_space.shape or ())
        observation, reward, terminated, truncated, info = self.batch.step(action[None])
        return (
            infos.row(observation, 0),
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            infos.single(info, 0),
        )

    def state(self) -> dict[str, Any]:
        """All that changes from step to step; see `SkillVectorEnv.state`."""
        return self.batch.state()

    def check_state(self, state: dict[str, Any]) -> None:
        """Check that a state is of this environment; see `SkillVectorEnv.check_state`."""
        self.batch.check_state(state)

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on bit-identically from what `state` returned; see `SkillVectorEnv.set_state`."""
        self.batch.set_state(state)
        self.np_random = self.batch.np_random[0]

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
