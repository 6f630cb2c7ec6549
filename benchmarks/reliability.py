"""Damages and forges files of every kind, again and again, and tries to load each: writes reliability.json.

A damaged file must be refused by an error that names it, or load as what it was. Anything else is a fault: an error
without the file's name, other numbers without an error, an end of the process, or no end at all. A
forged file has the right checksums and hostile content: it must be refused by name, or be one that works. Children load
the files, so that a crash or a hang is seen and counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from skill_agent import (
    SkillEmbedding,
    SkillSpaceVecEnv,
    TransferredPolicy,
    export_policy,
    load_checkpoint,
    load_policy,
    load_skills,
    make_skill_vec_env,
    save_checkpoint,
    tensorfile,
)
from skill_agent.experiments import folder as run_folder
from skill_agent.experiments.records import load_records, record_path
from skill_agent.experiments.sums import LOCK, write_listed
from skill_agent.experiments.tables import Run
from skill_envs import scenes

OUT = Path(__file__).with_suffix(".json")
TWO_GOALS, FOUR_GOALS = "SkillEmbed/PointMassTwoGoals-v0", "SkillEmbed/PointMassFourGoals-v0"
TINY: dict[str, Any] = {
    "policy_kwargs": {"net_arch": [8, 8]}, "batch_size": 4, "window": 4, "segment": 3, "buffer_size": 200,
    "learning_starts": 40, "train_freq": 10, "gradient_steps": 2,
}  # fmt: skip
SECONDS = 60  # after which a child is taken to hang
# The last four are faults.
OUTCOMES = ("named", "unchanged", "works", "nameless", "silent", "crash", "hang")
FAULTS = OUTCOMES[3:]


# What is damaged ----------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        make: writes good files into a folder.
        load: gives a digest of what it reads there, after it was used.
        forged: whether the files are forged, with right checksums, and not damaged.
    """

    make: Callable[[Path], None]
    load: Callable[[Path], str]
    forged: bool = False


def _model() -> SkillEmbedding:
    env = make_skill_vec_env(TWO_GOALS, 2, seed=0)
    return SkillEmbedding("MultiInputPolicy", env, seed=0, device="cpu", **TINY)


def _digest(value: Any) -> str:
    """Of nested dicts and lists of tensors, arrays and JSON values."""
    if isinstance(value, dict):
        return _digest([[str(key), _digest(value[key])] for key in sorted(value, key=str)])
    if isinstance(value, list | tuple):
        return hashlib.sha256(" ".join(_digest(item) for item in value).encode()).hexdigest()
    if isinstance(value, torch.Tensor):
        value = value.numpy(force=True)
    if isinstance(value, np.ndarray):
        return hashlib.sha256(str((value.dtype, value.shape)).encode() + value.tobytes()).hexdigest()
    return hashlib.sha256(repr(value).encode()).hexdigest()


def _make_skills(folder: Path) -> None:
    _model().learn(60).export_skills(folder / "skills.safetensors")


def _load_skills(folder: Path) -> str:
    skills = load_skills(folder / "skills.safetensors")
    observation = {"observation": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "task": np.array([0, 1, 0])}
    action, _ = skills.predict(observation, deterministic=True)
    assert np.isfinite(action).all()
    return _digest([dict(skills.state_dict()), action])


def _make_policy(folder: Path) -> None:
    skills = SkillEmbedding("MlpPolicy", make_skill_vec_env(FOUR_GOALS, 2, seed=0), seed=0, device="cpu", **TINY)
    env = SkillSpaceVecEnv(make_skill_vec_env(FOUR_GOALS, 2, seed=0), skills.policy, 2)
    mapping = SkillEmbedding("MlpPolicy", env, seed=0, device="cpu", embedding="task_id", **TINY)
    export_policy(TransferredPolicy(skills.policy, mapping.policy, 2), folder / "policy.safetensors")


def _load_policy(folder: Path) -> str:
    policy = load_policy(folder / "policy.safetensors")
    observation = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    action, state = policy.predict(observation, deterministic=True)
    assert np.isfinite(action).all()
    return _digest([policy.hold, action, state])


def _make_checkpoint(folder: Path) -> None:
    save_checkpoint(_model().learn(100), folder)


