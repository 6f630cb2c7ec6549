"""The interactive viewer, with a window that only pretends to be one."""

import sys
import time
from types import SimpleNamespace

import gymnasium
import mujoco
import numpy as np
import pytest
from suite import TWO_GOALS, actions_for, equal, vector_of

from skill_agent import cli
from skill_agent.skills import load_skills
from skill_envs import view

PUSH = "SkillEmbed/Push-v0"


class Window:
    """MuJoCo's passive window: ``sync`` is what the user does, one function for each frame, and then it is closed."""

    def __init__(self, frames):
        self.frames, self.shown, self.captions = list(frames), [], []
        self.cam = SimpleNamespace()

    def open(self, model, data, *, key_callback, **panels):
        self.model, self.data, self.key = model, data, key_callback
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.frames.clear()

    def is_running(self):
        return bool(self.frames)

    def set_texts(self, texts):
        self.captions.append(texts[3])

    def sync(self):
        self.shown.append((self.data.time, self.data.qpos.copy()))
        self.frames.pop(0)(self)


def watch(window):
    """Nothing is done."""


def lift(window):
    """The mouse pulls at the block; MuJoCo's window adds the force to the data and never takes it away."""
    window.data.xfrc_applied[window.model.body("block/block").id, 2] += 30.0


def reset(window):
    """The window's own reset, by its key or button."""
    mujoco.mj_resetData(window.model, window.data)


def space(window):
    window.key(32)


@pytest.fixture
def opened(monkeypatch):
    """A function that shows frames of an environment and returns the window."""
    monkeypatch.setattr("skill_envs.opengl.has_display", lambda: True)
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def show(frames, env_id=PUSH, *arguments, **options):
        window = Window(frames)
        monkeypatch.setattr("mujoco.viewer.launch_passive", window.open)
        view.view(env_id, *arguments, **options)
        return window

    return show


class Recorded:
    """A policy that plays what it was given, and remembers what it saw."""

    def __init__(self, actions):
        self.actions, self.seen = actions, []

    def predict(self, observation, state=None):
        self.seen.append((observation, state))
        step = 0 if state is None else state
        return self.actions[step % len(self.actions)], step + 1


def test_it_shows_the_episodes_of_the_environment(opened):
    env = gymnasium.make(PUSH)
    actions = actions_for(env, 100)
    policy = Recorded(actions)
    window = opened([watch] * 130, PUSH, policy, seed=5)
    seen, expected = policy.seen[1:], []  # the first look is a check before the window opens
    observation, _ = env.reset(seed=5)
    for state in [None, *range(1, 100)]:
        expected.append((observation, state))
        observation, *_ = env.step(actions[state or 0])
    observation, _ = env.reset()
    expected.append((observation, None))  # the state is of one episode
    for (saw, state), (should, should_state) in zip(seen, expected, strict=False):
        assert equal(saw, should) and state == should_state
    assert len(seen) == 130
    times = [moment for moment, _ in window.shown]
    assert times[:3] == pytest.approx([0.0, 0.05, 0.1]) and times[99:102] == pytest.approx([4.95, 0.0, 0.05])
    for (saw, _), (_, qpos) in zip(seen, window.shown, strict=True):
        assert np.allclose(qpos[:7], saw[:7], atol=1e-6)
    assert window.model.camera("scene").id == window.cam.fixedcamid


def test_the_mouse_pushes_the_block_as_long_as_it_is_held(opened):
    still, pushed = opened([watch] * 40), opened([watch] * 5 + [lift] * 10 + [watch] * 25)
    heights = np.array([[qpos[9] for _, qpos in window.shown] for window in (still, pushed)])
    assert np.array_equal(heights[0, :6], heights[1, :6])
    gain = heights[1] - heights[0]
    assert gain[15] > 0.05 and gain[-1] < gain.max() - 0.05  # it rose, and then it fell
    assert not pushed.data.xfrc_applied.any()


def test_space_holds_the_time(opened):
    policy = Recorded(np.zeros((1, 7)))
    window = opened([watch, space, watch, watch, space, watch, watch], PUSH, policy)
    assert [round(moment, 2) for moment, _ in window.shown] == [0.0, 0.05, 0.05, 0.05, 0.05, 0.1, 0.15]
    assert len(policy.seen) == 1 + 4


def test_another_key_does_nothing(opened):
    window = opened([lambda w: w.key(65), watch, watch])
    assert window.shown[2][0] == pytest.approx(0.1)


@pytest.mark.parametrize("before", [0, 4])
def test_a_reset_in_the_window_begins_a_new_episode(opened, before):
    policy = Recorded(np.zeros((1, 7)))
    window = opened([watch] * before + [reset, watch, watch], PUSH, policy)
    env = gymnasium.make(PUSH)
    env.reset(seed=0)
    second, _ = env.reset()
    moment, qpos = window.shown[before + 1]
    assert moment == 0.0 and np.allclose(qpos[:14], np.r_[second[:7], second[14:21]], atol=1e-6)
    assert equal(policy.seen[-2][0], second) and policy.seen[-2][1] is None


