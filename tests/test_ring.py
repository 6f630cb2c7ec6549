"""An environment whose task has parameters: the goal at a continuous angle."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from suite import actions_for, equal

from skill_agent import make_skill_vec_env
from skill_envs import TASKS, SkillVectorEnv

RING = "SkillEmbed/PointMassRing-v0"


def angles(task):
    return np.degrees(np.arctan2(task[:, 1], task[:, 0])) % 360


def towards(observation):
    """Actions that lead the mass to its goal."""
    state = observation["observation"]
    return np.clip(4 * (observation["task"] - state[:, :2]) - 0.5 * state[:, 2:], -1, 1)


@pytest.mark.parametrize(
    ("arc", "low", "high"), [(None, 90, 360), ("train", 90, 360), ("held_out", 0, 90), ("all", 0, 360)]
)
def test_goals_are_drawn_uniformly_from_the_arc(arc, low, high):
    env = gymnasium.make_vec(RING, num_envs=1000, arc=arc)
    found = angles(env.reset(seed=0)[0]["task"])
    assert low <= found.min() and found.max() <= high
    counts, _ = np.histogram(found, 10, (low, high))
    assert counts.min() > 70 and counts.max() < 130


def test_the_arc_changes_the_goals_alone():
    starts = [gymnasium.make_vec(RING, num_envs=5, arc=arc).reset(seed=0)[0] for arc in ("train", "held_out")]
    assert equal(starts[0]["observation"], starts[1]["observation"]) and not equal(starts[0]["task"], starts[1]["task"])


@pytest.mark.parametrize("arc", ["train", "held_out"])
def test_every_goal_can_be_reached(arc):
    env = gymnasium.make_vec(RING, num_envs=20, arc=arc)
    observation, info = env.reset(seed=0)
    assert not info["is_success"].any()
    for _ in range(TASKS["PointMassRing"].horizon):
        observation, _, _, truncated, info = env.step(towards(observation))
    assert truncated.all() and info["final_info"]["is_success"].sum() == 20


def test_the_option_fixes_the_goal_until_the_next_reset():
    env = gymnasium.make_vec(RING, num_envs=3, max_episode_steps=2)
    drawn = env.reset(seed=0)[0]
    each = np.array([[0.6, 0.8], [-1.0, 0.0], [0.0, 1.0]], np.float32)
    for option, expected in (((0.6, 0.8), each[[0, 0, 0]]), (each, each), (each.tolist(), each)):
        observation = env.reset(seed=0, options={"task": option})[0]
        assert equal(observation["task"], expected) and equal(observation["observation"], drawn["observation"])
        for action in actions_for(env, 5):
            assert equal(env.step(action)[0]["task"], expected)
    assert equal(env.reset(seed=0)[0], drawn)
    mask = np.array([False, True, False])
    observation = env.reset(options={"task": each, "reset_mask": mask})[0]
    assert equal(observation["task"][1], each[1]) and equal(observation["task"][mask == 0], drawn["task"][mask == 0])
    # What an environment shows can be given to another one.
    assert equal(env.reset(seed=0, options={"task": drawn["task"]})[0], drawn)


def test_with_two_environments_a_vector_of_two_is_one_goal_for_both():
    task = gymnasium.make_vec(RING, num_envs=2).reset(options={"task": [0.0, 1.0]})[0]["task"]
    assert equal(task, np.array([[0, 1], [0, 1]], np.float32))


@pytest.mark.parametrize("task", [(1, 1), (0, 0), (0.9, 0), (np.nan, 1), (1, 0, 0), [[1, 0]] * 2, "up", True, None, {}])
def test_what_is_on_no_circle_is_named(task):
    env = gymnasium.make_vec(RING, num_envs=3)
    with pytest.raises(ValueError, match=r"(?s)options\['task'\]=.*choose 2 numbers, the cosine and sine of the goal"):
        env.reset(options={"task": task})
    single = gymnasium.make(RING)
    with pytest.raises(ValueError, match=r"(?s)options\['task'\]=.*choose 2 numbers"):
        single.reset(seed=0, options={"task": task})


@pytest.mark.parametrize("arc", ["quarter", 3, ["train"], True])
def test_an_unknown_arc_is_named(arc):
    with pytest.raises(ValueError, match=r"arc=.* choose from \['train', 'held_out', 'all'\]"):
        SkillVectorEnv(["PointMassRing"], 2, arc=arc)


def test_other_tasks_have_no_arc_and_the_ring_goes_with_no_other_task():
    with pytest.raises(ValueError, match=r"arc='train' is not valid; choose None, since \['Push'\] have no parameters"):
        gymnasium.make("SkillEmbed/Push-v0", arc="train")
    with pytest.raises(ValueError, match=r"tasks=.*choose 'PointMassRing' alone"):
        SkillVectorEnv(["PointMassRing", "PointMassRing"], 2)
    with pytest.raises(ValueError, match=r"tasks=.*with 'PointMassLeft' choose from"):
        SkillVectorEnv(["PointMassLeft", "PointMassRing"], 2)


def test_the_goal_is_seen_where_it_is(tmp_path):
    env = gymnasium.make(RING, render_mode="rgb_array", width=64, height=64)
    env.reset(seed=0, options={"task": (0.6, 0.8)})
    assert env.unwrapped.data.site("goal").xpos[:2] == pytest.approx([0.6, 0.8])
    up = env.render().astype(int)
    env.reset(seed=0, options={"task": (0.6, -0.8)})
    down = env.render().astype(int)
    changed = np.argwhere(np.abs(up - down).sum(-1) > 60)
    assert len(changed) > 20 and changed[:, 0].min() < 20 and changed[:, 0].max() > 44
    env.close()


def test_a_divergence_leaves_the_goal_in_its_place():
    env = gymnasium.make_vec(RING, num_envs=2, autoreset_mode="Disabled")
    env.reset(seed=0, options={"task": (0.6, 0.8)})
    env.physics.qvel[1] = np.nan
    *_, truncated, info = env.step(np.zeros((2, 2)))
    assert truncated.tolist() == info["physics_error"].tolist() == [False, True]
    assert env.physics.mocap_pos[:, 0, :2] == pytest.approx(np.array([[0.6, 0.8]] * 2))


@pytest.mark.parametrize("copied", ["state", "pickle", "deepcopy"])
def test_a_copy_goes_on_bit_for_bit_and_keeps_what_was_fixed(copied):
    env = gymnasium.make_vec(RING, num_envs=4, arc="all", max_episode_steps=3).unwrapped
    env.reset(seed=0)
    env.reset(options={"task": (0.6, 0.8), "reset_mask": np.array([True, False, False, True])})
    env.step(np.zeros((4, 2)))
    if copied == "state":
        twin = gymnasium.make_vec(RING, num_envs=4, arc="all", max_episode_steps=3).unwrapped
        twin.set_state(env.state())
    else:
        twin = pickle.loads(pickle.dumps(env)) if copied == "pickle" else copy.deepcopy(env)
    assert equal(twin.physics.mocap_pos, env.physics.mocap_pos)
    for action in actions_for(env, 7):
        (mine, *rest), (theirs, *others) = env.step(action), twin.step(action)
        assert equal(mine, theirs) and all(equal(a, b) for a, b in zip(rest[:3], others[:3], strict=True))
        assert equal(mine["task"][[0, 3]], np.array([[0.6, 0.8]] * 2, np.float32))


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("parameters", lambda x: x[:, :1], "parameters is float64"),
        ("parameters", lambda x: x * np.nan, "parameters holds nan"),
        ("_fixed_parameters", lambda x: x.astype(np.float32), "_fixed_parameters is float32"),
        ("_has_fixed_parameters", lambda x: x[1:], "_has_fixed_parameters is bool"),
    ],
)
def test_a_state_that_is_none_is_named(name, change, named):
    env = gymnasium.make_vec(RING, num_envs=2).unwrapped
    env.reset(seed=0)
    state = env.state()
    state[name] = change(state[name])
    with pytest.raises(ValueError, match=named):
        env.set_state(state)


def test_a_state_is_of_one_arc():
    env = gymnasium.make_vec(RING, num_envs=2, arc="held_out").unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"'arc': 'held_out'.*'arc': 'train'"):
        gymnasium.make_vec(RING, num_envs=2).unwrapped.set_state(env.state())
    assert "arc" not in SkillVectorEnv(["Push"], 1).state()["settings"]


def test_options_reach_the_view_of_sb3():
    env = make_skill_vec_env(RING, 2, seed=0, arc="held_out")
    env.set_options({"task": (0.6, 0.8)})
    assert equal(env.reset()["task"], np.array([[0.6, 0.8]] * 2, np.float32))
    observation, _ = env.env_method("reset", indices=1, options={"task": np.array([1.0, 0.0])})[0]
    assert equal(observation["task"], np.array([1, 0], np.float32))
    env.set_options({"task": (2.0, 0.0)})
    with pytest.raises(ValueError, match="options"):
        env.reset()
