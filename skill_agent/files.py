"""Files that are written whole or not at all, and stay written if the power fails."""

from __future__ import annotations

import errno
import json
import os
import secrets
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"  # how names of files begin that are being written, or that a killed writer left

# What systems and file systems answer that can't open or sync a folder. Other errors are the disk's, and count.
_CAN_NOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EISDIR, errno.EBADF)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it.

    Raises:
        FileExistsError: there is something of that name, be it a link.
    """
    # Exclusive: a link that somebody laid in the way is not followed.
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's names; does nothing where folders can't be opened or synced (Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in _CAN_NOT_SYNC:
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CAN_NOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that nobody can guess, so that two writers of one file don't meet."""
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}-{path.name}")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and move it into place; an old file of that name is replaced.

    Of several writers at once one wins, with a whole file. Where ``path`` is a link, the link is replaced, and what it
    points to is left alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        write_synced(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def refuse_links(folder: Path) -> None:
    """Make sure that nothing in a folder, at any depth, leads out of it.

    Raises:
        ValueError: there is a symbolic link; the message names it.
    """
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent) / name
            if path.is_symlink():
                raise ValueError(f"{path} is a symbolic link, which could lead anywhere; remove it")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_whole(path, (json.dumps(value) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a file written by `write_json`."""
    return json.loads(path.read_text(encoding="utf-8"))
