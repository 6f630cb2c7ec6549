"""What SB3's own tests ask of its algorithms, asked of SkillEmbedding: saving, loading, parameters and set_env()."""

import io
import warnings

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv
from toy import ROOT, Line, make_line, make_model

from skill_agent import PickleWarning, SkillConfig, SkillEmbedding, SkillPolicy, load_skills, make_skill_vec_env

OBSERVATION = {"observation": np.array([[100, 1], [101, 2], [99, 3]], np.float32), "task": np.array([0, 1, 1])}


@pytest.fixture
def model():
    return make_model(make_line(2, n_tasks=2)).learn(40)


def actions(model):
    return model.predict(OBSERVATION, deterministic=True)[0]


# Saving and loading -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model", "model.zip"])
@pytest.mark.parametrize("kind", [str, None], ids=["str", "Path"])
def test_equal_actions_after_loading(model, tmp_path, name, kind):
    path = tmp_path / name if kind is None else str(tmp_path / name)
    model.save(path)
    assert (actions(SkillEmbedding.load(path)) == actions(model)).all()


def test_saving_to_memory(model):
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    assert (actions(SkillEmbedding.load(file)) == actions(model)).all()


@pytest.mark.parametrize("n_envs", [2, 3])
@pytest.mark.parametrize("reset", [True, False])
def test_learning_on_after_loading(model, tmp_path, n_envs, reset):
    model.save(tmp_path / "model")
    loaded = SkillEmbedding.load(tmp_path / "model", env=make_line(n_envs, n_tasks=2), learning_starts=0)
    updates = loaded._n_updates
    loaded.learn(60, reset_num_timesteps=reset)
    assert loaded.num_timesteps == (60 if reset else 100) and loaded._n_updates > updates
    assert (actions(loaded) != actions(model)).any()


def test_loading_without_an_environment_predicts_and_learns_once_it_is_set(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = SkillEmbedding.load(tmp_path / "model")
    assert loaded.get_env() is None
    with pytest.raises(AssertionError, match="set the environment"):
        loaded.learn(20)
    loaded.set_env(make_line(2, n_tasks=2))
    loaded.learn(40)


def test_loading_with_another_environment_is_an_error(model, tmp_path):
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        SkillEmbedding.load(tmp_path / "model", env=make_line(n_tasks=3))


def test_arguments_of_load_replace_the_saved_ones(model, tmp_path):
    model.save(tmp_path / "model")
    config = SkillConfig(**{**vars(model.config), "inference_coef": 0.5})
    loaded = SkillEmbedding.load(tmp_path / "model", gamma=0.5, config=config)
    assert loaded.gamma == 0.5 and loaded.policy.config.inference_coef == 0.5
    loaded = SkillEmbedding.load(tmp_path / "model", custom_objects={"learning_rate": 0.25, "batch_size": 3})
    assert loaded.batch_size == 3 and loaded.lr_schedule(1) == 0.25


def test_loading_with_other_networks_is_an_error(model, tmp_path):
    model.save(tmp_path / "model")
    SkillEmbedding.load(tmp_path / "model", policy_kwargs={"net_arch": [16, 16]})
    with pytest.raises(ValueError, match="policy kwargs do not equal"):
        SkillEmbedding.load(tmp_path / "model", policy_kwargs={"net_arch": [8]})


def test_excluding_and_including(model, tmp_path):
    model.save(tmp_path / "model", exclude=["gamma", "batch_size"], include=["batch_size", "replay_buffer"])
    loaded = SkillEmbedding.load(tmp_path / "model")
    assert loaded.gamma == 0.99 and loaded.batch_size == 8
    assert (loaded.replay_buffer.rewards == model.replay_buffer.rewards).all()


def test_the_replay_buffer_is_saved_apart(model, tmp_path):
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded = SkillEmbedding.load(tmp_path / "model", env=make_line(2, n_tasks=2))
    assert loaded.replay_buffer.size() == 0
    loaded.load_replay_buffer(tmp_path / "replay")
    for name in ("observations", "actions", "rewards", "latent", "log_prob", "stretch", "age", "task"):
        assert (getattr(loaded.replay_buffer, name) == getattr(model.replay_buffer, name)).all(), name
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded.replay_buffer.size() == 30


CHAIN = {"z_period": 3, "embedding_transition": "learned"}


@pytest.mark.parametrize("settings", [{}, {"embedding": "bernoulli"}, {"embedding": "task_id"}, {"z_period": 3}, CHAIN])
def test_every_embedding_is_saved(tmp_path, settings):
    model = make_model(make_line(n_tasks=2), **settings).learn(30)
    model.save(tmp_path / "model")
    loaded = SkillEmbedding.load(tmp_path / "model")
    assert loaded.config == model.config and (actions(loaded) == actions(model)).all()


# The policy alone ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy_kwargs",
    [
        {"net_arch": [16]},
        {"net_arch": {"pi": [8], "qf": [16, 8]}, "activation_fn": torch.nn.Tanh},
        {"net_arch": [8], "optimizer_class": torch.optim.SGD, "optimizer_kwargs": {"momentum": 0.9}},
        {"net_arch": [8], "optimizer_kwargs": {"betas": (0.5, 0.9)}},
    ],
    ids=["list", "dict", "optimizer", "optimizer arguments"],
)
def test_the_policy_is_saved_alone(tmp_path, policy_kwargs):
    policy = make_model(make_line(n_tasks=2), policy_kwargs=policy_kwargs, n_critics=3).learn(30).policy
    policy.save(tmp_path / "policy.pt")
    loaded = SkillPolicy.load(tmp_path / "policy.pt")
    assert str(loaded) == str(policy) and loaded.config == policy.config
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), policy.parameters(), strict=True))
    assert (actions(loaded) == actions(policy)).all()
    assert type(loaded.optimizer) is type(policy.optimizer)
    assert {**loaded.optimizer.defaults, "lr": None} == {**policy.optimizer.defaults, "lr": None}


