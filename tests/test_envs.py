"""The contract of the environments: every id, and what is particular to the point mass."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from suite import (
    IDS,
    LONG_RUN_IDS,
    TWO_GOALS,
    actions_for,
    equal,
    every_id,
    multi_task_id,
    point_mass_id,
    rollout,
    row,
    vector_of,
)

from skill_envs import ENVIRONMENTS, TASKS, SkillVectorEnv
from skill_envs.physics import Physics

# The two environment checkers ------------------------------------------------------------------


@every_id
def test_gymnasium_checker_accepts(env_id):
    # Its render check opens a window for "human"; frames are tested in test_render.py.
    check_env(gymnasium.make(env_id).unwrapped, skip_render_check=True)


@every_id
def test_stable_baselines3_checker_accepts(env_id):
    sb3_check_env(gymnasium.make(env_id))


# One code path ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reward_type", ["paper", "shaped"])
@pytest.mark.parametrize(
    ("env_id", "steps"), [(i, 1000 if i in LONG_RUN_IDS else 2 * ENVIRONMENTS[i].horizon + 10) for i in IDS]
)
def test_single_equals_batch_bit_for_bit(env_id, steps, reward_type):
    n, seed = 3, 11
    batch = gymnasium.make_vec(env_id, num_envs=n, reward_type=reward_type)
    singles = [gymnasium.make(env_id, reward_type=reward_type) for _ in range(n)]
    observations, infos = batch.reset(seed=seed)
    for i, single in enumerate(singles):
        observation, info = single.reset(seed=seed + i)
        assert equal(observation, row(observations, i))
        assert info["is_success"] == infos["is_success"][i]

    episodes = 0
    for action in actions_for(batch, steps):
        observations, reward, terminated, truncated, infos = batch.step(action)
        for i, single in enumerate(singles):
            observation, r, term, trunc, info = single.step(action[i])
            assert (r, term, trunc) == (reward[i], terminated[i], truncated[i])
            if trunc:
                episodes += 1
                assert infos["_final_obs"][i] and infos["_final_info"][i]
                assert equal(observation, infos["final_obs"][i])
                assert infos["final_info"]["_is_success"][i]
                assert info["is_success"] == infos["final_info"]["is_success"][i]
                observation, info = single.reset()
            assert equal(observation, row(observations, i))
            assert infos["_is_success"][i] and info["is_success"] == infos["is_success"][i]
    assert episodes == n * (steps // ENVIRONMENTS[env_id].horizon)


@every_id
def test_results_do_not_depend_on_threads_or_batch_size(env_id):
    small = gymnasium.make_vec(env_id, num_envs=3, num_threads=1)
    large = gymnasium.make_vec(env_id, num_envs=9, num_threads=4)
    actions = actions_for(large, 2 * ENVIRONMENTS[env_id].horizon + 5)
    for a, b in zip(rollout(small, actions[:, :3]), rollout(large, actions), strict=True):
        first = {k: v[:3] for k, v in b.items()} if isinstance(b, dict) else b[:3]
        assert equal(a, first)


def test_each_simulation_runs_its_own_model():
    thin, thick = (TASKS["PointMassLeft"].compile() for _ in range(2))
    thick.dof_damping[:] *= 4
    physics = Physics([thin, thick], num_envs=3, substeps=5)
    physics.assign(np.array([0, 1, 0]))
    physics.ctrl[:] = 1.0
    assert not physics.step().any()
    assert equal(physics.qvel[0], physics.qvel[2]) and (physics.qvel[1] < 0.7 * physics.qvel[0]).all()
    assert equal(physics.write_model(1).dof_damping, thick.dof_damping)


# Spaces ----------------------------------------------------------------------------------------


@every_id
def test_observations_lie_in_their_space(env_id):
    env = gymnasium.make_vec(env_id, num_envs=4)
    first, *rest = rollout(env, actions_for(env, 120))
    for observation in (first, *rest[::4]):
        assert env.observation_space.contains(observation)


@every_id
def test_space_follows_the_task_table(env_id):
    tasks = ENVIRONMENTS[env_id].tasks
    space = gymnasium.make(env_id).observation_space
    parameters = TASKS[tasks[0]].parameters
    if parameters is not None:
        assert space["task"].shape == (len(parameters.channels),) and space["task"].dtype == np.float32
        space = space["observation"]
    elif len(tasks) == 1:
        assert isinstance(space, gymnasium.spaces.Box)
    else:
        assert space["task"] == gymnasium.spaces.Discrete(len(tasks))
        space = space["observation"]
    assert space.shape == (len(TASKS[tasks[0]].observation),) and space.dtype == np.float32


@point_mass_id
def test_no_observation_channel_is_constant(env_id):
    env = gymnasium.make(env_id)
    env.reset(seed=0)
    seen = [vector_of(env.step(action)[0]) for action in actions_for(env, 40)]
    assert (np.ptp(seen, axis=0) > 1e-3).all()


@every_id
def test_returned_arrays_share_no_memory(env_id):
    env = gymnasium.make_vec(env_id, num_envs=2, max_episode_steps=3)
    twin = gymnasium.make_vec(env_id, num_envs=2, max_episode_steps=3)
    kept = [vector_of(env.reset(seed=0)[0])]
    twin.reset(seed=0)
    for action in actions_for(env, 7):
        observation, reward, _, truncated, info = env.step(action)
        expected = twin.step(action)
        assert equal(observation, expected[0]) and equal(reward, expected[1])
        kept += [vector_of(observation), reward, truncated, info["is_success"]]
        if isinstance(observation, dict):
            kept.append(observation["task"])
        kept += [vector_of(final) for final in info.get("final_obs", []) if final is not None]
        kept[-1][...] = 1  # what a caller writes must not reach the simulation
        kept[0][...] = 1
        vector_of(observation)[...] = 1
    own = [env.physics.qpos, env.physics.qvel, env.physics.ctrl, env.task]
    for i, array in enumerate(kept):
        assert not any(np.shares_memory(array, other) for other in kept[i + 1 :] + own)


@every_id
def test_actions_are_clipped(env_id):
    a, b = (gymnasium.make_vec(env_id, num_envs=2) for _ in range(2))
    sign = np.sign(actions_for(a, 20))
    for x, y in zip(rollout(a, sign), rollout(b, 5 * sign), strict=True):
        assert equal(x, y)


# Seeding ---------------------------------------------------------------------------------------


@every_id
def test_seed_fixes_everything(env_id):
    env = gymnasium.make_vec(env_id, num_envs=2)
    actions = actions_for(env, 70)
    first, again, other = rollout(env, actions, 3), rollout(env, actions, 3), rollout(env, actions, 4)
    assert all(equal(a, b) for a, b in zip(first, again, strict=True))
    assert not equal(vector_of(first[0]), vector_of(other[0]))
    # Without a seed the generators go on.
    assert not equal(vector_of(env.reset()[0]), vector_of(env.reset()[0]))


def test_seed_list_and_its_length():
    env = gymnasium.make_vec(TWO_GOALS, num_envs=3)
    by_list, by_int = env.reset(seed=[5, 6, 7])[0], env.reset(seed=5)[0]
    assert equal(by_list, by_int)
    with pytest.raises(ValueError, match=r"seed=\[1, 2\] is not valid; choose .* or 3 of them"):
        env.reset(seed=[1, 2])


# The task --------------------------------------------------------------------------------------


@multi_task_id
def test_tasks_are_drawn_uniformly(env_id):
    count = len(ENVIRONMENTS[env_id].tasks)
    env = gymnasium.make_vec(env_id, num_envs=100 * count)
    share = np.bincount(env.reset(seed=0)[0]["task"], minlength=count) / env.num_envs
    assert np.abs(share - 1 / count).max() < 0.1


@multi_task_id
def test_task_option_holds_until_the_next_reset(env_id):
    count = len(ENVIRONMENTS[env_id].tasks)
    env = gymnasium.make_vec(env_id, num_envs=12, max_episode_steps=2)
    fixed = np.arange(12) % count
    for option, expected in ((count - 1, np.full(12, count - 1)), (fixed, fixed), (fixed.tolist(), fixed)):
        assert (env.reset(seed=0, options={"task": option})[0]["task"] == expected).all()
        for action in actions_for(env, 5):
            assert (env.step(action)[0]["task"] == expected).all()
    assert (env.reset(seed=0)[0]["task"] != fixed).any()

    single = gymnasium.make(env_id)
    assert {int(single.reset(options={"task": count - 1})[0]["task"]) for _ in range(10)} == {count - 1}


@every_id
@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
@pytest.mark.parametrize("bad", [-1, 99, 1.0, "left", [0, 0, 0, 0, 0], None])
def test_bad_task_option_is_named(env_id, make, bad):
    last = len(ENVIRONMENTS[env_id].tasks) - 1
    valid = f"an integer from 0 to {last}"
    if TASKS[ENVIRONMENTS[env_id].tasks[0]].parameters is not None:
        valid = "2 numbers, the cosine and sine of the goal's angle"
    with pytest.raises(ValueError, match=rf"(?s)options\['task'\]=.*choose {valid}") as error:
        make(env_id).reset(options={"task": bad})
    assert repr(bad) in str(error.value)


def test_unknown_reset_option_is_named():
    for env in (gymnasium.make(TWO_GOALS), gymnasium.make_vec(TWO_GOALS)):
        with pytest.raises(KeyError, match=r"goal.*valid ones are.*task"):
            env.reset(options={"goal": 1})


# Bad input -------------------------------------------------------------------------------------


@every_id
def test_bad_actions_are_named(env_id):
    batch, single = gymnasium.make_vec(env_id, num_envs=2), gymnasium.make(env_id)
    size = single.action_space.shape[0]
    batch.reset()
    single.reset()
    for env, shape, valid in ((batch, (2, size + 1), (2, size)), (batch, (size,), (2, size)), (single, (1,), (size,))):
        with pytest.raises(ValueError) as error:
            env.step(np.zeros(shape))
        assert str(shape) in str(error.value) and str(valid) in str(error.value)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=rf"{bad}.* is not finite"):
            batch.step(np.array([[0.0] * size, [0.0] * (size - 1) + [bad]]))
        with pytest.raises(ValueError, match=rf"{bad}.* is not finite"):
            single.step(np.full(size, bad))


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
def test_unknown_keyword_is_named(make):
    with pytest.raises(TypeError, match=r"colour.*valid ones are.*reward_type"):
        make(TWO_GOALS, colour="red")


@pytest.mark.parametrize(
    ("argument", "value", "valid"),
    [
        ("reward_type", "dense", "paper.*sparse.*shaped"),
        ("render_mode", "ascii", "rgb_array.*depth_array.*human"),
        ("autoreset_mode", "Never", "NEXT_STEP.*SAME_STEP.*DISABLED"),
        ("num_envs", 0, "from 1 to 1,048,576"),
        ("max_episode_steps", 0, "at least 1"),
        ("width", 0, "from 1 to 4,096"),
        ("height", -5, "from 1 to 4,096"),
    ],
)
def test_invalid_argument_is_named(argument, value, valid):
    with pytest.raises(ValueError, match=rf"{argument}={value!r} is not valid; choose.*{valid}"):
        gymnasium.make_vec(TWO_GOALS, **{"num_envs": 2, argument: value})
    if argument == "reward_type":
        with pytest.raises(ValueError, match=valid):
            gymnasium.make(TWO_GOALS, reward_type=value)
    if argument == "render_mode":  # Gymnasium itself warns first
        with pytest.warns(UserWarning, match="ascii"), pytest.raises(ValueError, match=valid):
            gymnasium.make(TWO_GOALS, render_mode=value)


@pytest.mark.parametrize("tasks", [("PointMassLeft", "Juggle"), ()])
def test_invalid_task_names_are_named(tasks):
    with pytest.raises(ValueError, match=r"(Juggle|\(\)).*PointMassLeft.*PointMassAny"):
        SkillVectorEnv(tasks)
