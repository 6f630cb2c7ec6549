"""MuJoCo's own model and data beside one simulation of a batch, for viewers and for users of dm_control."""

from __future__ import annotations

import mujoco
import numpy as np

from skill_envs.arrays import Float
from skill_envs.physics import Physics

# What a hand may change between two steps: the state, its switches, and the forces from outside.
_TAKEN = ("qpos", "qvel", "eq_active", "xfrc_applied", "qfrc_applied")


class Mirror:
    """A model and data that show one simulation, and through which it can be pushed and moved.

    Attributes:
        model: the simulation's model; edits do not reach the simulation.
        data: the simulation's state, after ``mj_forward``. Changes of positions, velocities, applied forces and
            equality constraints' switches reach the simulation by `take`.
    """

    def __init__(self, physics: Physics, sim: int = 0) -> None:
        """Show simulation ``sim`` of ``physics``."""
        self._physics, self._sim = physics, sim
        self._task = physics.model_index(sim)
        self.model = physics.write_model(sim)
        self.data = mujoco.MjData(self.model)
        self._shown: dict[str, Float] = {}
        self.show()

    def show(self) -> None:
        """Write the simulation's present state into ``data``, and its model into ``model`` where the task is another.

        The addresses of both stay, so that a viewer goes on with them.
        """
        task = self._physics.model_index(self._sim)
        # Only then: a user may have changed how the model is drawn, such as the size of dm_control's frames.
        if task != self._task:
            self._physics.write_model(self._sim, self.model)
            self._task = task
        self._physics.write_data(self._sim, self.data)
        for name in _TAKEN:
            self._shown[name] = getattr(self.data, name).copy()

    def take(self) -> None:
        """Bring what was changed in ``data`` since `show` into the simulation; unchanged, it stays bit for bit."""
        for name, shown in self._shown.items():
            present = getattr(self.data, name)
            if not np.array_equal(present, shown):
                self._physics.write(self._sim, name, present)
