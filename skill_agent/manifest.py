"""The files of a checkpoint, and the manifest that tells whether they are whole."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import safetensors.numpy

from skill_agent import snapshot
from skill_agent.formats import FORMAT, check_format
from skill_envs import saved

ARRAYS, STATE, MANIFEST = "arrays.safetensors", "state.json", "manifest.json"
_MANIFEST_SIZE = 65_536  # bytes; a manifest has some hundred


class CheckpointError(RuntimeError):
    """A checkpoint is damaged or missing, or belongs to another training; the message names the file."""


class NewerFormatError(CheckpointError):
    """A checkpoint is not damaged, but of a later version of the package."""


def describe(files: dict[str, bytes]) -> dict[str, Any]:
    """The manifest of files: size and SHA-256 of each, and a SHA-256 of all that."""
    manifest = {"format": FORMAT, "files": {name: _fingerprint(data) for name, data in files.items()}}
    return {**manifest, "sha256": _digest(manifest)}


def read(checkpoint: Path) -> dict[str, Any]:
    """The settings, the model's state and the extra of a checkpoint whose files are whole.

    Raises:
        CheckpointError: a file is missing, damaged or no checkpoint's; a `NewerFormatError` for one that is whole, but
            of a later version.
    """
    manifest = _read_manifest(checkpoint / MANIFEST)
    content = {}
    for name, expected in manifest["files"].items():
        path = checkpoint / name
        found: dict[str, Any] = {"size": _size(path)}
        # A file of another size need not be read, however large it is.
        if found["size"] == expected["size"]:
            content[name] = _bytes(path)
            found = _fingerprint(content[name])
        if found != expected:
            # What 0.1.0 wrote has no checksum of the manifest's own, so that either of the two may be the damaged one.
            blamed = f"{path} is damaged" if "sha256" in manifest else f"{path} or its {MANIFEST} is damaged"
            raise CheckpointError(f"{blamed}: the file has {found}, the manifest says {expected}")
    try:
        arrays = safetensors.numpy.load(content[ARRAYS])
    except (KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{checkpoint / ARRAYS} can't be read: {error!r}") from error
    try:
        state: dict[str, Any] = snapshot.join(json.loads(content[STATE]), arrays)
        saved.entries(state, ("settings", "model", "extra"))
    except (RecursionError, ValueError) as error:
        raise CheckpointError(f"{checkpoint / STATE} can't be read: {error}") from error
    return state


def _read_manifest(path: Path) -> dict[str, Any]:
    """What a checkpoint's files have to be, by their names.

    Raises:
        CheckpointError: it is damaged; a `NewerFormatError` if it is whole, but of a later version.
    """
    if _size(path) > _MANIFEST_SIZE:
        raise CheckpointError(f"{path} is damaged: it has more than {_MANIFEST_SIZE:,} bytes")
    try:
        manifest = json.loads(_bytes(path))
        if not isinstance(manifest, dict):
            raise ValueError("it holds no dict")
        # Manifests of 0.1.0 have no checksum; from the second format on there is always one.
        checked = "sha256" in manifest
        if checked and manifest["sha256"] != _digest(manifest):
            raise ValueError("its SHA-256 does not match")
        if not checked and manifest.get("format") != 1:
            raise ValueError(f"it has format {manifest.get('format')!r}, and no SHA-256")
        if checked:
            _check_format(path, manifest.get("format"))
        saved.entries(manifest, ("format", "files", "sha256") if checked else ("format", "files"))
        saved.entries(manifest["files"], (ARRAYS, STATE))
        for name, expected in manifest["files"].items():
            with saved.within(name):
                saved.entries(expected, ("size", "sha256"))
    except (RecursionError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return manifest


def _check_format(path: Path, found: object) -> None:
    try:
        check_format(found)
    except ValueError as error:
        raise NewerFormatError(f"{path} is of another version: {error}") from error


def _digest(manifest: dict[str, Any]) -> str:
    """The SHA-256 that a manifest has of the rest of itself."""
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _size(path: Path) -> int:
    """The size of a file [byte]; it is an error if it is a pipe, which would keep a reader waiting, or a folder."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointError(f"{path} is damaged: it is not a file")
    return found.st_size


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error}") from error
