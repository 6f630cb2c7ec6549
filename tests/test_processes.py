"""Workers in processes: killed, stopped and hanging ones, errors in them, and nothing left of them."""

import os
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np
import pytest
from crew import suite_model
from stable_baselines3.common.callbacks import BaseCallback
from suite import equal
from toy import ROOT, Line, make_line, make_model

from skill_agent import (
    TrainingDiverged,
    load_checkpoint,
    load_skills,
    make_task_vec_env,
    save_checkpoint,
    transfer,
)
from skill_agent.collector import Collector, Recipe, weights_of
from skill_agent.processes import Processes


def processes_of(model):
    return [member.process for member in model._collection.workers._crew._members.values()]


class Act(BaseCallback):
    """Calls a function with the model at the start of one rollout, and keeps the workers' process ids."""

    def __init__(self, rollout, act):
        super().__init__()
        self.rollout, self.act, self.count, self.pids = rollout, act, 0, set()

    def _on_step(self):
        return True

    def _on_rollout_start(self):
        self.count += 1
        self.pids |= {process.pid for process in processes_of(self.model)}
        if self.count == self.rollout:
            self.act(self.model)


def assert_gone(pids):
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_collects_what_a_collector_with_its_seed_does():
    model = suite_model(0)
    recipe, weights = Recipe.of(model.env, model.policy), weights_of(model.policy, None)
    crew = Processes(recipe, timeout=30)
    try:
        crew.begin(0, (3, 0, 1))
        crew.publish(0, weights, 0)
        found = []
        for _ in range(2):
            crew.request(0, 0, 6)
            while not (reports := crew.wait(1)):
                pass
            found.append(reports[0].segment)
    finally:
        crew.close()
    collector = Collector(recipe, (3, 0, 1))
    for segment in found:
        expected = collector.collect(weights, 0, 6)
        for name in ("observation", "next_observation", "reward", "done"):
            assert equal(getattr(segment.steps, name), getattr(expected.steps, name))
        assert all(equal(a, b) for a, b in zip(segment.steps.behaviour, expected.steps.behaviour, strict=True))
        assert segment.infos == expected.infos
    assert not crew._folder.exists()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_worker_that_is_lost_is_replaced_and_the_training_ends_as_it_should(sign):
    def end(model):
        model.lost = model._collection.workers.lost
        members = model._collection.workers._crew._members.values()
        working = next(member for member in members if member.beat.value)  # others may still be starting
        os.kill(working.process.pid, sign)

    model, act = suite_model(2, worker_timeout=1.5, train_freq=20), Act(4, end)
    model.learn(1600, callback=act)
    assert model.num_timesteps == 1600 and model._n_updates == 2 * 20
    assert len(model.lost) == 1 and ("exit code -9" in model.lost[0] or "no step for 1.5 s" in model.lost[0])
    assert len(act.pids) == 3
    assert_gone(act.pids)


class Hangs(Line):
    """Hangs once, in the first process that comes far enough; the file is there afterwards."""

    def __init__(self, file, **kwargs):
        super().__init__(**kwargs)
        self.file = file

    def step(self, action):
        if self.steps == 7 and not os.path.exists(self.file):
            open(self.file, "w").close()
            time.sleep(1000)
        return super().step(action)


def test_a_worker_that_hangs_is_noticed_within_its_time(tmp_path):
    env = make_task_vec_env({"a": lambda: Hangs(tmp_path / "hung"), "b": lambda: Hangs(tmp_path / "hung")}, 1, seed=0)
    model = make_model(env, n_workers=1, worker_timeout=1.5, learning_starts=10)
    lost = []
    model.learn(60, callback=Act(1, lambda model: lost.append(model._collection.workers)))
    assert (tmp_path / "hung").exists() and model.num_timesteps == 60
    assert lost[0].lost == ["it took no step for 1.5 s"]


class Fails(Line):
    """Raises, or gives a number that is not finite."""

    def __init__(self, value, **kwargs):
        super().__init__(**kwargs)
        self.value = value

    def step(self, action):
        if self.steps == 3:
            if self.value is None:
                raise OSError("the robot is unplugged")
            self.x = self.value
        return super().step(action)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [(None, RuntimeError, "worker 0: OSError: the robot is unplugged"), (np.nan, TrainingDiverged, "observation")],
)
def test_an_error_of_an_environment_is_the_learners(value, kind, words):
    model = make_model(make_task_vec_env(lambda: Fails(value), 1, seed=0), n_workers=1)
    act = Act(1, lambda model: None)
    with pytest.raises(kind, match=words):
        model.learn(100, callback=act)
    assert model._collection is None
    assert_gone(act.pids)


