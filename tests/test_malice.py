"""Checkpoints that a stranger wrote, with sums that are right: named, or as good as the stranger says."""

import copy
import json
import os
import random
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hostile import rewrite
from stable_baselines3.common.vec_env import VecNormalize
from toy import ROOT

from skill_agent import (
    CheckpointError,
    SkillEmbedding,
    TrainingDiverged,
    load_checkpoint,
    make_skill_vec_env,
    manifest,
    save_checkpoint,
    snapshot,
    verify,
)

ARM = "SkillEmbed/LWallPretrain-v0"
SETTINGS = {
    "policy_kwargs": {"net_arch": [8, 8]}, "batch_size": 4, "train_freq": 10, "gradient_steps": 2, "seed": 3,
    "learning_starts": 20, "buffer_size": 90, "window": 4, "segment": 3, "z_period": 15,
}  # fmt: skip


def make_agent():
    """An agent on normalised environments of the arm, with which a checkpoint has every kind of entry."""
    torch.set_num_threads(1)
    env = VecNormalize(make_skill_vec_env(ARM, 3, seed=5, max_episode_steps=12), norm_obs_keys=["observation"])
    return SkillEmbedding("MultiInputPolicy", env, device="cpu", **SETTINGS)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return save_checkpoint(make_agent().learn(60), tmp_path_factory.mktemp("original"))


@pytest.fixture
def kept(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / original.name))


@pytest.fixture(scope="module")
def agent():
    return make_agent().learn(30)


def contents(agent):
    """All that a checkpoint holds of an agent, apart from how its optimiser computes."""
    arrays = {}
    rest = json.loads(json.dumps(snapshot.split(snapshot.state(agent), "/model", arrays)))
    return without_how(rest), {name: array.copy() for name, array in arrays.items()}


def without_how(state):
    """The JSON without what the model's own stays in force of."""
    state = copy.deepcopy(state)
    for group in state["dict"]["optimizer"]["dict"]["param_groups"]:
        for name in snapshot.OPTIMIZER_HOW:
            group["dict"].pop(name, None)
    return state


def same(first, second):
    """Whether two contents are equal, to the bit."""
    if first[0] != second[0] or first[1].keys() != second[1].keys():
        return False
    pairs = [(first[1][name], second[1][name]) for name in first[1]]
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def at(state, path):
    """The entry of a checkpoint's JSON at a path such as model/replay/pos."""
    for name in path.split("/"):
        state = state[int(name)] if isinstance(state, list) else state["dict"][name]
    return state


def put(path, value):
    """A change of a checkpoint: its entry at a path is ``value``, or ``value`` of what it was."""

    def change(state, arrays):
        parent, _, name = path.rpartition("/")
        holder = at(state, parent)
        if f"/{path}" in arrays:
            if callable(value):
                arrays[f"/{path}"] = value(arrays[f"/{path}"])
                return
            del arrays[f"/{path}"]
        key = int(name) if isinstance(holder, list) else name
        holder = holder if isinstance(holder, list) else holder["dict"]
        holder[key] = value(holder[key]) if callable(value) else value

    return change


def entry(where, value):
    """A change of an array: one of its numbers is another."""

    def change(array):
        array = array.copy()
        array[where] = value
        return array

    return change


