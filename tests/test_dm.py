"""The suite as dm_env environments, with dm_control's physics, renderers, wrappers and viewer."""

import importlib
import subprocess
import sys
import time
import unittest
from types import SimpleNamespace

import dm_env
import gymnasium
import mujoco
import numpy as np
import pytest
from dm_env import test_utils
from suite import IDS, actions_for, equal, every_id, vector_of

from skill_envs import ENVIRONMENTS, TASKS, dm


def name_of(env_id):
    return env_id.removeprefix("SkillEmbed/").removesuffix("-v0")


def contract_of(env_id):
    """dm_env's own tests of an environment, over whole episodes."""

    class Contract(test_utils.EnvironmentTestMixin, unittest.TestCase):
        def make_object_under_test(self):
            return dm.load(name_of(env_id), seed=0)

        def make_action_sequence(self):
            yield from [self.make_action()] * (ENVIRONMENTS[env_id].horizon + 3)

    return Contract


for _env_id in IDS:
    globals()[f"Test{name_of(_env_id)}"] = contract_of(_env_id)


# The same as Gymnasium's ------------------------------------------------------------------------


@pytest.mark.parametrize("with_physics", [False, True])
@every_id
def test_episodes_are_those_of_gymnasium(env_id, with_physics):
    horizon = ENVIRONMENTS[env_id].horizon
    env, ours = gymnasium.make(env_id), dm.load(env_id, seed=7)
    for episode in range(3):
        observation, _ = env.reset(seed=7 if episode == 0 else None)
        step = ours.step(None)  # the first step, and that after a last one, begin an episode
        assert step.first() and equal(step.observation, observation)
        for i, action in enumerate(actions_for(env, horizon, seed=episode)):
            if with_physics:
                # What a viewer does between two steps.
                mujoco.mj_forward(ours.physics.model.ptr, ours.physics.data.ptr)
            step = ours.step(action)
            observation, reward, _, truncated, info = env.step(action)
            assert equal(step.observation, observation)
            assert (step.reward, ours.is_success, step.last()) == (reward, info["is_success"], truncated)
            assert step.discount == 1.0 and step.last() == (i == horizon - 1)


@pytest.mark.parametrize(("task", "index"), [("Lift", 1), (1, 1), ("Push", 0), (np.int64(0), 0)])
def test_a_task_is_chosen_by_name_or_index(task, index):
    env, ours = gymnasium.make("SkillEmbed/LWallPretrain-v0"), dm.load("LWallPretrain", task, seed=3)
    for episode in range(3):
        observation, _ = env.reset(seed=3 if episode == 0 else None, options={"task": index})
        step = ours.reset()
        assert step.observation["task"] == index and equal(step.observation, observation)


def test_without_a_task_each_episode_draws_one():
    env = dm.load("LWallPretrain", seed=0)
    assert {int(env.reset().observation["task"]) for _ in range(20)} == {0, 1}


def test_without_a_seed_episodes_differ():
    a, b = dm.load("LWall").reset(), dm.load("LWall").reset()
    assert not equal(a.observation, b.observation)


def test_an_equal_name_gives_the_same_environment():
    a, b = dm.load("LWall", seed=1).reset(), dm.load("SkillEmbed/LWall-v0", seed=1).reset()
    assert equal(a.observation, b.observation)


def test_the_reward_can_be_shaped():
    env = dm.load("LWall", seed=0, reward_type="shaped")
    env.reset()
    assert 0.0 < env.step(np.zeros(7)).reward < 1.0


