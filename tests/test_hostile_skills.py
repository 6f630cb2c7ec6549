"""Files of skills and policies that are damaged, or that a stranger wrote: one error names each of them."""

import errno
import hashlib
import json
import math
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from sharing import forge, make_agent, make_policy

from skill_agent import (
    limits,
    load_policy,
    load_skills,
    tensorfile,
)
from skill_agent.tensorfile import SkillsFileError


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def bounds(name, low, high, size, kind=np.float32):
    """The arrays of a box's bounds."""
    return {f"{name}_low": np.full(size, low, kind), f"{name}_high": np.full(size, high, kind)}


@pytest.mark.parametrize(
    ("description", "arrays", "named"),
    [
        (lambda d: d.update(format=99), lambda a: None, "format=99 is not valid"),
        (lambda d: d.update(activation="os.system"), lambda a: None, r"activation='os\.system'.*'ELU'"),
        (lambda d: d.update(format="1"), lambda a: None, "format='1' is not valid"),
        (lambda d: d["net_arch"].update(pi=[17]), lambda a: None, r"actor\.biases\.0 is .*16.*need .*17"),
        (lambda d: d["net_arch"].update(pi=[10**12]), lambda a: None, r"a width .* of pi=10+ is .* from 1 to 4,096"),
        (lambda d: d["net_arch"].update(pi=[400_000]), lambda a: None, r"a width .* of pi=400000"),
        (lambda d: d["net_arch"].update(pi=[8] * 300_000), lambda a: None, "at most 16 layers"),
        (lambda d: d["net_arch"].update(pi=[0]), lambda a: None, r"a width .* of pi=0"),
        (lambda d: d["net_arch"].update(pi=[8.5]), lambda a: None, r"a width .* of pi=8\.5"),
        (lambda d: d["net_arch"].update(pi="8"), lambda a: None, "at most 16 layers"),
        (lambda d: d["net_arch"].pop("qf"), lambda a: None, "net_arch"),
        (lambda d: d.update(net_arch=None), lambda a: None, "net_arch=None"),
        (lambda d: d["config"].update(z_gain=math.inf), lambda a: None, "z_gain=inf"),
        (lambda d: d["config"].update(embedding_dim=10**9), lambda a: None, "embedding_dim=1000000000"),
        (lambda d: d["config"].update(segment=10**9), lambda a: None, "segment=1000000000"),
        (lambda d: d["config"].update(n_critics=10**9), lambda a: None, "n_critics=1000000000"),
        (lambda d: d["config"].update(window=10**30), lambda a: None, "window=10+ is"),
        (lambda d: d["config"].update(z_period=10**30), lambda a: None, "z_period=10+ is"),
        (lambda d: d["config"].update(policy_log_std=[-1e300, 1e300]), lambda a: None, r"policy_log_std\[0\]=-1e\+300"),
        (lambda d: d["config"].update(embedding_log_std=[0, 200]), lambda a: None, r"embedding_log_std\[1\]=200"),
        (lambda d: d["config"].update(inference_log_std=[-21, 0]), lambda a: None, r"inference_log_std\[0\]=-21"),
        (lambda d: d["config"].update(embedding_mean_bound=1e300), lambda a: None, r"embedding_mean_bound=1e\+300"),
        (lambda d: d["config"].update(embedding_mean_bound=1e-300), lambda a: None, "embedding_mean_bound=1e-300"),
        (lambda d: d["config"].update(temperature=1e-300), lambda a: None, "temperature=1e-300"),
        # Of networks that the file itself has not: a model that learns on would make them.
        (lambda d: d["net_arch"].update(qf=[4096] * 16), lambda a: None, r"parameters; at most 67,108,864"),
        (
            lambda d: d.update(n_tasks=4096) or d["config"].update(embedding_dim=1024),
            lambda a: None,
            "product is at most",
        ),
        (
            lambda d: d.update(n_tasks=4096) or d["config"].update(embedding="task_id"),
            lambda a: None,
            "product is at most",
        ),
        (lambda d: d.update(config=[]), lambda a: None, r"config=\[\]"),
        (lambda d: d.update(n_tasks=10**9), lambda a: None, "n_tasks=1000000000"),
        (lambda d: d.update(n_tasks=-1), lambda a: None, "n_tasks=-1"),
        (lambda d: d.update(critics="yes"), lambda a: None, "critics='yes'"),
        (lambda d: d.update(task_in_observation=1), lambda a: None, "task_in_observation=1"),
        (lambda d: d.update(task_in_observation=False), lambda a: None, "n_tasks=2"),
        (lambda d: d.update(activation=["ELU"]), lambda a: None, r"activation=\['ELU'\]"),
        (lambda d: d["config"].update(gain=1), lambda a: None, "gain"),
        (lambda d: d["config"].update(window=0), lambda a: None, "window=0"),
        (lambda d: d.pop("n_tasks"), lambda a: None, "n_tasks"),
        (lambda d: None, lambda a: a.pop("actor.weights.0"), r"actor\.weights\.0.*missing"),
        (lambda d: None, lambda a: a.update(more=np.zeros(3)), "more.*unknown"),
        (lambda d: None, lambda a: a["actor.biases.0"].fill(math.nan), r"actor\.biases\.0 .*not finite"),
        (lambda d: None, lambda a: a["embedding.table"].fill(math.inf), r"embedding\.table .*not finite"),
        (lambda d: None, lambda a: a.update({"state_mean": np.zeros(4)}), r"state_mean is \(4,\) float64"),
        (lambda d: None, lambda a: a.update({"state_mean": np.zeros((4, 1), np.float32)}), r"state_mean is \(4, 1\)"),
        (lambda d: None, lambda a: a.update(action_low=np.full(2, -np.inf, np.float32)), "action are not finite"),
        (lambda d: None, lambda a: a.update(action_low=np.full(2, np.nan, np.float32)), "action are not below"),
        (lambda d: None, lambda a: a.update(action_low=np.full(2, 2.0, np.float32)), "action are not below"),
        (lambda d: None, lambda a: a.update(action_low=np.zeros(3, np.float32)), r"action are \(3,\)"),
        (
            lambda d: None,
            lambda a: a.update(bounds("action", -3e38, 3e38, 2)),
            "action are not finite, or too far apart",
        ),
        (lambda d: None, lambda a: a.update(bounds("action", -128, 127, 2, np.int8)), "too far apart"),
        (lambda d: None, lambda a: a.update(bounds("action", -1, 1, 2_000)), r"action are \(2000,\)"),
        (lambda d: None, lambda a: a.update(bounds("observation", 0, 1, 70_000)), r"observation are \(70000,\)"),
        (lambda d: None, lambda a: a.update(observation_low=np.zeros(4)), r"observation are \(4,\) float64"),
        (
            lambda d: None,
            lambda a: a.update(observation_low=np.zeros(0, np.float32), observation_high=np.zeros(0, np.float32)),
            r"observation are \(0,\)",
        ),
    ],
)
def test_a_wrong_description_is_an_error(tmp_path, description, arrays, named):
    path = make_agent().export_skills(tmp_path / "skills")
    forge(path, tmp_path / "forged.safetensors", description, arrays)
    with pytest.raises(SkillsFileError, match=f"forged.*({named})"):
        load_skills(tmp_path / "forged.safetensors")


