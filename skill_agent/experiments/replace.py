"""A new run in the place of an old one: what the product wrote is replaced, what the user wrote is kept.

The old run's files are moved aside before the new run.json takes the old one's place, which is one step of the file
system, and are removed after it. Killed before that step, the old run is put back; killed after it, the rest of the
old run is removed. `recover` does either.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skill_agent.checkpoint import CheckpointError
from skill_agent.experiments import runfile
from skill_agent.experiments.runfile import SETTINGS
from skill_agent.files import refuse_links, sync_folder, write_json, write_synced

CHECKPOINTS = "checkpoints"
_ASIDE = ".replaced-run"
# All that training, the demo and TensorBoard write into a run's folder.
_OWN = (
    *(r"run\.json", r"record\.json", r"model\.zip", r"skills\.safetensors", r"trajectories\.png", r"skills\.mp4"),
    *(r"progress(-from-\d+)?\.csv", r"events\.out\.tfevents\..+"),
    r"checkpoints/step-\d+/(arrays\.safetensors|state\.json|manifest\.json)",
    r"checkpoints/\.tmp-[^/]+/.+",
)
# What a killed training may leave before there is a run.json.
_LEFTOVERS = (r"\.lock", r"\.tmp-[^/]+")


def check(folder: Path, force: bool) -> list[str]:
    """Check that a run may be written to a folder, without changing anything.

    Args:
        folder: it need not exist.
        force: replace a run that it holds.

    Returns:
        The files to be replaced, by their paths in the folder.

    Raises:
        FileExistsError: it holds something that would be lost.
        ValueError: it holds a link.
    """
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is not a folder; choose another --out")
    refuse_links(folder)
    names = list(_files(folder))
    if all(_matches(name, _LEFTOVERS) for name in names):
        return []
    try:
        runfile.verified(folder)
        fault = None
    except CheckpointError as error:
        fault = str(error)
    if not force:
        go_on = f", or go on with it by --resume {folder}" if fault is None else ""
        raise FileExistsError(f"{folder} exists; choose another --out, or pass --force to replace a run{go_on}")
    if fault is not None:
        raise FileExistsError(f"{folder} is not a run's folder ({fault}); choose another --out")
    own = [name for name in names if _matches(name, _OWN)]
    for name in names:
        # A note among checkpoints would look like a damaged one, which training removes.
        if name.startswith(f"{CHECKPOINTS}/") and name not in own:
            raise FileExistsError(f"{folder / name} is not a run's; move it elsewhere, or choose another --out")
    return own


def replace(folder: Path, own: list[str], content: dict[str, Any]) -> None:
    """Write run.json, in the place of an old run if there is one; an error on the way puts the old run back.

    Args:
        folder: the run's folder.
        own: the old run's files, from `check`.
        content: of the new run.json.
    """
    try:
        if own:
            _move_aside(folder, own)
        write_json(folder / SETTINGS, content)
        # From here on the new run stands, even where its settings are the old ones.
        (folder / _ASIDE / SETTINGS).unlink(missing_ok=True)
    finally:
        recover(folder)


def recover(folder: Path) -> None:
    """End what was stopped: put the old run back if the new one does not stand yet, else remove it."""
    # Temporary files are removed, and not written again: one may be a second name of a file elsewhere.
    for path in folder.glob(".tmp-*"):
        if path.is_file():
            path.unlink()
    aside = folder / _ASIDE
    if not aside.is_dir():
        return
    old = aside / SETTINGS
    if old.exists() and old.read_bytes() == (folder / SETTINGS).read_bytes():
        for name in list(_files(aside)):
            if name != SETTINGS:
                _move(aside, folder, name)
    # First what says that there is anything to put back: killed while it is removed, a rest is no run.
    old.unlink(missing_ok=True)
    shutil.rmtree(aside)
    sync_folder(folder)


def _move_aside(folder: Path, own: list[str]) -> None:
    aside = folder / _ASIDE
    aside.mkdir()
    # The copy tells whether run.json is still the old one.
    write_synced(aside / SETTINGS, (folder / SETTINGS).read_bytes())
    sync_folder(aside)
    for name in own:
        if name != SETTINGS:
            _move(folder, aside, name)
    sync_folder(folder)


def _move(source: Path, target: Path, name: str) -> None:
    """Move a file between two folders by its path in them; folders that are empty then are removed."""
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    os.replace(source / name, target / name)
    for parent in (source / name).parents:
        if parent == source or any(parent.iterdir()):
            break
        parent.rmdir()


def _files(folder: Path) -> Iterator[str]:
    """The paths of all files in a folder, at any depth, relative to it."""
    for parent, _, files in os.walk(folder, onerror=_raise):
        for name in files:
            yield (Path(parent) / name).relative_to(folder).as_posix()


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _raise(error: OSError) -> None:
    raise error