GENERATOR = {"bit_generator": "PCG64", "state": {"dict": {"state": 1, "inc": 2**200}}, "has_uint32": 0, "uinteger": 0}
MODEL = [
    # What reaches native code: sizes, indices and positions.
    *[("optimizer/state/0/exp_avg", lambda a: a[:1]), ("optimizer/state/0/exp_avg", lambda a: a.astype(np.float64))],
    *[("optimizer/state/3/exp_avg_sq", lambda a: a.ravel()[:0]), ("optimizer/state/1/step", lambda a: a[None])],
    *[("optimizer/param_groups/0/params", [0]), ("optimizer/param_groups/0/amsgrad", True)],
    *[("optimizer/param_groups/0/lr", -1), ("optimizer/param_groups/0/lr", "fast")],
    *[("optimizer/param_groups/0/betas", [0.9]), ("optimizer/param_groups/0/maximize", True)],
    *[("policy/actor.weights.0", lambda a: a.T.copy()), ("policy/actor.biases.1", entry((0, 0), np.nan))],
    *[("replay/pos", -1), ("replay/pos", 29), ("replay/pos", 30), ("replay/pos", 2**63), ("replay/full", True)],
    *[("replay/full", 0), ("replay/rows/age", entry((0, 0), -1)), ("replay/rows/task", entry((1, 2), 2))],
    *[("replay/rows/skill", lambda a: a[:-1]), ("replay/rows/observations", lambda a: a.astype(np.float64))],
    *[("replay/rows/dones", entry((0, 0), 2.0)), ("replay/last_skill", entry(1, -2))],
    *[("envs/2/env/physics/model", entry(0, -1)), ("envs/2/env/physics/model", entry(2, 2))],
    *[("envs/2/env/physics/model", lambda a: a.astype(np.int32)), ("envs/2/env/physics/qpos", lambda a: a[:, :-1])],
    *[("envs/2/env/physics/qvel", entry((0, 0), np.inf)), ("envs/2/env/physics/eq_active", entry((0, 0), 7.0))],
    *[("envs/2/env/task", entry(0, 2)), ("envs/2/env/_fixed_task", [0, 1, 1]), ("envs/2/env/_elapsed", entry(0, -1))],
    *[("envs/2/env/generators/0", {"dict": GENERATOR}), ("envs/2/env/generators", []), ("envs/2/seeds", [1, 2])],
    *[("envs/2/seeds/0", -1), ("envs/2/options/1", {"dict": {"task": 2}}), ("envs/2/options/1", {"dict": {"x": 1}})],
    *[("envs/2/env/settings/reward_type", "sparse"), ("envs/2/env/settings/tasks", ["LWall"]), ("envs", [])],
    *[("envs/1/values/episode_returns", lambda a: a[:1]), ("envs/1/values/episode_count", -1)],
    *[("envs/0/values/returns", lambda a: a[:1]), ("envs/0/values/old_reward", lambda a: a[:1])],
    *[("envs/0/moments/observation observation/var", entry(3, -1.0)), ("envs/0/moments/reward/count", "many")],
    *[("counters/num_timesteps", -1), ("counters/num_timesteps", 10**400), ("counters/_n_updates", 1.5)],
    *[("counters/_current_progress_remaining", 2), ("counters/_last_obs/task", entry(0, -1))],
    *[("counters/_last_obs/observation", lambda a: a[:, :-1]), ("counters/_last_episode_starts", None)],
    *[("skill/latent", lambda a: a[:, :1]), ("skill/age", entry(0, -3)), ("skill", {"dict": {}}), ("episode_start", 3)],
    *[("statistics/0", [1]), ("statistics/0", [{"dict": {"r": "x", "l": 1, "t": 1}}]), ("statistics/1", [None] * 101)],
    *[("random/learner", None), ("random/torch", lambda a: a[:-1]), ("global_random/torch", lambda a: a * 0)],
    *[("global_random/python/1", [0] * 624), ("global_random/python/1/624", 700), ("global_random/python/0", 9)],
    *[("global_random/numpy/state/pos", 625), ("global_random/numpy/state/pos", -1)],
    *[("global_random/numpy/state/key", lambda a: a[:-1]), ("global_random/numpy/bit_generator", "PCG64")],
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), MODEL, ids=[f"{i}-{path}" for i, (path, _) in enumerate(MODEL)])
def test_a_wrong_entry_is_named_and_nothing_is_applied(kept, agent, path, value):
    before = contents(agent)
    rewrite(kept, put(f"model/{path}", value))
    parent = path.split("/")[0]
    named = rf"{kept}/(state\.json|arrays\.safetensors) (does not fit this model|can't be read): .*{parent}"
    with pytest.raises(CheckpointError, match=named):
        load_checkpoint(agent, kept)
    assert same(contents(agent), before)