def _load_checkpoint(folder: Path) -> str:
    model = _model()
    load_checkpoint(model, next(folder.glob("step-*")))
    model.learn(40, reset_num_timesteps=False)
    return _digest([model.num_timesteps, dict(model.policy.state_dict())])


def _make_run(folder: Path) -> None:
    run_folder.start(Run(TWO_GOALS, 100, TINY, n_envs=2), 0, folder / "run", checkpoint_minutes=0.0, keep=1)
    (folder / "run" / "record.json").unlink()
    for path in (folder / "run").iterdir():
        if path.name not in ("run.json", "checkpoints"):
            path.unlink()


def _load_run(folder: Path) -> str:
    run_folder.resume(folder / "run")
    return _digest(dict(load_skills(folder / "run" / "skills.safetensors").state_dict()))


def _make_record(folder: Path) -> None:
    root = Path(__file__).parents[1] / "records"
    for variant in ("with", "without"):
        path = record_path(root, "fig2", variant, 0)
        target = record_path(folder, "fig2", variant, 0)
        write_listed(target, path.read_bytes())
    (folder / "fig2" / LOCK).unlink()


def _load_record(folder: Path) -> str:
    return _digest(load_records(folder, "fig2", ["with", "without"]))


def _make_asset(folder: Path) -> None:
    for path in [*scenes.ASSETS.glob("*.xml"), scenes.ASSETS / "SHA256SUMS"]:
        shutil.copy(path, folder)


def _load_asset(folder: Path) -> str:
    scenes.ASSETS = folder
    names = sorted(path.stem for path in folder.glob("*.xml"))
    return _digest([scenes.load(name).to_xml() for name in names])


KINDS = {
    "skills": Kind(_make_skills, _load_skills),
    "transferred policy": Kind(_make_policy, _load_policy),
    "checkpoint": Kind(_make_checkpoint, _load_checkpoint),
    "run folder": Kind(_make_run, _load_run),
    "record": Kind(_make_record, _load_record),
    "asset": Kind(_make_asset, _load_asset),
    "forged skills": Kind(_make_skills, _load_skills, forged=True),
    "forged transferred policy": Kind(_make_policy, _load_policy, forged=True),
}


# How it is damaged --------------------------------------------------------------------------------


def damage(path: Path, rng: np.random.Generator) -> str:
    """Damage a file in one of five ways; returns the way."""
    data = bytearray(path.read_bytes())
    way = str(rng.choice(["flip a bit", "truncate", "zero a page", "append", "swap two bytes"]))
    at = int(rng.integers(len(data)))
    if way == "flip a bit":
        data[at] ^= 1 << int(rng.integers(8))
    elif way == "truncate":
        del data[at:]
    elif way == "zero a page":
        data[at : at + 512] = bytes(len(data[at : at + 512]))
    elif way == "append":
        data += rng.bytes(1 + int(rng.integers(64)))
    else:
        other = int(rng.integers(len(data)))
        data[at], data[other] = data[other], data[at]
    path.write_bytes(bytes(data))
    return way


# How it is forged ---------------------------------------------------------------------------------

HOSTILE: list[Any] = [
    *(-1, 0, 1, 10**9, 10**30, -(10**30), 1.5, 1e300, float("inf"), float("nan")),
    *(True, None, "", "x", "../../outside", [], {}, [[]], [10**9], {"array": "x"}),
]


def forge_json(value: Any, rng: np.random.Generator) -> Any:
    """``value`` with one of its parts, at any depth, replaced or removed."""
    inside = isinstance(value, dict | list) and len(value) > 0 and rng.random() < 0.9
    if not inside:
        return HOSTILE[int(rng.integers(len(HOSTILE)))]
    key = list(value)[int(rng.integers(len(value)))] if isinstance(value, dict) else int(rng.integers(len(value)))
    changed = value.copy()
    if rng.random() < 0.1:
        del changed[key]
    else:
        changed[key] = forge_json(value[key], rng)
    return changed