def test_a_push_that_breaks_the_simulation_begins_a_new_episode(opened):
    def throw(window):
        window.data.qvel[:] = 1e9

    window = opened([watch, watch, throw, watch, watch])
    assert [round(moment, 2) for moment, _ in window.shown] == [0.0, 0.05, 0.1, 0.0, 0.05]


def test_the_caption_tells_task_and_success(opened):
    policy = Recorded(np.tile([1.0, 0.0], (1, 1)))
    window = opened([watch] * 50, TWO_GOALS, policy, task="PointMassRight")
    assert window.captions[0] == "PointMassRight\nno" and "PointMassRight\nyes" in window.captions
    assert {text.split("\n")[0] for text in window.captions} == {"PointMassRight"}


def test_episodes_are_as_long_as_the_clock_says(opened, monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    began = time.perf_counter()
    opened([watch] * 20)
    assert 0.0 < min(slept) and sum(slept) + time.perf_counter() - began == pytest.approx(20 * 0.05, rel=0.3)


def test_without_a_display_it_is_an_error_and_no_hang(monkeypatch):
    monkeypatch.setattr("glfw.init", lambda: False)
    with pytest.raises(RuntimeError, match="needs a display; without one film"):
        view.view(PUSH)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("Push",), {}, r"env_id='Push' is not valid.*Did you mean 'SkillEmbed/Push-v0'"),
        ((PUSH,), {"seed": -1}, "seed=-1 is not valid"),
        (
            (TWO_GOALS,),
            {"task": "Left"},
            r"task='Left' is not valid; choose from \['PointMassLeft', 'PointMassRight'\]",
        ),
    ],
)
def test_bad_arguments_are_errors_before_a_window_opens(opened, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        opened([], *arguments, **options)


# The command ------------------------------------------------------------------------------------


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["skill-embed", "view", *arguments])
    cli.main()


def test_the_command_shows_a_policy_and_repeats_itself(opened, monkeypatch):
    opened([])
    shown = []
    for _ in range(2):
        window = Window([watch] * 8)
        monkeypatch.setattr("mujoco.viewer.launch_passive", window.open)
        run(monkeypatch, "SkillEmbed/LWall-v0", "--policy", "lwall", "--seed", "2")
        shown.append(window.shown)
    assert len(shown[0]) == 8 and equal(shown[0][-1][1], shown[1][-1][1])
    still = Window([watch] * 8)
    monkeypatch.setattr("mujoco.viewer.launch_passive", still.open)
    run(monkeypatch, "SkillEmbed/LWall-v0", "--seed", "2")
    assert equal(shown[0][0][1], still.shown[0][1]) and not equal(shown[0][-1][1], still.shown[-1][1])


def test_the_command_shows_skills_of_a_task(opened, monkeypatch):
    opened([])
    for task in ("Lift", "1"):
        window = Window([watch] * 3)
        monkeypatch.setattr("mujoco.viewer.launch_passive", window.open)
        run(monkeypatch, "SkillEmbed/LWallPretrain-v0", "--skills", "lwall", "--task", task)
        assert window.captions[0] == "Lift\nno"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SkillEmbed/Lift"], "env_id='SkillEmbed/Lift' is not valid"),
        (["SkillEmbed/LWall-v0", "--skills", "lwall"], "SkillEmbed/LWall-v0 has 1 tasks; the policy has 2"),
        (["SkillEmbed/LWall-v0", "--skills", "lwall", "--policy", "lwall"], "give one of --skills and --policy"),
        (["SkillEmbed/PointMassCorner-v0", "--policy", "lwall"], r"observation.*shape"),
        (["SkillEmbed/LWall-v0", "--policy", "lwal"], "lwal"),
        (["SkillEmbed/LWallPretrain-v0", "--task", "2"], "task=2 is not valid; choose an integer from 0 to 1"),
        (["SkillEmbed/LWall-v0", "--seed", "-1"], "seed=-1 is not valid"),
    ],
)
def test_errors_of_the_command_are_one_line(opened, monkeypatch, arguments, message):
    opened([])
    monkeypatch.setattr("mujoco.viewer.launch_passive", lambda *a, **k: pytest.fail("a window opened"))
    with pytest.raises(SystemExit, match=message) as error:
        run(monkeypatch, *arguments)
    assert "\n" not in str(error.value)


def test_skills_that_ship_can_be_watched(opened):
    policy = load_skills("lwall")
    window = opened([watch] * 3, "SkillEmbed/LWallPretrain-v0", policy)
    assert vector_of(policy.observation_space.sample()).shape == (27,) and len(window.shown) == 3
