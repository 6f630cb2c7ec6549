"""What files of this and of earlier versions say, read alike: skills, policies, checkpoints and runs.

One number, `FORMAT`, stands in every file. A file of a newer format is refused. A file of this or of an older one is
read for ever: settings that have another name now are renamed, and settings that did not exist yet have the value that
does what was done then.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from skill_agent.config import SkillConfig
from skill_envs import checks

FORMAT = 1
RENAMED: dict[str, str] = {}  # names of settings in older files, and what they are called now
BEFORE: dict[str, Any] = {}  # settings newer than 0.1.0 whose default does not do what was done before they existed


def check_format(found: object) -> None:
    """Check the format that a file says it has.

    Raises:
        ValueError: it is none, or newer than this version.
    """
    known = isinstance(found, int) and not isinstance(found, bool) and 1 <= found <= FORMAT
    if not known:
        raise ValueError(f"format={found!r} is not valid; this version reads formats 1 to {FORMAT}")


def settings_of(kept: dict[str, Any]) -> dict[str, Any]:
    """All settings of the method, by today's names, of the JSON that a file of any format has of them.

    Raises:
        ValueError: they are no settings, one of them stands there by two names, or no version had it; the message
            names it and the valid ones.
    """
    if not isinstance(kept, dict):
        raise ValueError(f"settings {kept!r:.80} are not valid; they are names and values")
    found: dict[str, Any] = {}
    for name, value in kept.items():
        today = RENAMED.get(name, name)
        if today in found:
            raise ValueError(f"settings {list(kept)} are not valid; {today} is there by two names")
        found[today] = value
    defaults = {field.name: field.default for field in fields(SkillConfig)}
    unknown = [name for name in found if name not in defaults]
    if unknown:
        meant = checks.did_you_mean(unknown, defaults)
        raise ValueError(f"unknown settings {unknown}; valid ones are {list(defaults)}{meant}")
    complete = defaults | BEFORE | found
    # JSON has no tuples; every list of the settings was one.
    return {name: tuple(value) if isinstance(value, list) else value for name, value in complete.items()}


def config_of(kept: dict[str, Any]) -> SkillConfig:
    """The config of such JSON; see `settings_of`.

    Raises:
        ValueError: an unknown setting, or an invalid value.
    """
    return SkillConfig(**settings_of(kept))
