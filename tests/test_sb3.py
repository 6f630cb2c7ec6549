"""What SB3's own tests ask of its algorithms, asked of SkillEmbedding: environments, spaces and learn()."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common import callbacks
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from toy import Line, make_line, make_model

from skill_agent import SkillEmbedding, make_skill_vec_env

TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"


# Environments and spaces --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: "Pendulum-v1",
        lambda: TWO_GOALS,
        lambda: Line(),
        lambda: Line(n_tasks=3),
        lambda: Monitor(Line()),
        lambda: DummyVecEnv([Line]),
        lambda: make_line(3),
        lambda: make_line(3, n_tasks=2),
        lambda: make_skill_vec_env(TWO_GOALS, 3),
    ],
    ids=["id", "suite id", "env", "tasks", "monitored", "vec env", "3 envs", "3 envs, tasks", "3 of the suite"],
)
def test_environments_of_every_kind(make):
    model = make_model(make()).learn(60)
    assert model.num_timesteps >= 60 and model._n_updates > 0


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (2,), np.float64),
        spaces.Box(np.array([-0.1, 0.7], np.float32), np.array([0.3, 5.3], np.float32)),
        spaces.Box(-1, 1, (2, 3), np.float32),
    ],
    ids=["float64", "uneven", "two axes"],
)
def test_actions_fit_the_action_space(space):
    model = make_model(make_line(2, action_space=space)).learn(60)  # Line checks every action
    for deterministic in (False, True):
        action, _ = model.predict(np.zeros(2, np.float32), deterministic=deterministic)
        assert space.contains(action)
    actions, _ = model.predict(np.zeros((5, 2), np.float32))
    assert actions.shape == (5, *space.shape) and actions.dtype == space.dtype


def test_the_stored_action_is_the_one_taken_in_units_of_the_bounds():
    low, high = np.array([-0.5, 2.0], np.float32), np.array([0.5, 6.0], np.float32)
    env = make_line(action_space=spaces.Box(low, high))
    taken = []
    env.step_async, step_async = lambda action: (taken.append(action), step_async(action)), env.step_async
    model = make_model(env, learning_starts=100).learn(30)
    stored = np.clip(model.replay_buffer.actions[:30], -1, 1)
    np.testing.assert_allclose(low + (stored + 1) / 2 * (high - low), taken, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.int64], ids=["float64", "int64"])
@pytest.mark.parametrize("n_tasks", [1, 2])
def test_observations_of_other_types(dtype, n_tasks):
    model = make_model(make_line(2, obs_dtype=dtype, n_tasks=n_tasks)).learn(60)
    assert model._n_updates > 0 and model.replay_buffer.observations.dtype == np.float32


@pytest.mark.parametrize(("shape", "normalise"), [((), False), ((2, 2), False), ((2, 2), True)])
def test_observations_of_other_shapes_are_flattened(shape, normalise):
    env = gymnasium.wrappers.TransformObservation(
        Line(), lambda o: np.resize(o, shape), spaces.Box(-1000, 1000, shape, np.float32)
    )
    venv = DummyVecEnv([lambda: Monitor(env)])
    model = make_model(VecNormalize(venv) if normalise else venv).learn(60)
    assert model._n_updates > 0 and model.predict(env.observation_space.sample())[0].shape == (1,)


def test_rounding_does_not_lead_out_of_the_bounds():
    space = spaces.Box(np.float32(-0.1), np.float32(0.3), (1000,))
    space.low[:] = np.random.default_rng(0).uniform(-1, 0, 1000)
    space.high[:] = np.random.default_rng(1).uniform(0, 1, 1000)
    policy = make_model(make_line(action_space=space)).policy
    for extreme in (-3.0, 3.0):
        assert space.contains(policy.env_action(torch.full((1, 1000), extreme))[0])


@pytest.mark.parametrize(
    ("space", "error", "message"),
    [
        (spaces.Discrete(3), AssertionError, "Discrete"),
        (spaces.MultiDiscrete([2, 2]), AssertionError, "MultiDiscrete"),
        (spaces.MultiBinary(3), AssertionError, "MultiBinary"),
        (spaces.Box(-np.inf, np.inf, (1,), np.float32), AssertionError, "finite"),
    ],
    ids=["discrete", "multi-discrete", "multi-binary", "unbounded"],
)
def test_other_action_spaces_are_errors(space, error, message):
    with pytest.raises(error, match=message):
        make_model(make_line(action_space=space))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(3), "an observation is a Box"),
        (spaces.Dict(observation=spaces.Box(0, 1, (2,)), task=spaces.MultiBinary(2)), "Discrete or Box"),
        (spaces.Dict(observation=spaces.Discrete(2), task=spaces.Box(0, 1, (2,))), "an observation is a Box"),
        (spaces.Dict(observation=spaces.Box(0, 1, (2,)), task=spaces.Box(0, 1, (2, 2))), "a vector of floats"),
        (spaces.Dict(observation=spaces.Box(0, 1, (2,)), task=spaces.Box(0, 1, ())), "a vector of floats"),
        (spaces.Dict(observation=spaces.Box(0, 1, (2,)), task=spaces.Box(0, 9, (2,), np.int64)), "a vector of floats"),
        (spaces.Dict(observation=spaces.Box(0, 1, (2,)), task=spaces.Box(-np.inf, 1, (2,))), "finite bounds"),
        (spaces.Dict(observation=spaces.Box(0, 1, (2,)), task=spaces.Box(-3e38, 3e38, (2,))), "finite bounds"),
        (spaces.Dict(observation=spaces.Box(0, 1, (2,)), task=spaces.Box(1, 1, (2,))), "the lower below the upper"),
        (spaces.Dict(observation=spaces.Box(0, 1, (2,)), task=spaces.Discrete(2, start=1)), "start"),
    ],
    ids=[
        "discrete",
        "binary task",
        "discrete observation",
        "matrix",
        "number",
        "integers",
        "unbounded",
        "too wide",
        "no width",
        "tasks from 1",
    ],
)
def test_other_observation_spaces_are_errors(space, message):
    env = Line()
    env.observation_space = space
    with pytest.raises(ValueError, match=message):
        make_model(env)


# How much is learned when -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_envs", "settings", "steps", "updates"),
    [
        (1, {"train_freq": 5, "gradient_steps": 1}, 60, 8),  # updates after 25, 30, ..., 60 steps
        (1, {"train_freq": (5, "step"), "gradient_steps": 3}, 60, 24),
        (1, {"train_freq": (2, "episode"), "gradient_steps": 1}, 60, 2),  # after 40 and 60 steps
        (1, {"train_freq": 5, "gradient_steps": -1}, 60, 40),
        (1, {"train_freq": (1, "episode"), "gradient_steps": -1}, 60, 40),
        (3, {"train_freq": 5, "gradient_steps": -1}, 60, 45),  # after 30, 45 and 60 steps, of all environments
        (3, {"train_freq": 5, "gradient_steps": 2, "learning_starts": 0}, 60, 8),
        (1, {"learning_starts": 60}, 60, 0),
        (1, {"gradient_steps": 0}, 60, 0),
        (1, {"train_freq": 1, "gradient_steps": 1, "learning_starts": 0}, 7, 7),
    ],
)
def test_train_freq_gradient_steps_and_learning_starts(n_envs, settings, steps, updates):
    model = make_model(make_line(n_envs), **settings).learn(60 if steps == 60 else steps)
    assert (model.num_timesteps, model._n_updates) == (steps, updates)


def test_a_wrong_unit_of_train_freq_is_an_error():
    with pytest.raises(ValueError, match=r"train_freq\[1\]='minute' is not valid; choose from \['step', 'episode'\]"):
        make_model(make_line(), train_freq=(1, "minute"))


def test_episodes_as_unit_need_one_environment():
    with pytest.raises(ValueError, match=r"train_freq=\(1, 'episode'\) is not valid with n_envs=2"):
        make_model(make_line(2), train_freq=(1, "episode"))


def test_the_learning_rate_follows_its_schedule():
    model = make_model(make_line(), learning_rate=lambda remaining: 0.01 * remaining).learn(100)
    assert model.policy.optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("reset", [True, False])
def test_learning_twice(reset):
    model = make_model(make_line(2), train_freq=3).learn(30).learn(30, reset_num_timesteps=reset)
    assert model.num_timesteps == (30 if reset else 60) and model.replay_buffer.pos == 30
    age = model.replay_buffer.age[:30, 0].tolist()
    assert age == [*range(10), *range(5), *([] if reset else range(5, 10)), *range(10), *range(5 if reset else 0)]


def test_the_statistics_window():
    model = make_model(make_line(), stats_window_size=3).learn(60)
    assert len(model.ep_info_buffer) == 3


def test_set_random_seed_seeds_collection_and_replay():
    model = make_model(make_line(2), seed=None, learning_starts=1000)
    actions, draws = [], []
    for _ in range(2):
        model.set_random_seed(7)
        model.replay_buffer.reset()
        model.learn(40)
        actions.append(model.replay_buffer.actions[:20].copy())
        draws.append(model._rng.integers(1000))
    assert (actions[0] == actions[1]).all() and draws[0] == draws[1]


@pytest.mark.parametrize("argument", ["action_noise", "use_sde", "replay_buffer_class", "tau"])
def test_arguments_of_sb3_that_make_no_sense_here_are_errors(argument):
    with pytest.raises(TypeError, match=rf"\['{argument}'\].*inference_coef.*arguments of SkillEmbedding"):
        make_model(make_line(), **{argument: None})


def test_an_unknown_policy_is_an_error():
    with pytest.raises(ValueError, match="CnnPolicy"):
        SkillEmbedding("CnnPolicy", Line())


# Callbacks and logs -------------------------------------------------------------------------------


def test_eval_callback_keeps_the_best_model(tmp_path):
    callback = callbacks.EvalCallback(
        make_line(n_tasks=2),
        eval_freq=20,
        n_eval_episodes=2,
        best_model_save_path=str(tmp_path),
        log_path=str(tmp_path),
        callback_on_new_best=callbacks.StopTrainingOnRewardThreshold(-1e9),
        verbose=0,
    )
    model = make_model(make_line(n_tasks=2)).learn(60, callback)
    assert model.num_timesteps == 20, "stopped at the first evaluation"
    assert np.load(tmp_path / "evaluations.npz")["results"].shape == (1, 2)
    SkillEmbedding.load(tmp_path / "best_model", env=make_line(n_tasks=2)).learn(20)


def test_stop_without_improvement():
    model = make_model(make_line())
    stop = callbacks.StopTrainingOnNoModelImprovement(max_no_improvement_evals=1)
    callback = callbacks.EvalCallback(make_line(), callback_after_eval=stop, eval_freq=10, verbose=0)
    callback.best_mean_reward = np.inf
    assert model.learn(100, callback).num_timesteps == 30, "the first one always counts as an improvement"


def test_checkpoints_with_the_replay_buffer(tmp_path):
    model = make_model(make_line(2))
    model.learn(60, callbacks.CheckpointCallback(10, str(tmp_path), save_replay_buffer=True))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert "rl_model_40_steps.zip" in names and "rl_model_replay_buffer_60_steps.pkl" in names and len(names) == 6


def test_stop_after_episodes_and_learn_on():
    model = make_model(make_line(n_tasks=2))
    model.learn(200, [callbacks.StopTrainingOnMaxEpisodes(3)])
    assert model.num_timesteps == 30
    model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps == 50
    replay = model.replay_buffer  # SB3 drops the step at which a callback stops
    assert (replay.age[:49, 0] == replay.observations[:49, 0, 1]).all(), "z is drawn where episodes start"
    assert (replay.next_observations[:49, 0, 1] == replay.age[:49, 0] + 1).all()


def test_callbacks_see_every_step():
    calls = []
    every = callbacks.EveryNTimesteps(20, callbacks.LogEveryNTimesteps(20))
    model = make_model(make_line(2))
    model.learn(40, lambda local, _: bool(calls.append(sorted(local))) or True)
    assert len(calls) == 20 and {"actions", "rewards", "dones", "infos", "new_obs"} <= set(calls[0])
    model.learn(40, every)


def test_progress_bar():
    assert make_model(make_line()).learn(40, progress_bar=True).num_timesteps == 40


def test_verbose_prints_a_table(capsys):
    make_model(make_line(), verbose=1).learn(100, log_interval=4)
    printed = capsys.readouterr().out
    for name in ("Using", "rollout/", "ep_rew_mean", "time/", "learning_rate", "n_updates", "loss/", "critic"):
        assert name in printed, name


def test_no_logs_without_an_interval(capsys):
    make_model(make_line(), verbose=1).learn(60, log_interval=None)
    assert "ep_rew_mean" not in capsys.readouterr().out


def test_tensorboard_folders_are_numbered(tmp_path):
    model = make_model(make_line(), tensorboard_log=str(tmp_path))
    model.learn(30, log_interval=1)
    model.learn(30, log_interval=1)
    model.learn(30, log_interval=1, reset_num_timesteps=False)
    model.learn(30, tb_log_name="other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SkillEmbedding_1", "SkillEmbedding_2", "other_1"]
    assert len(list((tmp_path / "SkillEmbedding_2").iterdir())) == 2
