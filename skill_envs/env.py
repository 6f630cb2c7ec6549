"""The batched environment; `skill_envs.single` has its batch-of-one view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from skill_envs import arguments, checks, infos, saved
from skill_envs.arguments import AUTORESET_MODES, REWARD_TYPES, SETTABLE, settable
from skill_envs.arrays import Bool, Float, Int
from skill_envs.episodes import Episodes
from skill_envs.infos import Observation
from skill_envs.physics import Physics
from skill_envs.render import MAX_SIDE, RENDER_MODES, SHADOW_SIZE, Renderer
from skill_envs.spaces import box, observation_space
from skill_envs.task import Task

__all__ = ["AUTORESET_MODES", "REWARD_TYPES", "SETTABLE", "SkillVectorEnv"]


class SkillVectorEnv(VectorEnv[Any, Any, Any]):
    """``num_envs`` copies of an environment of the suite, stepped together.

    An environment draws its task uniformly at each episode start, unless
    ``reset(options={"task": k})`` fixes it until the next call of ``reset``; ``k`` is an index
    or an array of num_envs indices. With one task the observation is a Box, with several a Dict
    of "observation" and "task". A task with parameters is always such a Dict: its "task" are the parameters, which each
    episode draws and the same option fixes, as (C,) or (num_envs, C).

    Environment ``i`` reset with seed ``s`` is bit-identical to the single environment reset with
    seed ``s + i``, whatever ``num_envs`` and ``num_threads``. Actions are clipped to [-1, 1].

    Attributes:
        reward_type: may be set; so may ``max_episode_steps`` and ``render_mode``. The values are checked, and belong to
            every copy.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium reads it from the class)
        "render_modes": list(RENDER_MODES),
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    # Arguments that may be set afterwards.
    reward_type: str = settable("reward_type", arguments.reward_type, "One of `REWARD_TYPES`.")
    max_episode_steps: int | None = settable(
        "max_episode_steps", arguments.max_episode_steps, "Control steps until truncation, or None."
    )
    render_mode: str | None = settable("render_mode", arguments.render_mode, "One of `RENDER_MODES`, or None.")

    def __init__(
        self,
        tasks: Sequence[str],
        num_envs: int = 1,
        *,
        reward_type: str = "paper",
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        arc: str | None = None,
        layout: int | Sequence[int] = 0,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
        shadow_size: int = SHADOW_SIZE,
        num_threads: int = 0,
        **unknown: Any,
    ) -> None:
        """Compile the tasks' models and allocate the simulations.

        Args:
            tasks: names from `skill_envs.TASKS`; a name may occur more than once.
            num_envs: number of environments.
            reward_type: "sparse" (1 per step in a goal region, else 0), "shaped" (smooth), or "paper"
                (sparse; a little shaping is added in RailPush alone).
            max_episode_steps: control steps until truncation; None never truncates.
            autoreset_mode: SAME_STEP, NEXT_STEP or DISABLED, as Gymnasium defines them
                (`gymnasium.vector.AutoresetMode`). Where it is disabled, an episode that has ended goes on.
            arc: range that a task's parameters are drawn from; None for its first.
            layout: where the fixtures of `SpringWall`, `LWall` and `RailPush` are, from 0, the paper's, to 16; or one
                for each environment.
            render_mode: "rgb_array", "depth_array", "human" or None.
            width: width of a frame, at most 4,096 [pixel].
            height: height of a frame, at most 4,096 [pixel].
            shadow_size: side of the map of shadows, at most 4,096 [texel]; smaller ones are drawn faster.
            num_threads: physics threads; 0 takes all CPUs. Results do not depend on it.
            **unknown: rejected.

        Raises:
            TypeError: an unknown keyword argument.
            ValueError: an invalid value; the message lists the valid ones.
        """
        valid = (
            *("reward_type", "max_episode_steps", "autoreset_mode", "arc", "layout", "render_mode", "width", "height"),
            *("shadow_size", "num_threads"),
        )
        checks.no_unknown(unknown, valid)
        # The one place where the arguments stand: what is read and set by name is read and set here.
        self._arguments: dict[str, Any] = {
            "tasks": arguments.tasks(tasks),
            "num_envs": checks.integer("num_envs", num_envs, least=1, most=arguments.MOST_ENVS),
            "reward_type": arguments.reward_type(reward_type),
            "max_episode_steps": arguments.max_episode_steps(max_episode_steps),
            "autoreset_mode": arguments.autoreset_mode(autoreset_mode),
            "arc": arguments.arc(arc, tasks),
            "layout": arguments.layouts(layout, tasks, num_envs),
            "render_mode": arguments.render_mode(render_mode),
            "width": checks.integer("width", width, least=1, most=MAX_SIDE),
            "height": checks.integer("height", height, least=1, most=MAX_SIDE),
            "shadow_size": checks.integer("shadow_size", shadow_size, least=0, most=SHADOW_SIZE),
            "num_threads": checks.integer("num_threads", num_threads, least=0, most=arguments.MOST_THREADS),
        }
        # What decides on rewards and ends, as it was given; states are of environments that were made alike.
        self._constructed = {name: self._arguments[name] for name in ("reward_type", "max_episode_steps")}
        self.num_envs = self._arguments["num_envs"]
        self._episodes = Episodes(
            *(self._arguments[name] for name in ("tasks", "num_envs", "num_threads", "layout", "arc"))
        )
        period = self.physics.substeps * self.physics.models[0].opt.timestep
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode, "render_fps": round(1 / period)}
        self.single_observation_space = observation_space(self.tasks)
        self.single_action_space = box(self.tasks[0].action)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._bounds = box(self.tasks[0].observation)
        self._renderer: Renderer | None = None

    # What can be read ---------------------------------------------------------------------------------

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What happens where an episode has ended; it can't be changed."""
        mode: AutoresetMode = self._arguments["autoreset_mode"]
        return mode

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that episodes draw from."""
        return self._episodes.tasks

    @property
    def task_names(self) -> tuple[str, ...]:
        """Their names in `skill_envs.TASKS`."""
        return tuple(self._arguments["tasks"])

    @property
    def task(self) -> Int:
        """(num_envs,) the present tasks, indices into ``tasks``."""
        return self._episodes.task

    @property
    def layout(self) -> Int:
        """(num_envs,) the layout of every environment."""
        return self._episodes.layout

    @property
    def parameters(self) -> Float:
        """(num_envs, C) the parameters of the present episodes; C is 0 for tasks without."""
        return self._episodes.parameters

    @property
    def physics(self) -> Physics:
        """The simulations."""
        return self._episodes.physics

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generator of every environment; before the first reset, they are seeded at random."""
        self._seed(None, np.arange(self.num_envs))
        return tuple(self._episodes.generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of every environment; -1 where it is not known."""
        self._seed(None, np.arange(self.num_envs))
        return tuple(self._episodes.seeds)

    # The contract of Gymnasium ----------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: environment ``i`` is seeded with ``seed + i``, or with ``seed[i]``; None goes on
                with the present generators.
            options: "task" fixes the task, see `check_task`; "reset_mask", (num_envs,) bool, resets only some
                environments. Seeds and tasks reach only these.

        Returns:
            Observations of all environments, and infos of those that were reset.

        Raises:
            KeyError: an unknown option.
            TypeError: a mask that is no array of bool.
            ValueError: options that are no dict, a task out of range, a seed that is no integer of at least 0, a seed
                or mask of the wrong length, or a mask that resets nothing.
            gymnasium.error.ResetNeeded: a mask before the first reset of all environments.
        """
        options = checks.reset_options(options, ["task", "reset_mask"])
        mask = np.ones(self.num_envs, np.bool_)
        if "reset_mask" in options:
            mask = checks.reset_mask(options["reset_mask"], self.num_envs)
        fixed = self.check_task(options["task"]) if "task" in options else None
        if not self._episodes.started and not mask.all():
            raise gymnasium.error.ResetNeeded("the first reset() has to be of all environments, without a reset_mask")
        ids = np.flatnonzero(mask)
        self._seed(seed, ids)
        if self.parameters.shape[1]:
            self._episodes.fix_parameters(fixed, ids)
        else:
            self._episodes.fix_tasks(fixed, ids)
        self._episodes.begin(ids)
        self.closed = False
        if self.render_mode == "human":
            self.render()
        return self._observe(), infos.of(mask, self._episodes.outside())

    def check_task(self, task: Any) -> NDArray[Any]:
        """A reset's option "task" for every environment: (num_envs,) indices, or (num_envs, C) parameters.

        Args:
            task: one index, or num_envs of them; of a task with parameters (C,) or (num_envs, C) numbers.

        Raises:
            ValueError: anything else.
        """
        described = self.tasks[0].parameters
        if described is None:
            return checks.task_indices(task, len(self.tasks), self.num_envs)
        return checks.task_parameters(task, described, self.num_envs)

    def step(self, actions: NDArray[Any]) -> tuple[Observation, Float, Bool, Bool, dict[str, Any]]:
        """Advance every environment by one control step.

        Args:
            actions: (num_envs, action size), clipped to [-1, 1].

        Returns:
            Observations, rewards (num_envs,), terminations (always False), truncations and infos:
            "is_success" (in a goal region now) and, where the simulation diverged and its episode
            was ended, "physics_error". Under SAME_STEP autoreset, finished episodes leave
            "final_obs" and "final_info", and the rest belongs to the new episode.

            Under NEXT_STEP, the step after an episode's last one resets that environment: its action counts for
            nothing, and its reward is 0.

        Raises:
            gymnasium.error.ClosedEnvironmentError: it was closed, and not reset since.
            gymnasium.error.ResetNeeded: it was never reset.
            ValueError: actions of the wrong shape, or not finite.
        """
        self._require_reset("step()")
        self.physics.ctrl[:] = np.clip(checks.finite_actions(actions, self.physics.ctrl.shape), -1.0, 1.0)
        episodes = self._episodes
        resetting = episodes.ended.copy()
        # What is reset in this step has no last step to lose.
        diverged = episodes.advance() & ~resetting
        if resetting.any():
            episodes.begin(np.flatnonzero(resetting))

        observation, outside = self._observe(), episodes.outside()
        reward = episodes.goals.reward(outside, episodes.variant, self.reward_type)
        reward[resetting | diverged] = 0.0
        episodes.visit((outside <= 0.0) & ~resetting & ~diverged)
        truncated = diverged.copy()
        if self.max_episode_steps is not None:
            truncated |= (episodes.elapsed >= self.max_episode_steps) & ~resetting
        info = infos.of(np.ones(self.num_envs, np.bool_), outside, diverged)

        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            episodes.ended = truncated.copy()
        if self.autoreset_mode is AutoresetMode.SAME_STEP and truncated.any():
            final = infos.final(truncated, observation, info)
            episodes.begin(np.flatnonzero(truncated))
            # All that diverged has ended, so that no error is left to tell of.
            info = infos.of(np.ones(self.num_envs, np.bool_), episodes.outside()) | final
            observation = self._observe()
        if self.render_mode == "human":
            self.render()
        return observation, reward, np.zeros(self.num_envs, np.bool_), truncated, info

    def render(self) -> tuple[Any, ...] | None:
        """Draw every environment; see `skill_envs.render.Renderer.frame`.

        Raises:
            gymnasium.error.ClosedEnvironmentError: it was closed, and not reset since.
            gymnasium.error.ResetNeeded: it was never reset.
        """
        self._require_reset("render()")
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode: gymnasium.make_vec(id, render_mode='rgb_array')")
            return None
        if self._renderer is None:
            size = [self._arguments[name] for name in ("width", "height", "shadow_size")]
            self._renderer = Renderer(self.physics, *size)
        count = 1 if self.render_mode == "human" else self.num_envs
        return tuple(self._renderer.frame(i, self.render_mode) for i in range(count))

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _require_reset(self, what: str) -> None:
        if self.closed:
            raise gymnasium.error.ClosedEnvironmentError(f"{what} after close(); call reset() first")
        if not self._episodes.started:
            raise gymnasium.error.ResetNeeded(f"{what} before the first reset(); call reset() first")

    def _seed(self, seed: Any, ids: Int) -> None:
        """Seed the environments ``ids``; None goes on with the generators, if there are any."""
        if seed is not None or not self._episodes.generators:
            self._episodes.seed(checks.seeds(seed, self.num_envs), ids)

    def use_generators(self, generators: Sequence[np.random.Generator]) -> None:
        """Draw from these generators, one for each environment, from now on.

        Raises:
            ValueError: another number of generators.
        """
        if len(generators) != self.num_envs:
            raise ValueError(f"{len(generators)} generators are not valid; give num_envs={self.num_envs}")
        self._episodes.generators = list(generators)
        self._episodes.seeds = [-1] * self.num_envs

    def _observe(self) -> Observation:
        observation = np.clip(self._episodes.observe().astype(np.float32), self._bounds.low, self._bounds.high)
        if self.parameters.shape[1]:
            return {"observation": observation, "task": self.parameters.astype(np.float32)}
        if len(self.tasks) == 1:
            return observation
        return {"observation": observation, "task": self.task.copy()}

    # States and copies ------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """A copy of all that changes from step to step: arrays, and else only what JSON can hold.

        The entry "set" has what was set after construction; where nothing was, there is no such entry.
        """
        settings = {"tasks": list(self._arguments["tasks"]), "num_envs": self.num_envs, **self._constructed}
        if self._arguments["arc"] is not None:
            settings["arc"] = self._arguments["arc"]
        if any(self._arguments["layout"]):
            settings["layout"] = list(self._arguments["layout"])
        state = {"settings": settings, **self._episodes.state(self._with_ended)}
        present = {name: self._arguments[name] for name in self._constructed}
        if present != self._constructed:
            state["set"] = present
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on bit-identically from what `state` returned, with what was set in it.

        Raises:
            ValueError: the state is of other tasks, or of another number or kind of environments;
                nothing has been changed.
        """
        self.check_state(state)
        self._episodes.set_state(state, self._with_ended)
        self._arguments.update(state.get("set", self._constructed))

    def check_state(self, state: dict[str, Any]) -> None:
        """Check that a state is of these environments.

        Raises:
            ValueError: an entry is not; the message names it and what is valid.
        """
        valid = {**self.state(), "set": None}
        if not isinstance(state, dict) or "set" not in state:
            del valid["set"]
        saved.entries(state, valid)
        if state["settings"] != valid["settings"]:
            raise ValueError(f"settings: the state is of {state['settings']}; valid: {valid['settings']}")
        if "set" in state:
            with saved.within("set"):
                saved.entries(state["set"], self._constructed)
                arguments.reward_type(state["set"]["reward_type"])
                arguments.max_episode_steps(state["set"]["max_episode_steps"])
        self._episodes.check_state(state, self._with_ended)

    @property
    def _with_ended(self) -> bool:
        return self.autoreset_mode is AutoresetMode.NEXT_STEP

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs: everything, whoever has set it, but the renderer, which it opens anew."""
        return {**self.__dict__, "_renderer": None}
