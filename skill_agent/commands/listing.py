"""The command ``envs``."""

from __future__ import annotations

from skill_agent.commands import common
from skill_agent.options import Envs


def envs(args: Envs) -> None:
    """Print the table of the suite's environments.

    Where there are several tasks, the observation has the task beside its vector; where the task has parameters, these.
    """
    from skill_envs import ENVIRONMENTS, TASKS

    rows = []
    for env_id, environment in ENVIRONMENTS.items():
        tasks = [TASKS[name] for name in environment.tasks]
        seen = str(len(tasks[0].observation))
        if tasks[0].parameters is not None:
            seen += f" + {len(tasks[0].parameters.channels)}"
        elif len(tasks) > 1:
            seen += " + task"
        rows.append([env_id, ", ".join(environment.tasks), seen, str(len(tasks[0].action)), str(environment.horizon)])
    common.print_table(["id", "tasks", "observation", "action", "steps"], rows)
