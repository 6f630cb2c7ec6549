import json
import sys

import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors import safe_open

from skill_agent import SkillEmbedding, TrainingDiverged, cli, load_skills, make_skill_vec_env, skills

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
        except ValueError as error:
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
    text = json.dumps(description)
    metadata = {"skill_embed": text, "sha256": skills._digest(text, arrays)}
    out.write_bytes(safetensors.numpy.save(arrays, metadata))


@pytest.mark.parametrize(
    ("description", "arrays", "named"),
    [
        (lambda d: d.update(format=99), lambda a: None, "format=99 is not valid"),
        (lambda d: d.update(activation="os.system"), lambda a: None, r"activation='os\.system'.*'ELU'"),
        (lambda d: d["net_arch"].update(pi=[4_000]), lambda a: None, "size mismatch"),
        (lambda d: d["net_arch"].update(pi=[10**12]), lambda a: None, r"net_arch\['pi'\]\[0\]=1000000000000"),
        (lambda d: d["config"].update(gain=1), lambda a: None, "gain"),
        (lambda d: d["config"].update(window=0), lambda a: None, "window=0"),
        (lambda d: d.pop("n_tasks"), lambda a: None, "n_tasks"),
        (lambda d: None, lambda a: a.pop("actor.weights.0"), r"actor\.weights\.0.*missing"),
        (lambda d: None, lambda a: a.update(more=np.zeros(3)), "more.*unknown"),
    ],
)
def test_a_wrong_description_is_an_error(tmp_path, description, arrays, named):
    path = make_agent().export_skills(tmp_path / "skills")
    forge(path, tmp_path / "forged.safetensors", description, arrays)
    with pytest.raises(ValueError, match=named):
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