@pytest.mark.parametrize("where", ["counters", "policy", "optimizer", "replay", "replay/rows", "envs/2", "random"])
def test_names_that_no_checkpoint_has_are_refused(kept, agent, where):
    rewrite(kept, lambda state, arrays: at(state, f"model/{where}")["dict"].update(tensorboard_log="/tmp/elsewhere"))
    with pytest.raises(
        CheckpointError, match=rf"state\.json does not fit this model: model/{where}/tensorboard_log is"
    ):
        load_checkpoint(agent, kept)
    assert agent.tensorboard_log is None


@pytest.mark.parametrize("name", ["/model/policy/actor.weights.0", "/model/envs/2/env/physics/qpos"])
def test_arrays_that_are_missing_or_in_another_place_are_named(kept, agent, name):
    rewrite(kept, lambda state, arrays: arrays.update({f"{name}.old": arrays.pop(name)}))
    with pytest.raises(CheckpointError, match=rf"state\.json can't be read: the array {name} is missing"):
        load_checkpoint(agent, kept)
    rewrite(kept, lambda state, arrays: arrays.update({name: arrays[f"{name}.old"]}))
    with pytest.raises(CheckpointError, match=rf"the array {name}\.old is unknown"):
        load_checkpoint(agent, kept)


def write_files(kept, arrays, state):
    """Write any bytes with a right manifest."""
    files = {"arrays.safetensors": arrays, "state.json": state}
    for name, data in files.items():
        (kept / name).write_bytes(data)
    (kept / "manifest.json").write_text(json.dumps(manifest.describe(files)))


@pytest.mark.parametrize(
    ("state", "named"),
    [
        (b"", r"state\.json can't be read"),
        (b"\xff\xfe", r"state\.json can't be read"),
        (b"[" * 200_000, r"state\.json can't be read"),
        (b'{"dict": ' * 50_000 + b"1" + b"}" * 50_000, r"state\.json can't be read"),
        (b"{}", r"state\.json can't be read"),
        (b'{"dict": 3}', r"state\.json can't be read"),
        (b'{"array": "/"}', r"state\.json can't be read"),
        (b'{"dict": {"settings": null, "model": null, "extra": null}}', r"state\.json: settings/config"),
        (b'{"dict": {"settings": {"dict": {"config": {"dict": {}}}}, "model": 1, "extra": 1}}', "other settings"),
    ],
)
def test_a_state_that_is_none_is_named(kept, agent, state, named):
    write_files(kept, safetensors.numpy.save({}), state)
    with pytest.raises(CheckpointError, match=named):
        load_checkpoint(agent, kept)


