"""The log has each task's return and success by its name, for the suite and for anyone's tasks."""

import io

import numpy as np
import pytest
from stable_baselines3.common.logger import HumanOutputFormat, KVWriter, Logger, make_output_format
from toy import Line, make_line, make_model

from skill_agent import SkillSpaceVecEnv, make_skill_vec_env, make_task_vec_env
from skill_agent.task_logs import means, of_task, short_names


class Kept(KVWriter):
    """A writer that keeps the last values."""

    def __init__(self):
        self.values = {}

    def write(self, key_values, key_excluded, step=0):
        self.values.update(key_values)

    def close(self):
        pass


class Goal(Line):
    """Says whether it succeeded; a task that pays ``pay`` a step."""

    def __init__(self, pay, success):
        super().__init__()
        self.pay, self.success = pay, success

    def step(self, action):
        observation, _, terminated, truncated, _ = super().step(action)
        return observation, self.pay, terminated, truncated, {"success": self.success}


def log_of(model, steps):
    kept = Kept()
    model.set_logger(Logger(None, [kept]))
    model.learn(steps, log_interval=1)
    return kept.values


def test_own_tasks_are_logged_by_their_names():
    tasks = {"rich": lambda: Goal(3.0, True), "poor, far": lambda: Goal(1.0, False)}
    values = log_of(make_model(make_task_vec_env(tasks, n_envs=4, seed=0)), 400)
    assert values["rollout/return/rich"] == 30 and values["rollout/return/poor; far"] == 10
    assert values["rollout/success/rich"] == 1 and values["rollout/success/poor; far"] == 0
    assert 10 < values["rollout/ep_rew_mean"] < 30


def test_the_suite_logs_its_tasks_by_name():
    values = log_of(make_model(make_skill_vec_env("SkillEmbed/PointMassTwoGoals-v0", 4, seed=0)), 800)
    for name in ("PointMassLeft", "PointMassRight"):
        assert np.isfinite(values[f"rollout/return/{name}"]) and 0 <= values[f"rollout/success/{name}"] <= 1


def test_tasks_without_names_and_without_success_are_numbered():
    values = log_of(make_model(make_line(2, n_tasks=2)), 200)
    assert {"rollout/return/task 0", "rollout/return/task 1"} <= set(values)
    assert not any(key.startswith("rollout/success/") for key in values)


def test_a_transfer_logs_the_new_task():
    skills = make_model(make_task_vec_env({"a": Line, "b": Line}, n_envs=2)).policy
    env = SkillSpaceVecEnv(make_task_vec_env({"new": lambda: Goal(2.0, True)}, n_envs=2), skills, hold=3)
    values = log_of(make_model(env, embedding="task_id"), 100)
    assert values["rollout/return/new"] == 20 and values["rollout/success/new"] == 1


def test_infos_of_the_suite_say_the_task_of_the_episode_that_they_belong_to():
    env = make_skill_vec_env("SkillEmbed/PointMassTwoGoals-v0", 8, seed=0)
    names, tasks = ("PointMassLeft", "PointMassRight"), env.reset()["task"]
    assert [info["task"] for info in env.unwrapped.reset_infos] == [names[k] for k in tasks]
    ended = 0
    while not ended:
        observation, _, done, infos = env.step(np.zeros((8, 2)))
        assert [info["task"] for info in infos] == [names[k] for k in tasks]
        ended, tasks = done.sum(), observation["task"]
    assert all(info["terminal_observation"]["task"] == names.index(info["task"]) for info in infos)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["Push", "Lift"], ["Push", "Lift"]),
        (["SkillEmbed/Push-v0"], ["SkillEmbed/Push-v0"]),
        (["dm_control/walker-stand-v0", "b"], ["walker-stand-v0", "b"]),
        (["Right", "Up", "Right"], ["Right #0", "Up", "Right #2"]),
        (["a,b"], ["a;b"]),
        (["x" * 40 + "1", "x" * 40 + "2"], ["x" * 22 + " #0", "x" * 22 + " #1"]),
    ],
)
def test_names_are_short_and_differ(names, shown):
    assert short_names(names) == shown


def test_every_writer_of_sb3_takes_long_names(tmp_path):
    names = [f"dm_control/humanoid_CMU-a_very_long_task_{k}-v0" for k in range(3)]
    episodes = [{"r": 1.0, "task": k, "success": True} for k in range(3)]
    logged = means(episodes, names)
    assert len(logged) == 6
    for kind in ("csv", "json", "log"):
        writer = make_output_format(kind, str(tmp_path))
        writer.write(logged, dict.fromkeys(logged))
        writer.close()
    HumanOutputFormat(io.StringIO()).write(logged, dict.fromkeys(logged))
    header = (tmp_path / "progress.csv").read_text().splitlines()[0]
    assert sorted(header.split(",")) == sorted(logged)


def test_an_episode_of_a_continuous_task_has_no_index():
    info = {"episode": {"r": 1.0}, "terminal_observation": {"task": np.array([0.3])}}
    assert of_task(info) is info
    assert means([{"r": 1.0}], []) == {}
