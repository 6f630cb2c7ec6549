import hashlib
import json
import math
import os
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors import safe_open
from toy import ROOT

from skill_agent import (
    SkillConfig,
    SkillEmbedding,
    SkillSpaceVecEnv,
    TrainingDiverged,
    TransferredPolicy,
    cli,
    export_policy,
    formats,
    load_policy,
    load_skills,
    make_skill_vec_env,
    tensorfile,
)
from skill_agent.tensorfile import SkillsFileError

FOUR_GOALS = "SkillEmbed/PointMassFourGoals-v0"
TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"
TINY = {"batch_size": 8, "train_freq": 10, "gradient_steps": 2, "seed": 3, "learning_starts": 100}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def make_agent(env_id=TWO_GOALS, activation=None, **settings):
    policy = "MlpPolicy" if "FourGoals" in env_id else "MultiInputPolicy"
    kwargs = {"net_arch": {"pi": [16], "qf": [12, 12], "inference": [8]}}
    if activation is not None:
        kwargs["activation_fn"] = activation
    env = make_skill_vec_env(env_id, 4, seed=5)
    return SkillEmbedding(policy, env, policy_kwargs=kwargs, **{**TINY, **settings})


@pytest.mark.parametrize(
    ("env_id", "settings"),
    [
        (TWO_GOALS, {"z_period": 3, "inference_channels": (0, 1)}),
        (TWO_GOALS, {"embedding": "task_id", "activation": torch.nn.Tanh}),
        ("SkillEmbed/PointMassFourGoals-v0", {"embedding": "bernoulli"}),
        ("SkillEmbed/LWallPretrain-v0", {}),
    ],
)
@pytest.mark.parametrize("critics", [False, True])
def test_shared_skills_act_as_the_trained_ones(tmp_path, monkeypatch, env_id, settings, critics):
    agent = make_agent(env_id, **settings).learn(200)
    path = agent.export_skills(tmp_path / "skills", critics=critics)
    assert path == tmp_path / "skills.safetensors" and [*tmp_path.iterdir()] == [path]
    for name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.loads", "torch.load"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("unpickled"))
    policy = load_skills(path)
    assert policy.config == agent.config and policy.observation_space == agent.observation_space
    assert policy.action_space == agent.action_space and policy.net_arch == agent.policy.net_arch
    observation = agent.env.reset()
    states = [None, None]
    for _ in range(5):
        actions = []
        for i, actor in enumerate((agent.policy, policy)):
            torch.manual_seed(7)
            action, states[i] = actor.predict(observation, states[i])
            actions.append(action)
        np.testing.assert_array_equal(*actions)
        observation, *_ = agent.env.step(actions[0])
    own = {k: v for k, v in agent.policy.state_dict().items() if critics or not k.startswith("critics")}
    assert own.keys() == policy.state_dict().keys()
    assert all(torch.equal(v, policy.state_dict()[k]) for k, v in own.items())
    if agent.policy.inference is not None:
        action, segments = torch.zeros(2, policy.action_space.shape[0]), torch.ones(2, 5, *policy.box.shape)
        assert torch.equal(policy.inferred(action, segments), agent.policy.inferred(action, segments))


def test_loading_leaves_the_global_random_state_alone(tmp_path):
    path = make_agent().export_skills(tmp_path / "skills.safetensors")
    before = torch.get_rng_state()
    load_skills(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_overwritten_without_force(tmp_path):
    agent, path = make_agent(), tmp_path / "skills.safetensors"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"skills\.safetensors exists.*force=True"):
        agent.export_skills(path)
    assert path.read_text() == "precious"
    agent.export_skills(path, force=True)
    load_skills(path)


def test_what_can_not_be_shared_is_an_error(tmp_path):
    class Own(torch.nn.ReLU):
        pass

    with pytest.raises(ValueError, match=r"activation_fn=Own.*'ELU'.*'ReLU'"):
        make_agent(activation=Own).export_skills(tmp_path / "own")
    agent = make_agent()
    with torch.no_grad():
        agent.policy.embedding.table[0, 0] = torch.nan
    with pytest.raises(TrainingDiverged, match=r"embedding\.table"):
        agent.export_skills(tmp_path / "nan")
    assert [*tmp_path.iterdir()] == []


