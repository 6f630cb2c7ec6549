"""Alters checkpoints and run.json, with sums that are right, and has them loaded: writes malice.json.

Whatever a stranger writes has to be named by an error of one line, with nothing applied, or be loaded as it says.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecNormalize

from skill_agent import (
    CheckpointError,
    SkillEmbedding,
    TrainingDiverged,
    load_checkpoint,
    make_skill_vec_env,
    manifest,
    save_checkpoint,
    snapshot,
)
from skill_agent.experiments import folder as run_folder
from skill_agent.experiments import runfile
from skill_agent.experiments.sums import write_listed

Arrays = dict[str, NDArray[Any]]
Contents = tuple[Any, Arrays]
ROOT = Path(__file__).parent.parent
SETTINGS: dict[str, Any] = {
    "policy_kwargs": {"net_arch": [8, 8]},
    "batch_size": 4,
    "train_freq": 10,
    "gradient_steps": 2,
    "seed": 3,
    "learning_starts": 20,
    "buffer_size": 90,
    "window": 4,
    "segment": 3,
    "z_period": 15,
}
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 1.5, 2**63, 10**400, float("nan"), float("inf")),
    *("", "x", [], [0], {"dict": {}}, {"a": 1}),
)
NUMBERS = (0, 1, -1, 2, 100, np.nan, np.inf, 1e30, 2**62)
DTYPES = (np.float16, np.float64, np.int8, np.int32, np.uint64, np.bool_)


def make_agent() -> SkillEmbedding:
    """An agent on normalised environments of the arm, with which a checkpoint has every kind of entry."""
    torch.set_num_threads(1)
    env = make_skill_vec_env("SkillEmbed/LWallPretrain-v0", 3, seed=5, max_episode_steps=12)
    normalized = VecNormalize(env, norm_obs_keys=["observation"])
    return SkillEmbedding("MultiInputPolicy", normalized, device="cpu", **SETTINGS)


def contents(agent: SkillEmbedding) -> Contents:
    """All that a checkpoint holds of an agent, apart from how its optimiser computes."""
    arrays: Arrays = {}
    rest = json.loads(json.dumps(snapshot.split(snapshot.state(agent), "/model", arrays)))
    return without_how(rest), {name: array.copy() for name, array in arrays.items()}


def without_how(state: Any) -> Any:
    """The JSON without settings for which the model's own stay in force."""
    state = copy.deepcopy(state)
    for group in at(state, "optimizer/param_groups"):
        for name in snapshot.OPTIMIZER_HOW:
            group["dict"].pop(name, None)
    return state


def same(first: Contents, second: Contents) -> bool:
    """Whether two contents are equal, to the bit."""
    if first[0] != second[0] or first[1].keys() != second[1].keys():
        return False
    pairs = [(first[1][name], second[1][name]) for name in first[1]]
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def at(state: Any, path: str) -> Any:
    """The entry of a checkpoint's JSON at a path such as model/replay/pos."""
    for name in path.split("/"):
        state = state[int(name)] if isinstance(state, list) else state["dict"][name]
    return state


# Files --------------------------------------------------------------------------------------------


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def write_files(checkpoint: Path, arrays: bytes, state: bytes) -> None:
    """Write any bytes with a right manifest."""
    files = {manifest.ARRAYS: arrays, manifest.STATE: state}
    for name, data in files.items():
        (checkpoint / name).write_bytes(data)
    (checkpoint / manifest.MANIFEST).write_text(json.dumps(manifest.describe(files)), encoding="utf-8")


def rewrite(checkpoint: Path, change: Callable[[Any, Arrays], object]) -> tuple[Any, Arrays]:
    """Let ``change`` alter the JSON and the arrays of a checkpoint, and write it with a right manifest."""
    state = json.loads((checkpoint / manifest.STATE).read_bytes())
    arrays = safetensors.numpy.load((checkpoint / manifest.ARRAYS).read_bytes())
    change(state, arrays)
    write_files(checkpoint, safetensors.numpy.save(arrays), json.dumps(state).encode())
    return state, arrays


# Alterations --------------------------------------------------------------------------------------


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every entry of JSON."""
    yield path
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(part, (*path, name))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from leaves(part, (*path, i))


def alter_json(state: Any, rng: random.Random) -> None:
    """Change, remove, add or rename one entry of JSON."""
    # Entries of lists alone would be nearly all: the state of Python's generator has 625.
    paths = [path for path in leaves(state) if path and not (isinstance(path[-1], int) and rng.random() < 0.98)]
    path = rng.choice(paths)
    holder = state
    for name in path[:-1]:
        holder = holder[name]
    act = rng.choice(["change", "change", "change", "remove", "add", "rename"])
    if act == "change":
        holder[path[-1]] = copy.deepcopy(rng.choice(VALUES))
    elif act == "remove" or isinstance(holder, list):
        del holder[path[-1]]
    elif act == "add":
        holder["tensorboard_log"] = "/tmp/elsewhere"
    else:
        holder[f"{path[-1]}_"] = holder.pop(path[-1])


def alter_array(arrays: Arrays, rng: random.Random) -> None:
    """Change one array's size, shape, type, name or one of its numbers."""
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    act = rng.choice(["number", "number", "number", "dtype", "rows", "axis", "empty", "remove", "rename"])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numbers that a type does not hold
        if act == "number" and array.size:
            arrays[name] = array = array.copy()
            array.flat[rng.randrange(array.size)] = np.asarray(rng.choice(NUMBERS)).astype(array.dtype)
        elif act == "dtype":
            arrays[name] = array.astype(rng.choice(DTYPES))
        elif act == "rows" and array.ndim:
            arrays[name] = rng.choice([array[:-1], np.concatenate([array, array])]).copy()
        elif act == "axis":
            arrays[name] = array[None].copy()
        elif act == "empty":
            arrays[name] = array.ravel()[:0].copy()
        elif act == "rename":
            arrays[f"{name}_"] = arrays.pop(name)
        else:
            del arrays[name]


