"""The file run.json: which run a folder is of, with which settings. It may come from a stranger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from skill_agent import arguments, formats
from skill_agent.checkpoint import CheckpointError
from skill_agent.experiments.tables import Run
from skill_agent.files import read_json
from skill_agent.tasks import check_id
from skill_envs import ENVIRONMENTS, checks, saved

SETTINGS = "run.json"
_MOST_TASKS, _MOST_OTHERS = 64, 1_024  # ids; copies of environments that are not of the suite
_NETWORKS = ("pi", "qf", "inference")
_MOST_LAYERS, _MOST_UNITS = 16, 8_192
_MOST_COUNTED = 10**6  # of the method's integers, which are sizes and numbers of steps


class Plan(NamedTuple):
    """A run, and how it is trained."""

    run: Run
    seed: int
    checkpoint_minutes: float
    keep: int


# What is valid ------------------------------------------------------------------------------------


def _env_id(name: str, value: Any) -> str:
    """Ids that are registered, with blanks between them; one that names a module would import it, and run its code."""
    env_ids = arguments.text(name, value).split(" ")
    if len(env_ids) > _MOST_TASKS:
        raise ValueError(f"{name} has {len(env_ids)} ids; choose at most {_MOST_TASKS}")
    for env_id in env_ids:
        if ":" in env_id:
            raise ValueError(f"{name}={env_id!r} names a module, whose code would run; choose ids that are registered")
        check_id(env_id)
    return str(value)


def _train_freq(name: str, value: Any) -> Any:
    """A number of steps, or a pair such as [4, "episode"]."""
    if not isinstance(value, list):
        return checks.integer(name, value, 1)
    count, unit = saved.sequence(name, value, 2)
    checks.one_of(f"{name}[1]", unit, ("step", "episode"))
    return checks.integer(f"{name}[0]", count, 1), unit


def _policy_kwargs(name: str, value: Any) -> Any:
    """The sizes of networks; another class in their place would be code of the file's choice."""
    with saved.within(name):
        saved.entries(value, () if value == {} else ("net_arch",))
        arch = value.get("net_arch", [])
        with saved.within("net_arch"):
            if isinstance(arch, dict):
                saved.entries(arch, _NETWORKS)
            for network, layers in (arch if isinstance(arch, dict) else {"(whole)": arch}).items():
                if not isinstance(layers, list) or len(layers) > _MOST_LAYERS:
                    raise ValueError(f"{network} is {layers!r:.80}; it has to be a list of at most {_MOST_LAYERS}")
                for units in layers:
                    checks.integer(network, units, 1, _MOST_UNITS)
    return value


# The arguments of `SkillEmbedding` that a run may set. None of them names a path or a class.
_ARGUMENTS: dict[str, Callable[[str, Any], Any]] = {
    "buffer_size": partial(checks.integer, least=1, most=10**9),
    "learning_starts": partial(checks.integer, least=0, most=saved.MOST),
    "batch_size": partial(checks.integer, least=1, most=10**6),
    "gamma": partial(checks.number, least=0, most=1),
    "train_freq": _train_freq,
    "gradient_steps": partial(checks.integer, least=-1, most=10**9),
    "stats_window_size": partial(checks.integer, least=1, most=10**6),
    "policy_kwargs": _policy_kwargs,
}
_BUFFER_SIZE = 100_000  # where a run says nothing
_DEFAULTS = asdict(Run("", 0))


