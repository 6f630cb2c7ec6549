"""Write what the live page reads: scenes as XML, start states, the trained networks, and recorded episodes.

``python docs/live/export.py FOLDER`` writes into FOLDER. Nothing is trained or drawn at random: the same version of
the package writes the same files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

from skill_agent import load_policy
from skill_agent.experiments import EXPERIMENTS
from skill_agent.files import write_json, write_whole
from skill_agent.skills import TRAINED
from skill_agent.transferred import TransferredPolicy
from skill_envs import ENVIRONMENTS, TASKS, SkillVectorEnv, Task, arm

STARTS = 24  # start states of each task
LARGEST = 600_000  # of one file [byte]: a visitor downloads it


class Family(NamedTuple):
    """What the page says of one family of tasks."""

    title: str
    text: str


FAMILIES = {
    "lwall": Family(
        "L-wall",
        "The skills were learned by pushing and lifting a block. Going around the wall is new to them.",
    ),
    "springwall": Family(
        "Spring-wall",
        "The skills were learned with a spring and with a wall. Both at once are new to them.",
    ),
    "railpush": Family(
        "Rail-push",
        "The skills were learned on a rail and on a table. Leaving the rail for the table is new to them.",
    ),
    "pointmass": Family(
        "Point mass",
        "The skills were learned by going right, up and left; two of the four task ids are the same task. "
        "The goal in the corner is new to them.",
    ),
}
TITLES = {
    "SpringWall": "Both",
    "LWall": "L-wall",
    "RailLift": "Rail lift",
    "TablePush": "Table push",
    "RailPush": "Both",
    "PointMassRight": "Right",
    "PointMassUp": "Up",
    "PointMassLeft": "Left",
    "PointMassCorner": "Corner",
}


def export(folder: Path) -> None:
    """Write all files of the page's ``data`` folder.

    Raises:
        ValueError: a file is larger than a visitor should have to load.
    """
    families, recorded = [], {}
    for name, family in FAMILIES.items():
        pretrain = ENVIRONMENTS[EXPERIMENTS["pretrain"][name].env_id].tasks
        transfer = ENVIRONMENTS[EXPERIMENTS["fig5"][name].env_id].tasks[0]
        # Skills may have learned the same task under two ids.
        names = [transfer, *dict.fromkeys(pretrain)]
        families.append(
            {
                "name": name,
                "title": family.title,
                "text": family.text,
                "networks": f"{name}.safetensors",
                "embedded": _embedded(pretrain),
                "tasks": [_describe(task) for task in names],
            }
        )
        for task in names:
            write_whole(folder / f"{task}.xml", TASKS[task].scene().to_xml().encode())
        write_whole(folder / f"{name}.safetensors", (TRAINED / f"{name}-policy.safetensors").read_bytes())
        recorded[name] = record(load_policy(name), transfer)
    write_json(folder / "scenes.json", {"mujoco": mujoco.__version__, "families": families})
    write_json(folder / "recorded.json", recorded)
    _check_sizes(folder)


def _embedded(tasks: tuple[str, ...]) -> list[str]:
    """A title for each task id of an embedding; the same task under another id is told apart."""
    titles: list[str] = []
    for task in tasks:
        title = TITLES.get(task, task)
        titles.append(f"{title} again" if title in titles else title)
    return titles


def _describe(name: str) -> dict[str, Any]:
    """What the page needs of a task, but for its XML."""
    task = TASKS[name]
    model = task.compile()
    env = _make(name, STARTS)
    env.reset(seed=0)
    starts, velocities = env.physics.qpos, env.physics.qvel
    if velocities.any():
        raise ValueError(f"episodes of {name} do not start at rest; the page would start them at rest")
    # None of the tasks but those with a rail changes its constraints after a step.
    lets_go_at = arm.AT_TABLE_HEIGHT[0] if task.after_step is not None else None
    return {
        "name": name,
        "title": TITLES.get(name, name),
        "summary": task.summary,
        "xml": f"{name}.xml",
        "goals": task.goals,
        "goal_radius": task.goal_radius,
        "goal_heights": task.goal_heights,
        "horizon": task.horizon,
        "substeps": task.substeps,
        "observation": {
            "sources": _sources(task, model),
            "low": [channel.low for channel in task.observation],
            "high": [channel.high for channel in task.observation],
        },
        "position": [int(i) for i in task.position(np.arange(model.nq, dtype=float)[None])[0]],
        "lets_go_at": lets_go_at,
        "starts": starts.tolist(),
    }


def _sources(task: Task, model: mujoco.MjModel) -> list[tuple[str, int]]:
    """Where each entry of an observation comes from: the name of an array, and an index into it.

    Raises:
        ValueError: an entry is not simply copied.
    """
    # Each number that can be observed is another one, which tells where it came from.
    origins = [("qpos", i) for i in range(model.nq)]
    origins += [("qvel", i) for i in range(model.nv)]
    origins += [("goal", i) for i in range(len(task.goals[0]))]
    numbers = np.arange(len(origins), dtype=float)
    qpos, qvel, goal = np.split(numbers, [model.nq, model.nq + model.nv])
    observed = task.observe(qpos[None], qvel[None], goal[None])[0]
    if not np.isin(observed, numbers).all():
        raise ValueError("the observation has entries that are computed; the page only copies them")
    return [origins[int(i)] for i in observed]


def record(policy: TransferredPolicy, task: str) -> dict[str, Any]:
    """An episode of a policy's mean actions from the first start state: actions, and positions after each step."""
    in_float32(policy)
    env = _make(task, 1)
    observation, _ = env.reset(seed=0)
    state: Any = None
    actions, positions = [], []
    for _ in range(TASKS[task].horizon):
        action, state = policy.predict(observation, state, deterministic=True)
        observation, *_ = env.step(action)
        actions.append(action[0].tolist())
        positions.append(TASKS[task].position(env.physics.qpos)[0].tolist())
    return {"start": 0, "actions": actions, "positions": positions}


def in_float32(policy: TransferredPolicy) -> None:
    """Let a policy compute as the page does, also where the processor could multiply in bfloat16."""
    policy.skills.actor.bf16 = False
    policy.mapping.actor.bf16 = False


def _make(task: str, count: int) -> SkillVectorEnv:
    return SkillVectorEnv([task], count, autoreset_mode="Disabled")


def _check_sizes(folder: Path) -> None:
    """Check that no file is too large.

    Raises:
        ValueError: one is.
    """
    for path in folder.iterdir():
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path} has {path.stat().st_size:,} bytes; a visitor should load at most {LARGEST:,}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    export(Path(sys.argv[1]))