def test_damage_is_an_error_whatever_bit_it_is(tmp_path):
    path = make_agent().export_skills(tmp_path / "skills")
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(data[:8], "little")
    for bit in [*range(64), *rng.integers(8 * header, size=200), *rng.integers(8 * header, 8 * len(data), size=100)]:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            policy = load_skills(path)
        except SkillsFileError as error:
            assert str(path) in str(error)
        else:  # a flip in the header's padding changes nothing
            assert all(v.isfinite().all() for v in policy.state_dict().values())
            assert json.loads(data[8:header]) == json.loads(flipped[8:header])
    for cut in (0, 4, header - 1, header, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            load_skills(path)
    with pytest.raises(FileNotFoundError):
        load_skills(tmp_path / "nowhere.safetensors")


def forge(path, out, change_description=lambda d: None, change_arrays=lambda a: None):
    """A file whose digest is right and whose content is not."""
    with safe_open(path, framework="np") as file:
        text, arrays = file.metadata()["skill_embed"], {k: file.get_tensor(k) for k in file.keys()}
    description = json.loads(text)
    change_description(description)
    change_arrays(arrays)
    out.write_bytes(tensorfile.pack(description, arrays))


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


def test_other_files_are_errors(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="has no skills"):
        load_skills(path)
    make_agent().save(tmp_path / "model.zip")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_skills(tmp_path / "model.zip")


def test_a_video_of_shared_skills(tmp_path, monkeypatch):
    path = make_agent().export_skills(tmp_path / "skills")
    argv = ["skill-embed", "record", TWO_GOALS, "--skills", str(path), "--out", str(tmp_path / "video.mp4")]
    argv += ["--episodes", "1"]
    monkeypatch.setattr(sys, "argv", argv)
    cli.main()
    assert (tmp_path / "video.mp4").stat().st_size > 0


def make_policy(tmp_path):
    """A transferred policy's file."""
    skills = SkillEmbedding("MlpPolicy", make_skill_vec_env(FOUR_GOALS, 2, seed=0), policy_kwargs={"net_arch": [8, 8]})
    env = SkillSpaceVecEnv(make_skill_vec_env(FOUR_GOALS, 2, seed=0), skills.policy, 2)
    mapping = SkillEmbedding("MlpPolicy", env, embedding="task_id", policy_kwargs={"net_arch": [8, 8]})
    return export_policy(TransferredPolicy(skills.policy, mapping.policy, 2), tmp_path / "policy")


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
    with pytest.raises(SkillsFileError, match=r"the mapping gives \(2,\), z is \(3,\)"):
        load_policy(out)


def test_what_is_no_regular_file_is_named_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for path in (tmp_path / "pipe.safetensors", tmp_path / "folder.safetensors", Path("/dev/zero")):
        for load in (load_skills, load_policy):
            with pytest.raises((SkillsFileError, IsADirectoryError), match=path.name):
                load(path)


def test_a_file_beyond_the_limit_is_never_read(tmp_path):
    path = tmp_path / "sparse.safetensors"
    with open(path, "wb") as file:
        file.truncate(4 * 2**30)
    tracemalloc.start()
    with pytest.raises(SkillsFileError, match=r"sparse.* has 4,294,967,296 bytes; at most 268,435,456"):
        load_skills(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


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


def test_equal_skills_give_equal_bytes_whatever_the_order(tmp_path):
    first, second = (make_agent().learn(100).export_skills(tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    description, arrays = tensorfile.read(first)
    assert tensorfile.pack(description, dict(reversed(arrays.items()))) == first.read_bytes()
    with safe_open(first, framework="np") as file:  # it is safetensors' format all the same
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)
            assert file.get_tensor(name).dtype == array.dtype


@pytest.mark.parametrize("device", ["auto", "cpu", torch.device("cpu")])
def test_devices_that_there_are(device):
    assert load_skills("pointmass", device=device).device.type in ("cpu", "cuda")
    assert load_policy("pointmass", device=device).skills.device.type in ("cpu", "cuda")


@pytest.mark.parametrize("device", ["mps", "xpu", "nonsense"])
def test_a_device_that_is_not_there_is_named_and_not_the_file(device):
    for load in (load_skills, load_policy):
        with pytest.raises(ValueError, match=rf"device='{device}' is not valid here.*choose") as error:
            load("pointmass", device=device)
        assert not isinstance(error.value, SkillsFileError)


@pytest.mark.parametrize("name", ["skills", "with-critics", "bernoulli", "policy"])
def test_files_of_0_1_0_are_read_for_ever(name, monkeypatch):
    path = ROOT / "tests/data/0.1.0" / f"{name}.safetensors"
    loaded = load_policy(path) if name == "policy" else load_skills(path)
    skills = loaded.skills if name == "policy" else loaded
    observation = {"observation": np.zeros((3, 4), np.float32), "task": np.zeros(3, np.int64)}
    expected, _ = loaded.predict(observation if skills.n_tasks > 1 else observation["observation"], deterministic=True)
    assert expected.shape == (3, 2) and hasattr(skills, "critics") == (name == "with-critics")

    # A setting is renamed, and another one is new: the file's networks are the same.
    monkeypatch.setitem(formats.RENAMED, "window", "segment")
    monkeypatch.setitem(formats.RENAMED, "segment", "window")
    description, _ = tensorfile.read(path)
    kept = description["skills" if name == "policy" else "config"]
    kept = kept["config"] if name == "policy" else kept
    settings = formats.settings_of(kept)
    assert (settings["window"], settings["segment"]) == (kept["segment"], kept["window"])
    monkeypatch.undo()
    del kept["saturation_coef"]
    assert formats.settings_of(kept)["saturation_coef"] == SkillConfig().saturation_coef


def test_damage_of_any_kind_is_named(tmp_path):
    """Bits, cuts and swaps at random places of a policy's file: an error that names it, or the very same policy."""
    path = make_policy(tmp_path)
    good, rng = path.read_bytes(), np.random.default_rng(1)
    description, arrays = tensorfile.read(path)
    for _ in range(300):
        data = bytearray(good)
        for at in rng.integers(len(data), size=rng.integers(1, 4)):
            data[at] = rng.integers(256)
        path.write_bytes(data[: len(data) if rng.random() < 0.7 else rng.integers(len(data))])
        try:
            load_policy(path)
        except SkillsFileError as error:
            assert str(path) in str(error)
        else:
            found, same = tensorfile.read(path)
            assert found == description and all((same[name] == array).all() for name, array in arrays.items())