# Measurements -------------------------------------------------------------------------------------


def fuzz(agent: SkillEmbedding, original: Path, folder: Path, count: int, seed: int = 0) -> Counter[str]:
    """Alter a checkpoint ``count`` times: how often it was named, or loaded as it then says.

    Raises:
        AssertionError: a state that is not what the file says, or one that was applied in part.
    """
    rng = random.Random(seed)

    def alter(state: Any, arrays: Arrays) -> None:
        if rng.random() < 0.5:
            alter_json(state, rng)
        else:
            alter_array(arrays, rng)

    outcomes = Counter({"named": 0, "loaded": 0, "loaded_and_diverged": 0})
    for i in range(count):
        kept = Path(shutil.copytree(original, folder / f"{i}" / original.name))
        state, arrays = rewrite(kept, alter)
        before = contents(agent)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of other ways to compute
                load_checkpoint(agent, kept)
        except CheckpointError as error:
            assert str(kept) in str(error), error
            assert manifest.STATE in str(error) or manifest.ARRAYS in str(error), error
            assert same(contents(agent), before), error
            outcomes["named"] += 1
        else:
            _assert_loaded(agent, state, arrays)
            outcomes["loaded"] += 1
            try:
                agent.learn(30, reset_num_timesteps=False)
            except TrainingDiverged:
                outcomes["loaded_and_diverged"] += 1
                agent._last_obs = None
        shutil.rmtree(kept.parent)
    return outcomes


def _assert_loaded(agent: SkillEmbedding, state: Any, arrays: Arrays) -> None:
    """Assert that an agent is in the state that an altered file says."""
    found = contents(agent)
    expected = json.loads(json.dumps(at(state, "model")))
    # A setting that the file's version of torch did not have is the model's own.
    own = at(found[0], "optimizer/param_groups")
    for group, own_group in zip(at(expected, "optimizer/param_groups"), own, strict=True):
        group["dict"] = {**own_group["dict"], **group["dict"]}
    expected_arrays = {name: array for name, array in arrays.items() if name.startswith("/model")}
    if at(state, "settings")["dict"].get("device", "cpu") != "cpu":
        # Draws of another kind of device can't go on where they were.
        del found[1]["/model/random/torch"], expected_arrays["/model/random/torch"]
    assert same(found, (without_how(expected), expected_arrays))


def fuzz_runs(original: Path, folder: Path, count: int, seed: int = 0) -> Counter[str]:
    """Alter a run.json ``count`` times: how often it was named, or gave a run as it then says.

    Raises:
        AssertionError: a run that is not what the file says.
    """
    rng = random.Random(seed)
    outcomes = Counter({"named": 0, "named_when_built": 0, "accepted": 0})
    kept = json.loads(original.read_bytes())["settings"]
    for _ in range(count):
        holder = {"settings": copy.deepcopy(kept)}
        alter_json(holder, rng)
        content = {"format": 1, "settings": holder.get("settings")}
        content["sha256"] = runfile.digest(content)
        (folder / runfile.SETTINGS).write_text(json.dumps(content), encoding="utf-8")
        try:
            plan = runfile.read(folder)
        except CheckpointError as error:
            assert str(folder / runfile.SETTINGS) in str(error), error
            outcomes["named"] += 1
            continue
        said, found = content["settings"]["run"], runfile.content_of(plan)["settings"]["run"]
        assert said.items() <= found.items(), (said, found)
        try:
            run_folder.build(plan)
        except (OSError, RuntimeError, ValueError):  # of these, the command line shows one line
            outcomes["named_when_built"] += 1
        else:
            outcomes["accepted"] += 1
    return outcomes


def main() -> None:
    """Run the measurement from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=3_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        original = save_checkpoint(make_agent().learn(60), root / "original")
        checkpoints = fuzz(make_agent().learn(30), original, root, args.count)
        runs = fuzz_runs(ROOT / "tests/data/0.1.0/run/run.json", root, args.count)
    result = {
        "altered_checkpoints": {"count": args.count, **checkpoints},
        "altered_runs": {"count": args.count, **runs},
        "seconds": round(time.perf_counter() - start),
    }
    print(json.dumps(result, indent=2))
    write_listed(args.out, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
