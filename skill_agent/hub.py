"""Files of skills and policies from the Hugging Face Hub, named "hf:owner/name" (needs the extra ``hub``).

A repository there is a stranger's. One file of it is fetched, of a size within the limit. It is then checked as any
file is, holds no pickles, and can't run code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from skill_agent.tensorfile import MAX_BYTES, SkillsFileError

PREFIX = "hf:"
KINDS = ("skills", "policy")  # what a repository may have, each in one file
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_NAME = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}))?")


class Name(NamedTuple):
    """A repository of the Hub, and which of its revisions."""

    repository: str
    revision: str | None = None  #: a branch, a tag or a commit; None is the newest

    def __str__(self) -> str:
        """As `parse` takes it."""
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_name(path: object) -> bool:
    """Whether a path is meant as a name on the Hub."""
    return isinstance(path, str) and path.startswith(PREFIX)


def parse(name: str) -> Name:
    """The parts of "hf:owner/name" or "hf:owner/name@revision"; the prefix may be missing.

    Raises:
        ValueError: it is no such name.
    """
    found = _NAME.fullmatch(name.removeprefix(PREFIX))
    if found is None or ".." in name or "--" in found[1]:
        raise ValueError(
            f"{name!r:.200} is no name on the Hugging Face Hub; choose {PREFIX}owner/name or "
            f"{PREFIX}owner/name@revision, in letters, digits, and single '-', '_' and '.'"
        )
    return Name(found[1], found[2])


def file_of(kind: str) -> str:
    """The file that a repository has of a kind."""
    return f"{kind}.safetensors"


def download(name: str, kind: str) -> Path:
    """Fetch a repository's file, or find it among those that were fetched before.

    The size is asked for first, and the commit that it is the size of is the one that is fetched.

    Args:
        name: see `parse`.
        kind: one of `KINDS`.

    Returns:
        The file, in the Hub's cache. Nothing in it was checked yet.

    Raises:
        FileNotFoundError: there is no such repository, revision or file.
        ModuleNotFoundError: huggingface_hub is not installed.
        OSError: the Hub can't be reached, and the file was not fetched before.
        SkillsFileError: the file is too large.
        ValueError: the name is not valid.
    """
    wanted, file = parse(name), file_of(kind)
    import huggingface_hub
    from huggingface_hub import errors

    try:
        info = huggingface_hub.HfApi().model_info(wanted.repository, revision=wanted.revision, files_metadata=True)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"{wanted} is not on the Hugging Face Hub, or is not for everyone: {_brief(error)}"
        ) from error
    except Exception as error:  # of any of the packages by which it asks
        return _kept(wanted, file, error)
    _check_size(wanted, file, info)
    with reached(wanted):
        return Path(huggingface_hub.hf_hub_download(wanted.repository, file, revision=info.sha))


@contextmanager
def reached(wanted: Name) -> Iterator[None]:
    """Make an OSError of what goes wrong between here and the Hub: its client passes on errors of other packages."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        raise OSError(f"{wanted}: the Hugging Face Hub can't be reached: {_brief(error)}") from error


def _check_size(wanted: Name, file: str, info: Any) -> None:
    """Check that a repository has the file, and that it is small enough."""
    sizes = {sibling.rfilename: sibling.size for sibling in info.siblings or []}
    if file not in sizes:
        there = [file_of(kind) for kind in KINDS if file_of(kind) in sizes]
        raise FileNotFoundError(f"{wanted} has no {file}; of what can be loaded it has {there}")
    size = sizes[file]
    if not isinstance(size, int) or size > MAX_BYTES:
        said = f"{size:,} bytes" if isinstance(size, int) else "no known size"
        raise SkillsFileError(f"{wanted}: {file} has {said}; at most {MAX_BYTES:,} are read")


def _kept(wanted: Name, file: str, error: Exception) -> Path:
    """The file as it was fetched before, where the Hub can't be reached: that of a commit, or the one fetched last.

    What a branch or a tag stands for is not known without the Hub.
    """
    import huggingface_hub

    try:
        repositories = huggingface_hub.scan_cache_dir().repos
    except huggingface_hub.errors.CacheNotFound:
        repositories = frozenset()
    commits = [
        commit
        for repository in repositories
        if (repository.repo_type, repository.repo_id) == ("model", wanted.repository)
        for commit in repository.revisions
        if wanted.revision in (None, commit.commit_hash)
    ]
    for commit in sorted(commits, key=lambda commit: commit.last_modified, reverse=True):
        for found in commit.files:
            if found.file_name == file:
                return Path(found.file_path)
    raise OSError(f"{wanted} can't be fetched, and was not fetched before: {_brief(error)}") from error


def _brief(error: BaseException) -> str:
    """The first line of what went wrong."""
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
