"""Episodes in MuJoCo's interactive window, where the mouse pushes the block: ``skill-embed view``."""

from __future__ import annotations

import time
from typing import Any, Protocol

import gymnasium
import mujoco
import mujoco.viewer
import numpy as np
from numpy.typing import NDArray

from skill_envs import arguments, checks, opengl
from skill_envs.mirror import Mirror
from skill_envs.single import SkillEnv
from skill_envs.tasks import ENVIRONMENTS

_SPACE = 32  # GLFW's number of the key


class Policy(Protocol):
    """What acts: a policy or a model with Stable-Baselines3's ``predict``."""

    def predict(self, observation: Any, state: Any = None) -> tuple[NDArray[Any], Any]:
        """An action for an observation, and a state to pass in at the episode's next step."""


def view(
    env_id: str, policy: Policy | None = None, *, seed: int = 0, task: str | int | None = None, layout: int = 0
) -> None:
    """Show one episode after the other, at the speed of a clock, until the window is closed.

    A double click selects a body. Ctrl and a drag with the right button push it, with the left button turn it. Space
    holds the time; Backspace begins a new episode.

    Args:
        env_id: an environment of the suite.
        policy: what acts; None leaves the joints without torque.
        seed: of the first episode.
        task: the task of all episodes, by its name or index; None draws one for each.
        layout: where the fixtures of the task are.

    Raises:
        RuntimeError: there is no display; or on macOS, if Python was not started as ``mjpython``.
        ValueError: an argument is not valid, or the policy is of another environment.
    """
    checks.one_of("env_id", env_id, list(ENVIRONMENTS))
    fixed = arguments.fixed_task(task, ENVIRONMENTS[env_id].tasks)
    arguments.layouts(layout, ENVIRONMENTS[env_id].tasks, 1)
    options = {} if fixed is None else {"task": fixed}
    if not opengl.has_display():
        raise RuntimeError("the viewer needs a display; without one film the policy: skill-embed film")
    env = gymnasium.make(env_id, layout=layout, disable_env_checker=True)
    first, _ = env.reset(seed=checks.integer("seed", seed, least=0), options=options)
    if policy is not None:
        policy.predict(first)  # a wrong policy is an error before the window opens
    show = _Show(env)
    hidden: Any = {"show_left_ui": False, "show_right_ui": False}  # Tab and Shift Tab show the panels
    with mujoco.viewer.launch_passive(
        show.mirror.model, show.mirror.data, key_callback=show.on_key, **hidden
    ) as window:
        show.frame_scene(window)
        next_seed: int | None = seed
        while window.is_running():
            observation, _ = env.reset(seed=next_seed, options=options)
            show.play(window, observation, policy)
            next_seed = None
    env.close()


class _Show:
    """The environment and what its window shows of it."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self._env = env
        suite = env.unwrapped
        assert isinstance(suite, SkillEnv)
        self._batch = suite.batch
        self.mirror = Mirror(self._batch.physics)
        self._paused = False
        self._period = 1 / self._batch.metadata["render_fps"]  # of a control step [s]

    def on_key(self, key: int) -> None:
        """Space holds the time and lets it go on."""
        if key == _SPACE:
            self._paused = not self._paused

    def frame_scene(self, window: Any) -> None:
        """Look through the task's own camera; the keys of the window choose others."""
        window.cam.type = mujoco.mjtCamera.mjCAMERA_FIXED
        window.cam.fixedcamid = self.mirror.model.camera("scene").id

    def play(self, window: Any, observation: Any, policy: Policy | None) -> None:
        """Show an episode from its reset to its end, or until the window is closed or asks for another."""
        action, state, over = np.zeros(self._env.action_space.shape or ()), None, False
        success = False
        self.mirror.show()
        while window.is_running() and not over:
            began = time.perf_counter()
            # The window adds the mouse's force to what is there, and leaves it there.
            self.mirror.data.xfrc_applied[:] = 0.0
            self._caption(window, success)
            window.sync()
            if self._was_reset():
                return
            if self._paused:
                mujoco.mj_forward(self.mirror.model, self.mirror.data)
            else:
                self.mirror.take()
                if policy is not None:
                    action, state = policy.predict(observation, state)
                observation, _, terminated, truncated, info = self._env.step(action)
                over, success = terminated or truncated, info["is_success"]
                self.mirror.show()
            time.sleep(max(0.0, began + self._period - time.perf_counter()))

    def _was_reset(self) -> bool:
        """Whether the window put the data into the model's default state, in which no episode begins."""
        data = self.mirror.data
        return data.time == 0.0 and np.array_equal(data.qpos, self.mirror.model.qpos0)

    def _caption(self, window: Any, success: bool) -> None:
        task = self._batch.task[0]
        name = ENVIRONMENTS[self._env.spec.id].tasks[task] if self._env.spec else str(task)
        window.set_texts((None, None, "task\nin the goal", f"{name}\n{'yes' if success else 'no'}"))
