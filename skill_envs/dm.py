"""The suite for dm_control's side of the world: ``skill_envs.dm.load("LWall")`` is a ``dm_env.Environment``.

It needs the extra "dm": ``pip install 'skill-embed[dm]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces

from skill_envs import arguments, checks
from skill_envs.mirror import Mirror
from skill_envs.single import SkillEnv
from skill_envs.tasks import ENVIRONMENTS

try:
    import dm_env
    from dm_env import specs
except ImportError as error:
    raise ImportError("skill_envs.dm needs dm_control: pip install 'skill-embed[dm]'") from error

if TYPE_CHECKING:
    from dm_control import mujoco

__all__ = ["Environment", "load"]


class Environment(dm_env.Environment):  # type: ignore[misc]
    """An environment of the suite as a ``dm_env.Environment``.

    Observations, rewards and ends are those of the Gymnasium environment, bit for bit at equal seeds: an array, or a
    dict of "observation" and "task". Episodes end at the horizon alone, with discount 1, or where the simulation
    diverges.

    Attributes:
        is_success: whether the block or the mass was in a goal region at the last reset or step.
    """

    def __init__(self, env_id: str, task: int | None, seed: int | None, reward_type: str, layout: int) -> None:
        """Make the environment; `load` checks the arguments and has their meaning."""
        self._env = gymnasium.make(env_id, reward_type=reward_type, layout=layout, disable_env_checker=True)
        suite = self._env.unwrapped
        assert isinstance(suite, SkillEnv)
        self._suite = suite
        self._options = {} if task is None else {"task": task}
        self._seed = seed  # of the first episode; None once it is spent
        self._over = True  # the next step begins an episode
        self._mirror: Mirror | None = None
        self._physics: mujoco.Physics | None = None
        self.is_success = False

    # The contract of dm_env -------------------------------------------------------------------------

    def reset(self) -> dm_env.TimeStep:
        """Begin an episode."""
        observation, info = self._env.reset(seed=self._seed, options=self._options)
        self._seed, self._over = None, False
        self._show(info)
        return dm_env.restart(observation)

    def step(self, action: Any) -> dm_env.TimeStep:
        """Advance by one control step; after an episode's last step, and at first, begin an episode in its place.

        Args:
            action: (action size,), clipped to [-1, 1].

        Raises:
            ValueError: an action of the wrong shape, or not finite.
        """
        if self._over:
            return self.reset()
        if self._mirror is not None:
            self._mirror.take()
        observation, reward, _, truncated, info = self._env.step(action)
        self._over = truncated
        self._show(info)
        if truncated:
            return dm_env.truncation(float(reward), observation)
        return dm_env.transition(float(reward), observation)

    def action_spec(self) -> specs.BoundedArray:
        """The torques or forces, each from -1 to 1."""
        return _spec(self._env.action_space, "action")

    def observation_spec(self) -> Any:
        """A bounded array, or a dict of one and of the task's index."""
        return _spec(self._env.observation_space, "observation")

    def close(self) -> None:
        """Free dm_control's renderer."""
        if self._physics is not None:
            self._physics.free()
            self._physics = self._mirror = None
        self._env.close()

    # What dm_control's viewer and wrappers ask for --------------------------------------------------

    @property
    def physics(self) -> mujoco.Physics:
        """dm_control's view of the simulation, made when it is first asked for and in step with it from then on.

        It draws and it names; the steps are the suite's own. What is changed in its data between two steps reaches the
        simulation: positions, velocities, applied forces, and equality constraints' switches. Changes of its model do
        not.
        """
        if self._physics is None:
            from dm_control import mujoco
            from dm_control.mujoco import wrapper

            self._mirror = Mirror(self._suite.batch.physics)
            self._physics = mujoco.Physics(wrapper.MjData(self._mirror.data))
            # dm_control has run forward without controls.
            self._mirror.show()
        return self._physics

    def control_timestep(self) -> float:
        """Time between two actions [s]."""
        physics = self._suite.batch.physics
        return float(physics.substeps * physics.models[0].opt.timestep)

    def _show(self, info: dict[str, Any]) -> None:
        self.is_success = bool(info["is_success"])
        if self._mirror is not None:
            self._mirror.show()


def load(
    name: str, task: str | int | None = None, *, seed: int | None = None, reward_type: str = "paper", layout: int = 0
) -> Environment:
    """An environment of the suite, as ``dm_control.suite.load`` gives those of its own.

    Args:
        name: such as "LWall", or "SkillEmbed/LWall-v0".
        task: of an environment of several tasks, one that all episodes have: a name, such as "Lift", or an index.
            None draws one for each episode.
        seed: of the first episode; the later ones go on from it. None seeds at random.
        reward_type: "paper", "sparse" or "shaped", as in `skill_envs.SkillVectorEnv`.
        layout: where the fixtures of "SpringWall", "LWall" or "RailPush" are.

    Raises:
        ValueError: an invalid value; the message lists the valid ones.
    """
    short = {env_id.removeprefix("SkillEmbed/").removesuffix("-v0"): env_id for env_id in ENVIRONMENTS}
    if not isinstance(name, str) or name not in ENVIRONMENTS:
        checks.one_of("name", name, list(short))
    env_id = short.get(name, name)
    return Environment(
        env_id,
        arguments.fixed_task(task, ENVIRONMENTS[env_id].tasks),
        None if seed is None else checks.integer("seed", seed, least=0),
        arguments.reward_type(reward_type),
        *arguments.layouts(layout, ENVIRONMENTS[env_id].tasks, 1),
    )


def _spec(space: spaces.Space[Any], name: str) -> Any:
    """A space of Gymnasium's as specs of dm_env."""
    if isinstance(space, spaces.Dict):
        return {key: _spec(entry, key) for key, entry in space.items()}
    if isinstance(space, spaces.Discrete):
        return specs.DiscreteArray(int(space.n), dtype=np.int64, name=name)
    assert isinstance(space, spaces.Box)
    return specs.BoundedArray(space.shape, space.dtype, space.low, space.high, name)
