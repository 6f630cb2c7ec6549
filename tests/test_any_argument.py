"""Whatever is passed to the public interface: an error that names it, or a result that is right.

Hypothesis draws one or two arguments of a call from values of every kind; the others are right ones. The draws are the
same in every run.
"""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy import make_model

import skill_agent
import skill_envs
from skill_agent import (
    CheckpointError,
    RunCheckpoint,
    SkillConfig,
    SkillEmbedding,
    SkillPolicy,
    SkillsFileError,
    SkillSpaceVecEnv,
    TransferredPolicy,
    load_checkpoint,
    load_latest,
    load_policy,
    load_skills,
    make_skill_vec_env,
    make_task_vec_env,
    save_checkpoint,
    transfer,
)
from skill_agent.checkpoint import list_checkpoints
from skill_envs import SkillEnv, SkillVectorEnv, demonstrate

NAN, INF = float("nan"), float("inf")
FOUR_GOALS = "SkillEmbed/PointMassFourGoals-v0"
NAMED = (ValueError, TypeError, KeyError, FileNotFoundError, CheckpointError, gymnasium.error.Error)

# No functions, since a function that is called later may raise what it wants.
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.sampled_from([-(2**63), 2**64, 10**30, 0.5, 1.0, 20.0, -1.0, NAN, INF, -INF, 1e300, 1e-300]),
    st.floats(-2, 20),
    st.text("ab0é \0", max_size=4),
    st.sampled_from(["yes", "cpu", "sparse", "gaussian", FOUR_GOALS, "PointMassAny", "MlpPolicy"]),
    st.sampled_from([b"1", 1j, (), [], {}, {"a": 1}, {1: 2}, object()]),
    st.sampled_from([np.int64(3), np.float32(0.5), np.True_, np.array(NAN), np.zeros(3), np.zeros((2, 4)), np.eye(3)]),
    st.lists(st.integers(-1, 6), max_size=3),
    st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
    st.tuples(st.integers(-1, 3), st.sampled_from(["step", "episode", "day"])),
)


# Names are hardly drawn by chance.
WORDS = ANYTHING | st.text("xyzö ", min_size=1, max_size=4) | st.sampled_from(["pointmass", "Push", FOUR_GOALS])
NAMES_OF_TASKS = st.text("xyzö ", max_size=4) | st.sampled_from(["PointMassAny", "PointMassUp", "Push"])
VALUES = {
    "skills": WORDS,
    **dict.fromkeys(("path", "task", "env_id"), WORDS),
    "tasks": ANYTHING | st.lists(NAMES_OF_TASKS, max_size=3),
}


class Call(NamedTuple):
    """What is called, its right arguments, and the names of those that are drawn."""

    function: Callable[..., Any]
    right: dict[str, Any]
    drawn: Sequence[str]
    check: Callable[[Any, dict[str, Any]], None]  # of the result and all arguments; fails if they do not fit

    def __repr__(self):
        """Short, since Hypothesis shows all calls where one fails."""
        return "Call"


FRESH = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """An empty working folder, since a drawn path may be made."""
    folder = tmp_path_factory.mktemp("any")
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture(scope="module")
def model():
    return make_model(make_skill_vec_env(FOUR_GOALS, 2, seed=0))


