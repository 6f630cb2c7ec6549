"""The contract of the environments: every id, and what is particular to the point mass."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from mujoco.batch import SimulationError
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from skill_envs import ENVIRONMENTS, TASKS, SkillVectorEnv, rewards
from skill_envs.physics import Physics

IDS = list(ENVIRONMENTS)
MULTI_TASK_IDS = [i for i in IDS if len(ENVIRONMENTS[i].tasks) > 1]
POINT_MASS_IDS = [i for i in IDS if "PointMass" in i]
TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"
LONG_RUN_IDS = [TWO_GOALS, "SkillEmbed/LWall-v0", "SkillEmbed/RailPush-v0", "SkillEmbed/PretrainAll-v0"]
every_id = pytest.mark.parametrize("env_id", IDS)
multi_task_id = pytest.mark.parametrize("env_id", MULTI_TASK_IDS)
point_mass_id = pytest.mark.parametrize("env_id", POINT_MASS_IDS)


def equal(a, b):
    """Bit for bit, through dictionaries and object arrays."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def row(batch, i):
    return {k: v[i] for k, v in batch.items()} if isinstance(batch, dict) else batch[i]


def vector_of(observation):
    return observation["observation"] if isinstance(observation, dict) else observation


def actions_for(env, steps, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, *env.action_space.shape)).astype(np.float32)


def rollout(env, actions, seed=0, **reset):
    """Everything that the environment returned, as one list."""
    returned = [env.reset(seed=seed, **reset)[0]]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        returned += [observation, reward, terminated, truncated]
    return returned


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
    if len(tasks) == 1:
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
    with pytest.raises(ValueError, match=rf"(?s)options\['task'\]=.*choose an integer from 0 to {last}") as error:
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
        ("num_envs", 0, "from 1 to 1,000,000"),
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


# Rewards and success ---------------------------------------------------------------------------


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
        inside[i] = any(np.hypot(positions[i, 0] - x, positions[i, 1] - y) <= task.goal_radius for x, y in task.goals)
    assert 10 < inside.sum() < n - 10
    assert np.array_equal(info["is_success"], inside)
    assert np.array_equal(reward, inside.astype(float))
    if isinstance(observation, dict):
        assert np.array_equal(observation["task"], env.task)


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


# The end of an episode -------------------------------------------------------------------------


@every_id
@pytest.mark.parametrize("override", [None, 7])
def test_truncation_at_the_horizon(env_id, override):
    horizon = override or ENVIRONMENTS[env_id].horizon
    kwargs = {} if override is None else {"max_episode_steps": override}
    single, batch = gymnasium.make(env_id, **kwargs), gymnasium.make_vec(env_id, num_envs=2, **kwargs)
    single.reset(seed=0)
    batch.reset(seed=0)
    for step, action in enumerate(actions_for(batch, horizon), start=1):
        _, _, terminated, truncated, _ = single.step(action[0])
        _, _, terminations, truncations, _ = batch.step(action)
        assert not terminated and not terminations.any()
        assert truncated == (step == horizon) and (truncations == (step == horizon)).all()


def test_no_limit_on_request():
    env = gymnasium.make_vec(TWO_GOALS, num_envs=2, max_episode_steps=None)
    env.reset(seed=0)
    assert not any(env.step(action)[3].any() for action in actions_for(env, 120))


@every_id
def test_reset_mask_resets_only_those(env_id):
    horizon = 6
    env = gymnasium.make_vec(
        env_id, num_envs=3, max_episode_steps=horizon, autoreset_mode=AutoresetMode.DISABLED, reward_type="sparse"
    )
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    env.reset(seed=0)
    for action in actions_for(env, 2):
        before = env.step(action)[0]
    after, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    for i, kept in enumerate([True, False, True]):
        assert equal(row(vector_of(before), i), row(vector_of(after), i)) == kept
        if kept and isinstance(before, dict):
            assert before["task"][i] == after["task"][i]
    truncations = []
    for action in actions_for(env, horizon):
        *_, truncated, info = env.step(action)
        assert "final_obs" not in info
        truncations.append(truncated)
    assert np.argmax(truncations, axis=0).tolist() == [horizon - 3, horizon - 1, horizon - 3]


