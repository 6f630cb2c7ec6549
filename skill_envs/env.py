"""The batched environment; `skill_envs.single` has its batch-of-one view."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from skill_envs import checks, rewards, saved
from skill_envs.arrays import Bool, Float, Int
from skill_envs.physics import Physics
from skill_envs.render import MAX_SIDE, RENDER_MODES, Renderer
from skill_envs.task import Channel, Task
from skill_envs.tasks import TASKS

REWARD_TYPES = ("paper", "sparse", "shaped")
AUTORESET_MODES = tuple(AutoresetMode)

# What changes in an environment outside its physics and generators.
_ARRAYS = ("task", "_fixed_task", "_elapsed", "_start_qpos", "_start_qvel")
# What a copy builds anew, or takes from the arguments and the state. It keeps everything else, whoever has set it.
_MADE_ANEW = frozenset(
    {
        *_ARRAYS,
        *("_arguments", "physics", "tasks", "num_envs", "_renderer", "_generators"),
        *("_low", "_high", "_goals", "_centres", "_radius", "_heights", "_margin", "_light_shaping"),
    }
)

MOST_ENVS, _MOST_THREADS = 2**20, 1024  # what fits no machine is refused before it fills its memory

Observation = NDArray[np.float32] | dict[str, NDArray[Any]]


def _box(channels: tuple[Channel, ...]) -> spaces.Box:
    return spaces.Box(np.array([c.low for c in channels], np.float32), np.array([c.high for c in channels], np.float32))


class SkillVectorEnv(VectorEnv[Any, Any, Any]):
    """``num_envs`` copies of an environment of the suite, stepped together.

    An environment draws its task uniformly at each episode start, unless
    ``reset(options={"task": k})`` fixes it until the next call of ``reset``; ``k`` is an index
    or an array of num_envs indices. With one task the observation is a Box, with several a Dict
    of "observation" and "task".

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

    def __init__(
        self,
        tasks: Sequence[str],
        num_envs: int = 1,
        *,
        reward_type: str = "paper",
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 480,
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
            render_mode: "rgb_array", "depth_array", "human" or None.
            width: width of a frame, at most 4,096 [pixel].
            height: height of a frame, at most 4,096 [pixel].
            num_threads: physics threads; 0 takes all CPUs. Results do not depend on it.
            **unknown: rejected.

        Raises:
            TypeError: an unknown keyword argument.
            ValueError: an invalid value; the message lists the valid ones.
        """
        valid = ("reward_type", "max_episode_steps", "autoreset_mode", "render_mode", "width", "height", "num_threads")
        checks.no_unknown(unknown, valid)
        _check_tasks(tasks)
        checks.one_of("autoreset_mode", autoreset_mode, [*AUTORESET_MODES, *(mode.value for mode in AUTORESET_MODES)])

        # The one place where the arguments stand: what is read and set by name is read and set here.
        self._arguments: dict[str, Any] = {
            "tasks": tuple(tasks),
            "num_envs": checks.integer("num_envs", num_envs, least=1, most=MOST_ENVS),
            "autoreset_mode": AutoresetMode(autoreset_mode),
            "width": checks.integer("width", width, least=1, most=MAX_SIDE),
            "height": checks.integer("height", height, least=1, most=MAX_SIDE),
            "num_threads": checks.integer("num_threads", num_threads, least=0, most=_MOST_THREADS),
        }
        self.reward_type = reward_type
        self.max_episode_steps = max_episode_steps
        self.render_mode = render_mode
        self.tasks = tuple(TASKS[task] for task in tasks)
        self.num_envs = self._arguments["num_envs"]
        self.physics = Physics([t.compile() for t in self.tasks], num_envs, self.tasks[0].substeps, num_threads)
        period = self.tasks[0].substeps * self.physics.models[0].opt.timestep
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode, "render_fps": round(1 / period)}

        box = _box(self.tasks[0].observation)
        self.single_observation_space: spaces.Space[Any] = box
        if len(self.tasks) > 1:
            task_space = spaces.Discrete(len(self.tasks))
            self.single_observation_space = spaces.Dict(observation=box, task=task_space)
        self.single_action_space = _box(self.tasks[0].action)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._low, self._high = box.low, box.high
        self._goals = np.array([task.goals[0] for task in self.tasks])  # (T, d), as observed
        self._centres = _centres(self.tasks)
        self._radius = np.array([task.goal_radius for task in self.tasks])
        heights = [task.goal_heights for task in self.tasks]
        self._heights: Float | None = None if None in heights else np.array(heights)
        self._margin = np.array([task.shaping_margin for task in self.tasks])
        self._light_shaping = np.array([task.light_shaping for task in self.tasks])

        self.task: Int = np.zeros(num_envs, np.int64)
        self._fixed_task: Int | None = None
        self._elapsed: Int = np.zeros(num_envs, np.int64)
        self._start_qpos, self._start_qvel = self.physics.qpos.copy(), self.physics.qvel.copy()
        self._ended: Bool = np.zeros(num_envs, np.bool_)  # which NEXT_STEP autoreset is to reset
        self._generators: list[np.random.Generator] = []
        self._seeds: tuple[int, ...] = ()
        self._renderer: Renderer | None = None

    # Arguments that may be set afterwards -----------------------------------------------------------

    @property
    def reward_type(self) -> str:
        """One of `REWARD_TYPES`."""
        return str(self._arguments["reward_type"])

    @reward_type.setter
    def reward_type(self, value: str) -> None:
        checks.one_of("reward_type", value, REWARD_TYPES)
        self._arguments["reward_type"] = value

    @property
    def max_episode_steps(self) -> int | None:
        """Control steps until truncation, or None."""
        steps: int | None = self._arguments["max_episode_steps"]
        return steps

    @max_episode_steps.setter
    def max_episode_steps(self, value: int | None) -> None:
        steps = None if value is None else checks.integer("max_episode_steps", value, least=1)
        self._arguments["max_episode_steps"] = steps

    @property
    def render_mode(self) -> str | None:
        """One of `RENDER_MODES`, or None."""
        mode: str | None = self._arguments["render_mode"]
        return mode

    @render_mode.setter
    def render_mode(self, value: str | None) -> None:
        if value is not None:
            checks.one_of("render_mode", value, RENDER_MODES)
        self._arguments["render_mode"] = value

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What happens where an episode has ended; it can't be changed."""
        mode: AutoresetMode = self._arguments["autoreset_mode"]
        return mode

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generator of every environment; empty before the first reset."""
        return tuple(self._generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of every environment; -1 where it is not known."""
        return self._seeds

    # The contract of Gymnasium ----------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new episodes.

        Args:
            seed: environment ``i`` is seeded with ``seed + i``, or with ``seed[i]``; None goes on
                with the present generators.
            options: "task", an index or (num_envs,) indices, fixes the task; "reset_mask",
                (num_envs,) bool, resets only some environments.

        Returns:
            Observations and infos.

        Raises:
            KeyError: an unknown option.
            TypeError: a mask that is no array of bool.
            ValueError: a task out of range, a seed that is no integer of at least 0, a seed or mask of the wrong
                length, or a mask that resets nothing.
        """
        options = options or {}
        if unknown := set(options) - {"task", "reset_mask"}:
            raise KeyError(f"unknown reset options {sorted(unknown)}; valid ones are ['task', 'reset_mask']")
        mask = np.ones(self.num_envs, np.bool_)
        if "reset_mask" in options:
            mask = checks.reset_mask(options["reset_mask"], self.num_envs)
        fixed_task = None
        if "task" in options:
            fixed_task = checks.task_indices(options["task"], len(self.tasks), self.num_envs)
        self._seed(seed)
        self._fixed_task = fixed_task
        self.closed = False
        self._ended[mask] = False
        self._begin(np.flatnonzero(mask))
        if self.render_mode == "human":
            self.render()
        return self._observe(), self._info(self._outside())

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
        self._require_reset()
        self.physics.ctrl[:] = np.clip(checks.finite_actions(actions, self.physics.ctrl.shape), -1.0, 1.0)
        resetting = self._ended.copy()
        diverged = self._advance() & ~resetting  # what is reset now has no last step to lose
        if resetting.any():
            self._begin(np.flatnonzero(resetting))

        observation, outside = self._observe(), self._outside()
        margin, light_shaping = self._margin[self.task], self._light_shaping[self.task]
        reward = rewards.reward(outside, self.reward_type, margin, light_shaping)
        info = self._info(outside)
        reward[resetting] = 0.0
        truncated = diverged.copy()
        if self.max_episode_steps is not None:
            truncated |= self._elapsed >= self.max_episode_steps
        truncated &= ~resetting
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._ended = truncated.copy()
        if diverged.any():
            reward[diverged] = 0.0
            info["physics_error"], info["_physics_error"] = diverged, np.ones(self.num_envs, np.bool_)
        if self.autoreset_mode is AutoresetMode.SAME_STEP and truncated.any():
            observation, info = self._autoreset(truncated, observation, info)
        if self.render_mode == "human":
            self.render()
        return observation, reward, np.zeros(self.num_envs, np.bool_), truncated, info

    def _require_reset(self) -> None:
        if self.closed:
            raise gymnasium.error.ClosedEnvironmentError("step() after close(); call reset() first")
        if not self._generators:
            raise gymnasium.error.ResetNeeded("step() before the first reset(); call reset() first")

    def _advance(self) -> Bool:
        """Run the physics for a control step; returns where it diverged, and has been put back to a start state."""
        diverged = self.physics.step()
        if diverged.any():
            self._restore(np.flatnonzero(diverged))
        for k, task in enumerate(self.tasks):
            if task.after_step is not None:
                rows = np.flatnonzero(self.task == k)
                self.physics.eq_active[rows] = task.after_step(self.physics.qpos[rows], self.physics.eq_active[rows])
        self._elapsed += 1
        return diverged

    def render(self) -> tuple[Any, ...] | None:
        """Draw every environment; see `skill_envs.render.Renderer.frame`."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode: gymnasium.make_vec(id, render_mode='rgb_array')")
            return None
        if self._renderer is None:
            self._renderer = Renderer(self.physics, self._arguments["width"], self._arguments["height"])
        count = 1 if self.render_mode == "human" else self.num_envs
        return tuple(self._renderer.frame(i, self.render_mode) for i in range(count))

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def state(self) -> dict[str, Any]:
        """A copy of all that changes from step to step: arrays, and else only what JSON can hold."""
        return {
            "settings": self._settings(),
            "physics": self.physics.state(),
            **{name: copy(getattr(self, name)) for name in _ARRAYS},
            "generators": [generator.bit_generator.state for generator in self._generators],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on bit-identically from what `state` returned.

        Raises:
            ValueError: the state is of other tasks, or of another number or kind of environments;
                nothing has been changed.
        """
        self.check_state(state)
        self.physics.set_state(state["physics"])
        for name in _ARRAYS:
            setattr(self, name, copy(state[name]))
        self._generators = [saved.generator("generators", kept) for kept in state["generators"]]
        self._seeds = (-1,) * len(self._generators)

    def check_state(self, state: dict[str, Any]) -> None:
        """Check that a state is of these environments.

        Raises:
            ValueError: an entry is not; the message names it and what is valid.
        """
        saved.entries(state, ("settings", "physics", *_ARRAYS, "generators"))
        if state["settings"] != self._settings():
            raise ValueError(f"settings: the state is of {state['settings']}; valid: {self._settings()}")
        with saved.within("physics"):
            self.physics.check_state(state["physics"])
        for name in ("task", "_fixed_task"):
            if name == "task" or state[name] is not None:
                saved.array(name, state[name], (self.num_envs,), np.int64, 0, len(self.tasks) - 1)
        saved.array("_elapsed", state["_elapsed"], (self.num_envs,), np.int64, 0, saved.MOST)
        for name in ("_start_qpos", "_start_qvel"):
            saved.array(name, state[name], getattr(self, name).shape, np.float64)
        # There are none before the first reset.
        if state["generators"] != []:
            for i, kept in enumerate(saved.sequence("generators", state["generators"], self.num_envs)):
                saved.generator(f"generators/{i}", kept)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs: arguments, state and what else was set; models and renderer are built anew."""
        kept = {name: value for name, value in self.__dict__.items() if name not in _MADE_ANEW}
        return {"arguments": self._arguments, "state": self.state(), "kept": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild a pickled or deep-copied environment, which goes on bit-identically."""
        SkillVectorEnv.__init__(self, **state["arguments"])
        self.set_state(state["state"])
        self.__dict__.update(state["kept"])

    # ------------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        """The arguments that decide what happens."""
        names = ("num_envs", "reward_type", "max_episode_steps")
        return {"tasks": list(self._arguments["tasks"]), **{name: self._arguments[name] for name in names}}

    def use_generators(self, generators: Sequence[np.random.Generator]) -> None:
        """Draw from these generators, one for each environment, from now on.

        Raises:
            ValueError: another number of generators.
        """
        if len(generators) != self.num_envs:
            raise ValueError(f"{len(generators)} generators are not valid; give num_envs={self.num_envs}")
        self._generators = list(generators)
        self._seeds = (-1,) * self.num_envs

    def _seed(self, seed: int | Sequence[int | None] | None) -> None:
        if seed is None and self._generators:
            return
        seeds = checks.seeds(seed, self.num_envs)
        drawn = [seeding.np_random(s) for s in seeds]
        self._generators = [generator for generator, _ in drawn]
        self._seeds = tuple(int(s) for _, s in drawn)

    def _begin(self, ids: Int) -> None:
        """Draw a task and a start state for the environments ``ids``."""
        for i in ids:
            drawn = int(self._generators[i].integers(len(self.tasks)))
            self.task[i] = drawn if self._fixed_task is None else self._fixed_task[i]
        self.physics.assign(self.task)
        self.physics.reset(ids)
        for i in ids:
            self.physics.qpos[i], self.physics.qvel[i] = self.tasks[self.task[i]].start(self._generators[i])
        self._elapsed[ids] = 0
        self._start_qpos[ids], self._start_qvel[ids] = self.physics.qpos[ids], self.physics.qvel[ids]

    def _restore(self, ids: Int) -> None:
        """Show finite numbers where a simulation diverged: the state its episode started from."""
        self.physics.reset(ids)
        self.physics.qpos[ids], self.physics.qvel[ids] = self._start_qpos[ids], self._start_qvel[ids]

    def _observe(self) -> Observation:
        observed = self.tasks[0].observe(self.physics.qpos, self.physics.qvel, self._goals[self.task])
        observation = np.clip(observed.astype(np.float32), self._low, self._high)
        return observation if len(self.tasks) == 1 else {"observation": observation, "task": self.task.copy()}

    def _outside(self) -> Float:
        heights = None if self._heights is None else self._heights[self.task]
        position = self.tasks[0].position(self.physics.qpos)
        return rewards.outside(position, self._centres[self.task], self._radius[self.task], heights)

    def _info(self, outside: Float) -> dict[str, Any]:
        return {"is_success": outside <= 0.0, "_is_success": np.ones(self.num_envs, np.bool_)}

    def _autoreset(
        self, done: Bool, observation: Observation, info: dict[str, Any]
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new episodes where ``done``; keep the old ones' last step as Gymnasium does."""
        final_obs = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(done):
            final_obs[i] = row(observation, int(i))
        final_info = {key: (done & value if key.startswith("_") else value) for key, value in info.items()}
        self._begin(np.flatnonzero(done))
        info = {
            **{k: v for k, v in info.items() if "physics_error" not in k},
            **self._info(self._outside()),
            "final_obs": final_obs,
            "_final_obs": done.copy(),
            "final_info": final_info,
            "_final_info": done.copy(),
        }
        return self._observe(), info


def _check_tasks(tasks: Any) -> None:
    """Check names of tasks that one environment can have.

    Raises:
        ValueError: there is none, one is unknown, or two are seen or acted in differently.
    """
    if not isinstance(tasks, list | tuple) or not tasks:
        raise ValueError(f"tasks={tasks!r} is not valid; choose a list of at least one of {list(TASKS)}")
    for task in tasks:
        checks.one_of("task", task, list(TASKS))
    first = TASKS[tasks[0]]
    for task in tasks:
        if (TASKS[task].observation, TASKS[task].action) != (first.observation, first.action):
            raise ValueError(
                f"tasks={list(tasks)} are not valid together: {task} and {tasks[0]} have other observations or actions"
            )


def _centres(tasks: Sequence[Task]) -> Float:
    """Goals in the plane, (T, g, 2); a task with fewer than the others has its first more than once."""
    most = max(len(task.goals) for task in tasks)
    padded = [task.goals + task.goals[:1] * (most - len(task.goals)) for task in tasks]
    return np.array(padded)[..., :2]


def row(observation: Observation, i: int) -> Any:
    """Observation of environment ``i`` as its single observation space has it."""
    if isinstance(observation, dict):
        return {"observation": observation["observation"][i].copy(), "task": observation["task"][i]}
    return observation[i].copy()