def test_the_policy_as_a_vector(model):
    other = make_model(make_line(2, n_tasks=2), seed=5)
    other.policy.load_from_vector(model.policy.parameters_to_vector())
    assert (actions(other) == actions(model)).all()


# Parameters ---------------------------------------------------------------------------------------


def test_setting_parameters(model):
    other = make_model(make_line(2, n_tasks=2), seed=5)
    assert (actions(other) != actions(model)).any()
    other.set_parameters(model.get_parameters())
    assert (actions(other) == actions(model)).all()
    assert other.policy.optimizer.state_dict()["state"].keys() == model.policy.optimizer.state_dict()["state"].keys()


def test_setting_parameters_from_a_file(model, tmp_path):
    model.save(tmp_path / "model.zip")
    other = make_model(make_line(2, n_tasks=2), seed=5)
    other.set_parameters(str(tmp_path / "model.zip"))
    assert (actions(other) == actions(model)).all()


def test_setting_some_parameters(model):
    params = model.get_parameters()
    table = torch.full_like(params["policy"]["embedding.table"], 0.5)
    model.set_parameters({"policy": {"embedding.table": table}}, exact_match=False)
    assert torch.equal(model.policy.embedding.table, table)


@pytest.mark.parametrize(
    ("change", "exact", "error", "message"),
    [
        (lambda p: p.update(value_net=p["policy"]), False, ValueError, "value_net"),
        (lambda p: p.pop("policy.optimizer"), True, ValueError, "expected"),
        (lambda p: p["policy"].pop("embedding.table"), True, RuntimeError, "embedding.table"),
        (lambda p: p["policy"].update(extra=torch.zeros(1)), True, RuntimeError, "extra"),
        (lambda p: p["policy"].update({"embedding.table": torch.zeros(7)}), False, RuntimeError, "size mismatch"),
    ],
    ids=["unknown object", "missing object", "missing parameter", "unknown parameter", "wrong shape"],
)
def test_wrong_parameters_are_errors(model, change, exact, error, message):
    params = {name: dict(values) for name, values in model.get_parameters().items()}
    change(params)
    with pytest.raises(error, match=message):
        model.set_parameters(params, exact_match=exact)