@every_id
def test_close_twice(env_id):
    for env in (gymnasium.make(env_id), gymnasium.make_vec(env_id)):
        env.reset(seed=0)
        env.close()
        env.close()


# A simulation that diverges --------------------------------------------------------------------


@every_id
@pytest.mark.parametrize("poke", [("qvel", np.nan), ("qvel", 1e12), ("qpos", np.inf)])
def test_divergence_ends_only_that_episode(env_id, poke, monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    horizon = 10
    # Shaped, so that the reward would not be 0 of itself.
    kwargs = {"num_envs": 3, "max_episode_steps": horizon, "reward_type": "shaped"}
    env, twin = (gymnasium.make_vec(env_id, **kwargs) for _ in range(2))
    env.reset(seed=0)
    twin.reset(seed=0)
    field, value = poke
    for step, action in enumerate(actions_for(env, 3 * horizon), start=1):
        if step == 5:
            getattr(env.physics, field)[1, 0] = value
        observation, reward, terminated, truncated, info = env.step(action)
        expected = twin.step(action)
        for i in (0, 2):
            for mine, theirs in zip((observation, reward, terminated, truncated), expected[:4], strict=True):
                assert equal(row(mine, i), row(theirs, i))
        assert np.isfinite(vector_of(observation)).all() and np.isfinite(reward).all()
        assert truncated[1] == (step in (5, 5 + horizon, 5 + 2 * horizon))
        if step == 5:
            final = info["final_info"]
            assert final["physics_error"].tolist() == [False, True, False] and final["_physics_error"][1]
            assert np.isfinite(vector_of(info["final_obs"][1])).all()
            assert reward[1] == 0.0 and not truncated[[0, 2]].any()
        else:
            assert "physics_error" not in info and "physics_error" not in info.get("final_info", {})
    assert not list(tmp_path.iterdir()) and not capfd.readouterr().out  # where MuJoCo would log it


@every_id
def test_divergence_shows_the_start_of_that_episode(env_id):
    env = gymnasium.make_vec(env_id, num_envs=3, autoreset_mode=AutoresetMode.DISABLED)
    start, _ = env.reset(seed=0)
    for action in actions_for(env, 4):
        env.step(action)
    env.reset(options={"reset_mask": np.array([False, False, True])})  # must not renew the others' starts
    for _ in range(2):  # a simulation may diverge more than once
        env.physics.qvel[1] = np.nan
        observation, _, _, truncated, info = env.step(np.zeros(env.action_space.shape))
        assert truncated.tolist() == info["physics_error"].tolist() == [False, True, False]
        expected, shown = row(start, 1), row(observation, 1)
        assert equal(shown, expected)


def test_divergence_in_the_single_env():
    env = gymnasium.make(TWO_GOALS)
    start, _ = env.reset(seed=0)
    env.step(np.ones(2))
    env.unwrapped.batch.physics.qvel[0] = np.nan
    observation, reward, terminated, truncated, info = env.step(np.zeros(2))
    assert (reward, terminated, truncated, info["physics_error"]) == (0.0, False, True, True)
    assert equal(observation, start)
    env.reset()
    assert "physics_error" not in env.step(np.zeros(2))[4]


def test_simulation_error_is_a_divergence(monkeypatch):
    """An error raised by MuJoCo itself; it cannot be provoked by a valid model, so it is raised here."""
    env = gymnasium.make_vec(TWO_GOALS, num_envs=3)
    env.reset(seed=0)

    def fail(**_):
        raise SimulationError(np.array([2]), "mj_step: out of memory")

    monkeypatch.setattr(env.physics._batch, "step", fail)
    *_, truncated, info = env.step(np.zeros((3, 2)))
    assert truncated.tolist() == [False, False, True]
    assert info["final_info"]["physics_error"].tolist() == [False, False, True]