@pytest.fixture(scope="module")
def calls(model, folder):
    env = make_skill_vec_env(FOUR_GOALS, 2, seed=0)
    space = SkillSpaceVecEnv(env, model.policy)
    transferred = TransferredPolicy(model.policy, make_model(space, embedding="task_id").policy, 2)
    observation = np.zeros((2, 4), np.float32)
    checkpoint = save_checkpoint(model, folder / "checkpoints")
    learner = (
        *("learning_rate", "buffer_size", "learning_starts", "batch_size", "gamma", "train_freq", "gradient_steps"),
        *("policy_kwargs", "stats_window_size", "tensorboard_log", "verbose", "seed", "device", "config"),
    )
    tiny = {
        "policy": "MlpPolicy", "env": env, "policy_kwargs": {"net_arch": [4]}, "device": "cpu",
        "learning_starts": 0, "train_freq": 2, "gradient_steps": 1, "batch_size": 2,
    }  # fmt: skip
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    networks = {**spaces, "lr_schedule": lambda _: 1e-3, "net_arch": [4]}
    suite = ("num_envs", "reward_type", "max_episode_steps", "autoreset_mode", "width", "height", "num_threads")
    suite += ("shadow_size",)
    acting = ("observation", "state", "episode_start", "deterministic")
    ours = [setting.name for setting in fields(SkillConfig)]
    quick = [name for name in ours if name != "compile"]  # which takes half a minute where it is True
    return {
        "SkillConfig": Call(SkillConfig, {}, ours, kept_by_config),
        "SkillEmbedding": Call(SkillEmbedding, tiny, (*learner, "policy", "env", *quick, "alpha"), kept_by_model),
        "SkillPolicy": Call(SkillPolicy, networks, (*networks, "config", "activation_fn"), acts),
        "SkillEmbedding.learn": Call(
            lambda **given: make_model(env).learn(**given),
            {"total_timesteps": 4},
            ("total_timesteps", "callback", "log_interval", "tb_log_name", "reset_num_timesteps"),
            has_learned,
        ),
        "SkillEmbedding.predict": Call(model.predict, {"observation": observation}, acting, is_action),
        "TransferredPolicy.predict": Call(transferred.predict, {"observation": observation}, acting[:3], is_action),
        "TransferredPolicy": Call(
            TransferredPolicy,
            {"skills": model.policy, "mapping": transferred.mapping, "hold": 2},
            ("mapping", "hold"),
            kept_hold,
        ),
        "SkillSpaceVecEnv": Call(
            SkillSpaceVecEnv, {"venv": env, "skills": model.policy}, ("venv", "skills", "hold", "seed"), kept_hold
        ),
        "SkillSpaceVecEnv.step": Call(lambda z: step(space, z), {}, ("z",), steps),
        "transfer": Call(
            lambda **given: transfer(
                **given, bf16=False, train_freq=2, gradient_steps=1, policy_kwargs={"net_arch": [4]}
            ),
            {"skills": model, "task": FOUR_GOALS, "total_timesteps": 24, "n_envs": 2, "hold": 2},
            ("skills", "task", "total_timesteps", "n_envs", "seed", "hold", "learning_rate", "callback", "verbose"),
            is_transferred,
        ),
        "RunCheckpoint": Call(
            RunCheckpoint,
            {"folder": folder, "every_steps": 100},
            ("folder", "every_seconds", "every_steps", "keep", "extra"),
            saves,
        ),
        "save_checkpoint": Call(
            lambda keep: save_checkpoint(model, folder / str(next(FRESH)), keep=keep), {}, ("keep",), is_checkpoint
        ),
        "load_checkpoint": Call(load_checkpoint, {"model": model, "checkpoint": checkpoint}, ("checkpoint",), is_none),
        "load_latest": Call(load_latest, {"model": model, "folder": checkpoint.parent}, ("folder",), is_found),
        "load_skills": Call(load_skills, {"path": "pointmass"}, ("path",), acts),
        "load_policy": Call(load_policy, {"path": "pointmass"}, ("path",), is_transferred),
        "make_skill_vec_env": Call(
            make_skill_vec_env, {"env_id": FOUR_GOALS, "n_envs": 2}, ("env_id", "n_envs", "seed", *suite[1:3]), is_batch
        ),
        "make_task_vec_env": Call(
            make_task_vec_env, {"tasks": "Pendulum-v1", "n_envs": 2}, ("tasks", "n_envs", "seed"), is_batch
        ),
        "SkillVectorEnv": Call(SkillVectorEnv, {"tasks": ("PointMassAny",)}, ("tasks", *suite, "speed"), is_batch),
        "SkillEnv": Call(SkillEnv, {"tasks": ("PointMassAny",)}, ("tasks", "reward_type", "width"), is_single),
        "demonstrate": Call(lambda task: next(demonstrate(task)), {}, ("task",), is_demonstration),
    }


def kept(given, name, value):
    """Whether ``value`` is what was given, up to its type."""
    expected = given[name]
    if isinstance(expected, list):
        expected = tuple(expected)
    assert type(value) is not np.ndarray and value == expected, (name, value, expected)


def kept_by_config(config, given):
    for name in given:
        kept(given, name, getattr(config, name))
    assert SkillConfig(**asdict(config)) == config


