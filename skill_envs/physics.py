"""A thin layer over ``mujoco.batch``: controls in, states out, one call a control step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError
from numpy.typing import NDArray

from skill_envs import saved
from skill_envs.arrays import Bool, Float, Int

# Warnings after which MuJoCo has thrown the simulation's state away: of bad qpos, qvel and qacc, in that order.
_DIVERGED = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)
# MuJoCo reports a simulation's first warning of a kind, to the terminal and MUJOCO_LOG.TXT; this count makes it
# a later one. A divergence resets the count to a small number.
_REPORTED = 1000

# All that a simulation of these models remembers from one control step to the next.
_STATE = ("time", "qpos", "qvel", "ctrl", "qacc_warmstart", "eq_active")


class Physics:
    """``num_envs`` simulations, each running one of several models of equal sizes.

    Attributes:
        qpos: live view of the generalised positions, (num_envs, nq), in m and rad.
        qvel: live view of the generalised velocities, (num_envs, nv), in m/s and rad/s.
        ctrl: live view of the controls, (num_envs, nu).
        eq_active: live view of the equality constraints' switches, (num_envs, neq), 0 or 1.
        mocap_pos: live view of the positions of mocap bodies, (num_envs, nmocap, 3) [m].
    """

    def __init__(self, models: Sequence[mujoco.MjModel], num_envs: int, substeps: int, num_threads: int = 0) -> None:
        """Allocate the simulations, all on ``models[0]``.

        Args:
            models: one compiled model per task, all with the sizes of the first.
            num_envs: number of simulations.
            substeps: physics steps per control step.
            num_threads: worker threads; 0 takes all CPUs. Results do not depend on it.
        """
        self.models = tuple(models)
        self.substeps = substeps
        self._batch = Batch(self.models[0], num_envs, min(num_threads, num_envs) if num_envs > 1 else 1)
        self._assigned = np.zeros(num_envs, np.int64)
        self.qpos: Float = self._batch.bind("qpos")
        self.qvel: Float = self._batch.bind("qvel")
        self.ctrl: Float = self._batch.bind("ctrl")
        self.eq_active: Float = self._batch.bind("eq_active")
        self.mocap_pos: Float = self._batch.bind("mocap_pos")
        # Where there are no mocap bodies, states are what they were before there could be any.
        self._remembered = (*_STATE, "mocap_pos") if self.mocap_pos.shape[1] else _STATE
        self._warnings = self._batch.warning[:, _DIVERGED, 1]  # a live view: how many of each, (num_envs, 3)

    def assign(self, model_index: Int) -> None:
        """Run simulation ``i`` on ``models[model_index[i]]``; ``model_index`` is (num_envs,)."""
        if not np.array_equal(model_index, self._assigned):
            self._assigned = model_index.copy()
            self._batch.set_models([self.models[i] for i in model_index])

    def model_index(self, sim: int) -> int:
        """Which of ``models`` simulation ``sim`` runs on."""
        return int(self._assigned[sim])

    def write(self, sim: int, name: str, value: Float) -> None:
        """Set a field of simulation ``sim``'s state, such as "xfrc_applied", the forces on its bodies [N, N m]."""
        self._batch.bind(name)[sim] = value

    def reset(self, ids: Int) -> None:
        """Put the simulations ``ids`` into their models' default state."""
        self._batch.reset(ids, stage=int(mujoco.mjtStage.mjSTAGE_NONE))

    def state(self) -> dict[str, NDArray[Any]]:
        """A copy of every simulation's model index and state."""
        return {"model": self._assigned.copy(), **{name: self._batch.bind(name).copy() for name in self._remembered}}

    def set_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from what `state` returned, for as many simulations of the same models.

        Raises:
            ValueError: an entry is not of this batch; nothing has been changed.
        """
        self.check_state(state)
        self.assign(state["model"])
        for name in self._remembered:
            self._batch.bind(name)[:] = state[name]

    def check_state(self, state: dict[str, Any]) -> None:
        """Check that a state is of as many simulations of the same models.

        Raises:
            ValueError: an entry is not; the message names it.
        """
        saved.entries(state, ("model", *self._remembered))
        # The index reaches native code, as the arrays do.
        saved.array("model", state["model"], self._assigned.shape, np.int64, 0, len(self.models) - 1)
        for name in self._remembered:
            own = self._batch.bind(name)
            limits = (0, 1) if name == "eq_active" else (None, None)
            saved.array(name, state[name], own.shape, own.dtype, *limits)

    def step(self) -> Bool:
        """Advance every simulation by one control step.

        Returns:
            (num_envs,) True where the simulation diverged: its state is then meaningless until
            the next reset, and the other simulations are unaffected.
        """
        self._warnings[:] = _REPORTED
        failed = np.zeros(len(self.qpos), np.bool_)
        try:
            self._batch.step(nstep=self.substeps)
        except SimulationError as error:
            failed[error.ids] = True
        # Divergences are rare: the rows are looked at only where one of them is.
        changed = self._warnings != _REPORTED
        if changed.any():
            failed |= changed.any(axis=1)
        return failed

    def write_model(self, sim: int, model: mujoco.MjModel | None = None) -> mujoco.MjModel:
        """Copy simulation ``sim``'s model into ``model``, or into a new one."""
        return self._batch.get_model(sim, model)

    def write_data(self, sim: int, data: mujoco.MjData | None = None) -> mujoco.MjData:
        """Copy simulation ``sim``'s state into ``data``, or into a new one, and run forward."""
        data = self._batch.get_data(sim, data)
        data.warning.number[_DIVERGED] = 0
        mujoco.mj_forward(self.models[self._assigned[sim]], data)
        return data