def test_time_passes_as_the_clock_of_the_task_says():
    env = dm.load("LWall", seed=0)
    env.reset()
    env.step(np.zeros(7))
    assert env.physics.time() == pytest.approx(env.control_timestep()) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Lwal",), r"name='Lwal' is not valid.*'LWall'.*Did you mean 'LWall'"),
        (("",), r"name='' is not valid; choose from \['PointMassTwoGoals'"),
        ((None,), r"name=None is not valid"),
        ((["LWall"],), r"name=\['LWall'\] is not valid"),
        (("LWallPretrain", "Lif"), r"task='Lif' is not valid; choose from \['Push', 'Lift'\].*Did you mean 'Lift'"),
        (("LWallPretrain", 2), "task=2 is not valid; choose an integer from 0 to 1"),
        (("LWall", 1), "task=1 is not valid; choose an integer from 0 to 0"),
        (("LWallPretrain", True), "task=True is not valid"),
        (("PointMassDuplicate", "PointMassRight"), r"several tasks have this name; choose one of \[0, 2\]"),
    ],
)
def test_bad_names_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        dm.load(*arguments)


def test_other_bad_arguments_are_errors():
    with pytest.raises(ValueError, match="seed=-1 is not valid"):
        dm.load("LWall", seed=-1)
    with pytest.raises(ValueError, match="reward_type='dense' is not valid"):
        dm.load("LWall", reward_type="dense")
    env = dm.load("LWall")
    env.reset()
    with pytest.raises(ValueError, match=r"action of shape \(2,\) is not valid"):
        env.step(np.zeros(2))
    with pytest.raises(ValueError, match="is not finite"):
        env.step(np.full(7, np.nan))


# dm_control's physics ---------------------------------------------------------------------------


def test_physics_shows_the_simulation_through_changes_of_the_task():
    env = dm.load("PretrainAll", seed=0)
    address, seen = env.physics.data.ptr, set()
    for _ in range(12):
        step = env.reset()
        for _ in range(2):
            block = env.physics.named.data.xpos["block/block"]
            assert np.allclose(block, step.observation["observation"][14:17], atol=1e-6)
            goal = env.physics.named.data.site_xpos["goal"]
            task = TASKS[ENVIRONMENTS["SkillEmbed/PretrainAll-v0"].tasks[step.observation["task"]]]
            assert np.allclose(goal[:2], task.goals[0][:2])
            step = env.step(np.full(7, 0.3))
        seen.add(int(step.observation["task"]))
    assert env.physics.data.ptr is address and len(seen) > 2


def test_a_push_moves_the_block_as_mujoco_does():
    env = dm.load("SpringWall", seed=0)
    env.reset()
    physics = env.physics
    body = physics.model.name2id("block/block", "body")
    model, data = physics.model.ptr, mujoco.MjData(physics.model.ptr)
    data.qpos[:], data.qvel[:] = physics.data.qpos, physics.data.qvel
    for force in (0.0, 30.0, 30.0, 0.0):
        # Set once: it stays until it is changed, as in MuJoCo.
        physics.data.xfrc_applied[body, 2] = force
        data.xfrc_applied[body, 2] = force
        env.step(np.zeros(7))
        mujoco.mj_step(model, data, 5)
        assert np.array_equal(physics.data.qpos, data.qpos) and np.array_equal(physics.data.qvel, data.qvel)
    still = dm.load("SpringWall", seed=0)
    still.reset()
    for _ in range(4):
        step = still.step(np.zeros(7))
    assert physics.data.qpos[9] > step.observation[16] + 0.001


def test_a_push_ends_with_its_episode():
    env, untouched = dm.load("LWall", seed=0), dm.load("LWall", seed=0)
    env.reset(), untouched.reset()
    env.physics.data.xfrc_applied[:] = 1.0
    for e in (env, untouched):
        e.step(np.zeros(7))
        e.reset()
    assert equal(env.step(np.zeros(7)).observation, untouched.step(np.zeros(7)).observation)


def test_a_block_that_was_moved_stays_moved():
    env = dm.load("PointMassFourGoals", seed=0)
    env.reset()
    env.physics.named.data.qpos[:] = [1.0, 0.0]
    env.physics.named.data.qvel[:] = 0.0
    step = env.step(np.zeros(2))
    assert np.array_equal(step.observation[:2], [1.0, 0.0]) and step.reward == 1.0 and env.is_success