# Environments -------------------------------------------------------------------------------------


def test_setting_the_environment_starts_new_episodes():
    model = make_model(DummyVecEnv([Line]), train_freq=5).learn(25)
    model.set_env(Line())
    model.learn(15, reset_num_timesteps=False)
    assert model.replay_buffer.age[20:40, 0].tolist() == [*range(5), *range(10), *range(5)]


def test_setting_the_environment_without_a_reset_goes_on():
    model = make_model(make_line(), train_freq=5).learn(25)
    model.set_env(model.get_env(), force_reset=False)
    model.learn(5, reset_num_timesteps=False)
    assert model.replay_buffer.age[20:30, 0].tolist() == [*range(10)]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: make_line(3, n_tasks=2), AssertionError, r"\(3 != 2\)"),
        (lambda: make_line(2, n_tasks=3), ValueError, "Observation spaces do not match"),
        (lambda: make_line(2), ValueError, "Observation spaces do not match"),
    ],
    ids=["number", "tasks", "no tasks"],
)
def test_setting_another_environment_is_an_error(model, make, error, message):
    with pytest.raises(error, match=message):
        model.set_env(make())


def test_a_setting_that_load_would_ignore_is_an_error(tmp_path):
    make_model(make_line()).save(tmp_path / "model")
    with pytest.raises(TypeError, match=r"can't change the settings \['inference_coef'\]; give config=SkillConfig"):
        SkillEmbedding.load(tmp_path / "model", inference_coef=0.5)


def test_the_replay_of_another_number_of_environments_is_an_error(tmp_path):
    two, three = make_model(make_line(2)).learn(40), make_model(make_line(3))
    two.save_replay_buffer(tmp_path / "replay")
    own = three.replay_buffer
    with pytest.raises(ValueError, match="is the replay of n_envs=2; this model has n_envs=3"):
        three.load_replay_buffer(tmp_path / "replay")
    assert three.replay_buffer is own


def test_a_file_of_pickles_is_loaded_with_a_warning_unless_it_is_trusted(model, tmp_path):
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    model.policy.save(tmp_path / "policy.pt")
    loaders = [
        lambda **trust: SkillEmbedding.load(tmp_path / "model", **trust),
        lambda **trust: SkillEmbedding.load(tmp_path / "model.zip", **trust),
        lambda **trust: SkillPolicy.load(tmp_path / "policy.pt", **trust),
        lambda **trust: model.load_replay_buffer(tmp_path / "replay", **trust),
    ]
    for load in loaders:
        with pytest.warns(PickleWarning, match=r"runs the pickles in it.*trust=True; safe is"):
            load()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load(trust=True)


@pytest.mark.parametrize("critics", [False, True])
def test_a_model_of_exported_skills_acts_as_they_do_and_learns_on(model, tmp_path, critics):
    path = model.export_skills(tmp_path / "skills", critics=critics)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = SkillEmbedding.load(path, env=make_line(2, n_tasks=2), learning_starts=10, train_freq=5)
    assert (actions(loaded) == actions(model)).all() and loaded.config == model.config
    same = all(
        torch.equal(a, b) for a, b in zip(loaded.policy.critics.weights, model.policy.critics.weights, strict=True)
    )
    assert same == critics
    loaded.learn(40)
    assert loaded._n_updates > 0
    assert (actions(SkillEmbedding.load(str(path))) == actions(model)).all()  # without an environment, as in SB3
    with pytest.raises(ValueError, match=r"observation_space is .*Discrete\(3\).*need .*Discrete\(2\)"):
        SkillEmbedding.load(path, env=make_line(n_tasks=3))