def forge_array(array: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """An array of another shape, type or content."""
    way = int(rng.integers(6))
    if way == 0:
        return array.reshape(-1)[: array.size // 2].copy()
    if way == 1:
        return np.concatenate((array.reshape(-1), array.reshape(-1)))
    if way == 2:
        return np.zeros(0, array.dtype)
    if way == 3:
        return array[None].copy()
    if way == 4:
        return array.astype(np.int64 if array.dtype.kind == "f" else np.float32)
    filled = array.astype(array.dtype)
    filled.reshape(-1)[: 1 + array.size // 4] = np.nan if array.dtype.kind == "f" else -1
    return filled


def forge_tensors(path: Path, rng: np.random.Generator) -> str:
    """Forge skills or a transferred policy; their checksum is right."""
    description, arrays = tensorfile.read(path)
    if rng.random() < 0.6:
        path.write_bytes(tensorfile.pack(forge_json(description, rng), arrays))
        return "forge the description"
    name = sorted(arrays)[int(rng.integers(len(arrays)))]
    path.write_bytes(tensorfile.pack(description, arrays | {name: forge_array(arrays[name], rng)}))
    return f"forge {name}"


def attempt(kind: Kind, folder: Path, path: Path, expected: str) -> str:
    """Load a damaged file and say what came of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = kind.load(folder)
    except (OSError, ValueError, RuntimeError) as error:
        return "named" if path.name in str(error) else f"nameless: {error!r}"
    except Exception as error:
        return f"nameless: {error!r}"
    if found == expected:
        return "unchanged"
    # What a forged file says is what it means.
    return "works" if kind.forged else "silent"


def tries(
    kind: Kind, good: Path, parent: Path, expected: str, count: int, rng: np.random.Generator
) -> Iterator[tuple[str, str, str]]:
    """Damage or forge ``count`` copies of good files and load each: the file, the way and the outcome."""
    for i in range(count):
        folder = parent / f"try-{i}"
        shutil.copytree(good, folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        path = paths[int(rng.integers(len(paths)))]
        way = forge_tensors(path, rng) if kind.forged else damage(path, rng)
        yield path.name, way, attempt(kind, folder, path, expected)
        shutil.rmtree(folder)


def worker(name: str, seed: int, count: int, connection: Any) -> None:
    """Try ``count`` files of a kind; tell each outcome as it comes."""
    torch.set_num_threads(1)
    kind = KINDS[name]
    with tempfile.TemporaryDirectory() as parent:
        good = Path(parent) / "good"
        good.mkdir()
        kind.make(good)
        kept = Path(parent) / "kept"
        shutil.copytree(good, kept)
        expected = kind.load(good)
        for told in tries(kind, kept, Path(parent), expected, count, np.random.default_rng(seed)):
            connection.send(told)
    connection.send(None)


def outcomes(name: str, count: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """The file, the way and the outcome of each of ``count`` damaged files; crashes and hangs are outcomes, too."""
    done = 0
    while done < count:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        child = context.Process(target=worker, args=(name, seed + done, count - done, theirs), daemon=True)
        child.start()
        theirs.close()
        try:
            while ours.poll(SECONDS):
                told = ours.recv()
                if told is None:
                    return
                done += 1
                yield told
            done += 1
            yield "?", "?", "hang"
        except EOFError:
            done += 1
            yield "?", "?", "crash"
        finally:
            child.kill()
            child.join()


def measure(counts: dict[str, int], seed: int) -> dict[str, Any]:
    """Outcomes by kind, and every fault in full."""
    result: dict[str, Any] = {}
    for name, count in counts.items():
        found = Counter({outcome: 0 for outcome in OUTCOMES})
        faults: list[str] = []
        for file, way, outcome in outcomes(name, count, seed):
            short = outcome.split(":")[0]
            found[short] += 1
            if short in FAULTS:
                faults.append(f"{file}, {way}: {outcome}")
        result[name] = {"tries": count, **found}
        print(name, dict(found), *faults[:5], sep="\n  ", flush=True)
    return result


def main() -> None:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=500, help="damaged files of each kind")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), help="kinds of files")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = measure(dict.fromkeys(args.kinds, args.tries), args.seed)
    if args.kinds == list(KINDS):
        write_listed(OUT, (json.dumps({"seed": args.seed, "files": found}, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
