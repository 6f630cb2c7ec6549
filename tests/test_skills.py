import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors import safe_open
from sharing import TWO_GOALS, make_agent
from toy import make_line, make_model, tiny

from skill_agent import TrainingDiverged, cli, load_policy, load_skills, skills, tensorfile
from skill_agent.experiments import EXPERIMENTS, folder
from skill_agent.tensorfile import SkillsFileError


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("env_id", "settings"),
    [
        (TWO_GOALS, {"z_period": 3, "inference_channels": (0, 1)}),
        (TWO_GOALS, {"z_period": 3, "embedding_transition": "learned"}),
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
        following = torch.ones(2, policy.embedding_distribution.dim)
        assert torch.equal(
            policy.inferred(action, segments, following), agent.policy.inferred(action, segments, following)
        )


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


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"policy_kwargs": {"net_arch": {"qf": [4_000] * 4}}, "n_critics": 2}, "parameters; at most"),
        ({"embedding_mean_bound": 1e7}, "embedding_mean_bound=1"),
        ({"temperature": 1e7}, "temperature=1"),
    ],
)
def test_networks_that_could_not_be_loaded_are_not_exported(tmp_path, settings, named):
    agent = make_model(make_line(n_tasks=2), **settings)
    for export in (lambda: agent.export_skills(tmp_path / "skills"), lambda: skills.check_exportable(agent.policy)):
        with pytest.raises(ValueError, match=f"can't be exported: .*{named}"):
            export()
    assert [*tmp_path.iterdir()] == []


def test_nothing_is_packed_that_could_not_be_read():
    for arrays, named in (
        ({f"a{i}": np.zeros(0, np.float32) for i in range(1_001)}, "1,001 arrays"),
        ({"a": np.zeros(2**26, np.float32)}, "268,4.* bytes can't"),
        ({"a": np.zeros(1, np.float16)}, "a has dtype float16"),
    ):
        with pytest.raises(ValueError, match=named):
            tensorfile.pack({}, arrays)
    with pytest.raises(ValueError, match="bytes of header"):
        tensorfile.pack({"text": "x" * 2**20}, {})


def test_networks_of_another_type_are_not_exported(tmp_path):
    agent = make_model(make_line(n_tasks=2))
    agent.policy.double()
    with pytest.raises(ValueError, match=r"can't be exported: .*float64; the networks need .* float32"):
        agent.export_skills(tmp_path / "skills")


def test_a_run_that_could_not_be_exported_ends_before_it_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(folder.train, "train", lambda *_, **__: pytest.fail("trained"))
    run = tiny(EXPERIMENTS["fig2"]["with"])
    with pytest.raises(ValueError, match=r"can't be exported: temperature=1"):
        folder.start(replace(run, settings=run.settings | {"temperature": 1e7}), 0, tmp_path / "run")


def test_a_link_that_leads_nowhere_is_not_replaced_without_force(tmp_path):
    path = tmp_path / "skills.safetensors"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match="force=True"):
        make_agent().export_skills(path)
    make_agent().export_skills(path, force=True)
    assert not path.is_symlink() and not (tmp_path / "nowhere").exists()


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


# The kinds that no machine of ours has, and those that this one lacks.
MISSING = ["mps", "xpu", "nonsense", "meta", "", None, ["cpu"]]
MISSING += [] if torch.cuda.is_available() else ["cuda", "cuda:3"]


@pytest.mark.parametrize("device", MISSING)
def test_a_device_that_is_not_there_is_named_and_not_the_file(device):
    for load in (load_skills, load_policy):
        with pytest.raises(ValueError, match=rf"device={re.escape(repr(device))} is not valid.*choose") as error:
            load("pointmass", device=device)
        assert not isinstance(error.value, SkillsFileError)