def kept_by_model(model, given):
    for name in set(given) - {"policy", "env", "policy_kwargs", "stats_window_size", "device", "config", "train_freq"}:
        kept(given, name, getattr(model.config if hasattr(model.config, name) else model, name))
    if model.env is not None:
        assert model.action_space.contains(model.predict(model.env.reset())[0][0])
        assert model.learn(4).num_timesteps >= 4
        assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


def acts(policy, given):
    action, _ = policy.predict(policy.observation_space.sample())
    assert policy.action_space.contains(action)


def has_learned(model, given):
    steps = given["total_timesteps"]
    assert model.num_timesteps >= steps and (model.num_timesteps > 0) == (steps > 0)


def is_action(result, given):
    action, state = result
    assert np.isfinite(action).all() and (np.abs(action) <= 1).all()
    assert action.shape == (*np.shape(given["observation"])[:-1], 2) and np.isfinite(state[0]).all()


def is_transferred(policy, given):
    acts(policy.skills, given)
    assert policy.skills.action_space.contains(policy.predict(np.zeros(policy.skills.state_dim))[0])
    kept_hold(policy, given)


def kept_hold(result, given):
    if "hold" in given:
        kept(given, "hold", result.hold)


def step(env, z):
    env.reset()
    return env.step(z)


def steps(result, given):
    assert result[0].shape == (2, 4) and np.isfinite(result[1]).all()


def saves(callback, given):
    assert (given.get("every_seconds") is None) != (given.get("every_steps") is None)


def is_checkpoint(checkpoint, given):
    assert list_checkpoints(checkpoint.parent) == [checkpoint]


def is_none(result, given):
    assert result is None


def is_found(result, given):
    assert (result is None) == (not list_checkpoints(Path(given["folder"])))


def is_batch(env, given):
    count = given.get("num_envs", given.get("n_envs", 1))
    assert env.num_envs == count
    env.reset()
    env.close()


def is_single(env, given):
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    env.close()


def is_demonstration(result, given):
    assert result.successes[-1]


NAMES = (
    *("SkillConfig", "SkillEmbedding", "SkillPolicy", "SkillEmbedding.learn", "SkillEmbedding.predict"),
    *("TransferredPolicy", "TransferredPolicy.predict", "transfer", "SkillSpaceVecEnv", "SkillSpaceVecEnv.step"),
    *("RunCheckpoint", "save_checkpoint", "load_checkpoint", "load_latest", "load_skills", "load_policy"),
    *("make_skill_vec_env", "make_task_vec_env", "SkillVectorEnv", "SkillEnv", "demonstrate"),
)
# Errors, tables, and records without checks of their own; what writes or shares files of skills has tests of its own.
NOT_CALLED = {
    *("CheckpointError", "PickleWarning", "SkillsFileError", "TrainingDiverged", "export_policy", "export_skills"),
    *("push_to_hub", "ENVIRONMENTS", "TASKS", "Demonstration", "Environment", "Task"),
}


def test_every_public_name_is_called(calls):
    public = {*skill_agent.__all__, *skill_envs.__all__}
    assert set(NAMES) == set(calls)
    assert {name.split(".")[0] for name in NAMES} == public - NOT_CALLED and public >= NOT_CALLED


def says(error, name, value):
    """Whether an error says which argument is meant."""
    text = str(error)
    if isinstance(error, FileNotFoundError | CheckpointError | SkillsFileError | gymnasium.error.Error):
        return str(value) in text
    if name == "policy_kwargs" and isinstance(value, dict) and any(repr(key) in text for key in value):
        return True
    names = {"tasks": "task"}  # one of several is named
    return names.get(name, name) in text or f"{name.capitalize()} {value} " in text


@pytest.mark.parametrize("name", NAMES)
@settings(derandomize=True, database=None, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_call_names_what_is_wrong_or_gives_what_is_right(calls, name, data):
    call = calls[name]
    drawn = {}
    for argument in data.draw(st.lists(st.sampled_from(call.drawn), min_size=1, max_size=2, unique=True)):
        drawn[argument] = data.draw(VALUES.get(argument, ANYTHING))
    arguments = {**call.right, **drawn}
    try:
        result = call.function(**arguments)
    except NAMED as error:
        assert any(says(error, argument, value) for argument, value in drawn.items()), repr(error)
    else:
        call.check(result, arguments)