def test_arrays_that_are_none_are_named(kept, agent):
    state = (kept / "state.json").read_bytes()
    bfloat16 = json.dumps({"x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    for arrays in (b"", b"\xff" * 100, len(bfloat16).to_bytes(8, "little") + bfloat16 + b"00"):
        write_files(kept, arrays, state)
        with pytest.raises(CheckpointError, match=r"arrays\.safetensors can't be read"):
            load_checkpoint(agent, kept)


def test_pipes_and_huge_files_are_not_read(kept, agent):
    (kept / "state.json").unlink()
    os.mkfifo(kept / "state.json")
    with pytest.raises(CheckpointError, match=r"state\.json is damaged: it is not a file"):
        load_checkpoint(agent, kept)
    with open(kept / "arrays.safetensors", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(CheckpointError, match=r"arrays\.safetensors is damaged: the file has {'size': 1099511627776}"):
        load_checkpoint(agent, kept)
    with open(kept / "manifest.json", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged: it has more than 65,536 bytes"):
        load_checkpoint(agent, kept)


# Memory -------------------------------------------------------------------------------------------

LEARN_ON = """
import sys
sys.path.insert(0, sys.argv[2])
from test_malice import make_agent
from skill_agent import CheckpointError, load_checkpoint
agent = make_agent()
try:
    load_checkpoint(agent, sys.argv[1])
except CheckpointError as error:
    print("named:", error)
for _ in range(5):
    agent.learn(60, reset_num_timesteps=False)
print("alive")
"""


def test_a_moment_of_another_shape_does_not_reach_native_code(kept):
    def shrink(state, arrays):
        for name in arrays:
            if "/exp_avg" in name:
                arrays[name] = arrays[name].ravel()[:1].copy()

    rewrite(kept, shrink)
    command = [sys.executable, "-c", LEARN_ON, str(kept), str(ROOT / "tests")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr
    named, alive = result.stdout.splitlines()
    assert (
        "arrays.safetensors does not fit this model: model/optimizer/state/0/exp_avg is float32 of shape (1,)" in named
    )
    assert alive == "alive"


# Fuzz ---------------------------------------------------------------------------------------------

VALUES = (
    None,
    True,
    -1,
    0,
    1,
    1.5,
    2**63,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x",
    [],
    [0],
    {"dict": {}},
    {"a": 1},
)


def leaves(value, path=()):
    """The path of every entry of the JSON."""
    yield path
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(part, (*path, name))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from leaves(part, (*path, i))


def alter_json(state, rng):
    """Change, remove, add or rename one entry of the JSON."""
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


def alter_array(arrays, rng):
    """Change one array's size, shape, type, name or one of its numbers."""
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    act = rng.choice(["number", "number", "number", "dtype", "rows", "axis", "empty", "remove", "rename"])
    if act == "number" and array.size:
        array = array.copy()
        values = [0, 1, -1, 2, 100, np.nan, np.inf, 1e30, 2**62]
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array.flat[rng.randrange(array.size)] = np.asarray(rng.choice(values)).astype(array.dtype)
        arrays[name] = array
    elif act == "dtype":
        dtype = np.dtype(rng.choice([np.float16, np.float64, np.int8, np.int32, np.uint64, bool]))
        with np.errstate(all="ignore"):
            arrays[name] = array.astype(dtype)
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


def fuzz(agent, original, folder, count, seed=0):
    """Alter a checkpoint ``count`` times; how often it was named, and how often loaded as it then says.

    Raises:
        AssertionError: another error, a state that is not what the file says, or one that was applied in part.
    """
    rng = random.Random(seed)
    outcomes = {"named": 0, "loaded": 0, "diverged later": 0}
    for i in range(count):
        kept = Path(shutil.copytree(original, folder / f"{i}" / original.name))
        altered = {}

        def change(state, arrays, altered=altered):
            alter_json(state, rng) if rng.random() < 0.5 else alter_array(arrays, rng)
            altered["state"], altered["arrays"] = state, arrays

        rewrite(kept, change)
        before = contents(agent)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of other ways to compute
                load_checkpoint(agent, kept)
        except CheckpointError as error:
            assert str(kept) in str(error) and ("state.json" in str(error) or "arrays.safetensors" in str(error)), error
            assert same(contents(agent), before), error
            outcomes["named"] += 1
        else:
            expected = json.loads(json.dumps(altered["state"]))["dict"]["model"]
            # A setting that the file's version of torch did not have is the model's own.
            groups = expected["dict"]["optimizer"]["dict"]["param_groups"]
            for i, group in enumerate(contents(agent)[0]["dict"]["optimizer"]["dict"]["param_groups"]):
                groups[i]["dict"] = {**group["dict"], **groups[i]["dict"]}
            model_arrays = {name: a for name, a in altered["arrays"].items() if name.startswith("/model")}
            found = contents(agent)
            if at(altered["state"], "settings/device") != "cpu":
                # Another device's draws can't go on where they were.
                del found[1]["/model/random/torch"], model_arrays["/model/random/torch"]
            assert same(found, (without_how(expected), model_arrays)), i
            outcomes["loaded"] += 1
            try:
                agent.learn(30, reset_num_timesteps=False)
            except TrainingDiverged:
                outcomes["diverged later"] += 1
                agent._last_obs = None
        shutil.rmtree(kept.parent)
    return outcomes


def test_any_altered_checkpoint_is_named_or_loaded_as_it_says(original, tmp_path):
    outcomes = fuzz(make_agent().learn(30), original, tmp_path, 300)
    assert outcomes["named"] > 100 and outcomes["loaded"] > 30 and outcomes["named"] + outcomes["loaded"] == 300


def test_the_original_fits(original, agent):
    state = manifest.read(original)
    verify.check(agent, state["model"])
