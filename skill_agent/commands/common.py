"""What several commands share: checks before anything is done, and a run's folder."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

MOST_ENVS = 10_000  # in a training; more fill the memory before the first update
# What a run's folder has of each kind.
_FILES = {"skills": "skills.safetensors", "model": "model.zip"}


def check_ids(env_ids: Sequence[str]) -> list[str]:
    """The ids if there are any and all are known; else a ValueError.

    One with a module before it, such as "my_envs:Walker-v0", is known once the module is imported, which is left to
    `gymnasium.make`.
    """
    from skill_agent.tasks import check_id
    from skill_envs import ENVIRONMENTS

    if not env_ids:
        raise ValueError(f"no env_id is given; choose from {list(ENVIRONMENTS)}, or an id of Gymnasium")
    for env_id in env_ids:
        if ":" not in env_id:
            check_id(env_id)
    return list(env_ids)


def ids_of(env_ids: Sequence[str], given: dict[str, str]) -> list[str]:
    """The ids, checked; without any, those that a run was trained on, if the folder of one is given as skills or model.

    Raises:
        CheckpointError: the run's settings are damaged.
        ValueError: there are none, or one is not known.
    """
    if not env_ids:
        from skill_agent.experiments import folder

        for kind, name in given.items():
            if name and of_run(name, kind) != name and (Path(name) / folder.SETTINGS).exists():
                run, _ = folder.run_of(Path(name))
                env_ids = run.env_ids
    return check_ids(env_ids)


def longest_episode(env_ids: Sequence[str]) -> int | None:
    """Steps of the longest episode of these environments; None where one has no limit or is not known yet."""
    import gymnasium

    specs = [gymnasium.registry.get(env_id) for env_id in env_ids]
    limits = [None if spec is None else spec.max_episode_steps for spec in specs]
    known = [limit for limit in limits if limit is not None]
    return max(known) if len(known) == len(limits) else None


def load_one(given: dict[str, str]) -> Any:
    """What acts, of the one option that is given among "skills", "policy" and "model".

    Raises:
        FileNotFoundError: there is no such file or name, or a run has not left it yet.
        ValueError: none or several are given.
    """
    from skill_agent.agent import SkillEmbedding
    from skill_agent.skills import load_skills
    from skill_agent.transferred import load_policy

    loaders: dict[str, Callable[[str], Any]] = {
        "skills": load_skills,
        "policy": load_policy,
        "model": lambda path: SkillEmbedding.load(path, device="cpu", trust=True).policy,
    }
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        *others, last = [f"--{name}" for name in given]
        choices = f"one of {', '.join(others)} and {last}" if others else last
        raise ValueError(f"{named} is not valid; give {choices}")
    kind = named[0]
    return loaders[kind](of_run(given[kind], kind))


def of_run(name: str, kind: str) -> str:
    """The file of a run's folder, if ``name`` is one; else ``name``.

    Raises:
        FileNotFoundError: the folder has no such file.
    """
    from skill_agent.skills import shipped

    folder = Path(name)
    if name in shipped(kind) or not folder.is_dir():
        return name
    file = folder / _FILES.get(kind, "policy.safetensors")
    if file.exists():
        return str(file)
    if (folder / "run.json").exists():
        way = shlex.join(["skill-embed", "train", "--resume", name])
        raise FileNotFoundError(f"{name} has no {file.name}; if the run is not finished, go on with: {way}")
    raise FileNotFoundError(f"{name} is a folder without {file.name}; give a file, or one of {shipped(kind)}")


def check_file(path: Path, force: bool, option: str) -> None:
    """Raise a FileExistsError unless a file may be written."""
    if path.is_dir() or (path.exists() and not force):
        raise FileExistsError(f"{path} exists; choose another {option}, or pass --force to replace a file")


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in the terminal's width; cells that are too long go on in the next line, but the first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for k, head in enumerate(heads):
        table.add_column(head, no_wrap=k == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False, emoji=False).print(table)


def check_drawing(env_id: str) -> None:
    """Raise unless an environment can be drawn: better now than after a training."""
    import gymnasium

    env = gymnasium.make(env_id, render_mode="rgb_array", width=16, height=16)
    try:
        env.reset(seed=0)
        env.render()
    finally:
        env.close()


def ray_address(given: tuple[str, ...] | None) -> str | None:
    """Where Ray is to be, of the option --ray: an address, "local" if none stands there; None without the option.

    Raises:
        ValueError: there are several.
    """
    if given is None:
        return None
    if len(given) > 1:
        raise ValueError(f"ray={list(given)} is not valid; give one address, or none for this machine")
    return given[0] if given else "local"


def start(run: Any, seed: int, out: Path, **options: Any) -> None:
    """Train in a folder; an interrupted training says how to go on."""
    from skill_agent.experiments import folder

    try:
        folder.start(run, seed, out, **options)
    except KeyboardInterrupt:
        sys.exit(f"skill-embed: interrupted{going_on(out, run, seed)}")


def going_on(out: Path, run: Any, seed: int) -> str:
    """How to go on with a run that was interrupted, if the folder is this run's already."""
    from skill_agent.experiments import folder

    try:
        begun = folder.run_of(out) == (run, seed) and not (out / folder.RECORD).exists()
    except (OSError, ValueError, RuntimeError):  # there is no run yet
        begun = False
    return f"; go on with: {shlex.join(['skill-embed', 'train', '--resume', str(out)])}" if begun else ""


def success(out: Path) -> str:
    """The success of each task that a finished run reached; its return, where environments don't tell of success."""
    from skill_agent.experiments import folder
    from skill_agent.files import read_json
    from skill_envs import ENVIRONMENTS

    record = read_json(out / folder.RECORD)
    final = record["final"]
    tasks = final["tasks"] if "tasks" in final else ENVIRONMENTS[record["env_id"]].tasks
    if "success" in final:
        reached = "success: " + ", ".join(f"{task} {x:.0%}" for task, x in zip(tasks, final["success"], strict=True))
    else:
        reached = "return: " + ", ".join(f"{task} {x:.4g}" for task, x in zip(tasks, final["return"], strict=True))
    return f"{reached}, after {record['train_seconds']:.0f} s of training"
