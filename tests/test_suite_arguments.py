"""Wrong arguments of the suite: each is named, and nothing is taken silently."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skill_agent import make_skill_vec_env
from skill_envs import TASKS, SkillEnv, SkillVectorEnv, arguments, arm, checks

TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_envs", 1.5), ("num_envs", True), ("num_threads", -1), ("num_threads", 2.0), ("max_episode_steps", 1.5),
        ("max_episode_steps", float("nan")), ("max_episode_steps", "9"), ("reward_type", None), ("reward_type", 1),
        ("render_mode", 1), ("autoreset_mode", None), ("autoreset_mode", 1), ("width", 480.0), ("height", "480"),
        ("shadow_size", -1), ("shadow_size", 4097),
    ],
)  # fmt: skip
def test_arguments_of_the_wrong_kind_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}=.* is not valid; choose"):
        SkillVectorEnv(["PointMassLeft"], **{"num_envs": 2, name: value})
    if name not in ("num_envs",):
        with pytest.raises(ValueError, match=f"{name}=.* is not valid; choose"):
            make_skill_vec_env(TWO_GOALS, 2, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("n_envs", 0), ("n_envs", 2.0), ("seed", -1), ("seed", "x"), ("seed", 0.5)]
)
def test_arguments_of_the_adapter_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}="):
        make_skill_vec_env(TWO_GOALS, **{name: value})


def test_seeds_of_checks():
    assert checks.seeds(None, 2) == [None, None] and checks.seeds(3, 2) == [3, 4]
    assert checks.seeds((np.int64(1), None), 2) == [1, None] and checks.seeds(np.array([1, 2]), 2) == [1, 2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_envs", 10**30), ("num_envs", np.ones(2)), ("num_threads", 10**9), ("num_threads", None),
        ("reward_type", ["paper"]), ("reward_type", np.array("paper")), ("render_mode", True),
        ("autoreset_mode", "same_step"), ("max_episode_steps", np.inf),
    ],
)  # fmt: skip
def test_other_wrong_arguments_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}=.* is not valid; choose"):
        SkillVectorEnv(["PointMassLeft"], **{name: value})


@pytest.mark.parametrize("tasks", ["PointMassLeft", None, 3, (), [], {"PointMassLeft"}, [["PointMassLeft"]], [None]])
def test_wrong_tasks_are_named(tasks):
    for make in (SkillVectorEnv, SkillEnv):
        with pytest.raises(ValueError, match=r"tasks?=.* is not valid; choose"):
            make(tasks)


def test_tasks_of_one_environment_have_one_layout():
    with pytest.raises(ValueError, match=r"tasks=.*with 'PointMassLeft' choose from \['PointMassLeft'(?!.*'Push'\])"):
        SkillVectorEnv(["PointMassLeft", "Push"], 2)
    SkillVectorEnv(list(arm.TASKS), 1)


def test_numpy_integers_are_integers_and_states_hold_them():
    env = SkillVectorEnv(["PointMassLeft"], np.int64(2), max_episode_steps=np.int32(5), num_threads=np.int8(1))
    env.reset(seed=np.int64(3))
    assert type(env.num_envs) is int and type(env.state()["settings"]["max_episode_steps"]) is int
    assert env.np_random_seed == (3, 4)


@pytest.mark.parametrize("options", ["task", [("task", 1)], 3, True, np.ones(2)])
def test_options_that_are_no_dict_are_named(options):
    for env in (gymnasium.make(TWO_GOALS), gymnasium.make_vec(TWO_GOALS, 2)):
        with pytest.raises(ValueError, match=r"options=.* is not valid; choose None or a dict"):
            env.unwrapped.reset(options=options)


def test_unknown_options_of_any_kind_are_named():
    for env in (gymnasium.make(TWO_GOALS), gymnasium.make_vec(TWO_GOALS, 2)):
        with pytest.raises(KeyError, match=r"unknown reset options \[1, 'goal'\]"):
            env.unwrapped.reset(options={1: 2, "goal": 3, "task": 0})
    with pytest.raises(KeyError, match="reset_mask"):  # of batches alone
        gymnasium.make(TWO_GOALS).reset(options={"reset_mask": np.array([True])})


@pytest.mark.parametrize(
    "action",
    ["ab", None, [[1, 2], [1]], np.full((2, 2), None), np.zeros((2, 2), complex), [["0", "1"], ["1", "0"]], {}],
)
def test_actions_that_are_no_numbers_are_named(action):
    env = gymnasium.make_vec(TWO_GOALS, 2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"(?s)action=.* is not valid; choose real numbers, .*\(2, 2\)"):
        env.step(action)


# What no test names -------------------------------------------------------------------------------

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=5))
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=2)
)
unhurried = settings(deadline=None)  # on a loaded machine
ENV = SkillVectorEnv(["PointMassLeft", "PointMassRight"], 2)


def right(name, value):
    """Whether a value of an argument is right."""
    integer = isinstance(value, int) and not isinstance(value, bool)
    return {
        "reward_type": value in ("paper", "sparse", "shaped"),
        "max_episode_steps": value is None or (integer and value > 0),
        "render_mode": value is None or value in ("rgb_array", "depth_array", "human"),
    }[name]


@unhurried
@given(st.sampled_from(["reward_type", "max_episode_steps", "render_mode"]), ANYTHING)
def test_any_value_is_set_or_named(name, value):
    env = SkillVectorEnv.__new__(SkillVectorEnv)
    env._arguments = {}
    if right(name, value):
        setattr(env, name, value)
        assert getattr(env, name) == value
    else:
        with pytest.raises(ValueError, match=f"{name}="):
            setattr(env, name, value)


@unhurried
@given(ANYTHING)
def test_any_seed_is_taken_or_named_and_is_then_a_list_for_all(seed):
    try:
        seeds = checks.seeds(seed, 2)
    except ValueError as error:
        assert "seed" in str(error)
    else:
        assert len(seeds) == 2 and all(s is None or (type(s) is int and s >= 0) for s in seeds)


@unhurried
@given(ANYTHING)
def test_any_options_are_taken_or_named(options):
    try:
        ENV.reset(seed=0, options=options)
    except KeyError as error:
        assert "unknown reset options" in str(error)
    except TypeError as error:
        assert "reset_mask" in str(error)
    except ValueError as error:
        assert "options" in str(error)
    else:
        assert options is None or set(options) <= {"task"}


@unhurried
@given(ANYTHING)
def test_any_task_is_taken_or_named(task):
    try:
        indices = checks.task_indices(task, 2, 3)
    except ValueError as error:
        assert "options['task']=" in str(error)
    else:
        assert indices.shape == (3,) and set(indices.tolist()) <= {0, 1}


@unhurried
@given(ANYTHING)
def test_any_action_is_taken_or_named(action):
    try:
        array = checks.finite_actions(action, (2,))
    except ValueError as error:
        assert "action" in str(error)
    else:
        assert array.shape == (2,) and array.dtype == np.float64 and np.isfinite(array).all()


@unhurried
@given(st.lists(st.one_of(st.sampled_from(list(TASKS)), SCALARS), max_size=3) | ANYTHING)
def test_any_tasks_are_taken_or_named(tasks):
    try:
        names = arguments.tasks(tasks)
    except ValueError as error:
        assert "task" in str(error)
    else:
        assert names == tuple(tasks) and len({TASKS[name].observation for name in names}) == 1
