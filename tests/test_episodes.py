"""The end of an episode: at its horizon, by a reset, or because its simulation diverged."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from mujoco.batch import SimulationError
from suite import TWO_GOALS, actions_for, equal, every_id, row, vector_of

from skill_envs import ENVIRONMENTS

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
            assert np.array_equal(before["task"][i], after["task"][i])
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