@pytest.mark.parametrize("hold", [0, -1, 1.5, 1e30, 10**30, "2", None, True, [2]])
def test_a_hold_that_can_not_be_is_an_error(tmp_path, hold):
    path = make_policy(tmp_path)
    assert load_policy(path).hold == 2
    forge(path, tmp_path / "forged.safetensors", lambda d: d.update(hold=hold))
    with pytest.raises(SkillsFileError, match=r"forged.*hold="):
        load_policy(tmp_path / "forged.safetensors")


@pytest.mark.parametrize(
    ("description", "arrays", "named"),
    [
        (lambda d: d.pop("mapping"), lambda a: None, "mapping"),
        (lambda d: d.update(mapping=3), lambda a: None, "TypeError"),
        (lambda d: None, lambda a: a.update({"other/x": np.zeros(1)}), r"other/x.*unknown"),
        (lambda d: d.update(mapping=d["skills"]), lambda a: None, "missing|need"),
        (lambda d: None, lambda a: a.update({"mapping/action_low": np.full(1, -1, np.float32)}), r"action are \(1,\)"),
    ],
)
def test_a_wrong_policy_is_an_error(tmp_path, description, arrays, named):
    forge(make_policy(tmp_path), tmp_path / "forged.safetensors", description, arrays)
    with pytest.raises(SkillsFileError, match=f"forged.*({named})"):
        load_policy(tmp_path / "forged.safetensors")


def test_skills_and_a_mapping_that_do_not_fit_are_an_error(tmp_path):
    description, arrays = tensorfile.read(make_policy(tmp_path))
    skills = {name: array for name, array in arrays.items() if name.startswith("skills/")}
    mapping = {f"mapping/{name.removeprefix('skills/')}": array for name, array in skills.items()}
    out = tmp_path / "forged.safetensors"
    out.write_bytes(tensorfile.pack({**description, "mapping": description["skills"]}, skills | mapping))
    with pytest.raises(SkillsFileError, match=r"the mapping.s actions have shape \(2,\); the skills need \(3,\)"):
        load_policy(out)


def test_what_is_no_regular_file_is_named_and_never_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for path in (tmp_path / "pipe.safetensors", tmp_path / "folder.safetensors", Path("/dev/zero")):
        for load in (load_skills, load_policy):
            with monkeypatch.context() as patch:
                patch.setattr(os, "open", lambda *_: pytest.fail("opened"))  # opening makes some devices act
                with pytest.raises(SkillsFileError, match=f"{path.name} is not a regular file"):
                    load(path)


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    path, plain = tmp_path / "pipe.safetensors", tmp_path / "plain"
    os.mkfifo(path)
    plain.touch()
    status = os.stat(plain)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda *_, **__: status)
        with pytest.raises(SkillsFileError, match="is not a regular file"):
            tensorfile.read(path)


