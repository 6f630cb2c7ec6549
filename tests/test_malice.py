"""Checkpoints that a stranger wrote, with sums that are right: named, or as good as the stranger says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from gymnasium import make_vec
from malice import at, contents, fuzz, fuzz_runs, make_agent, rewrite, same, write_files
from toy import ROOT

from skill_agent import (
    CheckpointError,
    load_checkpoint,
    manifest,
    save_checkpoint,
    verify,
)
from skill_agent.experiments.benchmarks import read_benchmark

ARM = "SkillEmbed/LWallPretrain-v0"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return save_checkpoint(make_agent().learn(60), tmp_path_factory.mktemp("original"))


@pytest.fixture
def kept(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / original.name))


@pytest.fixture(scope="module")
def agent():
    return make_agent().learn(30)


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
    *[("replay/rows/stretch", lambda a: a[:-1]), ("replay/rows/observations", lambda a: a.astype(np.float64))],
    *[("replay/rows/dones", entry((0, 0), 2.0)), ("replay/last_stretch", entry(1, -2))],
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


@pytest.mark.parametrize("name", ["model", "qpos", "eq_active"])
def test_environments_refuse_a_wrong_state_and_keep_their_own(name):
    env = make_vec(ARM, num_envs=3).unwrapped
    env.reset(seed=0)
    state, own = env.state(), env.state()
    state["task"], state["physics"][name] = 1 - state["task"], state["physics"][name] + 5
    state["physics"]["qpos"] = state["physics"]["qpos"][:, : 99 if name != "qpos" else 3]
    with pytest.raises(ValueError, match=f"^physics/{name} (is|holds)"):
        env.set_state(state)
    assert (env.task == own["task"]).all() and (env.physics.qpos == own["physics"]["qpos"]).all()


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
from malice import make_agent
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
    command = [sys.executable, "-c", LEARN_ON, str(kept), str(ROOT / "benchmarks")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr
    named, alive = result.stdout.splitlines()
    assert (
        "arrays.safetensors does not fit this model: model/optimizer/state/0/exp_avg is float32 of shape (1,)" in named
    )
    assert alive == "alive"


# Fuzz ---------------------------------------------------------------------------------------------


def test_any_altered_checkpoint_is_named_or_loaded_as_it_says(original, tmp_path):
    outcomes = fuzz(make_agent().learn(30), original, tmp_path, 300)
    assert outcomes["named"] > 100 and outcomes["loaded"] > 30 and outcomes["named"] + outcomes["loaded"] == 300


def test_the_original_fits(original, agent):
    state = manifest.read(original)
    verify.check(agent, state["model"])


def test_any_altered_run_json_is_named_or_builds_as_it_says(tmp_path):
    outcomes = fuzz_runs(ROOT / "tests/data/0.1.0/run/run.json", tmp_path, 300)
    assert outcomes["named"] > 150 and outcomes["accepted"] > 10 and sum(outcomes.values()) == 300


def test_the_record_of_altered_files():
    result = read_benchmark(ROOT / "benchmarks", "malice")
    checkpoints, runs = result["altered_checkpoints"], result["altered_runs"]
    assert checkpoints["count"] == checkpoints["named"] + checkpoints["loaded"] == 3_000
    assert runs["count"] == runs["named"] + runs["named_when_built"] + runs["accepted"] == 3_000


def test_replay_refuses_a_row_under_both_of_its_names(kept, agent):
    rewrite(kept, lambda state, arrays: at(state, "model/replay/rows")["dict"].update(skill=1))
    with pytest.raises(CheckpointError, match=r"model/replay/rows/skill is unknown"):
        load_checkpoint(agent, kept)
