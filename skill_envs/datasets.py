"""Scripted demonstrations as a Minari dataset, for imitation and offline learning (needs the extra ``minari``)."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from skill_envs import arguments, checks
from skill_envs.demonstrate import ROUTES, Demonstration, demonstrate

_PATH = "MINARI_DATASETS_PATH"  # the environment variable that says where datasets are
MOST_EPISODES = 100_000


def demonstrated() -> list[str]:
    """The ids of the environments that there are demonstrations of."""
    return [f"SkillEmbed/{task}-v0" for task in ROUTES]


def name_of(env_id: str, layout: int = 0) -> str:
    """The name that a dataset has by default, such as "skill-embed/lwall/scripted-v0"."""
    of_layout = f"-layout{layout}" if layout else ""
    return f"skill-embed/{_task(env_id).lower()}{of_layout}/scripted-v0"


def write_minari(
    env_id: str,
    name: str | None = None,
    *,
    episodes: int = 100,
    seed: int = 0,
    layout: int = 0,
    force: bool = False,
    done: Callable[[bool], object] | None = None,
) -> Path:
    """Demonstrate a task, and write what was seen and done as a Minari dataset.

    It goes where Minari's datasets are: ``$MINARI_DATASETS_PATH``, or ``~/.minari/datasets``. Episode ``i`` is that of
    ``reset(seed=seed + i)``, so that its actions can be played again. ``infos["is_success"]`` has an entry a step.

    Args:
        env_id: one of `demonstrated`.
        name: the dataset's name, "(namespace/)name-vVERSION"; see `name_of`.
        episodes: number of episodes.
        seed: of the first episode.
        layout: of the task.
        force: replace a dataset of that name.
        done: called after each episode with its success.

    Returns:
        The dataset's folder, which is written whole or not at all.

    Raises:
        FileExistsError: there is a dataset of that name, and ``force`` is not given.
        ModuleNotFoundError: Minari is not installed.
        ValueError: another environment, a number out of range, or a malformed name.
    """
    task = _task(env_id)
    checks.integer("episodes", episodes, 1, MOST_EPISODES)
    checks.integer("seed", seed, 0, 2**32 - 1 - episodes)
    arguments.layouts(layout, (task,), 1)
    name = name_of(env_id, layout) if name is None else name
    folder = _folder(name, force)
    found = []
    for k in range(episodes):
        (demonstration,) = demonstrate(task, seed=seed + k, layout=layout)
        found.append(_episode(demonstration, k, seed + k))
        if done is not None:
            done(bool(demonstration.successes[-1]))
    _folder(name, force)  # the name may have been taken meanwhile
    with _elsewhere() as written:
        _create(env_id, layout, name, found)
        if folder.exists():
            os.replace(folder, written / "before")
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(written / name, folder)
    _make_namespace(name)
    return folder


def _task(env_id: str) -> str:
    checks.one_of("env_id", env_id, demonstrated())
    return env_id.removeprefix("SkillEmbed/").removesuffix("-v0")


def _folder(name: str, force: bool) -> Path:
    """Where a dataset of a name is.

    Raises:
        FileExistsError: there is one, or something that is none.
        ValueError: a malformed name.
    """
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage import get_dataset_path

    try:
        parse_dataset_id(name)
    except ValueError as error:
        raise ValueError(f"{name!r} is no name of a Minari dataset; choose one such as 'lwall/scripted-v0'") from error
    folder = Path(get_dataset_path(name))
    if os.path.lexists(folder):
        if not force:
            raise FileExistsError(f"the dataset {name} exists in {folder.parent}; choose another name, or force")
        if not (folder / "data").is_dir():
            raise FileExistsError(f"{folder} is no dataset of Minari, and is not replaced")
    return folder


def _episode(demonstration: Demonstration, number: int, seed: int) -> Any:
    """An episode as Minari has it."""
    from minari.data_collector.episode_buffer import EpisodeBuffer

    steps = len(demonstration.actions)
    ends = np.arange(steps) == steps - 1  # by the time limit
    return EpisodeBuffer(
        id=number,
        seed=seed,
        observations=list(demonstration.observations),
        actions=list(demonstration.actions),
        rewards=list(demonstration.rewards),
        terminations=[False] * steps,
        truncations=ends.tolist(),
        infos={"is_success": list(demonstration.successes)},
    )


def _create(env_id: str, layout: int, name: str, episodes: list[Any]) -> None:
    import minari

    from skill_envs import __version__

    env = gymnasium.make(env_id, layout=layout) if layout else gymnasium.make(env_id)
    env.close()
    of_layout = f" in layout {layout}" if layout else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an author's address and the like, which may be left out
        minari.create_dataset_from_buffers(
            name,
            episodes,
            env=env.spec,
            algorithm_name="skill_envs.demonstrate",
            author="skill-embed",
            description=f"Scripted demonstrations of {env_id}{of_layout}, by skill_envs {__version__}.",
        )


@contextmanager
def _elsewhere() -> Iterator[Path]:
    """A new folder for Minari's datasets, on the disk of the one that there is; it is removed in the end."""
    from minari.storage import get_dataset_path

    root = Path(get_dataset_path())
    before = os.environ.get(_PATH)
    with tempfile.TemporaryDirectory(prefix=".skill-embed-", dir=root) as written:
        os.environ[_PATH] = written
        try:
            yield Path(written)
        finally:
            if before is None:
                del os.environ[_PATH]
            else:
                os.environ[_PATH] = before


def _make_namespace(name: str) -> None:
    """Let Minari know the namespace of a dataset, if it is new."""
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.namespace import create_namespace, list_local_namespaces

    namespace, _, _ = parse_dataset_id(name)
    if namespace is not None and namespace not in list_local_namespaces():
        create_namespace(namespace)