@pytest.mark.parametrize("place", ["open", "read"])
def test_what_can_not_be_read_is_named(tmp_path, monkeypatch, place):
    path = make_agent().export_skills(tmp_path / "skills")

    def fail(*_):
        raise OSError(errno.EIO, "broken disk")

    with monkeypatch.context() as patch:
        if place == "open":
            patch.setattr(os, "open", fail)
        else:
            patch.setattr(tensorfile, "_header", fail)
        with pytest.raises(SkillsFileError, match=r"skills\.safetensors can't be read: broken disk"):
            load_skills(path)


def test_a_file_beyond_the_limit_is_never_read(tmp_path):
    path = tmp_path / "sparse.safetensors"
    with open(path, "wb") as file:
        file.truncate(4 * 2**30)
    tracemalloc.start()
    with pytest.raises(SkillsFileError, match=r"sparse.* has 4,294,967,296 bytes; at most 268,435,456"):
        load_skills(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("shape", [[2**26], [2**25, 2]])
def test_data_are_not_read_where_the_header_is_wrong(tmp_path, shape):
    path, size = tmp_path / "sparse.safetensors", 2**27
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    tracemalloc.start()
    with pytest.raises(SkillsFileError, match=r"a of shape .* has 134217728 bytes"):
        load_skills(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize(
    "settings",
    [
        {"policy_log_std": [-limits.MAX_LOG_STD, limits.MAX_LOG_STD]},
        {"embedding_log_std": [-limits.MAX_LOG_STD, limits.MAX_LOG_STD]},
        {"embedding_mean_bound": limits.LARGEST},
        {"embedding_mean_bound": limits.SMALLEST},
        {"z_period": limits.MAX_STEPS},
        {"z_gain": 1e9},
    ],
)
def test_settings_at_their_limits_give_actions(tmp_path, settings):
    forge(make_agent().export_skills(tmp_path / "good"), path := tmp_path / "f", lambda d: d["config"].update(settings))
    check_acts(load_skills(path))


@pytest.mark.parametrize("temperature", [limits.SMALLEST, limits.LARGEST])
def test_temperatures_at_their_limits_give_actions(tmp_path, temperature):
    agent = make_agent(embedding="bernoulli", temperature=temperature)
    check_acts(load_skills(agent.export_skills(tmp_path / "skills")))


def check_acts(skills):
    """Actions are finite numbers, with and without noise."""
    space = skills.box.shape
    observation = np.full((8, *space), 0.3, np.float32)
    if skills.n_tasks > 1:
        observation = {"observation": observation, "task": np.arange(8) % skills.n_tasks}
    for deterministic in (True, False):
        actions, _ = skills.predict(observation, deterministic=deterministic)
        assert np.isfinite(actions).all()


@pytest.mark.parametrize("name", ["\x1b[2J" + "x" * 100_000, "\ud800", "a\nb"], ids=["long", "surrogate", "line"])
def test_a_message_shows_little_of_what_a_stranger_wrote(tmp_path, name):
    path = tmp_path / "liar.safetensors"
    header = json.dumps({name: {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    messages = []
    with pytest.raises(SkillsFileError, match="liar") as error:
        load_skills(path)
    messages.append(str(error.value))
    forge(make_agent().export_skills(tmp_path / "good"), path, lambda d: d.update(config=[name] * 4))
    with pytest.raises(SkillsFileError, match="liar") as error:
        load_skills(path)
    messages.append(str(error.value))
    for message in messages:
        assert message.isprintable() and len(message) < 1_000


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ({"a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}, "dtype 'F16'"),
        ({"a": {"dtype": "BOOL", "shape": [4], "data_offsets": [0, 4]}}, "dtype 'BOOL'"),
        ({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}}, "has 4 bytes"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "shape"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, "lies at -4"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "lies at 4"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, True]}}, "data_offsets"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, "not a whole"),
        ({"a": 3}, "not a whole"),
        ({"a": {}}, "not a whole"),
        ([], "no JSON object"),
        ({"__metadata__": 3}, "no JSON object"),
        ({f"a{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(2_000)}, "2,000 arrays"),
    ],
)
def test_a_header_that_lies_is_named(tmp_path, header, named):
    encoded = json.dumps(header).encode()
    path = tmp_path / "liar.safetensors"
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + bytes(4))
    with pytest.raises(SkillsFileError, match=f"liar.*{named}"):
        load_skills(path)


@pytest.mark.parametrize("length", [0, 2**20 + 1, 2**63, 2**64 - 1])
def test_a_header_of_an_impossible_length_is_named(tmp_path, length):
    path = tmp_path / "liar.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{}" * 2**20)
    with pytest.raises(SkillsFileError, match="liar"):
        load_skills(path)


def test_deep_nesting_and_huge_numbers_are_named(tmp_path):
    for text in ("[" * 100_000, '{"format": ' + "9" * 10_000 + "}", '{"format": 1e400}'):
        path = tmp_path / "deep.safetensors"
        header = json.dumps(
            {"__metadata__": {"skill_embed": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}}
        )
        path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
        with pytest.raises(SkillsFileError, match="deep"):
            load_skills(path)
