"""Where networks come from: the environment that they were trained on, its tasks by name, the order of what they see.

Files keep it. Whoever plays trained networks compares it with the environment at hand, since equal shapes say little.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.vec_env import VecEnv

from skill_agent.vec import SkillVecEnv
from skill_envs import ENVIRONMENTS, SkillVectorEnv

LONGEST_NAME = 200  # of a task or an id
# Arguments that leave an environment as it is.
_NEUTRAL = ("render_mode", "width", "height", "shadow_size", "num_envs", "vectorization_mode", "vector_kwargs")


@dataclass(frozen=True)
class Origin:
    """What networks were trained on.

    Attributes:
        environment: id of the environment; empty where several tasks without a common id were trained together.
        tasks: their names, in the order of their indices.
        ids: id of each task's own environment, with the arguments that it was made with; empty where it has none.
        observation_keys: keys of a Dict observation, in the order in which they are flattened; none of a Box.
    """

    environment: str
    tasks: tuple[str, ...]
    ids: tuple[str, ...]
    observation_keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The environment and the tasks, quoted: a stranger may have chosen their names."""
        tasks = ", ".join(repr(name) for name in self.tasks)
        if self.environment and tasks == repr(self.environment):
            return tasks
        return f"{self.environment!r} ({tasks})" if self.environment else tasks

    def describe(self) -> dict[str, Any]:
        """The JSON that a file keeps."""
        return asdict(self)


def of_file(kept: Any, n_tasks: int) -> Origin | None:
    """The origin that a file keeps, which a stranger may have written; None if it says nothing, as in 0.1.0.

    Raises:
        ValueError: it is no such JSON, or of another number of tasks.
    """
    if kept is None:
        return None
    valid = ("environment", "tasks", "ids", "observation_keys")
    if not isinstance(kept, dict) or set(kept) != set(valid):
        raise ValueError(f"environment={kept!r:.80} is not valid; it holds {list(valid)}")
    names = {"environment": [kept["environment"]], **{name: kept[name] for name in valid[1:]}}
    for name, found in names.items():
        if not isinstance(found, list | tuple) or not all(_is_name(part) for part in found):
            raise ValueError(f"{name}={found!r:.80} is not valid; choose names of at most {LONGEST_NAME} characters")
    if len(kept["tasks"]) != n_tasks or len(kept["ids"]) != n_tasks:
        raise ValueError(f"tasks={kept['tasks']!r:.80} are not valid; the networks are of {n_tasks}")
    return Origin(kept["environment"], *(tuple(kept[name]) for name in valid[1:]))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME


def of_suite(tasks: Sequence[str], layout: Any = 0) -> Origin:
    """The origin of an environment of the suite, by the names of its tasks and its layout, or its layouts."""
    tasks, changed = tuple(tasks), _of_layout(layout)
    environment = next((env_id for env_id, about in ENVIRONMENTS.items() if about.tasks == tasks), "")
    alone = {about.tasks[0]: env_id for env_id, about in ENVIRONMENTS.items() if len(about.tasks) == 1}
    ids = [alone.get(name, "") for name in tasks]
    return Origin(
        environment + changed if environment else "",
        tuple(name + changed for name in tasks),
        tuple(env_id + changed if env_id else "" for env_id in ids),
    )


def _of_layout(layout: Any) -> str:
    """How a layout, or those of a batch, are told in a name: "(layout=3)", "(layout=[9, 10])", or nothing for 0."""
    used = np.unique(layout).tolist()
    if used == [0]:
        return ""
    return f"(layout={used[0] if len(used) == 1 else used})"


def id_and_layout(environment: str) -> tuple[str, int]:
    """The id and the layout of an `Origin`'s environment; one of several layouts is left as it is, with layout 0."""
    found = re.fullmatch(r"(.+)\(layout=(\d{1,9})\)", environment)
    return (found[1], int(found[2])) if found else (environment, 0)


def of_tasks(named: dict[str, gymnasium.Env[Any, Any]], observation_keys: Sequence[str]) -> Origin:
    """The origin of several tasks, by their names and environments."""
    ids = tuple(identity(env.spec) for env in named.values())
    return Origin(ids[0] if len(ids) == 1 else "", tuple(named), ids, tuple(observation_keys))


