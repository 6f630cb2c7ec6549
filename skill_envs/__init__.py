"""A Gymnasium suite of manipulation and point-mass tasks for learning and transferring skills.

Importing the package registers the ids ``SkillEmbed/...-v0`` with Gymnasium.
"""

from skill_envs.opengl import choose_backend

choose_backend()  # before anything imports MuJoCo, which reads MUJOCO_GL once

import gymnasium  # noqa: E402

from skill_envs.demonstrate import Demonstration, demonstrate  # noqa: E402
from skill_envs.env import SkillVectorEnv  # noqa: E402
from skill_envs.single import SkillEnv  # noqa: E402
from skill_envs.tasks import ENVIRONMENTS, TASKS, Environment, Task  # noqa: E402

__version__ = "0.1.0"
__all__ = ["ENVIRONMENTS", "TASKS", "Demonstration", "Environment", "SkillEnv", "SkillVectorEnv", "Task", "demonstrate"]

for _id, _environment in ENVIRONMENTS.items():
    gymnasium.register(
        id=_id,
        entry_point="skill_envs.single:SkillEnv",
        vector_entry_point="skill_envs.env:SkillVectorEnv",
        max_episode_steps=_environment.horizon,
        kwargs={"tasks": _environment.tasks},
    )
