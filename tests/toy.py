"""What tests share: a point on a line, for spaces that the suite does not have, and tiny models and runs."""

import subprocess
from pathlib import Path

import gymnasium
import imageio_ffmpeg
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

from skill_agent import SkillEmbedding
from skill_agent.experiments.tables import Run

torch.set_num_threads(1)  # faster for networks this small

ROOT = Path(__file__).parent.parent
TINY = {"policy_kwargs": {"net_arch": [8, 8]}, "train_freq": 10, "gradient_steps": 1, "batch_size": 4}


def tiny(run):
    """The run with a budget of a second."""
    settings = {**run.settings, **TINY, "learning_starts": 100}
    return Run(run.env_id, 800, settings, n_envs=8)


class Line(gymnasium.Env):
    """Actions push the point; reward is its closeness to the task's goal; episodes have ``length`` steps."""

    def __init__(self, n_tasks=1, action_space=None, obs_dtype=np.float32, length=10, terminates=False):
        box = spaces.Box(-1000, 1000, (2,), obs_dtype)
        self.n_tasks, self.length, self.terminates, self.obs_dtype = n_tasks, length, terminates, obs_dtype
        self.observation_space = box
        if n_tasks > 1:
            self.observation_space = spaces.Dict(observation=box, task=spaces.Discrete(n_tasks))
        self.action_space = action_space or spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.task, self.steps = int(self.np_random.integers(self.n_tasks)), 0
        self.x = 100 + self.np_random.normal()
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), (action, action.dtype, self.action_space)
        self.x += float(np.mean(action))
        self.steps += 1
        end = self.steps == self.length
        return self.observe(), -abs(self.x - 100 - self.task), end and self.terminates, end and not self.terminates, {}

    def observe(self):
        observation = np.array([self.x, self.steps]).astype(self.obs_dtype)
        return observation if self.n_tasks == 1 else {"observation": observation, "task": self.task}


def make_line(n_envs=1, **kwargs):
    return make_vec_env(Line, n_envs, env_kwargs=kwargs)


def make_model(env, **kwargs):
    """A tiny model with the policy that fits ``env``, an environment or an id."""
    space = gymnasium.make(env).observation_space if isinstance(env, str) else env.observation_space
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    networks = {"policy_kwargs": {"net_arch": [16, 16]}, "batch_size": 8, "window": 4, "segment": 3, "seed": 0}
    schedule = {"learning_starts": 20, "train_freq": 10, "gradient_steps": 2}
    return SkillEmbedding(policy, env, **{**networks, **schedule, **kwargs})


class InThisProcess:
    """A pool that runs in this process, so that the tiny table is seen by the workers."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def submit(self, function, *args):
        from concurrent.futures import Future

        future = Future()
        future.set_result(function(*args))
        return future


def assert_equal(mine, theirs):
    """Bit for bit, and of the same kind, through dicts and arrays of objects."""
    if isinstance(theirs, dict):
        assert mine.keys() == theirs.keys()
        for key in theirs:
            assert_equal(mine[key], theirs[key])
        return
    mine, theirs = np.asarray(mine), np.asarray(theirs)
    assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
    if theirs.dtype != object:
        assert mine.tobytes() == theirs.tobytes()
        return
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert_equal(a, b)


def read_video(path, height, width):
    """Frames (n, height, width, 3) of a video, by the ffmpeg that imageio brings."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