def identity(spec: EnvSpec | None) -> str:
    """The id of an environment, with those arguments that are not as registered; empty without a spec."""
    if spec is None:
        return ""
    registered = gymnasium.registry.get(spec.id)
    usual = registered.kwargs if registered is not None else {}
    changed = []
    for name, value in sorted(spec.kwargs.items()):
        unchanged = name in usual and repr(usual[name]) == repr(value)
        if name not in _NEUTRAL and not unchanged and not (name == "layout" and value == 0):
            changed.append(f"{name}={value!r:.40}")
    return f"{spec.id}({', '.join(changed)})"[:LONGEST_NAME] if changed else spec.id[:LONGEST_NAME]


def origin_of(env: Any) -> Origin | None:
    """The origin that networks trained on an environment have.

    Args:
        env: an environment or a vector environment, of SB3 or of Gymnasium; or an id of the suite.

    Returns:
        What is known of it; None of an environment without a name.
    """
    if isinstance(env, str):
        return of_suite(ENVIRONMENTS[env].tasks) if env in ENVIRONMENTS else None
    if isinstance(env, VecEnv):
        return _of_sb3(env)
    if isinstance(env, gymnasium.Env):
        own = env.get_wrapper_attr("origin") if env.has_wrapper_attr("origin") else None
        return own or _of_space(env.observation_space, env.spec)
    if isinstance(env.unwrapped, SkillVectorEnv):
        return of_suite(env.unwrapped.task_names, env.unwrapped.layout)
    return getattr(env.unwrapped, "origin", None) or _of_space(env.single_observation_space, env.spec)


def _of_sb3(env: VecEnv) -> Origin | None:
    inner = env.unwrapped
    if isinstance(inner, SkillVecEnv):
        return of_suite(inner.env.task_names, inner.env.layout)
    # Asked first, since the processes of SB3's SubprocVecEnv end at an unknown attribute.
    found = inner.get_attr("origin", 0)[0] if inner.has_attr("origin") else None
    if found is None:
        spec = inner.get_attr("spec", 0)[0] if inner.has_attr("spec") else None
        found = _of_space(inner.observation_space, spec)
    return found if isinstance(found, Origin) else None


def _of_space(space: spaces.Space[Any], spec: EnvSpec | None) -> Origin | None:
    """The origin of an environment whose tasks have no names, or that has one task."""
    if spec is not None and spec.id in ENVIRONMENTS:
        return of_suite(ENVIRONMENTS[spec.id].tasks, spec.kwargs.get("layout", 0))
    name = identity(spec)
    task = space.spaces.get("task") if isinstance(space, spaces.Dict) else None
    if isinstance(task, spaces.Discrete):
        count = int(task.n)
        return Origin(name, tuple(f"task {k}" for k in range(count)), (name,) * count)
    # Where the task has parameters, nothing is flattened either.
    keys = tuple(space.spaces) if isinstance(space, spaces.Dict) and task is None else ()
    if not name and not keys:
        return None
    return Origin(name, (name or "task 0",), (name,), keys)


def warn_of_other(policy: Any, env: Any, stacklevel: int = 2) -> None:
    """Warn if networks play on another environment than that of their training; shapes alone don't show it.

    Args:
        policy: what has an ``origin``: skills that are played by task, or a transferred policy. Skills that are to be
            transferred serve for any task.
        env: the environment at hand; see `origin_of`.
        stacklevel: that of `warnings.warn`, counted from the caller of this function.

    Warns:
        UserWarning: it is another one, or its observations have another order; the message names both.
    """
    trained, here = getattr(policy, "origin", None), origin_of(env)
    if trained is None or here is None:
        return
    if trained.observation_keys and here.observation_keys and trained.observation_keys != here.observation_keys:
        warnings.warn(
            f"these networks see observations in the order {trained.observation_keys}; the environment gives "
            f"{here.observation_keys}",
            stacklevel=stacklevel + 1,
        )
    if not _same_tasks(trained, here):
        warnings.warn(f"these networks were trained on {trained}, and play on {here}", stacklevel=stacklevel + 1)


def _same_tasks(first: Origin, second: Origin) -> bool:
    """Whether the tasks are the same, one by one: by their ids, and by their names where an id is not known."""
    if len(first.tasks) != len(second.tasks):
        return False
    for k, (mine, theirs) in enumerate(zip(first.ids, second.ids, strict=True)):
        known = bool(mine and theirs)
        if known and mine != theirs:
            return False
        # Tasks that differ in something else than their ids are told apart by their names.
        if (not known or first.ids.count(mine) > 1) and first.tasks[k] != second.tasks[k]:
            return False
    return True