def test_a_model_of_exported_skills_keeps_their_statistics(model, tmp_path):
    path = model.export_skills(tmp_path / "skills")
    # Other observations than those that the skills were trained on, and a learning rate that changes nothing.
    loaded = SkillEmbedding.load(path, make_line(2, n_tasks=2), "cpu", learning_rate=0.0, learning_starts=10, seed=9)
    loaded.learn(40)
    assert loaded._n_updates > 0
    assert torch.equal(loaded.policy.state_mean, model.policy.state_mean)
    assert torch.equal(loaded.policy.state_scale, model.policy.state_scale)
    assert (actions(loaded) == actions(model)).all()


def test_arguments_of_loaded_skills_add_to_the_networks_or_are_errors(model, tmp_path):
    path = model.export_skills(tmp_path / "skills")
    loaded = SkillEmbedding.load(path, policy_kwargs={"optimizer_class": torch.optim.SGD})
    assert isinstance(loaded.policy.optimizer, torch.optim.SGD) and (actions(loaded) == actions(model)).all()
    settings = vars(model.config)
    loaded = SkillEmbedding.load(path, config=SkillConfig(**{**settings, "inference_coef": 0.5}))
    assert loaded.config.inference_coef == 0.5 and (actions(loaded) == actions(model)).all()
    for other in (
        {"config": SkillConfig(**{**settings, "embedding": "task_id"})},
        {"config": SkillConfig(**{**settings, "embedding": "bernoulli", "embedding_dim": 6})},
        {"policy_kwargs": {"net_arch": {"pi": [16, 16], "qf": [16, 16], "inference": [8]}}},
    ):
        with pytest.raises(ValueError, match=r"other networks than those of .*skills\.safetensors"):
            SkillEmbedding.load(path, **other)


def test_a_folder_is_no_model(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(IsADirectoryError, match=r"is a folder; .*load_checkpoint"):
            SkillEmbedding.load(tmp_path)


@pytest.mark.parametrize("trust", ["no", "yes", 1, None])
def test_trust_is_true_or_false(model, tmp_path, trust):
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"trust=.* is not valid; choose True or False"):
        SkillEmbedding.load(tmp_path / "model", trust=trust)


def test_no_window_reaches_from_a_loaded_replay_into_what_follows(tmp_path):
    other, model = make_model(make_line(2), train_freq=5).learn(10), make_model(make_line(2), train_freq=5).learn(10)
    other.save_replay_buffer(tmp_path / "replay")  # its last z has the age that the model's has
    model.load_replay_buffer(tmp_path / "replay")
    model.learn(10, reset_num_timesteps=False)
    replay = model.replay_buffer
    assert replay.age[:10, 0].tolist() == list(range(10))
    assert (replay.stretch[:5] != replay.stretch[5:10]).all()
    windows = replay.sample_windows(200, window=10, segment=3, rng=np.random.default_rng(0))
    assert windows.mask.sum(1).max() == 5


# Files of 0.1.0 -----------------------------------------------------------------------------------

OLD = ROOT / "tests/data/0.1.0"


def test_a_zip_and_a_replay_of_0_1_0_are_read_and_learned_on_from():
    model = SkillEmbedding.load(OLD / "model.zip", env=make_skill_vec_env("SkillEmbed/PointMassTwoGoals-v0", 2))
    # The skills were exported by the same training: what observations are normalised by is there too.
    skills = load_skills(OLD / "skills.safetensors")
    state = model.policy.state_dict()
    assert state["state_mean"].any() and (state["state_scale"] != 1).all()
    for name, value in skills.state_dict().items():
        assert torch.equal(state[name], value), name
    model.load_replay_buffer(OLD / "replay.pkl")
    replay = model.replay_buffer
    size = replay.size()
    assert size > 0 and not hasattr(replay, "skill") and replay.stretch.shape == replay.age.shape
    # A new stretch begins where z is new, and nowhere else.
    assert (np.diff(replay.stretch[:size], axis=0) == (replay.age[1:size] == 0)).all()
    assert (replay.stretch[size:] == -2).all()
    updates = model._n_updates
    model.learn(100, reset_num_timesteps=False)
    assert model._n_updates > updates and (replay.stretch[size] >= replay.stretch[size - 1] + 2).all()
