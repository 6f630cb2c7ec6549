"""Files that are written whole or not at all, and stay written if the power fails."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"  # how names of files begin that are being written, or that a killed writer left

# What systems and file systems answer that can't open or sync a folder. Other errors are the disk's, and count.
_CAN_NOT_SYNC = (
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.EBADF,
)
_LONGEST = 100  # bytes of a name that its temporary name repeats; file systems end names at 255


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
    """A name beside ``path`` that nobody can guess, so that two writers of one file don't meet; the suffix stays."""
    kept = path.name if len(os.fsencode(path.name)) <= _LONGEST else path.suffix
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}-{kept}")


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
    except FileExistsError:
        # What lies there under the temporary name is somebody else's.
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def refuse_links(folder: Path) -> None:
    """Make sure that writing to a folder, at any depth, writes nowhere else and waits for nobody.

    The folder itself may be a link: its name came from the user, and not from the folder's maker.

    Raises:
        OSError: a folder in it can't be read.
        ValueError: something in it is a link, a pipe or a device; the message names it.
    """
    for parent, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            path = Path(parent) / name
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                continue
            kind = "symbolic link" if stat.S_ISLNK(mode) else "special file"
            raise ValueError(f"{path} is a {kind}, which could lead anywhere; remove it")


def _raise(error: OSError) -> None:
    raise error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_whole(path, (json.dumps(value) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a file written by `write_json`."""
    return json.loads(path.read_text(encoding="utf-8"))
