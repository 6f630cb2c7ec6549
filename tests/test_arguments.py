"""Wrong arguments of the learner, its networks and who acts: each is an error that names it, at once."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.utils import LinearSchedule
from toy import Line, make_line, make_model

from skill_agent import (
    RunCheckpoint,
    SkillConfig,
    SkillEmbedding,
    SkillPolicy,
    SkillSpaceVecEnv,
    TransferredPolicy,
    arguments,
    make_skill_vec_env,
    save_checkpoint,
)

NAN, INF = float("nan"), float("inf")
FOUR_GOALS = "SkillEmbed/PointMassFourGoals-v0"


@pytest.fixture(scope="module")
def model():
    return make_model(make_skill_vec_env(FOUR_GOALS, 2, seed=0))


@pytest.fixture
def observation(model):
    return np.zeros((2, 4), np.float32)


# The learner --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("learning_rate", [-1e-3, NAN, INF, 1e38, "fast", None, True, lambda _: NAN, lambda _: None]),
        ("buffer_size", [0, -1, 2.5, NAN, INF, 10**30, "100", None, True]),
        ("learning_starts", [-1, 0.5, NAN, "0", None]),
        ("batch_size", [0, -1, 8.0, NAN, 10**9, None]),
        ("gamma", [1, 1.0, 1.5, -0.1, NAN, "0.9", None, True]),
        ("train_freq", [0, -5, 2.0, NAN, (1,), (1, "minute"), (0, "step"), (1, ["step"]), "step", None, True]),
        ("gradient_steps", [-2, 1.0, NAN, INF, None, "1"]),
        ("policy_kwargs", [[8, 8], "net_arch", {3: 4}]),
        ("stats_window_size", [0, 1.5, None]),
        ("tensorboard_log", [3, b"runs"]),
        ("verbose", [3, -1, "loud", None]),
        ("seed", [-1, 2**32, 0.5, NAN, "0"]),
        ("device", ["tpu", "meta", "cpu:x", None, 1.5]),
        ("config", [{}, [], {"window": 3}, "config", SkillConfig]),
        ("policy", ["CnnPolicy", 3, None, torch.nn.Linear, SkillEmbedding]),
        ("env", [3, [], object(), None]),
    ],
)
def test_wrong_arguments_of_the_learner_are_named(name, values):
    given = {"policy": "MlpPolicy", "env": make_line(), "policy_kwargs": {"net_arch": [8]}}
    assert isinstance(SkillEmbedding(**given), SkillEmbedding)
    for value in values:
        with pytest.raises(ValueError, match=rf"^{name}[=\[(]|^Policy CnnPolicy unknown"):
            SkillEmbedding(**{**given, name: value})


def test_right_arguments_of_the_learner_are_kept():
    schedule = LinearSchedule(1e-3, 1e-4, 1.0)
    model = make_model(
        make_line(), learning_rate=schedule, buffer_size=1e3, learning_starts=np.float32(20), train_freq=[1, "episode"],
        gradient_steps=-1, gamma=0, seed=np.int64(3), batch_size=np.int32(4),
    )  # fmt: skip
    assert model.learning_rate is schedule and model.gradient_steps == -1 and model.gamma == 0.0
    assert (model.buffer_size, model.learning_starts, model.batch_size, model.seed) == (1000, 20, 4, 3)
    assert all(type(count) is int for count in (model.buffer_size, model.learning_starts, model.batch_size, model.seed))
    model.learn(3e1)
    assert model.num_timesteps == 30 and model._n_updates == 10  # after each episode of 10, as many as steps


@pytest.mark.parametrize(
    ("name", "value"),
    [("gamma", 1.5), ("batch_size", 0), ("learning_starts", NAN), ("gradient_steps", -2), ("learning_rate", INF),
     ("train_freq", 0), ("config", {})],
)  # fmt: skip
def test_what_is_set_later_is_checked_where_learning_begins(tmp_path, name, value):
    model = make_model(make_line())
    model.save(tmp_path / "model")
    loaded = SkillEmbedding.load(tmp_path / "model", env=make_line(), device="cpu")
    assert loaded.learn(10).num_timesteps == 10
    for changed in (model, loaded):
        setattr(changed, name, value)
        with pytest.raises(ValueError, match=f"^{name}="):
            changed.learn(10)


def test_updates_after_episodes_are_refused_with_several_environments_set_later():
    model = make_model(make_line(), train_freq=(1, "episode"))
    with pytest.raises(ValueError, match=r"train_freq=\(1, 'episode'\) is not valid with n_envs=2"):
        make_model(make_line(2), train_freq=(1, "episode"))
    model.env, model.n_envs = make_line(2), 2
    with pytest.raises(ValueError, match=r"train_freq=\(1, 'episode'\) is not valid with n_envs=2"):
        model.learn(10)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("total_timesteps", [-1, 0.5, NAN, INF, "100", None, True, 10**30]),
        ("callback", [3, "callback", [None], [3], object()]),
        ("log_interval", [0, -1, 1.5, NAN, True]),
        ("tb_log_name", [None, 3]),
        ("reset_num_timesteps", [None, 1, "no"]),
        ("progress_bar", [None, 0, "yes"]),
    ],
)
def test_wrong_arguments_of_learn_are_named(model, name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"^{name}="):
            model.learn(**{"total_timesteps": 10, name: value})
    assert model.num_timesteps == 0


def test_learning_for_no_steps_does_nothing():
    model = make_model(make_line(2))
    assert model.learn(0, log_interval=None).num_timesteps == 0


# Networks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net_arch", "named"),
    [
        ([0], r"net_arch\[0\]=0"), ([8, -1], r"net_arch\[1\]=-1"), ([8.0], r"net_arch\[0\]=8\.0"),
        ([4_097], "4097.*from 1 to 4,096"), ([1] * 17, "at most 16 widths"), (8, "net_arch=8"),
        ("8", "net_arch='8'"), ({"pi": 8}, r"net_arch\['pi'\]=8"), ({"qf": [True]}, r"net_arch\['qf'\]\[0\]=True"),
        ({"inference": [10**12]}, r"net_arch\['inference'\]\[0\]"), ({3: [8]}, r"\[3\].*'pi', 'qf', 'inference'"),
    ],
)  # fmt: skip
def test_wrong_hidden_layers_are_named(net_arch, named):
    with pytest.raises(ValueError, match=named):
        make_model(make_line(), policy_kwargs={"net_arch": net_arch})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("action_space", [None, Line(n_tasks=2).observation_space]),
        ("lr_schedule", [1e-3, None]),
        ("config", [{}, "gaussian"]),
        ("activation_fn", ["relu", torch.relu, torch.nn.ReLU(), int]),
        ("optimizer_class", ["Adam", torch.nn.ReLU]),
        ("optimizer_kwargs", [3, [1]]),
    ],
)
def test_wrong_arguments_of_the_policy_are_named(name, values):
    line = Line()
    given = {"lr_schedule": lambda _: 1e-3, "net_arch": (8,), "action_space": line.action_space}
    assert SkillPolicy(line.observation_space, **given).net_arch["qf"] == [8]
    for value in values:
        with pytest.raises(ValueError, match=f"^{name}="):
            SkillPolicy(line.observation_space, **{**given, name: value})


# Acting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [NAN, INF, -INF, 1e300])
def test_observations_and_states_that_are_not_finite_are_named(model, observation, broken):
    _, state = model.predict(observation)
    observation = observation.astype(np.float64)
    observation[1, 2] = broken
    with pytest.raises(ValueError, match=r"observation is not finite in float32: .* at \[1, 2\]"):
        model.predict(observation, state)
    with pytest.raises(ValueError, match=r"state's z is not finite in float32: .* at \[0, 0\]"):
        model.predict(np.zeros((2, 4)), state._replace(latent=np.full((2, 3), broken)))


def test_a_broken_entry_of_a_dict_is_named():
    model = make_model(make_line(2, n_tasks=2))
    right = {"observation": np.zeros((2, 2), np.float32), "task": np.array([0.0, 1.0])}
    assert model.predict(right)[0].shape == (2, 1)
    for key, value, named in (
        ("observation", np.full((2, 2), NAN), r"observation\['observation'\] is not finite"),
        ("task", np.array([0.0, NAN]), r"observation\['task'\] is not finite"),
        ("task", np.array([0.5, 1.0]), r"observation\['task'\]=.*choose integers"),
        ("task", np.array(["0", "1"]), r"observation\['task'\]=.*not an array of numbers"),
    ):
        with pytest.raises(ValueError, match=named):
            model.predict({**right, key: value})
    with pytest.raises(ValueError, match=r"keys \['3', 'observation'\]"):
        model.predict({"observation": right["observation"], 3: 0})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"state": np.zeros((2, 3))[:, 0]}, "^state=array"),
        ({"state": ()}, r"state=\(\)"),
        ({"state": (np.zeros((2, 3)),)}, "state="),
        ({"state": (np.zeros((2, 4)), np.zeros(2, int))}, r"state's z of shape \(2, 4\)"),
        ({"state": (np.zeros((2, 3)), np.array([0, 0.5]))}, "state's age=.*choose integers"),
        ({"state": "z"}, "state='z'"),
        ({"episode_start": np.array([0.0, NAN])}, "episode_start is not finite"),
        ({"episode_start": np.array(["no", "yes"])}, "episode_start="),
        ({"episode_start": [0, 2]}, "episode_start=.*True or False"),
        ({"deterministic": "yes"}, "deterministic='yes'"),
        ({"deterministic": None}, "deterministic=None"),
        ({"observation": [[1.0], [1.0, 2.0]]}, "observation="),
        ({"observation": None}, "observation=None"),
    ],
)
def test_what_predict_can_not_use_is_named(model, observation, arguments, named):
    with pytest.raises(ValueError, match=named):
        model.predict(**{"observation": observation, **arguments})


@pytest.fixture
def transferred(model):
    env = SkillSpaceVecEnv(make_skill_vec_env(FOUR_GOALS, 2, seed=0), model.policy, hold=2)
    return TransferredPolicy(model.policy, make_model(env, embedding="task_id").policy, hold=2)


@pytest.mark.parametrize("hold", [0, -1, 1.5, 2.0, NAN, INF, "2", None, True, 10**30])
def test_a_wrong_hold_is_named(model, hold):
    env = make_skill_vec_env(FOUR_GOALS, 2, seed=0)
    with pytest.raises(ValueError, match=r"^hold="):
        SkillSpaceVecEnv(env, model.policy, hold)
    with pytest.raises(ValueError, match=r"^hold="):
        TransferredPolicy(model.policy, model.policy, hold)


def test_other_arguments_of_the_skill_space_are_named(model):
    env = make_skill_vec_env(FOUR_GOALS, 2, seed=0)
    for name, value in (("seed", -1), ("seed", 0.5), ("skills", model), ("skills", None), ("venv", "pointmass")):
        with pytest.raises(ValueError, match=f"^{name}="):
            SkillSpaceVecEnv(**{"venv": env, "skills": model.policy, name: value})


@pytest.mark.parametrize(
    ("z", "named"),
    [
        (np.zeros((2, 4)), r"z of shape \(2, 4\) is not valid; the shape is \(2, 3\)"),
        (np.zeros(3), r"z of shape \(3,\) is not valid; the shape is \(2, 3\)"),
        (np.array([[0, 0, 0], [0, NAN, 0]]), r"z is not finite in float32: .*nan.* at \[1, 1\]"),
        (np.full((2, 3), "z"), "(?s)z=.*not an array of numbers"),
    ],
)
def test_a_wrong_z_is_named_with_what_is_valid(model, z, named):
    env = SkillSpaceVecEnv(make_skill_vec_env(FOUR_GOALS, 2, seed=0), model.policy)
    env.reset()
    with pytest.raises(ValueError, match=named):
        env.step(z)
    assert np.isfinite(env.step(np.zeros((2, 3)))[0]).all()


def test_a_transferred_policy_names_what_is_broken(transferred, observation):
    action, state = transferred.predict(observation)
    assert transferred.skills.action_space.contains(action[0])
    broken = np.full((2, 4), NAN)
    for given, named in (
        ({"observation": broken, "state": state}, "observation is not finite"),
        ({"observation": np.zeros((2, 5)), "state": state}, r"observation of shape \(2, 5\)"),
        ({"state": (np.full((2, 3), NAN), state.age)}, "state's z is not finite"),
        ({"state": (np.zeros((3, 3)), state.age)}, r"state's z of shape \(3, 3\)"),
        ({"episode_start": [True]}, r"episode_start of shape \(1,\)"),
    ):
        with pytest.raises(ValueError, match=named):
            transferred.predict(**{"observation": observation, **given})


# Checkpoints --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("folder", [3, None, b"folder", "a\0b"]),
        ("every_steps", [0, -1, 2.5, NAN, INF, "100", True]),
        ("every_seconds", [-1, NAN, INF, "60", True]),
        ("keep", [0, -1, 2.5, NAN, "3", True]),
        ("extra", [{}, "extra", 3]),
    ],
)
def test_wrong_arguments_of_checkpoints_are_named(model, tmp_path, name, values):
    given = {} if name == "every_seconds" else {"every_steps": 100}
    for value in values:
        with pytest.raises(ValueError, match=f"^{name}="):
            RunCheckpoint(**{"folder": tmp_path, **given, name: value})
        if name in ("folder", "keep"):
            with pytest.raises(ValueError, match=f"^{name}="):
                save_checkpoint(model, **{"folder": tmp_path, name: value})
    assert list(tmp_path.iterdir()) == []


def test_limits_are_stated():
    assert "at most 16 widths of at most 4,096" in SkillPolicy.__init__.__doc__
    assert (arguments.DEEPEST, arguments.WIDEST) == (16, 4096)
    assert "10^12" in SkillEmbedding.learn.__doc__ and arguments.MOST_STEPS == 10**12