def parse(content: Any, old: bool = False) -> Plan:
    """The run that settings are of, by today's names.

    Args:
        content: what run.json holds, or is to hold, as "settings".
        old: the file is of an earlier format; settings that did not exist then have the value that does what was done.

    Raises:
        ValueError: an entry is missing, unknown or not valid; the message names it.
    """
    saved.entries(content, ("run", "seed", "checkpoint_minutes", "keep"))
    kept = content["run"]
    with saved.within("run"):
        needed = [f.name for f in fields(Run) if f.default is MISSING and f.default_factory is MISSING]
        given = [f.name for f in fields(Run) if isinstance(kept, dict) and f.name in kept]
        saved.entries(kept, dict.fromkeys([*needed, *given]))
        kept = {**_DEFAULTS, **kept}
        env_id = _env_id("env_id", kept["env_id"])
        checks.integer("total_timesteps", kept["total_timesteps"], 1, saved.MOST)
        checks.number("learning_rate", kept["learning_rate"], above=0)
        # A run in a folder of its own learns skills; what learns over frozen ones has no folder.
        checks.one_of("skills", kept["skills"], ("",))
        checks.one_of("hold", kept["hold"], (1,))
        with saved.within("settings"):
            settings = _settings(kept["settings"], old)
        # Replay has a row of every environment.
        checks.integer("n_envs", kept["n_envs"], 1, settings.get("buffer_size", _BUFFER_SIZE))
        if env_id not in ENVIRONMENTS:
            checks.integer("n_envs", kept["n_envs"], 1, _MOST_OTHERS)
    return Plan(
        Run(**{**kept, "settings": settings}),
        checks.integer("seed", content["seed"], 0, 2**32 - 1),
        checks.number("checkpoint_minutes", content["checkpoint_minutes"], 0, saved.MOST),
        checks.integer("keep", content["keep"], 1, saved.MOST),
    )


def _settings(kept: Any, old: bool) -> dict[str, Any]:
    """The arguments of `SkillEmbedding` that a run sets, with the method's own settings by today's names."""
    if not isinstance(kept, dict):
        raise ValueError(f"(whole) is {kept!r:.80}; it has to be a dict")
    renamed: dict[str, Any] = {str(formats.RENAMED.get(name, name)): value for name, value in kept.items()}
    unknown = sorted(set(renamed) - set(_ARGUMENTS) - set(formats.settings_of({})))
    if unknown:
        valid = [*_ARGUMENTS, *formats.settings_of({})]
        raise ValueError(f"unknown settings {unknown}; valid ones are {valid}{checks.did_you_mean(unknown, valid)}")
    # A run names some of the method's settings; the rest have their defaults, or what was done before they existed.
    own = {name: value for name, value in renamed.items() if name not in _ARGUMENTS}
    formats.config_of(own)
    method = formats.settings_of(own)
    for name, value in method.items():
        if isinstance(value, int) and not isinstance(value, bool):
            checks.integer(name, value, most=_MOST_COUNTED)
    settings: dict[str, Any] = {}
    for name, value in renamed.items():
        settings[name] = _ARGUMENTS[name](name, value) if name in _ARGUMENTS else method[name]
    if old:
        settings |= {name: value for name, value in formats.BEFORE.items() if name not in settings}
    return settings


# The file -----------------------------------------------------------------------------------------


def content_of(plan: Plan) -> dict[str, Any]:
    """What run.json is to hold.

    Raises:
        TypeError: a setting is nothing that JSON can hold.
        ValueError: a setting is not valid.
    """
    settings = json.loads(json.dumps({**plan._asdict(), "run": asdict(plan.run)}))  # tuples to lists
    parse(settings)
    content = {"format": formats.FORMAT, "settings": settings}
    return {**content, "sha256": digest(content)}


def read(folder: Path) -> Plan:
    """The run of a folder.

    Raises:
        CheckpointError: run.json is damaged, or says what is not valid.
    """
    content = verified(folder)
    try:
        return parse(content["settings"], old=content.get("format", 1) < formats.FORMAT)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / SETTINGS} can't be used: settings/{error}") from error


def verified(folder: Path) -> dict[str, Any]:
    """The content of run.json, whose checksum was compared, and whose settings were not.

    Raises:
        CheckpointError: it is missing or damaged, not this package's, or of a later version.
    """
    path = folder / SETTINGS
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (RecursionError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    try:
        if not isinstance(content, dict):
            raise ValueError("it holds no dict")
        # Files of 0.1.0 have no format.
        names = ("format", "settings", "sha256") if "format" in content else ("settings", "sha256")
        saved.entries(content, names)
        kept = {name: content[name] for name in names if name != "sha256"}
        if content["sha256"] != digest(kept if "format" in content else content["settings"]):
            raise ValueError("its SHA-256 does not match")
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    try:
        formats.check_format(content.get("format", 1))
    except ValueError as error:
        raise CheckpointError(f"{path} is of another version: {error}") from error
    return content


def digest(content: Any) -> str:
    """The SHA-256 of JSON, whatever the order of its names."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