# Frames -----------------------------------------------------------------------------------------


def test_dm_control_draws_what_the_suite_draws():
    ours = gymnasium.make("SkillEmbed/LWall-v0", render_mode="rgb_array", width=64, height=48)
    env = dm.load("LWall", seed=0)
    ours.reset(seed=0), env.reset()
    before = ours.render()
    assert np.array_equal(env.physics.render(48, 64, camera_id="scene"), before)
    for action in actions_for(ours, 10):
        ours.step(action), env.step(action)
    after = ours.render()
    assert (after != before).any() and np.array_equal(env.physics.render(48, 64, camera_id="scene"), after)
    env.close()
    env.close()
    ours.reset(seed=0)
    assert np.array_equal(ours.render(), before)
    ours.close()


def test_wrappers_of_dm_control_take_it():
    from dm_control.suite.wrappers import action_scale, pixels

    frames = {"height": 48, "width": 64, "camera_id": "scene"}
    env = pixels.Wrapper(dm.load("LWallPretrain", seed=0), pixels_only=False, render_kwargs=frames)
    env = action_scale.Wrapper(env, minimum=-2.0, maximum=2.0)
    plain = dm.load("LWallPretrain", seed=0)
    env.reset(), plain.reset()
    step = env.step(np.ones(7))
    assert step.observation["pixels"].shape == (48, 64, 3) and step.observation["pixels"].std() > 10
    assert equal(step.observation["observation"], plain.step(np.full(7, 0.5)).observation["observation"])
    env.close()


# The viewer -------------------------------------------------------------------------------------


def test_dm_controls_viewer_shows_it_and_pushes_the_block(monkeypatch):
    """Everything of the viewer but the window itself."""
    from dm_control import viewer
    from dm_control.viewer import application, user_input, util

    env, frames = dm.load("SpringWall", seed=0), []

    class Window:
        def __init__(self, width, height, title):
            subjects = ("on_key", "on_click", "on_double_click", "on_move", "on_scroll")
            self.keyboard = self.mouse = SimpleNamespace(
                position=(0, 0), **{name: util.QuietSet() for name in subjects}
            )
            self.shape = (width, height)

        def event_loop(self, tick_func):
            frames.append(tick_func().copy())  # paused, as the viewer begins
            assert env.physics.time() == 0.0
            for press in list(self.keyboard.on_key):
                press(user_input.KEY_SPACE, user_input.PRESS, user_input.MOD_NONE)
            while env.physics.time() < 0.5:
                # The viewer gives the mouse's force to the physics before each tick.
                env.physics.named.data.xfrc_applied["block/block"][2] = 30.0
                time.sleep(0.01)
                frames.append(tick_func().copy())

        def close(self):
            pass

    monkeypatch.setattr(application.gui, "RenderWindow", Window)
    viewer.launch(env, policy=lambda step: np.zeros(7), width=64, height=48)
    assert frames[-1].shape == (48, 64, 3) and (frames[-1] != frames[0]).any()
    assert env.physics.named.data.qpos["block/block"][2] > 0.045


# Imports ----------------------------------------------------------------------------------------


def test_the_suite_alone_loads_nothing_of_dm_control(tmp_path):
    code = (
        "import sys, skill_envs\n"
        "assert not [n for n in sys.modules if n.startswith(('dm_control', 'dm_env'))]\n"
        "import skill_envs.dm; skill_envs.dm.load('LWall').reset()\n"
        "assert 'dm_control' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_env", None)
    with pytest.raises(ImportError, match=r"skill_envs\.dm needs dm_control: pip install 'skill-embed\[dm\]'"):
        importlib.reload(dm)


def test_it_is_a_dm_env_environment():
    env = dm.load("LWall")
    assert isinstance(env, dm_env.Environment) and vector_of(env.reset().observation).shape == (27,)
