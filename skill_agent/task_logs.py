"""Success and return of each task, for the log: the statistics of SB3's buffer of episodes, task by task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

# SB3's table on the terminal cuts keys at 36 letters, three of them blank, and fails where two become the same.
_LONGEST = 36 - 3 - len("success/")


def of_task(info: dict[str, Any]) -> dict[str, Any]:
    """The info of an episode's last step, whose "episode" also says the task's index and the success, if there is one.

    Args:
        info: with "episode" of SB3's monitors and "terminal_observation", whose "task" is the index; without, it is 0.
    """
    last = info.get("terminal_observation")
    task = np.asarray(last["task"]).reshape(-1) if isinstance(last, dict) and "task" in last else np.zeros(1, np.int64)
    # A continuous task has no index.
    if task.dtype.kind not in "iu" or task.size != 1:
        return info
    episode = {**info["episode"], "task": int(task[0])}
    if "is_success" in info:
        episode["success"] = bool(info["is_success"])
    return {**info, "episode": episode}


def all_succeed(episodes: Iterable[dict[str, Any]], n_tasks: int, share: float) -> bool:
    """Whether at least ``share`` of every task's episodes succeeded; a task without any has not.

    Args:
        episodes: SB3's buffer, from `of_task`.
        n_tasks: T.
        share: of the episodes.

    Raises:
        ValueError: an episode does not say whether it succeeded.
    """
    successes: list[list[bool]] = [[] for _ in range(n_tasks)]
    for episode in episodes:
        if "success" not in episode:
            raise ValueError(
                "versatility_success needs tasks with an index, whose info says `is_success` at an episode's end; "
                "choose versatility_success=0"
            )
        successes[episode["task"]].append(episode["success"])
    return all(found and np.mean(found) >= share for found in successes)


def means(episodes: Iterable[dict[str, Any]], names: Sequence[str]) -> dict[str, float]:
    """Mean return and share of successes of each task, by the keys of the log.

    Args:
        episodes: SB3's buffer, from `of_task`.
        names: of the tasks; a task beyond them is named by its index.
    """
    found: dict[str, list[float]] = {}
    shown = short_names(names)
    for episode in episodes:
        if "task" not in episode:
            continue
        k = episode["task"]
        name = shown[k] if k < len(shown) else str(k)
        found.setdefault(f"rollout/return/{name}", []).append(float(episode["r"]))
        if "success" in episode:
            found.setdefault(f"rollout/success/{name}", []).append(float(episode["success"]))
    return {key: float(np.mean(values)) for key, values in found.items()}


def short_names(names: Sequence[str]) -> list[str]:
    """Names as the log can hold them: short, all different, and without commas, which part the columns of a CSV."""
    plain = [name.replace(",", ";") for name in names]
    if any(len(name) > _LONGEST for name in plain):
        # The end of an id says most.
        plain = [name.rsplit("/", 1)[-1] for name in plain]
    shown: list[str] = []
    for k, name in enumerate(plain):
        if len(name) > _LONGEST or plain.count(name) > 1:
            number = f" #{k}"
            name = name[: _LONGEST - len(number)] + number
        shown.append(name)
    return shown
