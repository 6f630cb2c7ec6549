"""Vector environments of Gymnasium as those of SB3, and Dict observations of several vectors as flat ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import DictInfoToList
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from skill_agent.tasks import flat_box
from skill_agent.vec import CopiedWrapper, SkillVecEnv, SkillVecMonitor
from skill_envs import SkillVectorEnv


def as_vec_env(env: VecEnv | VectorEnv[Any, Any, Any]) -> VecEnv:
    """A vector environment of SB3 or of Gymnasium as one of SB3, whose observations are flat.

    Raises:
        TypeError: it is no vector environment.
        ValueError: its autoreset mode can't be SB3's, or observations of images, or of another kind.
    """
    if isinstance(env, SkillVectorEnv):
        env = SkillVecMonitor(SkillVecEnv(env))
    elif isinstance(env, VectorEnv):
        env = SkillVecMonitor(GymVecEnv(env))
    if not isinstance(env, VecEnv):
        raise TypeError(f"{env!r:.200} is not valid; choose a vector environment of SB3 or of Gymnasium")
    return flattened(env)


def flattened(env: VecEnv) -> VecEnv:
    """An environment whose observations are a Box, or a Dict of "observation" and "task" as skills are learned from.

    Raises:
        ValueError: a Dict with images or with other entries than Boxes, or one that `VecNormalize` has normalised.
    """
    space = env.observation_space
    if not isinstance(space, spaces.Dict):
        return env
    if set(space.spaces) == {"observation", "task"}:
        return env
    if _normalises(env):
        raise ValueError(f"{space} is normalised before it is flat; choose VecNormalize(as_vec_env(env))")
    return FlatVecEnv(env)


def _normalises(env: VecEnv) -> bool:
    wrapped: Any = env
    while hasattr(wrapped, "venv"):
        if isinstance(wrapped, VecNormalize):
            return True
        wrapped = wrapped.venv
    return False


def moments(env: VecEnv) -> dict[str, RunningMeanStd]:
    """The running statistics of a `VecNormalize`, by name."""
    if not isinstance(env, VecNormalize):
        return {}
    observation = getattr(env, "obs_rms", {})  # absent where observations are not normalised
    named = observation if isinstance(observation, dict) else {"": observation}
    return {"reward": env.ret_rms, **{f"observation {key}": value for key, value in named.items()}}


class FlatVecEnv(CopiedWrapper):
    """A Dict of vectors as one flat Box.

    Attributes:
        observation_keys: the keys, in the order in which they are flattened.
    """

    def __init__(self, venv: VecEnv) -> None:
        """Wrap ``venv``; errors as of `flattened`."""
        box, self.observation_keys = flat_box(venv.observation_space)
        super().__init__(venv, observation_space=box)

    def reset(self) -> NDArray[np.float32]:
        """Flat observations (n, S)."""
        return self._flat(self.venv.reset())

    def step_wait(self) -> Any:
        """As of what is wrapped, with flat observations (n, S)."""
        observation, reward, done, infos = self.venv.step_wait()
        for i in np.flatnonzero(done):
            last = infos[i]["terminal_observation"]
            one = {key: np.asarray(last[key])[None] for key in self.observation_keys}
            infos[i] = {**infos[i], "terminal_observation": self._flat(one)[0]}
        return self._flat(observation), reward, done, infos

    def _flat(self, observation: Any) -> NDArray[np.float32]:
        parts = [np.reshape(observation[key], (len(observation[key]), -1)) for key in self.observation_keys]
        return np.concatenate(parts, axis=1).astype(np.float32)


class GymVecEnv(VecEnv):
    """A vector environment of Gymnasium as one of SB3: an episode that has ended gives the next one's observation.

    Under SAME_STEP autoreset the environment does that itself. Under NEXT_STEP and DISABLED, those that have ended are
    reset at once, by the option "reset_mask" of Gymnasium's own SyncVectorEnv and AsyncVectorEnv.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Adapt ``env``.

        Raises:
            ValueError: its autoreset mode is not known, or is not SAME_STEP and it can't reset some environments alone.
        """
        self.env = env
        self._listed = DictInfoToList(env)
        self.mode = env.metadata.get("autoreset_mode")
        if self.mode is not AutoresetMode.SAME_STEP and not _resets_some(env.unwrapped, self.mode):
            raise ValueError(
                f"{env} with autoreset_mode={self.mode} is not valid; choose SAME_STEP, or NEXT_STEP of Gymnasium's "
                "SyncVectorEnv, or of its AsyncVectorEnv with shared memory"
            )
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.metadata = dict(env.metadata)

    def reset(self) -> Any:
        """Reset every environment with the seeds and options set before.

        Raises:
            ValueError: options that are not the same for all.
        """
        if any(options != self._options[0] for options in self._options):
            raise ValueError(f"options={self._options} are not valid; {self.env} takes the same for all")
        seeds: Any = self._seeds if any(seed is not None for seed in self._seeds) else None
        observation, infos = self._listed.reset(seed=seeds, options=dict(self._options[0]) or None)
        self.reset_infos = infos
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Step every environment; "terminal_observation" and "TimeLimit.truncated" are as SB3 has them."""
        observation, reward, terminated, truncated, infos = self._listed.step(self._actions)
        done = np.logical_or(terminated, truncated)
        ended = np.flatnonzero(done).tolist()
        for i in ended:
            if self.mode is AutoresetMode.SAME_STEP:
                # The rest of these infos belongs to the next episode.
                last = infos[i]["final_obs"]
                self.reset_infos[i] = {k: v for k, v in infos[i].items() if k not in ("final_obs", "final_info")}
                infos[i] = dict(infos[i].get("final_info", {}))
            else:
                last = _row(observation, i)
            infos[i]["terminal_observation"] = last
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        if ended and self.mode is not AutoresetMode.SAME_STEP:
            observation, begun = self._listed.reset(options={"reset_mask": done})
            for i in ended:
                self.reset_infos[i] = begun[i]
        return observation, np.asarray(reward, np.float32), done, infos

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of every environment asked for; outside a SyncVectorEnv, that of the vector environment.

        Raises:
            AttributeError: there is none.
        """
        chosen = list(self._get_indices(indices))
        inner = self.env.unwrapped
        if isinstance(inner, SyncVectorEnv):
            return [inner.envs[i].get_wrapper_attr(attr_name) for i in chosen]
        # An AsyncVectorEnv is lost once a process is asked for what it lacks.
        return [getattr(inner, attr_name) for _ in chosen]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of environments of a SyncVectorEnv.

        Raises:
            AttributeError: the environments are no SyncVectorEnv.
        """
        for env in self._single(f"set_attr({attr_name!r})", indices):
            setattr(env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of environments of a SyncVectorEnv; errors as of `set_attr`."""
        found = self._single(f"env_method({method_name!r})", indices)
        return [env.get_wrapper_attr(method_name)(*args, **kwargs) for env in found]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Any = None
    ) -> list[bool]:
        """False: what single environments are wrapped in is theirs."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """One frame per environment."""
        frames: Any = self.env.render()
        return [None] * self.num_envs if frames is None else list(frames)

    def _single(self, what: str, indices: Any) -> list[gymnasium.Env[Any, Any]]:
        inner = self.env.unwrapped
        if not isinstance(inner, SyncVectorEnv):
            raise AttributeError(f"{what} is not valid of {self.env}; choose a SyncVectorEnv")
        return [inner.envs[i] for i in self._get_indices(indices)]


def _resets_some(env: Any, mode: Any) -> bool:
    """Whether an environment that has ended can be reset while the others go on."""
    if mode not in (AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED):
        return False
    # Without shared memory, its processes do not notice such a reset, and reset again in the next step.
    return isinstance(env, SyncVectorEnv) or (isinstance(env, AsyncVectorEnv) and bool(env.shared_memory))


def _row(observation: Any, i: int) -> Any:
    if isinstance(observation, dict):
        return {key: _row(value, i) for key, value in observation.items()}
    return np.copy(observation[i])
