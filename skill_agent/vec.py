"""SB3's view of the batched environments."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecMonitor

from skill_envs import ENVIRONMENTS, SkillVectorEnv, checks
from skill_envs.env import MOST_ENVS


class SkillVecEnv(VecEnv):
    """A `SkillVectorEnv` as an SB3 vector environment; ``set_options({"task": k})`` fixes the task."""

    def __init__(self, env: SkillVectorEnv) -> None:
        """Wrap ``env``, whose autoreset mode must be SAME_STEP.

        Raises:
            ValueError: another autoreset mode.
        """
        if env.metadata["autoreset_mode"] is not AutoresetMode.SAME_STEP:
            raise ValueError(f"autoreset_mode={env.metadata['autoreset_mode']} is not valid; choose SAME_STEP")
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.metadata = dict(env.metadata)  # with frames per second, which SB3's video recorder reads

    def reset(self) -> Any:
        """Reset every environment with the seeds and options set before.

        Raises:
            KeyError: an unknown option.
            ValueError: an option given for some environments only.
        """
        names = {name for options in self._options for name in options}
        if any(set(options) != names for options in self._options):
            raise ValueError(f"options={self._options} are not valid; set each for every environment or for none")
        options = {name: np.array([options[name] for options in self._options]) for name in names}
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        observation, info = self.env.reset(seed=seeds, options=options)
        self.reset_infos = [{"is_success": bool(s)} for s in info["is_success"]]
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Step every environment; as in SB3, finished ones give the next episode's observation."""
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{"is_success": s} for s in info["is_success"].tolist()]
        for i in np.flatnonzero(done):
            final = {k: v[i].item() for k, v in info["final_info"].items() if not k.startswith("_")}
            infos[i] = {
                **final,
                "terminal_observation": info["final_obs"][i],
                "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
            }
        return observation, reward.astype(np.float32), done, infos

    def state(self) -> dict[str, Any]:
        """All that changes from step to step; see `SkillVectorEnv.state`."""
        return {"env": self.env.state(), "seeds": list(self._seeds), "options": list(self._options)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on bit-identically from what `state` returned; see `SkillVectorEnv.set_state`."""
        self.env.set_state(state["env"])
        self._seeds, self._options = list(state["seeds"]), list(state["options"])

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The batched environment's attribute, once per index."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the batched environment, for all of its copies at once.

        Raises:
            ValueError: the value is not valid, or ``indices`` are not those of all copies.
        """
        self._require_all(f"set_attr({attr_name!r})", indices)
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the batched environment once; the result is repeated for every copy.

        Raises:
            ValueError: ``indices`` are not those of all copies.
        """
        self._require_all(f"env_method({method_name!r})", indices)
        result = getattr(self.env, method_name)(*args, **kwargs)
        return [result for _ in range(self.num_envs)]

    def _require_all(self, what: str, indices: Any) -> None:
        """The copies are one batch: what one of them can't have alone is refused, and not given to all."""
        if sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ValueError(
                f"{what} with indices={indices!r} is not valid: the {self.num_envs} environments are one batch, and "
                "have everything in common; leave out indices, or make an environment for each"
            )

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Any = None
    ) -> list[bool]:
        """False: the copies have no wrappers of their own."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """One frame per environment."""
        frames = self.env.render()
        return [None] * self.num_envs if frames is None else frames


class CopiedWrapper(VecEnvWrapper):
    """A wrapper of SB3 that can be pickled and deep-copied: SB3's hold a view of their class, which can't."""

    def __getstate__(self) -> dict[str, Any]:
        """All but that view."""
        return {name: value for name, value in self.__dict__.items() if name != "class_attributes"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become a copy."""
        self.__dict__.update(state, class_attributes=dict(inspect.getmembers(type(self))))


class SkillVecMonitor(CopiedWrapper, VecMonitor):
    """SB3's monitor, with the metadata of what it wraps."""

    def __init__(self, venv: VecEnv) -> None:
        """Wrap ``venv``."""
        super().__init__(venv)
        self.metadata = venv.metadata


def make_skill_vec_env(env_id: str, n_envs: int = 1, seed: int | None = None, **kwargs: Any) -> VecMonitor:
    """Make ``n_envs`` batched copies of an environment of the suite, monitored, for SB3.

    Args:
        env_id: for example "SkillEmbed/PointMassTwoGoals-v0".
        n_envs: number of copies.
        seed: copy ``i`` is seeded with ``seed + i`` at the first reset.
        **kwargs: arguments of `SkillVectorEnv`.

    Raises:
        ValueError: the id is not one of the suite's, or a number or argument is not valid.
    """
    checks.one_of("env_id", env_id, list(ENVIRONMENTS))
    checks.integer("n_envs", n_envs, least=1, most=MOST_ENVS)
    if seed is not None:
        checks.integer("seed", seed, least=0)
    env = SkillVecEnv(gymnasium.make_vec(env_id, num_envs=n_envs, **kwargs).unwrapped)  # type: ignore[arg-type]
    env.seed(seed)
    return SkillVecMonitor(env)
