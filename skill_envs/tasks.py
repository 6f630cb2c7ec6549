"""The tables: every task by name, and the tasks that each registered id draws from."""

from __future__ import annotations

from dataclasses import dataclass

from skill_envs import arm, point_mass
from skill_envs.task import Channel, Parameters, Task

__all__ = ["ENVIRONMENTS", "TASKS", "Channel", "Environment", "Parameters", "Task"]

TASKS: dict[str, Task] = {**point_mass.TASKS, **arm.TASKS}


@dataclass(frozen=True)
class Environment:
    """One registered id: the tasks it draws from and the lines its documentation page needs."""

    tasks: tuple[str, ...]
    summary: str
    source: str

    @property
    def horizon(self) -> int:
        """Control steps per episode: that of its longest task."""
        return max(TASKS[task].horizon for task in self.tasks)


_SPRING_WALL, _L_WALL, _RAIL_PUSH = ("Spring", "Wall"), ("Push", "Lift"), ("RailLift", "TablePush")

ENVIRONMENTS: dict[str, Environment] = {
    "SkillEmbed/PointMassTwoGoals-v0": Environment(
        ("PointMassLeft", "PointMassRight"),
        "Two tasks, goals to the left and to the right of the start.",
        "section 7.1, figure 2",
    ),
    "SkillEmbed/PointMassFourGoals-v0": Environment(
        ("PointMassAny",),
        "One task with four equally good goals around the start.",
        "section 7.1, figure 3, left and middle",
    ),
    "SkillEmbed/PointMassDuplicate-v0": Environment(
        ("PointMassRight", "PointMassUp", "PointMassRight", "PointMassLeft"),
        "Four tasks, of which the first and the third are the same.",
        "section 7.1, figure 3, right",
    ),
    "SkillEmbed/PointMassCorner-v0": Environment(
        ("PointMassCorner",),
        "One task, whose goal is midway between two of `PointMassDuplicate`: switching between their skills solves it.",
        "not in the paper, and illustrates the transfer of its section 6",
    ),
    "SkillEmbed/PointMassRing-v0": Environment(
        ("PointMassRing",),
        "One goal at a continuous angle on a circle, a quarter of which is left out of training.",
        "section 4, continuous task parameters; the environment itself is not in it",
    ),
    "SkillEmbed/PointMassTour-v0": Environment(
        ("PointMassTour",),
        "One task, whose four goals count one after the other. The observation does not tell whose turn it is.",
        "not in the paper, and illustrates a z that changes over time (its appendix C)",
    ),
    **{
        f"SkillEmbed/{name}-v0": Environment((name,), TASKS[name].summary, "section 7.2, figure 4")
        for name in arm.TASKS
    },
    "SkillEmbed/SpringWallPretrain-v0": Environment(
        _SPRING_WALL, "Bring a block on a spring to a goal, or a free block around a wall.", "section 7.2, spring-wall"
    ),
    "SkillEmbed/LWallPretrain-v0": Environment(
        _L_WALL, "Push a block to the centre, or lift it.", "section 7.2, L-wall"
    ),
    "SkillEmbed/RailPushPretrain-v0": Environment(
        _RAIL_PUSH, "Raise a block on a rail, or push one to the centre of a table.", "section 7.2, rail-push"
    ),
    "SkillEmbed/PretrainAll-v0": Environment(
        _SPRING_WALL + _L_WALL + _RAIL_PUSH, "All six pre-training tasks.", "section 7.2, figure 5"
    ),
}
