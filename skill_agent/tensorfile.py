"""One safetensors file of arrays and a JSON description: canonical when written, checked before it is believed.

A file may come from a stranger. So its kind, its size, and the kinds and sizes that its header declares are checked
before anything large is read, and everything is hashed before anything is used. Equal content gives equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 256 * 2**20  # of a file
MAX_HEADER = 2**20  # [byte]
MAX_ARRAYS = 1_000
_ALIGNMENT = 8  # of the data [byte]
_KEYS = {"skill_embed", "sha256"}
# The kinds of arrays that a file may hold, by safetensors' names.
_KINDS = {
    "F32": np.float32, "F64": np.float64, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
    "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64,
}  # fmt: skip
_NAMES = {np.dtype(kind): name for name, kind in _KINDS.items()}

Arrays = dict[str, NDArray[Any]]


class SkillsFileError(ValueError):
    """A file of skills or of a transferred policy is damaged, hostile or of another kind; the message names it."""


def pack(description: dict[str, Any], arrays: Arrays) -> bytes:
    """The bytes of a file, the same for the same content.

    Raises:
        ValueError: an array of a kind that a file can't hold.
    """
    text = json.dumps(description)
    header: dict[str, Any] = {"__metadata__": {"sha256": _digest(text, arrays), "skill_embed": text}}
    chunks, end = [], 0
    for name in sorted(arrays):
        array = arrays[name]
        if array.dtype not in _NAMES:
            raise ValueError(f"{name} has dtype {array.dtype}, which can't be written; choose from {list(_KINDS)}")
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        start, end = end, end + len(data)
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [start, end]}
        chunks.append(data)
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % _ALIGNMENT)
    return b"".join([len(encoded).to_bytes(8, "little"), encoded, *chunks])


def read(path: Path) -> tuple[dict[str, Any], Arrays]:
    """The verified description and arrays of a file.

    Raises:
        FileNotFoundError: there is no such file.
        SkillsFileError: it is no such file, or damaged, or beyond the limits above.
    """
    data = _read_bytes(path)
    try:
        metadata, entries, start = _header(data)
        arrays = {name: _array(name, entry, data, start) for name, entry in entries.items()}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise SkillsFileError(f"{path} is not a whole safetensors file: {error}") from error
    if set(metadata) != _KEYS or not all(isinstance(value, str) for value in metadata.values()):
        raise SkillsFileError(f"{path} has no skills: its metadata are {sorted(metadata)}, not {sorted(_KEYS)}")
    digest = _digest(metadata["skill_embed"], arrays)
    if digest != metadata["sha256"]:
        said = metadata["sha256"][:64]
        raise SkillsFileError(f"{path} is damaged: its SHA-256 is {digest}, its header says {said!r}")
    try:
        description = json.loads(metadata["skill_embed"])
    except (ValueError, RecursionError) as error:
        raise SkillsFileError(f"{path} has a description that is no JSON: {error}") from error
    if not isinstance(description, dict):
        raise SkillsFileError(f"{path} has a description that is no JSON object")
    return description, arrays


def _read_bytes(path: Path) -> bytes:
    """The bytes of a regular file of a size within the limit."""
    # Without waiting: opening a named pipe would block until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SkillsFileError(f"{path} is not a regular file")
        if status.st_size > MAX_BYTES:
            raise SkillsFileError(f"{path} has {status.st_size:,} bytes; at most {MAX_BYTES:,} are read")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def _header(data: bytes) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Metadata, entries of the arrays, and where the data begin."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MAX_HEADER, len(data) - 8):
        raise ValueError(f"its header says that it has {length:,} bytes; the file has {len(data):,}")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise ValueError("its header is no JSON object with metadata")
    if len(header) > MAX_ARRAYS:
        raise ValueError(f"it has {len(header):,} arrays; at most {MAX_ARRAYS:,} are read")
    _check_offsets(header, len(data) - 8 - length)
    return metadata, header, 8 + length


def _check_offsets(entries: dict[str, Any], size: int) -> None:
    """The arrays must lie one behind the other and fill the data, as the format asks."""
    spans = []
    for name, entry in entries.items():
        start, end = entry["data_offsets"]
        if type(start) is not int or type(end) is not int:
            raise ValueError(f"{name} has data_offsets {entry['data_offsets']}")
        spans.append((start, end, name))
    at = 0
    for start, end, name in sorted(spans):
        if start != at or end < start:
            raise ValueError(f"{name} lies at {start} to {end}, after {at}")
        at = end
    if at != size:
        raise ValueError(f"its arrays have {at:,} bytes, its data {size:,}")


def _array(name: str, entry: dict[str, Any], data: bytes, start: int) -> NDArray[Any]:
    kind, shape = entry["dtype"], entry["shape"]
    if kind not in _KINDS:
        raise ValueError(f"{name} has dtype {kind!r}; choose from {list(_KINDS)}")
    if not isinstance(shape, list) or len(shape) > 8 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"{name} has shape {shape!r}")
    dtype = np.dtype(_KINDS[kind]).newbyteorder("<")
    first, last = entry["data_offsets"]
    if math.prod(shape) * dtype.itemsize != last - first:
        raise ValueError(f"{name} of shape {shape} and dtype {kind} has {last - first} bytes")
    if not math.prod(shape):
        return np.zeros(shape, _KINDS[kind])
    array = np.frombuffer(data, dtype, math.prod(shape), start + first).reshape(shape)
    return array.astype(_KINDS[kind])  # a copy, which can be written to


def _digest(text: str, arrays: Arrays) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode("utf-8", "surrogatepass"))
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
