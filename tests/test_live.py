"""The page that runs the skills in a browser: it computes what Python computes."""

import functools
import http.server
import importlib
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from skill_agent import load_policy
from skill_agent.skill_space import act
from skill_agent.skills import TRAINED
from skill_envs import TASKS, SkillVectorEnv

LIVE = Path(__file__).parent.parent / "docs" / "live"
FAMILIES = {"lwall": "LWall", "springwall": "SpringWall", "railpush": "RailPush", "pointmass": "PointMassCorner"}
NODE, CHROMIUM = shutil.which("node"), shutil.which("chromium") or shutil.which("chromium-browser")
# What npm says where it can't reach its registry; all else that it says is a fault of ours.
NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "ERR_SOCKET_TIMEOUT")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


@pytest.fixture
def scripts(monkeypatch):
    """The scripts of the page by name."""
    monkeypatch.syspath_prepend(str(LIVE))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module
    for name in ("build", "export"):
        sys.modules.pop(name, None)


def answer(script, *arguments, request=None):
    """What a script in docs/live/tests wrote."""
    command = [NODE, str(LIVE / "tests" / script), *arguments]
    given = None if request is None else json.dumps(request)
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
@pytest.mark.parametrize("family", FAMILIES)
def test_networks_in_javascript_are_those_of_the_package(scripts, family):
    policy = load_policy(family)
    scripts("export").in_float32(policy)
    env = SkillVectorEnv([FAMILIES[family]], 12)
    rng = np.random.default_rng(0)
    observations = env.reset(seed=0)[0] + rng.normal(scale=0.3, size=(12, policy.skills.state_dim)).astype(np.float32)
    space = policy.mapping.action_space
    codes = rng.uniform(space.low, space.high, (12, 3)).astype(np.float32)

    request = {
        "file": str(TRAINED / f"{family}-policy.safetensors"),
        "observations": observations.tolist(),
        "codes": codes.tolist(),
    }
    found = answer("networks.mjs", request=request)

    gaussian = policy.skills.embedding_distribution
    mean, log_std = gaussian.mean_log_std(policy.skills.embedding(torch.arange(policy.skills.n_tasks)))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close([row["mean"] for row in found["embedding"]], mean.detach())
    close([row["std"] for row in found["embedding"]], log_std.exp().detach())
    np.testing.assert_array_equal(found["low"], space.low)
    np.testing.assert_array_equal(found["high"], space.high)
    close(found["chosen"], policy.predict_skill(observations, deterministic=True))
    expected = act(policy.skills, observations, torch.as_tensor(codes), deterministic=True)
    close(found["actions"], expected)
    assert np.ptp(expected, axis=0).min() > 0.01  # the networks tell these inputs apart
    state = None
    for observation, held in zip(observations, found["held"], strict=True):
        action, state = policy.predict(observation, state, deterministic=True)
        close(held["action"], action)
        close(held["code"], state.code[0])


@pytest.mark.parametrize("name", ["LWall", "RailPush", "PointMassCorner"])
def test_the_page_observes_what_the_environment_shows(scripts, name):
    described = scripts("export")._describe(name)
    env = SkillVectorEnv([name], 1)
    env.reset(seed=1)
    observation, *_ = env.step(np.full((1, len(TASKS[name].action)), 0.5))
    arrays = {"qpos": env.physics.qpos[0], "qvel": env.physics.qvel[0], "goal": described["goals"][0]}
    values = [arrays[array][index] for array, index in described["observation"]["sources"]]
    np.testing.assert_array_equal(np.array(values, np.float32), observation[0])
    np.testing.assert_array_equal(arrays["qpos"][described["position"]], TASKS[name].position(env.physics.qpos)[0])
    env.reset(seed=5)
    np.testing.assert_array_equal(described["starts"][5], env.physics.qpos[0])


def test_an_observation_that_is_computed_is_an_error(scripts):
    class Computed:
        goals = ((0.0, 0.0),)

        @staticmethod
        def observe(qpos, qvel, goal):
            return 0.5 * qpos

    with pytest.raises(ValueError, match="only copies"):
        scripts("export")._sources(Computed, TASKS["PointMassUp"].compile())


def test_a_file_too_large_for_a_visitor_is_an_error(scripts, tmp_path, monkeypatch):
    export = scripts("export")
    (tmp_path / "big").write_bytes(b"12345")
    monkeypatch.setattr(export, "LARGEST", 4)
    with pytest.raises(ValueError, match="big has 5 bytes"):
        export._check_sizes(tmp_path)


@pytest.fixture
def url(scripts, tmp_path):
    """Where the page is served that is built into a new folder."""
    try:
        scripts("build").build(tmp_path)
    except RuntimeError as error:
        if any(word in str(error) for word in NO_NETWORK):
            pytest.skip(f"npm's registry can't be reached: {str(error).splitlines()[-1]}")
        raise

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


@needs_node
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_in_a_browser(url):
    found = answer("page.mjs", url, CHROMIUM)
    assert found["errors"] == [] and found["error"] is None
    assert found["elsewhere"] == []  # nothing comes from another host
    assert found["wider"] <= 0  # nothing to scroll sideways on a phone

    before, after = found["before"], found["after"]
    assert before["task"] == "Lift" and before["steps"] == 0 and not before["playing"]
    assert after["z"][0] == -2.5 and after["z"][1:] == before["z"][1:]
    assert np.linalg.norm(np.subtract(after["position"], before["position"])) > 0.02  # [m]

    assert found["mapping"]["byMapping"] and not found["touched"]["byMapping"] and found["again"]["byMapping"]
    assert found["touched"]["z"][1] == 1
    middle = load_policy("lwall").mapping.action_space
    tapped = np.subtract(found["tapped"]["z"], (middle.low + middle.high) / 2)
    assert np.sort(np.abs(tapped))[:2].max() < 0.1  # the two dimensions of the map

    assert found["last"]["task"] == "PointMassUp" and not found["last"]["byMapping"]
    assert found["families"] == list(FAMILIES) and found["shown"] == list(FAMILIES.values())
    for family, distance in found["compared"].items():
        assert distance["open"] < 1e-4, family  # [m]
        assert distance["closed"] < 1e-4, family
    assert sum(found["successes"]) >= 8
