"""The benchmark's records: one for each method, seed and layout of a family, written whole or not at all.

A record lies at ``RECORDS/FAMILY/METHOD-seedS-layoutK.json``, and its SHA-256 in the folder's ``SHA256SUMS``. Those of
pre-training lie in ``RECORDS/pretrain`` beside the families, as `skill_agent.experiments.records` keeps them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from skill_agent.benchmark.protocol import POINTS, env_id
from skill_agent.experiments.records import is_kept
from skill_agent.experiments.schema import OBJECT, TEXT, TRUTH, Schema, check, number, whole
from skill_agent.experiments.sums import add, lock, read_listed, read_sums
from skill_agent.experiments.tables import FAMILIES
from skill_agent.files import TEMPORARY
from skill_envs import checks, layouts

RECORDS = Path("records/benchmark")
Record = dict[str, Any]
_NAME = r"[a-z0-9]+(-[a-z0-9]+)*"

_MEASURED: Schema = {
    "success": number(low=0, high=1),  # share of episodes whose last step is in the goal region
    "success_at_any_step": number(low=0, high=1),
    "return": number(null=True),  # mean over the episodes; none once training has diverged
}
SCHEMA: Schema = {
    "family": TEXT,
    "method": TEXT,
    "seed": whole(low=0),
    "layout": whole(low=0),
    "env_id": TEXT,
    "reward_type": TEXT,
    "skills": TEXT,  # those that runs of one seed share; empty where they share none
    "settings": OBJECT,
    "hold": whole(low=1),
    "total_timesteps": whole(low=1),
    "n_envs": whole(low=1),
    "train_seconds": number(low=0),  # without evaluations
    "cpu_seconds": number(low=0),  # of the whole run
    "torch_threads": whole(low=1),
    "cpus": whole(low=1),
    "versions": {"*": TEXT},
    "diverged": TRUTH,
    "curve": [{"steps": whole(low=0), "episodes": whole(low=1)} | _MEASURED],
    "final": {"episodes": whole(low=1)} | _MEASURED,
}


def record_path(records: Path, family: str, method: str, seed: int, layout: int) -> Path:
    """Where the record of one run is kept."""
    return records / family / f"{method}-seed{seed}-layout{layout}.json"


def check_method(name: str) -> str:
    """A method's name, which is part of a file's.

    Raises:
        ValueError: it is not one.
    """
    if not isinstance(name, str) or len(name) > 40 or re.fullmatch(_NAME, name) is None:
        raise ValueError(f"method={name!r:.80} is not valid; choose up to 40 of a-z, 0-9 and single hyphens within")
    return name


def check_record(record: Any) -> None:
    """Compare a record with what a record has to be.

    Raises:
        ValueError: a key is missing or unknown, or a value is not valid; the message names it.
    """
    check(record, SCHEMA)
    checks.one_of("family", record["family"], list(FAMILIES))
    check_method(record["method"])
    checks.one_of("env_id", record["env_id"], [env_id(record["family"])])
    checks.one_of("reward_type", record["reward_type"], ["sparse"])
    checks.integer("layout", record["layout"], 0, max(layouts.TEST))
    steps = [point["steps"] for point in record["curve"]]
    if len(steps) != POINTS or steps[0] != 0 or sorted(set(steps)) != steps:
        raise ValueError(f"curve has points at the steps {steps}; choose {POINTS} that rise from 0")
    if steps[-1] != record["total_timesteps"]:
        raise ValueError(f"curve ends at step {steps[-1]}; choose total_timesteps, {record['total_timesteps']}")


def write_record(records: Path, record: Record) -> None:
    """Keep what a run left; a record that is there already stays as it is.

    Raises:
        ValueError: the record is not what a record has to be.
    """
    check_record(record)
    path = record_path(records, record["family"], record["method"], record["seed"], record["layout"])
    with lock(path.parent):
        if not is_kept(path):
            add(path, (json.dumps(record) + "\n").encode())


def load_records(records: Path, family: str) -> dict[str, list[Record]]:
    """The kept records of a family: method to records, by seed and layout.

    Raises:
        ValueError: there is no such family, or a record was changed or is lost, is not listed, or is not what a
            record has to be.
    """
    checks.one_of("family", family, list(FAMILIES))
    folder = records / family
    names = {path.name for path in folder.glob("*.json") if not path.name.startswith(TEMPORARY)}
    sums = read_sums(folder)
    found: dict[str, list[Record]] = {}
    for name in sorted(names | set(sums)):
        path = folder / name
        if not path.exists():
            raise ValueError(f"{path} is missing, though the folder's sums list it; restore it or run it again")
        record = read_listed(path, check_record, sums)
        if path != record_path(records, *(record[key] for key in ("family", "method", "seed", "layout"))):
            raise ValueError(
                f"{path} is of {record['family']}, {record['method']}, seed {record['seed']}, "
                f"layout {record['layout']} by what it says"
            )
        found.setdefault(record["method"], []).append(record)
    for kept in found.values():
        kept.sort(key=lambda record: (record["seed"], record["layout"]))
    return found
