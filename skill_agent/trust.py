"""A warning before a pickle is loaded, which can be any program."""

from __future__ import annotations

import warnings
from typing import Any

from skill_envs import checks


class PickleWarning(UserWarning):
    """A file is about to be loaded whose pickles run as programs."""


def warn_of_pickles(path: Any, trust: bool, safe: str) -> None:
    """Warn that loading ``path`` runs its pickles, unless the caller trusts it.

    Args:
        path: the file.
        trust: whether the caller says that the file is one of their own.
        safe: the safe way, in words.

    Raises:
        ValueError: ``trust`` is neither True nor False.
    """
    # "no" would be taken for yes.
    if not checks.boolean("trust", trust):
        warnings.warn(
            f"loading {path} runs the pickles in it, which can be any program: load only files that you made yourself, "
            f"and say so by trust=True; safe is {safe}",
            PickleWarning,
            stacklevel=3,
        )
