"""Rewards and success."""

import copy

import gymnasium
import numpy as np
import pytest
from suite import actions_for, equal, every_id, point_mass_id, rollout

from skill_envs import ENVIRONMENTS, TASKS, SkillVectorEnv, rewards


def place(env, positions):
    """Put the masses of a point-mass batch at ``positions``, at rest, and let one step pass."""
    env.physics.qpos[:], env.physics.qvel[:] = positions, 0.0
    return env.step(np.zeros(env.action_space.shape))


@point_mass_id
def test_sparse_reward_and_success_follow_the_geometry(env_id):
    n = 600
    env = gymnasium.make_vec(env_id, num_envs=n, max_episode_steps=None)
    env.reset(seed=0)
    positions = np.random.default_rng(0).uniform(-1.3, 1.3, (n, 2))
    positions *= np.minimum(1.0, 1.19 / np.linalg.norm(positions, axis=1, keepdims=True))  # within the arena
    observation, reward, _, _, info = place(env, positions)
    assert np.array_equal(env.physics.qpos, positions)  # no force, no motion
    inside = np.zeros(n, bool)
    for i in range(n):
        task = TASKS[ENVIRONMENTS[env_id].tasks[env.task[i]]]
        goals = task.goals[:1] if task.turn else task.goals  # of those that count in turn, the first does
        if task.parameters is not None:
            goals = [env.parameters[i]]
        inside[i] = any(np.hypot(positions[i, 0] - x, positions[i, 1] - y) <= task.goal_radius for x, y in goals)
    assert 10 < inside.sum() < n - 10
    assert np.array_equal(info["is_success"], inside)
    assert np.array_equal(reward, inside.astype(float))
    if isinstance(observation, dict):
        shown = env.parameters.astype(np.float32) if env.parameters.size else env.task
        assert np.array_equal(observation["task"], shown)


def test_goals_in_turn_count_one_after_the_other():
    tour, still = TASKS["PointMassTour"], TASKS["PointMassLeft"]
    env = SkillVectorEnv(["PointMassTour", "PointMassLeft"], 2, max_episode_steps=None)
    goals = np.array(tour.goals)
    env.reset(seed=0, options={"task": [0, 1]})
    visited = 0
    for step, goal in enumerate(np.random.default_rng(0).integers(len(goals), size=300)):
        counts = min(visited // tour.turn, len(goals) - 1)
        _, reward, _, _, info = place(env, goals[[goal, goal]])
        expected = [goal == counts, tour.goals[goal] == still.goals[0]]
        assert info["is_success"].tolist() == expected and reward.tolist() == [float(x) for x in expected], step
        visited += goal == counts
    assert visited > 5 * tour.turn, "the last goal counts on"
    env.reset(options={"task": 0, "reset_mask": np.array([True, False])})
    assert place(env, goals[[0, 0]])[1].tolist() == [1.0, 0.0], "an episode begins at the first goal"


def test_a_tour_goes_on_from_its_state():
    env, twin = (gymnasium.make_vec("SkillEmbed/PointMassTour-v0", num_envs=2) for _ in range(2))
    for each in (env, twin):
        each.reset(seed=0)
    goals = np.array(TASKS["PointMassTour"].goals)
    for _ in range(TASKS["PointMassTour"].turn):
        place(env, goals[[0, 1]])
    state = env.unwrapped.state()
    twin.unwrapped.set_state(state)
    for each in (env, twin, copy.deepcopy(env)):
        assert place(each, goals[[1, 0]])[1].tolist() == [1.0, 1.0]
    state["_visited"] = state["_visited"] - 20
    with pytest.raises(ValueError, match=r"^_visited holds -"):
        twin.unwrapped.set_state(state)


def test_a_tour_is_made_in_its_time_by_a_controller_that_knows_it():
    task = TASKS["PointMassTour"]
    env = gymnasium.make_vec("SkillEmbed/PointMassTour-v0", num_envs=64)
    observation, _ = env.reset(seed=0)
    total = np.zeros(64)
    for _ in range(task.horizon):
        goal = np.array(task.goals)[np.minimum(total // task.turn, len(task.goals) - 1).astype(int)]
        force = 2.0 * (goal - observation[:, :2]) - 0.2 * observation[:, 2:]
        observation, reward, _, truncated, info = env.step(np.clip(force, -1, 1))
        total += reward
    assert truncated.all() and info["final_info"]["is_success"].all() and total.min() >= 50


def test_sparse_reward_at_the_edge():
    task = TASKS["PointMassLeft"]
    env = SkillVectorEnv(["PointMassLeft"], 2)
    env.reset(seed=0)
    (x, y), r = task.goals[0], task.goal_radius
    _, reward, _, _, info = place(env, [[x, y + r - 1e-9], [x, y + r + 1e-9]])
    assert reward.tolist() == [1.0, 0.0] and info["is_success"].tolist() == [True, False]


def test_shaped_reward_is_one_inside_and_falls_outside():
    task = TASKS["PointMassLeft"]
    n = 40
    env = SkillVectorEnv(["PointMassLeft"], n, reward_type="shaped")
    env.reset(seed=0)
    distance = np.linspace(0.0, 2.1, n)
    _, reward, _, _, info = place(env, task.goals[0] + distance[:, None] * [1.0, 0.0])
    assert (reward[info["is_success"]] == 1.0).all()
    outside = reward[~info["is_success"]]
    assert (np.diff(outside) < 0).all() and outside.max() < 1.0 and outside.min() > 0.0
    at_margin = rewards.shaped(np.array([0.5]), margin=np.array([0.5]))
    assert at_margin == pytest.approx(0.1)


@point_mass_id
def test_rewards_are_sparse_by_default(env_id):
    default, sparse = (
        gymnasium.make_vec(env_id, num_envs=3),
        gymnasium.make_vec(env_id, num_envs=3, reward_type="sparse"),
    )
    actions = actions_for(default, 120)
    assert all(equal(a, b) for a, b in zip(rollout(default, actions), rollout(sparse, actions), strict=True))


@every_id
def test_sparse_reward_is_success(env_id):
    env = gymnasium.make_vec(env_id, num_envs=8, reward_type="sparse")
    env.reset(seed=0)
    for action in actions_for(env, ENVIRONMENTS[env_id].horizon - 1):
        _, reward, _, _, info = env.step(action)
        assert np.array_equal(reward, info["is_success"].astype(float))
