"""Frames: what they show, not only that they exist."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from skill_envs import ENVIRONMENTS, SkillVectorEnv

TWO_GOALS, L_WALL = "SkillEmbed/PointMassTwoGoals-v0", "SkillEmbed/LWall-v0"
every_id = pytest.mark.parametrize("env_id", list(ENVIRONMENTS))


@pytest.fixture(scope="module", autouse=True)
def opengl():
    """Skip where the machine cannot draw at all; asked of MuJoCo itself, not of this package."""
    code = "import mujoco; mujoco.GLContext(16, 16).free()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    if result.returncode != 0:
        pytest.skip(f"no off-screen OpenGL on this machine: {result.stderr.strip().splitlines()[-1]}")


@pytest.fixture
def make():
    """``gymnasium.make`` or ``make_vec`` whose environments are closed at the end."""
    made = []

    def _make(env_id, how=gymnasium.make, **kwargs):
        made.append(how(env_id, **{"width": 160, "height": 120, **kwargs}))
        return made[-1]

    yield _make
    for env in made:
        env.close()


def blue(frame):
    """(height, width) where the mass is drawn."""
    r, g, b = np.moveaxis(frame.astype(int), -1, 0)
    return (b > r + 60) & (b > g + 40)


def green(frame):
    """(height, width) where a goal is drawn."""
    r, g, b = np.moveaxis(frame.astype(int), -1, 0)
    return (g > r + 25) & (g > b + 15)


def centre(mask):
    rows, columns = np.nonzero(mask)
    return columns.mean(), rows.mean()


@every_id
def test_rgb_frames(env_id, make):
    env = make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (120, 160, 3) and first.dtype == np.uint8
    assert first.std() > 5
    for _ in range(5):
        env.step(np.ones(env.action_space.shape))
    assert not np.array_equal(env.render(), first)


@every_id
def test_depth_frames(env_id, make):
    env = make(env_id, render_mode="depth_array")
    env.reset(seed=0)
    frame = env.render()
    assert frame.shape == (120, 160) and frame.dtype == np.float32
    assert np.isfinite(frame).all() and np.ptp(frame) > 1e-4


def test_mass_is_drawn_where_it_is_and_nearer_than_the_floor(make):
    env = make(TWO_GOALS, render_mode="rgb_array")
    depth = make(TWO_GOALS, render_mode="depth_array")
    height = env.unwrapped.model.camera("scene").pos[2]
    metre = 120 / 2 / (height * np.tan(np.deg2rad(22.5)))  # [pixel], on the floor
    for x, y in ((0.7, -0.4), (-0.5, 0.9)):
        for e in (env, depth):
            e.reset(seed=0)
            e.unwrapped.batch.physics.qpos[0] = x, y
        column, row = centre(blue(env.render()))
        assert (column, row) == pytest.approx((80 + x * metre, 60 - y * metre), abs=2.5)
        frame = depth.render()
        assert frame[round(row), round(column)] < frame[60, 80]


def test_goals_are_drawn_where_the_task_has_them(make):
    env = make(TWO_GOALS, render_mode="rgb_array")
    for task, side in ((0, -1), (1, 1)):
        env.reset(seed=0, options={"task": task})
        mask = green(env.render())
        assert mask.sum() > 50
        column, row = centre(mask)
        assert np.sign(column - 80) == side and abs(column - 80) > 20 and row == pytest.approx(60, abs=3)


def test_batch_draws_every_environment_with_its_own_task(make):
    env = make(TWO_GOALS, gymnasium.make_vec, num_envs=3, render_mode="rgb_array")
    env.reset(seed=0, options={"task": [0, 1, 0]})
    left, right, left_again = env.render()
    assert centre(green(left))[0] < 80 < centre(green(right))[0]
    assert centre(green(left_again))[0] < 80
    single = make(TWO_GOALS, render_mode="rgb_array")
    single.reset(seed=1, options={"task": 1})
    assert np.array_equal(single.render(), right)


def test_batch_draws_every_environment_with_its_own_model():
    env = SkillVectorEnv(["PointMassLeft", "PointMassAny"], 2, render_mode="rgb_array", width=160, height=120)
    for tasks in ([0, 1], [1, 0]):
        env.reset(seed=0, options={"task": tasks})
        area = [green(frame).sum() for frame in env.render()]
        one, four = area if tasks == [0, 1] else area[::-1]
        assert four == pytest.approx(4 * one, rel=0.1)
    env.close()


def test_frame_is_a_copy(make):
    env = make(TWO_GOALS, render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    frame[:] = 0
    assert env.render().std() > 5


def test_no_render_mode_says_what_to_do():
    env = gymnasium.make_vec(TWO_GOALS, num_envs=1)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode='rgb_array'"):
        assert env.render() is None


def test_render_again_after_close(make):
    env = make(TWO_GOALS, gymnasium.make_vec, num_envs=1, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()[0]
    env.close_extras()
    assert np.array_equal(env.render()[0], before)


@pytest.fixture
def pair(make):
    """Two environments with other scenes, and the frame of each when it was drawn alone."""
    envs = [make(env_id, render_mode="rgb_array") for env_id in (L_WALL, TWO_GOALS)]
    frames = []
    for env in envs:
        env.reset(seed=0)
        frames.append(env.render())
        env.unwrapped.batch.close_extras()
    return *envs, *frames


def test_renderers_side_by_side_draw_what_each_draws_alone(pair, make):
    a, b, frame_a, frame_b = pair
    for _ in range(2):
        assert np.array_equal(a.render(), frame_a)
        assert np.array_equal(b.render(), frame_b)
    depth = make(L_WALL, render_mode="depth_array", width=200)
    depth.reset(seed=0)
    depth.render()
    assert np.array_equal(a.render(), frame_a)
    b.close()
    assert np.array_equal(a.render(), frame_a)


def test_a_renderer_that_nobody_closed_spoils_no_other(pair):
    a, b, frame_a, _ = pair
    b.render()
    a.render()
    b.unwrapped.batch._renderer = None
    gc.collect()
    assert np.array_equal(a.render(), frame_a)


def in_thread(do):
    """What ``do`` returns, or the error that it raises, in a thread of its own."""
    outcome = []

    def work():
        try:
            outcome.append(do())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return outcome[0]


def test_another_thread_gets_an_error_or_the_right_frame(pair):
    a, b, frame_a, frame_b = pair
    assert np.array_equal(in_thread(a.render), frame_a)
    with pytest.raises(RuntimeError, match="another thread"):
        a.render()
    assert np.array_equal(b.render(), frame_b)
    assert "another thread" in str(in_thread(b.render))
    assert np.array_equal(b.render(), frame_b)


def test_closing_from_another_thread_harms_neither_thread(pair, make):
    a, b, frame_a, frame_b = pair
    c = make(L_WALL, render_mode="rgb_array")
    c.reset(seed=0)
    drawn, closed = threading.Event(), threading.Event()

    def work():
        frames = [c.render(), a.render()]  # a's context stays current in this thread
        drawn.set()
        closed.wait(60)
        return [*frames, c.render()]

    def close():
        drawn.wait(60)
        before = b.render()
        a.close()
        after = b.render()
        closed.set()
        return before, after

    closer = []
    other = threading.Thread(target=lambda: closer.append(in_thread(close)))
    other.start()
    for frame in in_thread(work):
        assert np.array_equal(frame, frame_a)
    other.join()
    for frame in closer[0]:
        assert np.array_equal(frame, frame_b)


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (64, 1300), (4096, 16)])
def test_large_frames_are_whole(make, width, height):
    """They are as the small ones are, up to the edges."""
    frames = []
    for scale in (1, 2):  # the same field of view
        env = make(L_WALL, render_mode="rgb_array", width=width // scale, height=height // scale)
        env.reset(seed=0)
        frames.append(env.render().astype(float))
    large, small = frames
    assert large.shape == (height, width, 3)
    assert (large.max(axis=2) > 20).mean() > 0.95  # the floor is everywhere, and it isn't black
    averaged = large.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(averaged - small).mean() < 4


@pytest.mark.parametrize("side", ["width", "height"])
@pytest.mark.parametrize("value", [0, -1, 4097, 100_000, 480.0, "480", True, None, float("nan")])
@pytest.mark.parametrize("how", [gymnasium.make, gymnasium.make_vec])
def test_a_wrong_size_is_an_error_that_names_it(side, value, how):
    with pytest.raises(ValueError, match=rf"{side}={value!r} is not valid; choose an integer from 1 to 4,096"):
        how(TWO_GOALS, render_mode="rgb_array", **{side: value})


def test_a_size_may_be_numpys(make):
    env = make(TWO_GOALS, render_mode="rgb_array", width=np.int64(96), height=np.uint8(64))
    env.reset(seed=0)
    assert env.render().shape == (64, 96, 3)


def test_windows_have_their_own_contexts(make, monkeypatch):
    """Each is made current before it is drawn and before it is freed, and closing one does not end GLFW."""
    events = []

    class Window:
        def __init__(self, model, data, width, height, max_geom):
            self.name, self.cam, self.con = width, SimpleNamespace(), SimpleNamespace(free=lambda: self.note("free"))

        def note(self, event):
            events.append((event, self.name))

        def make_context_current(self):
            self.note("current")

        def render(self):
            self.note("render")

        def free(self):
            self.note("close")

    monkeypatch.setattr("glfw.init", lambda: True)
    monkeypatch.setattr("glfw.terminate", lambda: events.append("terminate"))
    monkeypatch.setattr("gymnasium.envs.mujoco.mujoco_rendering.WindowViewer", Window)
    a, b = (make(TWO_GOALS, render_mode="human", width=width) for width in (1, 2))
    a.reset(seed=0)
    b.reset(seed=0)
    a.step(np.zeros(2))
    a.close()
    draws = [("current", 1), ("render", 1), ("current", 2), ("render", 2), ("current", 1), ("render", 1)]
    assert events == [*draws, ("current", 1), ("free", 1), ("close", 1)]


def test_human_mode_draws_at_every_step(make, monkeypatch):
    drawn = []
    monkeypatch.setattr("skill_envs.render.Renderer.frame", lambda self, sim, mode: drawn.append((sim, mode)))
    env = make(TWO_GOALS, render_mode="human")
    env.reset(seed=0)
    env.step(np.zeros(2))
    assert drawn == [(0, "human")] * 2


def test_human_mode_without_a_display_is_an_error(make, monkeypatch):
    """Not an abort of the process, which Gymnasium's viewer alone would be."""
    monkeypatch.setattr("glfw.init", lambda: False)
    with pytest.raises(RuntimeError, match=r"human.*display.*rgb_array"):
        make(TWO_GOALS, render_mode="human").reset(seed=0)


