"""The episodes that a batch of simulations runs: their tasks, starts, random numbers and goals."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from skill_envs import saved
from skill_envs.arrays import Bool, Float, Int
from skill_envs.physics import Physics
from skill_envs.rewards import Goals
from skill_envs.tasks import TASKS

_FREE = -1  # in place of a fixed task: it is drawn
_OF_PARAMETERS = ("parameters", "_fixed_parameters", "_has_fixed_parameters")  # in states of tasks that have them


class Episodes:
    """One episode in each of ``num_envs`` simulations.

    Attributes:
        tasks: the tasks that an episode draws from, in their layout 0.
        layout: (num_envs,) the layout of each simulation, whatever its task.
        goals: the tasks' goals and rewards, in all layouts that are used.
        physics: the simulations.
        task: (num_envs,) the task of each episode, an index into ``tasks``.
        parameters: (num_envs, C) the task's parameters in each episode; C is 0 for tasks without.
        elapsed: (num_envs,) control steps since each episode began.
        visited: (num_envs,) control steps that each episode has been in a goal that counted.
        ended: (num_envs,) bool, where the next step of NEXT_STEP autoreset begins a new episode.
        generators: one for each simulation; empty before the first seeds.
        seeds: theirs; -1 where it is not known.
        started: whether every simulation has begun an episode.
    """

    def __init__(
        self, names: Sequence[str], num_envs: int, num_threads: int, layout: Sequence[int], arc: str | None = None
    ) -> None:
        """Compile the tasks' models and allocate the simulations.

        Args:
            names: of the tasks.
            num_envs: number of simulations.
            num_threads: physics threads; 0 takes all CPUs.
            layout: (num_envs,) of each simulation.
            arc: the range that parameters are drawn from; None for tasks without parameters.
        """
        self._made_of = (tuple(names), num_envs, num_threads)
        self.layout: Int = np.array(layout, np.int64)
        self._make()
        self._arc = arc
        self.task: Int = np.zeros(num_envs, np.int64)
        described = self.tasks[0].parameters
        self.parameters: Float = np.zeros((num_envs, 0 if described is None else len(described.channels)))
        self.elapsed: Int = np.zeros(num_envs, np.int64)
        self.visited: Int = np.zeros(num_envs, np.int64)
        self.ended: Bool = np.zeros(num_envs, np.bool_)
        self.generators: list[np.random.Generator] = []
        self.seeds: list[int] = []
        self.started = False
        self._fixed_task: Int | None = None  # (num_envs,) or None where all are drawn
        self._fixed_parameters = np.zeros_like(self.parameters)
        self._has_fixed_parameters: Bool = np.zeros(num_envs, np.bool_)
        self._start_qpos, self._start_qvel = self.physics.qpos.copy(), self.physics.qvel.copy()

    def _make(self) -> None:
        names, num_envs, num_threads = self._made_of
        self.tasks = tuple(TASKS[name] for name in names)
        used = sorted(set(self.layout.tolist()))
        # Every task in the first layout that is used, then every task in the next.
        self._variants = tuple(task.layout(number) for number in used for task in self.tasks)
        self._first_variant: Int = len(names) * np.searchsorted(used, self.layout)
        self.goals = Goals(self._variants)
        models = [variant.compile() for variant in self._variants]
        self.physics = Physics(models, num_envs, self.tasks[0].substeps, num_threads)

    @property
    def variant(self) -> Int:
        """(num_envs,) the present task in its layout, an index into the models and the goals."""
        return self._first_variant + self.task

    # Beginnings ----------------------------------------------------------------------------------

    def seed(self, seeds: Sequence[int | None], ids: Int) -> None:
        """Seed the simulations ``ids``, each with its entry of ``seeds``; None goes on with the present generator.

        Before the first seeds, there is no generator to go on with: all are seeded, and None draws a seed.
        """
        if not self.generators:
            made = [seeding.np_random(seed) for seed in seeds]
            self.generators = [generator for generator, _ in made]
            self.seeds = [int(seed) for _, seed in made]
            return
        for i in ids:
            if seeds[i] is not None:
                self.generators[i], self.seeds[i] = seeding.np_random(seeds[i])

    def fix_tasks(self, tasks: Int | None, ids: Int) -> None:
        """Give the episodes that ``ids`` will begin these ``tasks`` (num_envs,); None lets them be drawn."""
        fixed = np.full(len(self.task), _FREE)
        if self._fixed_task is not None:
            fixed = self._fixed_task.copy()
        fixed[ids] = _FREE if tasks is None else tasks[ids]
        self._fixed_task = None if (fixed == _FREE).all() else fixed

    def fix_parameters(self, parameters: Float | None, ids: Int) -> None:
        """Give the episodes that ``ids`` will begin these ``parameters`` (num_envs, C); None lets them be drawn."""
        self._has_fixed_parameters[ids] = parameters is not None
        self._fixed_parameters[ids] = 0.0 if parameters is None else parameters[ids]

    def begin(self, ids: Int) -> None:
        """Begin new episodes in the simulations ``ids``, with a task and a start state drawn for each."""
        for i in ids:
            # The draw is spent on a fixed task too, so that start states do not depend on how the task was chosen.
            self.task[i] = self.generators[i].integers(len(self.tasks))
            if self._fixed_task is not None and self._fixed_task[i] != _FREE:
                self.task[i] = self._fixed_task[i]
            described = self.tasks[0].parameters
            if described is not None:
                assert self._arc is not None
                self.parameters[i] = described.arcs[self._arc](self.generators[i])
                if self._has_fixed_parameters[i]:
                    self.parameters[i] = self._fixed_parameters[i]
        variant = self.variant
        self.physics.assign(variant)
        self.physics.reset(ids)
        for i in ids:
            self.physics.qpos[i], self.physics.qvel[i] = self._variants[variant[i]].start(self.generators[i])
        self._move_goals(ids)
        self.elapsed[ids] = 0
        self.visited[ids] = 0
        self.ended[ids] = False
        self.started = True
        self._start_qpos[ids], self._start_qvel[ids] = self.physics.qpos[ids], self.physics.qvel[ids]

    def _move_goals(self, ids: Int) -> None:
        """Show the goals of the simulations ``ids`` where their parameters have them."""
        if self._moved is not None:
            self.physics.mocap_pos[ids, 0, :2] = self._moved[ids]

    @property
    def _moved(self) -> Float | None:
        """(num_envs, 2) goals that parameters say [m]; None for tasks without."""
        described = self.tasks[0].parameters
        return None if described is None else described.goal(self.parameters)

    # Steps ---------------------------------------------------------------------------------------

    def advance(self) -> Bool:
        """Run every simulation for a control step.

        Returns:
            (num_envs,) True where a simulation diverged; it shows the state that its episode started from.
        """
        diverged = self.physics.step()
        if diverged.any():
            self._restore(np.flatnonzero(diverged))
        variant = self.variant
        for k, task in enumerate(self._variants):
            if task.after_step is not None:
                rows = np.flatnonzero(variant == k)
                self.physics.eq_active[rows] = task.after_step(self.physics.qpos[rows], self.physics.eq_active[rows])
        self.elapsed += 1
        return diverged

    def _restore(self, ids: Int) -> None:
        """Show finite numbers where a simulation diverged: the state its episode started from."""
        self.physics.reset(ids)
        self.physics.qpos[ids], self.physics.qvel[ids] = self._start_qpos[ids], self._start_qvel[ids]
        self._move_goals(ids)

    def observe(self) -> Float:
        """What the tasks observe, (num_envs, S), neither rounded nor clipped."""
        goal = self.goals.observed[self.variant] if self._moved is None else self._moved
        return self.tasks[0].observe(self.physics.qpos, self.physics.qvel, goal)

    def outside(self) -> Float:
        """Distances (num_envs,) to the nearest goal region that counts [m]; 0 inside."""
        return self.goals.outside(self.tasks[0].position(self.physics.qpos), self.variant, self.visited, self._moved)

    def visit(self, inside: Bool) -> None:
        """Count a control step for the episodes that are ``inside`` (num_envs,) a goal that counts."""
        self.visited += inside

    # States --------------------------------------------------------------------------------------

    def state(self, with_ended: bool) -> dict[str, Any]:
        """A copy of all that changes from step to step: arrays, and else only what JSON can hold.

        Args:
            with_ended: whether ``ended`` belongs to it, which only NEXT_STEP autoreset uses.
        """
        state = {
            "physics": self.physics.state(),
            "task": self.task.copy(),
            "_fixed_task": copy(self._fixed_task),
            "_elapsed": self.elapsed.copy(),
            "_start_qpos": self._start_qpos.copy(),
            "_start_qvel": self._start_qvel.copy(),
            "generators": [g.bit_generator.state for g in self.generators] if self.started else [],
        }
        if self.parameters.shape[1]:
            state |= {name: getattr(self, name).copy() for name in _OF_PARAMETERS}
        if with_ended:
            state["_ended"] = self.ended.copy()
        if self.goals.in_turn:
            state["_visited"] = self.visited.copy()
        return state

    def check_state(self, state: dict[str, Any], with_ended: bool) -> None:
        """Check the entries of a state, all of which are there, to be of as many episodes of the same tasks.

        Raises:
            ValueError: an entry is not; the message names it and what is valid.
        """
        shape, last = self.task.shape, len(self.tasks) - 1
        with saved.within("physics"):
            self.physics.check_state(state["physics"])
        saved.array("task", state["task"], shape, np.int64, 0, last)
        if state["_fixed_task"] is not None:
            saved.array("_fixed_task", state["_fixed_task"], shape, np.int64, _FREE, last)
        saved.array("_elapsed", state["_elapsed"], shape, np.int64, 0, saved.MOST)
        saved.array("_start_qpos", state["_start_qpos"], self._start_qpos.shape, np.float64)
        saved.array("_start_qvel", state["_start_qvel"], self._start_qvel.shape, np.float64)
        if self.parameters.shape[1]:
            for name in _OF_PARAMETERS:
                own = getattr(self, name)
                saved.array(name, state[name], own.shape, own.dtype)
        if with_ended:
            saved.array("_ended", state["_ended"], shape, np.bool_)
        if self.goals.in_turn:
            saved.array("_visited", state["_visited"], shape, np.int64, 0, saved.MOST)
        # There are none before the first reset.
        if state["generators"] != []:
            for i, kept in enumerate(saved.sequence("generators", state["generators"], len(self.task))):
                saved.generator(f"generators/{i}", kept)

    def set_state(self, state: dict[str, Any], with_ended: bool) -> None:
        """Go on from a state that `check_state` found right; the seeds of its generators are not known."""
        self.physics.set_state(state["physics"])
        self.task = state["task"].copy()
        self._fixed_task = copy(state["_fixed_task"])
        if self.parameters.shape[1]:
            for name in _OF_PARAMETERS:
                setattr(self, name, state[name].copy())
        self.elapsed = state["_elapsed"].copy()
        self.visited = state["_visited"].copy() if self.goals.in_turn else np.zeros_like(self.visited)
        self._start_qpos, self._start_qvel = state["_start_qpos"].copy(), state["_start_qvel"].copy()
        self.ended = state["_ended"].copy() if with_ended else np.zeros_like(self.ended)
        self.generators = [saved.generator("generators", kept) for kept in state["generators"]]
        self.seeds = [-1] * len(self.generators)
        self.started = bool(self.generators)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs: all but the models, which it compiles anew."""
        anew = ("tasks", "goals", "physics", "_variants")
        kept = {name: value for name, value in self.__dict__.items() if name not in anew}
        return {"kept": kept, "physics": self.physics.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become a copy, which goes on bit-identically."""
        self.__dict__.update(state["kept"])
        self._make()
        self.physics.set_state(state["physics"])
