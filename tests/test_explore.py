"""The explorer: what it shows, and its page in a browser."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import gymnasium
import numpy as np
import pytest
from browser import CHROMIUM, opened, until
from gymnasium import spaces
from toy import ROOT, Line, make_line, make_model

from skill_agent import cli, exploring, load_skills, make_task_vec_env
from skill_agent.exploring import Arms, Scene, default_ids, scenes_of, spread

PUSH = Scene("Push", "SkillEmbed/LWallPretrain-v0", 0)
MISSING = [name for name in ("viser", "mjviser") if importlib.util.find_spec(name) is None]
needs_viser = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")


@pytest.fixture(scope="module")
def skills():
    return load_skills("lwall")


def refused(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["skill-embed", "explore", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return str(stopped.value)


def test_the_scenes_are_the_tasks_of_the_environment(skills):
    assert default_ids(skills) == [PUSH.env_id]
    assert scenes_of(default_ids(skills)) == [PUSH, Scene("Lift", PUSH.env_id, 1)]
    assert [scene.name for scene in scenes_of(["SkillEmbed/PointMassDuplicate-v0"])] == [
        *("PointMassRight", "PointMassUp", "PointMassLeft")  # one of them is there twice
    ]
    with pytest.raises(ValueError, match="LWall-v1"):
        scenes_of(["SkillEmbed/LWall-v1"])


def test_means_lie_in_the_box_and_the_arms_begin_on_the_way_between_them(skills):
    found = exploring.means(skills)
    assert list(found) == ["Push", "Lift"]
    first, middle, last = spread(skills, 3)
    np.testing.assert_allclose((first, last), list(found.values()), atol=1e-6)
    np.testing.assert_allclose(middle, (first + last) / 2, atol=1e-6)
    box = exploring.skill_space(skills)
    assert all(box.contains(code) for code in found.values())
    alone = make_model(make_line())
    assert spread(alone.policy, 4).shape == (4, alone.policy.embedding_distribution.dim)
    assert len(np.unique(spread(alone.policy, 4), axis=0)) == 4  # of one task they are draws


def test_tasks_with_parameters_have_some_means():
    policy = make_model("SkillEmbed/PointMassRing-v0").policy
    assert len(exploring.means(policy)) == 8
    arms = Arms(policy, scenes_of(["SkillEmbed/PointMassRing-v0"])[0], 2)
    arms.step()
    arms.close()


def test_arms_start_alike_and_part_by_their_z(skills):
    arms = Arms(skills, PUSH, 3, seed=4)
    starts = [path[0] for path in arms.paths]
    assert (starts[0] == starts[1]).all() and (starts[0] == starts[2]).all() and arms.success == [None] * 3
    for _ in range(100):
        arms.step()
    ends = np.array([path[-1] for path in arms.paths])
    assert arms.over.all() and arms.success[0] and not arms.success[2]
    assert ends[2, 2] > ends[0, 2] + 0.05  # the mean of Lift lifts [m]
    assert arms.finished.tolist() == [1, 1, 1] and arms.succeeded[0] == 1
    assert len(arms.data()) == 3 and len(arms.paths[0]) == 101
    arms.step()  # nothing goes on
    assert len(arms.paths[0]) == 101
    arms.reset()
    assert (arms.paths[0][0] == starts[0]).all() and not arms.over.any()
    arms.reset(5)
    assert (arms.paths[0][0] != starts[0]).any()
    arms.forget([0])
    assert arms.finished.tolist() == [0, 1, 1]
    arms.close()


def test_own_tasks_with_a_model_of_mujoco_are_shown():
    env = make_task_vec_env("InvertedPendulum-v5", 2)
    policy = make_model(env).policy
    policy.origin = None
    with pytest.raises(ValueError, match=r"name one: --env ID"):
        default_ids(policy)
    arms = Arms(policy, scenes_of(["InvertedPendulum-v5"])[0], 2)
    arms.step()
    assert arms.model.nq == 2 and arms.paths[0][-1].shape == (3,) and arms.success == [None, None]
    arms.close()


@pytest.mark.skipif(importlib.util.find_spec("shimmy") is None, reason="shimmy is not installed")
def test_tasks_of_dm_control_are_shown():
    pytest.importorskip("dm_control")
    scene = scenes_of(["dm_control/pendulum-swingup-v0"])[0]
    policy = make_model(make_task_vec_env(scene.env_id, 1)).policy
    assert default_ids(policy) == [scene.env_id]
    arms = Arms(policy, scene, 1)
    arms.step()
    assert arms.model.nq == 1
    arms.close()


def test_own_tasks_without_a_model_are_refused_and_told_of_films():
    gymnasium.register("Line-v0", Line, max_episode_steps=10)
    try:
        policy = make_model(make_line()).policy
        with pytest.raises(ValueError, match=r"Line has no model of MuJoCo.*skill-embed film"):
            Arms(policy, scenes_of(["Line-v0"])[0], 2)
    finally:
        del gymnasium.registry["Line-v0"]


def test_other_shapes_and_numbers_are_refused(skills):
    with pytest.raises(ValueError, match=r"PointMassCorner-v0's observations have shape \(4,\).*\(27,\)"):
        Arms(skills, scenes_of(["SkillEmbed/PointMassCorner-v0"])[0])
    with pytest.raises(ValueError, match="arms=9"):
        Arms(skills, PUSH, 9)
    assert isinstance(Arms(skills, PUSH, 1).box, spaces.Box)


@needs_viser
def test_the_command_refuses_in_one_line(monkeypatch):
    assert "arms=0 is not valid" in refused(monkeypatch, "lwall", "--arms", "0")
    assert "port=0 is not valid" in refused(monkeypatch, "lwall", "--port", "0")
    assert "lwal is neither" in refused(monkeypatch, "lwal")
    assert "observations have shape (4,)" in refused(monkeypatch, "lwall", "--env", "SkillEmbed/PointMassCorner-v0")


def test_the_command_names_the_extra_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install" in refused(monkeypatch, "lwall") and "viser" in refused(monkeypatch, "lwall")


@pytest.fixture
def page(skills):
    """The page of the L-wall's skills, which plays in a thread."""
    from skill_agent.explorer import Page

    page = Page(skills, scenes_of([PUSH.env_id, "SkillEmbed/LWall-v0"]), arms=2, port=8765)
    thread = threading.Thread(target=page.run)
    thread.start()
    yield page
    page.stop()
    thread.join(30)
    assert not thread.is_alive()