@pytest.mark.parametrize(
    "afterwards",
    [
        "",
        "import dm_control._render",  # which shuts EGL down at exit, before whoever drew earlier
        "from dm_control import suite; suite.load('cartpole', 'balance').physics.render()",
        "from dm_control import suite; suite.load('cartpole', 'balance').physics.render(); env.render()",
    ],
)
def test_an_environment_that_nobody_closed_leaves_no_noise_at_exit(tmp_path, afterwards):
    if "dm_control" in afterwards:
        pytest.importorskip("dm_control")
    code = (
        "import gymnasium, skill_envs\n"
        "env = gymnasium.make('SkillEmbed/PointMassTwoGoals-v0', render_mode='rgb_array', width=64, height=64)\n"
        f"env.reset(seed=0); env.render()\n{afterwards}\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_context_of_others_stays_current(make):
    """dm_control's renderer believes so, and draws and frees in whichever context is current."""
    from dm_control import suite

    theirs = suite.load("cartpole", "balance", task_kwargs={"random": 0})
    theirs.reset()
    before = theirs.physics.render(48, 64)
    env = make(TWO_GOALS, render_mode="rgb_array", width=64, height=48)
    env.reset(seed=0)
    ours = env.render()
    assert np.array_equal(theirs.physics.render(48, 64), before)
    assert np.array_equal(env.render(), ours)
    env.close()
    assert np.array_equal(theirs.physics.render(48, 64), before)
    env.reset(seed=0)
    assert np.array_equal(env.render(), ours)
    theirs.physics.free()
    assert np.array_equal(env.render(), ours)


def test_no_context_is_left_where_there_was_none(make):
    env = make(TWO_GOALS, render_mode="rgb_array")
    env.reset(seed=0)
    env.render()
    if os.environ.get("MUJOCO_GL") == "egl":
        egl = sys.modules["OpenGL.EGL"]
        assert not egl.eglGetCurrentContext()
