"""Files that a folder vouches for: their SHA-256 stand in its ``SHA256SUMS``, as ``sha256sum --check`` reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from skill_agent.files import write_whole

SUMS, LOCK = "SHA256SUMS", ".lock"


def write_listed(path: Path, data: bytes) -> None:
    """Write a file and its sum; an old file of that name is replaced."""
    with lock(path.parent):
        add(path, data)


def lock(folder: Path) -> FileLock:
    """A lock for those that change a folder's listed files; it ends with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / LOCK)


@contextmanager
def alone_in(folder: Path, what: str) -> Iterator[None]:
    """Keep other processes out of a folder; the lock ends with the process, however that ends.

    Raises:
        RuntimeError: another process is in it; ``what`` says what that one does.
    """
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout:
        raise RuntimeError(f"{folder} is in use: another process {what}") from None


def add(path: Path, data: bytes) -> None:
    """As `write_listed`, for a caller that has the folder's lock.

    The sum is written first. A kill between the two leaves a sum without a file, which counts as not written.
    """
    sums = read_sums(path.parent)
    sums[path.name] = hashlib.sha256(data).hexdigest()
    lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
    write_whole(path.parent / SUMS, "".join(lines).encode())
    write_whole(path, data)


def read_sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of a folder's listed files, by their names; empty where there is no list.

    Raises:
        ValueError: the list is damaged.
    """
    path = folder / SUMS
    if not path.exists():
        return {}
    sums: dict[str, str] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            digest, name = line.decode("utf-8").split("  ", 1)
            right = len(bytes.fromhex(digest)) == hashlib.sha256().digest_size and name not in sums
        except ValueError:
            right = False
        if not right:
            raise ValueError(f"{path} is damaged in line {number}: {line!r} is not a SHA-256 and a new name")
        sums[name] = digest
    return sums


def read_listed(path: Path, check: Callable[[Any], None], sums: dict[str, str] | None = None) -> Any:
    """The content of a listed JSON file.

    Args:
        path: the file.
        check: raises ValueError where the content is not what it has to be.
        sums: of the folder, where they are read already.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not the file whose sum is listed, or its content is not valid; the message names the file.
    """
    data = path.read_bytes()
    sums = read_sums(path.parent) if sums is None else sums
    if path.name not in sums:
        raise ValueError(f"{path} is not listed in {path.parent / SUMS}; if it is right, add what sha256sum says of it")
    digest = hashlib.sha256(data).hexdigest()
    if digest != sums[path.name]:
        raise ValueError(f"{path} was changed: its SHA-256 is {digest}, {path.parent / SUMS} says {sums[path.name]}")
    try:
        content = json.loads(data)
        check(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid: {error}") from error
    return content