def test_without_workers_numbers_are_what_they_were():
    found = []
    for settings in ({}, {"worker_lag": 7, "worker_timeout": 9.0}):
        model = suite_model(0, **settings)
        model.learn(400)
        found.append(model.policy.parameters_to_vector())
    assert equal(*found)


def test_a_checkpoint_goes_on_with_new_episodes_and_says_so(tmp_path):
    model = suite_model(1)
    model.learn(200)
    kept = save_checkpoint(model, tmp_path)
    again = suite_model(1)
    with pytest.warns(UserWarning, match=r"no state of the workers' environments.*new episodes") as said:
        load_checkpoint(again, kept)
    assert len(said) == 1
    assert equal(again.replay_buffer.state(), model.replay_buffer.state())
    again.learn(200, reset_num_timesteps=False)
    assert again.num_timesteps == 400 and again._n_updates > model._n_updates
    rows = again.replay_buffer.observations[:100]
    assert not np.isclose(rows[:50], rows[50:]).all(-1).any()  # not the first episodes again
    with pytest.raises(Exception, match=r"config.n_workers: 1 saved, 2 here"):
        load_checkpoint(suite_model(2), kept)


def test_skills_are_transferred_by_workers(tmp_path):
    policy = transfer(
        load_skills("pointmass"), "SkillEmbed/PointMassCorner-v0", 1600, n_envs=4, hold=2, n_workers=2,
        policy_kwargs={"net_arch": [8, 8]}, train_freq=10, batch_size=4, learning_starts=40, bf16=False,
    )  # fmt: skip
    env = gymnasium.make("SkillEmbed/PointMassCorner-v0")
    action, _ = policy.predict(env.reset(seed=0)[0])
    assert env.action_space.contains(action)


def test_environments_in_processes_of_their_own_are_refused():
    from stable_baselines3.common.vec_env import SubprocVecEnv

    env = make_task_vec_env("Pendulum-v1", 1, vec_env_cls=SubprocVecEnv)
    try:
        with pytest.raises(ValueError, match=r"can't be sent to a worker.*in no processes of its own"):
            make_model(env, n_workers=1).learn(10)
    finally:
        env.close()


SCRIPT = """
import os, sys, time
from stable_baselines3.common.callbacks import BaseCallback
from skill_agent import SkillEmbedding, make_skill_vec_env

class Say(BaseCallback):
    def _on_step(self):
        pids = [m.process.pid for m in self.model._collection.workers._crew._members.values()]
        print(*pids, flush=True)
        time.sleep(0.02)
        return True

def main():
    env = make_skill_vec_env("SkillEmbed/PointMassTwoGoals-v0", 4, seed=0)
    model = SkillEmbedding("MultiInputPolicy", env, n_workers=2, learning_starts=10**9)
    model.learn(10**9, callback=Say())

GUARD
    main()
"""


def begin(tmp_path, guard="if __name__ == '__main__':"):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("GUARD", guard))
    return subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_no_process_is_left_when_a_training_is_ended(tmp_path, sign):
    process = begin(tmp_path)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    # As by a terminal, an interrupt reaches all processes.
    (os.killpg if sign == signal.SIGINT else os.kill)(process.pid, sign)
    _, error = process.communicate(timeout=60)
    if sign == signal.SIGINT:
        assert error.count("KeyboardInterrupt") == 1, error
    end = time.monotonic() + 20
    while time.monotonic() < end and any(os.path.exists(f"/proc/{pid}") for pid in pids):
        time.sleep(0.1)
    assert_gone(pids)


def test_a_script_without_its_guard_is_told_what_it_needs(tmp_path):
    process = begin(tmp_path, "if True:")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1 and "without \"if __name__ == '__main__':\"" in error.splitlines()[-1]


def test_the_folder_between_learner_and_workers_is_gone_and_environments_of_the_learner_stay_open():
    env = make_line(2)
    model = make_model(env, n_workers=1)
    folders = []
    model.learn(60, callback=Act(1, lambda model: folders.append(model._collection.workers._crew._folder)))
    assert not folders[0].exists()
    env.reset()