def button(label):
    return f"[...document.querySelectorAll('button')].find((b) => b.innerText === {label!r})"


@needs_viser
def test_the_page_is_on_this_machine_alone(page):
    assert page.url.startswith("http://127.0.0.1:")
    assert page._server._websock_server._host == "127.0.0.1"
    assert page._server.request_share_url() is None


@needs_viser
def test_the_page_shows_own_tasks_and_does_what_it_is_asked():
    from skill_agent.explorer import Page

    policy = make_model(make_task_vec_env("InvertedPendulum-v5", 1)).policy
    page = Page(policy, scenes_of(["InvertedPendulum-v5"]), arms=3, port=8775)
    assert 0.5 < page._shown._extent < 2 and np.abs(page._shown._middle).max() < 0.5  # the pole's, not the rail's [m]
    page._ask(lambda: page._choose_arm("all"))
    page._ask(lambda: page._set_entry(0, 0.25))
    page._ask(lambda: page._choose_arm("2"))
    page._ask(lambda: page._set(page._means["InvertedPendulum-v5"]))
    page._ask(lambda: page._pause(True))
    page._ask(page.stop)
    page.run()
    assert page.arms.code[[0, 2], 0].tolist() == [0.25, 0.25] and page._folder.label == "The skill z of arm 2"
    assert (page.arms.code[1] == page._means["InvertedPendulum-v5"]).all()
    assert page._sliders[0].value == pytest.approx(page.arms.code[1, 0], abs=0.01)
    assert len(page.arms.paths[0]) == 1 and "| 0 |" in page._table.content


@needs_viser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_slider_and_a_button_in_a_browser_move_the_block(page, tmp_path):
    with opened(page.url, tmp_path, 760, 560) as browser:
        browser.until("document.body.innerText.includes('mean of Lift')")
        until(lambda: page.arms.finished.min() >= 1, "an episode")
        pushed = page.arms.paths[0][-1] if page.arms.over.all() else None
        before = page.arms.code.copy()

        # The first arm is chosen at first, and its sliders are those of its z.
        def to_its_end():
            """Press a key in the slider; one that comes while the page is drawn anew is lost."""
            browser.click("document.querySelectorAll('[role=slider]')[0]")
            browser.press("End")
            time.sleep(0.5)
            return page.arms.code[0, 0] > page.arms.box.high[0] - 0.02

        until(to_its_end, "the slider's end")
        assert (page.arms.code[0, 1:] == before[0, 1:]).all() and (page.arms.code[1] == before[1]).all()

        browser.click(button("mean of Lift"))
        until(lambda: (page.arms.code[0] == before[1]).all(), "the mean of Lift")
        browser.click(button("reset"))
        until(lambda: page.arms.over.all() and page.arms.finished[0] >= 1, "the end of the episode")
        lifted = page.arms.paths[0][-1]
        assert lifted[2] > 0.06 and (pushed is None or lifted[2] > pushed[2] + 0.02)  # [m]
        picture = browser.picture()
        assert picture[:, :400].std() > 10  # something is drawn beside the controls

        browser.click(button("2"))
        browser.until("document.body.innerText.includes('The skill z of arm 2')")
        browser.click(button("draw of p(z|t)"))
        until(lambda: (page.arms.code[1] != before[1]).any(), "a draw")
        page._ask(lambda: page._choose_scene("LWall"))
        until(lambda: page.arms.scene.name == "LWall" and len(page.arms.paths[0]) > 3, "the other scene")
        assert (browser.picture() != picture).mean() > 0.01
        assert browser.errors == []
        asked = "performance.getEntriesByType('resource').map((entry) => entry.name)"
        assert browser.run(f"{asked}.filter((name) => !name.startsWith(location.origin))") == []


@needs_viser
def test_the_command_serves_the_page_until_it_is_interrupted(tmp_path):
    command = [sys.executable, "-m", "skill_agent.cli", "explore", "pointmass", "--arms", "2", "--port", "8790"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def interruptible():
        """Ctrl-C is ignored in what a script runs in the background, and in its children."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, cwd=tmp_path, env=environment, preexec_fn=interruptible, **pipes) as process:
        line = process.stdout.readline()
        assert line.endswith(" shows the skills pointmass; Ctrl-C ends it\n"), process.communicate()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(line.split()[0]) as answer:
            assert answer.status == 200 and b"<html" in answer.read().lower()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0 and out == "" and "Traceback" not in err
