"""Between the command line and its user: errors in one line, paths with ~, letters that a terminal lacks."""

from __future__ import annotations

import io
import os
import re
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium

# What the packages of this project raise on purpose, and what the system raises. Other kinds are a program's faults.
EXPECTED = (OSError, ValueError, RuntimeError, ImportError, MemoryError, gymnasium.error.Error)
TRACEBACK = "SKILL_EMBED_TRACEBACK"  # an environment variable

_OWN = ("skill_envs", "skill_agent")
# Packages whose name for pip is not the name of their module.
_DISTRIBUTIONS = {
    "imageio_ffmpeg": "imageio-ffmpeg",
    "OpenGL": "PyOpenGL",
    "PIL": "pillow",
    "stable_baselines3": "stable-baselines3",
}


def with_paths(args: Any) -> Any:
    """The arguments, with the home folder in place of a leading ~ in each that is a path or may be one.

    The shell replaces it in ``--out ~/run``, but not in ``--out=~/run``.

    Raises:
        ValueError: a path's letters mean one file to Python and another to the libraries that write it.
    """
    changed: dict[str, Any] = {}
    for name, value in vars(args).items():
        if isinstance(value, Path):
            changed[name] = value.expanduser()
        elif isinstance(value, str):
            changed[name] = os.path.expanduser(value)
    for name, value in changed.items():
        _check_letters(name, str(value))
    return replace(args, **changed)


def _check_letters(name: str, path: str) -> None:
    """Raise a ValueError if Python encodes a path otherwise than in UTF-8, which other libraries take for granted."""
    try:
        same = path.encode("utf-8") == os.fsencode(path)
    except UnicodeEncodeError:
        same = False
    if not same:
        raise ValueError(
            f"{name}={path!a} has letters that are not UTF-8 in this locale; "
            "choose ASCII letters, or set PYTHONUTF8=1 if the terminal writes UTF-8"
        )


def show_every_letter() -> None:
    """Write letters that the terminal's encoding lacks as escapes, not as errors."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def one_line(error: BaseException) -> str:
    """What went wrong, in one line; a kind that is not `EXPECTED` is named, with the way to its traceback."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        package = error.name.partition(".")[0]
        if package not in _OWN:
            return missing_package(package)
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"out of memory: {said}" if said else "out of memory"
    if isinstance(error, EXPECTED):
        return said or type(error).__name__
    return f"{type(error).__name__}: {said} (set {TRACEBACK}=1 to see where)"


def missing_package(module: str) -> str:
    """Which package is missing and how it is installed, by its extra if it is of one."""
    package = _DISTRIBUTIONS.get(module, module)
    extra = _extra_of(package)
    wanted = f"'skill-embed[{extra}]'" if extra else package
    return f"this command needs the package {package}, which is not installed: pip install {wanted}"


def _extra_of(package: str) -> str | None:
    """The extra of this project that brings a package."""
    try:
        requirements = metadata.requires("skill-embed") or []
    except metadata.PackageNotFoundError:
        return None
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"""extra == ['"]([^'"]+)""", requirement)
        if name and extra and _plain(name[0]) == _plain(package):
            return extra[1]
    return None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
