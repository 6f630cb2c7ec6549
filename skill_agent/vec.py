"""SB3's view of the batched environments."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecMonitor

from skill_envs import ENVIRONMENTS, SkillVectorEnv, checks
from skill_envs import infos as suite_infos
from skill_envs.arguments import MOST_ENVS, SETTABLE


class SkillVecEnv(VecEnv):
    """A `SkillVectorEnv` as an SB3 vector environment; ``set_options({"task": k})`` fixes the task."""

    def __init__(self, env: SkillVectorEnv) -> None:
        """Wrap ``env``, whose autoreset mode must be SAME_STEP.

        Raises:
            ValueError: another autoreset mode.
        """
        if not isinstance(env, SkillVectorEnv):
            raise ValueError(f"env={env!r} is not valid; choose a SkillVectorEnv")
        if env.metadata["autoreset_mode"] is not AutoresetMode.SAME_STEP:
            raise ValueError(f"autoreset_mode={env.metadata['autoreset_mode']} is not valid; choose SAME_STEP")
        self.env = env
        self._new_names: set[str] = set()  # of attributes that `set_attr` has hung on the environment
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.metadata = dict(env.metadata)  # with frames per second, which SB3's video recorder reads

    @property
    def render_mode(self) -> str | None:
        """The environment's, which may be set."""
        return self.env.render_mode

    @render_mode.setter
    def render_mode(self, value: str | None) -> None:
        self.env.render_mode = value

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Give environment ``i`` the seed ``seed + i`` at the next reset; None draws one.

        Raises:
            ValueError: a seed that is no integer of at least 0.
        """
        return super().seed(None if seed is None else checks.integer("seed", seed, least=0))

    def reset(self) -> Any:
        """Reset every environment with the seeds and options set before.

        Raises:
            KeyError: an unknown option.
            ValueError: an option given for some environments only.
        """
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        observation, info = self.env.reset(seed=seeds, options=self._batched_options())
        self.reset_infos = [
            {"is_success": bool(s), "task": name} for s, name in zip(info["is_success"], self._running(), strict=True)
        ]
        self._reset_seeds()
        self._reset_options()
        return observation

    def _batched_options(self) -> dict[str, Any]:
        """The options set for each environment as those of the batch."""
        if len(self._options) != self.num_envs:
            raise ValueError(f"options={self._options} are not valid; give {self.num_envs} dicts, or one for all")
        names = list(checks.reset_options(self._options[0], ["task"]))
        for options in self._options:
            if set(checks.reset_options(options, ["task"])) != set(names):
                raise ValueError(f"options={self._options} are not valid; set each for every environment or for none")
        return {name: [options[name] for options in self._options] for name in names}

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Step every environment; as in SB3, finished ones give the next episode's observation."""
        names = self._running()  # before the step, which begins new episodes
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [
            {"is_success": s, "task": name} for s, name in zip(info["is_success"].tolist(), names, strict=True)
        ]
        for i in np.flatnonzero(done).tolist():
            # The rest of these infos belongs to the next episode.
            infos[i] = {**suite_infos.single(info["final_info"], i), "task": names[i]}
            infos[i]["terminal_observation"] = info["final_obs"][i]
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return observation, reward.astype(np.float32), done, infos

    def _running(self) -> list[str]:
        """The name of every environment's present task."""
        names = self.env.task_names
        return [names[task] for task in self.env.task.tolist()]

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
        """The attribute of every environment asked for.

        Spaces, tasks, layouts, generators and seeds are the single environment's; the rest is the batch's, and common
        to all.

        Raises:
            ValueError: an index that no environment has.
        """
        chosen = self._chosen(indices)
        if attr_name in ("action_space", "observation_space"):
            return [getattr(self.env, f"single_{attr_name}") for _ in chosen]
        value = getattr(self.env, attr_name)
        if attr_name in ("task", "layout", "np_random", "np_random_seed"):
            return [value[i] for i in chosen]
        return [value for _ in chosen]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the batched environment, for all of its copies at once.

        What the environments read can be set where `SETTABLE` has it. Anything else may be hung on them by a new name.

        Raises:
            AttributeError: the attribute can't be set.
            ValueError: the value is not valid, or ``indices`` are not those of all copies.
        """
        self._require_all(f"set_attr({attr_name!r})", indices)
        if hasattr(self.env, attr_name) and attr_name not in {*SETTABLE, *self._new_names}:
            meant = checks.did_you_mean(attr_name, SETTABLE)
            raise AttributeError(f"{attr_name} can't be set; choose from {list(SETTABLE)}, or a new name{meant}")
        setattr(self.env, attr_name, value)
        if attr_name not in SETTABLE:
            self._new_names.add(attr_name)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method, and give every environment's result.

        ``reset`` and ``render`` act on the environments asked for. Every other method is the batch's: it is called
        once, and its result is repeated.

        Raises:
            ValueError: ``indices`` that no environment has, or that are not all, of a method of the batch.
        """
        if method_name == "reset":
            return self._reset_some(self._chosen(indices), *args, **kwargs)
        if method_name == "render" and not args and not kwargs:
            frames = self.get_images()
            return [frames[i] for i in self._chosen(indices)]
        self._require_all(f"env_method({method_name!r})", indices)
        result = getattr(self.env, method_name)(*args, **kwargs)
        return [result for _ in range(self.num_envs)]

    def _reset_some(self, chosen: list[int], *, seed: int | None = None, options: Any = None) -> list[Any]:
        """Reset some environments, each as a single one: all with the same seed and options."""
        mask = np.zeros(self.num_envs, np.bool_)
        mask[chosen] = True
        batched = {**checks.reset_options(options, ["task"]), "reset_mask": mask}
        seeds = None if seed is None else [seed] * self.num_envs
        observation, info = self.env.reset(seed=seeds, options=batched)
        return [(suite_infos.row(observation, i), suite_infos.single(info, i)) for i in chosen]

    def _chosen(self, indices: Any) -> list[int]:
        """The environments that ``indices`` mean: None for all, an integer, or several.

        Raises:
            ValueError: an index that no environment has.
        """
        if indices is None:
            return list(range(self.num_envs))
        several = [indices] if isinstance(indices, Integral) else indices
        if isinstance(several, str) or not isinstance(several, Iterable):
            raise ValueError(f"indices={indices!r} is not valid; choose None, an integer or several")
        chosen = [checks.integer("index", i, -self.num_envs, self.num_envs - 1) for i in several]
        return [i % self.num_envs for i in chosen]

    def _require_all(self, what: str, indices: Any) -> None:
        """The copies are one batch: what one of them can't have alone is refused, and not given to all."""
        if sorted(self._chosen(indices)) != list(range(self.num_envs)):
            raise ValueError(
                f"{what} with indices={indices!r} is not valid: the {self.num_envs} environments are one batch, and "
                "have this in common; leave out indices, or make an environment for each"
            )

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Any = None
    ) -> list[bool]:
        """False: the copies have no wrappers of their own."""
        return [False for _ in self._chosen(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """One frame per environment."""
        frames = self.env.render()
        # A window shows the first environment, and gives no frames.
        if frames is None or self.render_mode == "human":
            return [None] * self.num_envs
        return frames


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
    env = SkillVecEnv(gymnasium.make_vec(env_id, num_envs=n_envs, **kwargs).unwrapped)  # type: ignore[arg-type]
    env.seed(seed)
    return SkillVecMonitor(env)
