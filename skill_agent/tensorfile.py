"""One safetensors file of arrays and a JSON description: canonical when written, checked before it is believed.

A file may come from a stranger. So its kind, its size, and the kinds and sizes that its header declares are checked
before anything large is read, and everything is hashed before anything is used. Equal content gives equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 256 * 2**20  # of a file
MAX_HEADER = 2**20  # [byte]
MAX_ARRAYS = 1_000
_SHOWN = 500  # characters of what a file says, in a message
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


def brief(error: Exception) -> str:
    """An error in a line: what a stranger wrote into a file is escaped, and shown at no great length."""
    text = str(error) if type(error) is ValueError else repr(error)
    if not text.isprintable():
        text = ascii(text)
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN - 100]} ... {text[-100:]}"
    return text


def pack(description: dict[str, Any], arrays: Arrays) -> bytes:
    """The bytes of a file, the same for the same content.

    Raises:
        ValueError: an array of a kind that a file can't hold, or more than a file may hold.
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
    for what, found, most in (
        ("arrays", len(arrays), MAX_ARRAYS),
        ("bytes of header", len(encoded), MAX_HEADER),
        ("bytes", 8 + len(encoded) + end, MAX_BYTES),
    ):
        if found > most:
            raise ValueError(f"{found:,} {what} can't be written; a file has at most {most:,}")
    return b"".join([len(encoded).to_bytes(8, "little"), encoded, *chunks])


def unpack(data: bytes) -> tuple[dict[str, Any], Arrays]:
    """The verified description and arrays of a file's bytes.

    Raises:
        ValueError: they are no such file; see `read`.
    """
    return _parse(io.BytesIO(data), len(data))


def read(path: Path) -> tuple[dict[str, Any], Arrays]:
    """The verified description and arrays of a file.

    Raises:
        FileNotFoundError: there is no such file.
        SkillsFileError: it is no such file, or damaged, or beyond the limits above.
    """
    try:
        with _open(path) as file:
            return _parse(file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SkillsFileError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise SkillsFileError(f"{path} {error}") from error


def _open(path: Path) -> BinaryIO:
    """A regular file, of a size within the limit.

    Raises:
        ValueError: it is none; the message is the rest of a sentence that begins with the file.
    """
    # Before it is opened, since opening alone makes some devices act.
    _check_kind(os.stat(path))
    # Without waiting: opening a named pipe would block until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = open(descriptor, "rb")
    try:
        # Once more, since something else may lie there by now.
        _check_kind(os.fstat(descriptor))
    except ValueError:
        file.close()
        raise
    return file


def _check_kind(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"has {status.st_size:,} bytes; at most {MAX_BYTES:,} are read")


def _parse(file: BinaryIO, size: int) -> tuple[dict[str, Any], Arrays]:
    """The verified content of ``size`` bytes; the data are read once the header is found to be right.

    Raises:
        ValueError: as of `_open`.
    """
    try:
        metadata, entries, data_size = _header(file, size)
        for name, entry in entries.items():
            _check_entry(name, entry)
        data = file.read(data_size)
        if len(data) != data_size:
            raise ValueError(f"its data have {len(data):,} bytes, not {data_size:,}")
        arrays = {name: _array(entry, data) for name, entry in entries.items()}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"is not a whole safetensors file: {brief(error)}") from error
    if set(metadata) != _KEYS or not all(isinstance(value, str) for value in metadata.values()):
        wrong = ValueError(f"its metadata are {sorted(metadata)}, not texts of {sorted(_KEYS)}")
        raise ValueError(f"has no skills: {brief(wrong)}")
    digest = _digest(metadata["skill_embed"], arrays)
    if digest != metadata["sha256"]:
        said = metadata["sha256"][:64]
        raise ValueError(f"is damaged: its SHA-256 is {digest}, its header says {said!r}")
    try:
        description = json.loads(metadata["skill_embed"])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"has a description that is no JSON: {brief(error)}") from error
    if not isinstance(description, dict):
        raise ValueError("has a description that is no JSON object")
    return description, arrays


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Metadata, entries of the arrays, and the size of the data behind the header."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(MAX_HEADER, size - 8):
        raise ValueError(f"its header says that it has {length:,} bytes; the file has {size:,}")
    header = json.loads(file.read(length))
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise ValueError("its header is no JSON object with metadata")
    if len(header) > MAX_ARRAYS:
        raise ValueError(f"it has {len(header):,} arrays; at most {MAX_ARRAYS:,} are read")
    data_size = size - 8 - length
    _check_offsets(header, data_size)
    return metadata, header, data_size


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


def _check_entry(name: str, entry: dict[str, Any]) -> None:
    """An array's kind, shape and bytes must agree."""
    kind, shape = entry["dtype"], entry["shape"]
    if kind not in _KINDS:
        raise ValueError(f"{name} has dtype {kind!r}; choose from {list(_KINDS)}")
    if not isinstance(shape, list) or len(shape) > 8 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"{name} has shape {shape!r}")
    first, last = entry["data_offsets"]
    if math.prod(shape) * np.dtype(_KINDS[kind]).itemsize != last - first:
        raise ValueError(f"{name} of shape {shape} and dtype {kind} has {last - first} bytes")


def _array(entry: dict[str, Any], data: bytes) -> NDArray[Any]:
    kind, shape = _KINDS[entry["dtype"]], entry["shape"]
    count = math.prod(shape)
    # frombuffer takes no empty data.
    if not count:
        return np.zeros(shape, kind)
    array = np.frombuffer(data, np.dtype(kind).newbyteorder("<"), count, entry["data_offsets"][0])
    return array.reshape(shape).astype(kind)  # a copy, which can be written to


def _digest(text: str, arrays: Arrays) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode("utf-8", "surrogatepass"))
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
