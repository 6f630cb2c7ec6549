"""The raw records of finished runs: what each holds, where it lies, how it is kept and read, what is asked of it.

A record lies at ``RECORDS/FIGURE/VARIANT-seedN.json``, and its SHA-256 in the folder's ``SHA256SUMS``. Networks that a
run leaves lie beside it, as ``VARIANT-seedN.safetensors``. They vouch for themselves. The repository has those alone
that come with the package (see .gitignore); `reproduce` trains others again where a run needs them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from skill_agent.experiments.schema import OBJECT, TEXT, TRUTH, Leaf, Schema, check, number, whole
from skill_agent.experiments.sums import LOCK, SUMS, add, lock, read_listed, read_sums
from skill_agent.files import TEMPORARY, write_whole
from skill_envs import ENVIRONMENTS, checks

RECORDS = Path("records")
Record = dict[str, Any]
Records = dict[str, list[Record]]

_WHICH: Schema = {"figure": TEXT, "variant": TEXT, "seed": whole(low=0), "env_id": TEXT}
_TRAINING: Schema = _WHICH | {
    "total_timesteps": whole(low=1),
    "settings": OBJECT,
    "n_envs": whole(low=1),
    "learning_rate": number(low=0, high=1),
    "updates": whole(low=0),
    "train_seconds": number(low=0),
    "torch_threads": whole(low=1),
    "cpus": whole(low=1),
    "bfloat16?": TRUTH,  # whether products were in bfloat16; older records lack it
    "versions": {"*": TEXT},
}
_CURVE: Schema = {
    "steps": whole(low=0),
    "seconds": number(low=0),
    "return": number(),
    "success": number("tasks", low=0, high=1),
}
_SHARES = number("tasks", low=0, high=1)
# Rounding leaves a divergence of nothing at zero, or a hair below. Between two task ids it is infinite.
_KL = number("tasks", "tasks", low=-1e-3, infinite=True)

# What `train` leaves.
TRAINED: Schema = _TRAINING | {
    "curve": [_CURVE | {"kl": _KL}],
    "final": {
        "episodes_per_task": whole(low=1),
        "success": number("tasks", low=0, high=1),
        "kl": _KL,  # between the tasks' embeddings [nat]
        "goals_reached?": number("goals", low=0, high=1),  # share of episodes, goal by goal
        "goals_reached_discrete?": number("goals", low=0, high=1),
        "return?": number(),  # mean over the episodes, where goals count in turn
        "goals_in_turn?": number("goals", low=0, high=1),  # share of episodes that reach each goal in its turn
        "inference_error?": number("steps", low=0),  # mean absolute error of the inferred z, step by step
        "embedding_spread?": number(low=0),
        "trajectories": {
            "every?": whole(low=1),  # steps between two points; without, 1
            "task": whole("episodes", low=0),
            "latent": number("episodes", "latent"),
            "position": number("episodes", "points", "axes", low=-10, high=10),  # [m]
            "inference_error?": number("episodes", "errors", low=0),
        },
    },
}
# What `transfer` leaves.
TRANSFERRED: Schema = _TRAINING | {
    "skills": TEXT,
    "hold": whole(low=1),
    "curve": [_CURVE],
    "final": {
        "episodes_per_task": whole(low=1),
        "return": number(),
        "success": number("tasks", low=0, high=1),
        "success_deterministic": number("tasks", low=0, high=1),
    },
}
# What `paths` leaves.
PATHS: Schema = _WHICH | {
    "skills": TEXT,
    "hold": whole(low=1),
    "starts": whole(low=1),
    "paths": whole(low=1),
    "coverage": number("draws", low=0, high=100),  # [m^2]
    "lifted": number(low=0, high=1),  # share of the paths
    "position": number("kept", "points", "3", low=-10, high=10),  # [m]
    "position_of_one_z": number("paths", "points of one z", "3", low=-10, high=10),
}
# What a training on a task with parameters leaves, and what `ring.measure` adds.
ARCS: Schema = _TRAINING | {
    "curve": [{"steps": whole(low=0), "seconds": number(low=0), "return": number("tasks"), "success": _SHARES}],
    "final": {
        "episodes_per_task": whole(low=1),
        "tasks": Leaf(str, shape=("tasks",)),
        "return": number("tasks"),
        "success": _SHARES,
    },
    "arcs": {
        "success": {"train": number(low=0, high=1), "held_out": number(low=0, high=1)},
        "episodes": {"train": whole(low=1), "held_out": whole(low=1)},
        "by_angle": number("sectors", low=0, high=1, null=True),  # success by the goal's angle
        "angle": number("paths", low=0, high=6.284),  # [rad]
        "position": number("paths", "points", "2", low=-10, high=10),  # [m]
    },
}
# What `solutions.measure` adds to a training of one task.
SOLUTIONS: Schema = {
    "codes": whole(low=2),  # number of z
    "starts": whole(low=1),
    "episodes": whole(low=2),  # of each z from each start
    "success": number("codes", low=0, high=1),  # share of the episodes of each z
    "told_apart": number(low=0, high=1),  # share of the paths whose z was recognised
    "number": number(low=1),  # of solutions that can be told apart, by the whole path
    "number_by_end": number(low=1),  # the same, by where the path ends
    "spread": number(low=0),  # of the z's mean ends from one start, root mean square [m]
    "scatter": number(low=0),  # of the ends of one z from one start, root mean square [m]
    "latent": number("codes", "latent"),
    "position": number("drawn", "codes", "points of a path", "3", low=-10, high=10),  # from the first start [m]
}

# Decimals that are kept: of metres, of z, and of an episode's errors; and of means over episodes.
_DECIMALS, _MEAN_DECIMALS = 3, 4
# No figure draws the trajectories of the arm: these are kept for a look at what was learned.
_ARM_EPISODES, _ARM_EVERY = 4, 5


def check_record(record: Any) -> None:
    """Compare a record with the schema of its kind.

    Raises:
        ValueError: a key is missing or unknown, or a value has another type, shape or range; the message names it.
    """
    check({key: record.get(key) for key in _WHICH} if isinstance(record, dict) else record, _WHICH)
    if record["env_id"] not in ENVIRONMENTS:
        meant = checks.did_you_mean(record["env_id"], ENVIRONMENTS)
        raise ValueError(f"env_id is {record['env_id']!r}; choose from {list(ENVIRONMENTS)}{meant}")
    schema = TRAINED
    if "skills" in record:
        schema = TRANSFERRED
    if "coverage" in record:
        schema = PATHS
    if "arcs" in record:
        schema = ARCS
    if "solutions" in record:
        schema = TRAINED | {"solutions": SOLUTIONS}
    check(record, schema, {"tasks": len(ENVIRONMENTS[record["env_id"]].tasks)})


def thin(record: Record) -> Record:
    """What a record keeps of what was measured: the decimals and points that tables and figures need.

    Positions, z and errors of single episodes keep three decimals, means over episodes four. The arm's trajectories,
    which no figure draws, are those of four episodes of each task, at every fifth step. A record that was thinned
    before stays as it is.
    """
    record = dict(record)
    for key in ("position", "position_of_one_z"):
        if key in record:
            record[key] = _rounded(record[key], _DECIMALS)
    if "final" not in record:
        return record
    record["final"] = final = dict(record["final"])
    for key in ("kl", "inference_error"):
        if key in final:
            final[key] = _rounded(final[key], _MEAN_DECIMALS)
    if "trajectories" in final:
        final["trajectories"] = _thin_trajectories(final["trajectories"])
    return record


def _thin_trajectories(kept: Record) -> Record:
    """Trajectories as `thin` keeps them."""
    rows, every = list(range(len(kept["task"]))), 1
    of_the_arm = len(kept["position"][0][0]) > 2
    if of_the_arm and "every" not in kept:
        every = _ARM_EVERY
        first_of_task = [kept["task"].index(task) for task in kept["task"]]
        rows = [row for row in rows if row - first_of_task[row] < _ARM_EPISODES]
    thinned = {
        "task": [kept["task"][row] for row in rows],
        "latent": _rounded([kept["latent"][row] for row in rows], _DECIMALS),
    }
    for key in ("position", "inference_error"):
        if key in kept:
            thinned[key] = _rounded([kept[key][row][::every] for row in rows], _DECIMALS)
    if of_the_arm:
        thinned["every"] = kept.get("every", every)
    return thinned


def _rounded(values: Any, decimals: int) -> Any:
    """Nested lists of numbers, in double precision: a rounded float32 would be written with 17 digits."""
    return np.round(np.asarray(values, float), decimals).tolist()


def record_path(records: Path, figure: str, variant: str, seed: int) -> Path:
    """Where the record of one run is kept."""
    return records / figure / f"{variant}-seed{seed}.json"


def networks_path(records: Path, figure: str, variant: str, seed: int) -> Path:
    """Where the networks that one run left are kept."""
    return record_path(records, figure, variant, seed).with_suffix(".safetensors")


def is_kept(path: Path) -> bool:
    """Whether a record was written to its end."""
    return path.exists() and path.name in read_sums(path.parent)


def write_record(path: Path, record: Record, networks: bytes | None = None) -> None:
    """Keep what a run left; a record that is there already, and networks that are, stay as they are.

    Of two processes that trained the same run, the first keeps its record.

    Raises:
        ValueError: the record is not what a record has to be.
    """
    record = thin(record)
    try:
        check_record(record)
    except ValueError as error:
        raise ValueError(f"{path} would not be a valid record: {error}") from error
    with lock(path.parent):
        is_new = not is_kept(path)
        beside = path.with_suffix(".safetensors")
        # Networks without a record are of another training.
        if networks is not None and (is_new or not beside.exists()):
            write_whole(beside, networks)
        if is_new:
            add(path, (json.dumps(record) + "\n").encode())


def load_records(records: Path, figure: str, variants: Iterable[str]) -> Records:
    """The kept records of a figure, each read once and checked.

    Args:
        records: folder of the records.
        figure: the folder's name in it.
        variants: of the runs.

    Returns:
        Variant to records in order of the seed.

    Raises:
        ValueError: a record was changed or is lost, is not listed, or is not what a record has to be.
    """
    folder = records / figure
    # In this order, as a sum is written before its record: every record that is found has its sum.
    names = {path.name for path in folder.glob("*.json") if not path.name.startswith(TEMPORARY)}
    sums = read_sums(folder)
    for name in sorted(set(sums) - names):
        if not _comes(folder / name):
            raise ValueError(f"{folder / name} is missing, though {folder / SUMS} lists it; restore or train it again")
        names.add(name)
    found: Records = {variant: [] for variant in variants}
    for name in sorted(names):
        record = read_listed(folder / name, check_record, sums)
        named = re.fullmatch(r"(.+)-seed(\d+)\.json", name)
        if named is None or (figure, *named.groups()) != (record["figure"], record["variant"], str(record["seed"])):
            raise ValueError(
                f"{folder / name} is of {record['figure']}, {record['variant']}, seed {record['seed']} by what it says"
            )
        if record["variant"] in found:
            found[record["variant"]].append(record)
    for kept in found.values():
        kept.sort(key=lambda record: record["seed"])
    return found


def _comes(path: Path) -> bool:
    """Whether a listed record that was not there is: it may just have been written."""
    if (path.parent / LOCK).exists():
        with lock(path.parent):  # waits for the writer
            pass
    return path.exists()


def steps(record: Record) -> list[int]:
    """Environment steps of a record's evaluations."""
    return [point["steps"] for point in record["curve"]]


def worst(record: Record, key: str) -> list[float]:
    """A record's evaluations: return or success (``key``), of the worst task."""
    return [float(np.min(point[key])) for point in record["curve"]]


def final(record: Record, key: str) -> float:
    """Success or return (``key``) of the final policy, on its worst task."""
    return float(np.min(record["final"][key]))


def value_at(record: Record, budget: int, key: str) -> float:
    """Success or return (``key``) after ``budget`` steps: final if training ended there, else by the curve."""
    if record["total_timesteps"] < 1.05 * budget:
        return final(record, key)
    return float(np.interp(budget, steps(record), worst(record, key)))


def steps_to(record: Record, success: float) -> int | None:
    """Steps at the first evaluation with at least that success, or None."""
    for at, value in zip(steps(record), worst(record, "success"), strict=True):
        if value >= success:
            return at
    return None


def early_area(record: Record, budget: int) -> float:
    """Mean success over the first third of ``budget``: the area under that part of the curve."""
    grid = np.linspace(0, budget / 3, 101)
    return float(np.interp(grid, steps(record), worst(record, "success")).mean())
