"""What a learner makes of segments: their order, their age, their place in replay, and what is logged of them."""

import gymnasium
import numpy as np
import pytest
import torch
from crew import TWO_GOALS, Here, suite_model
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecNormalize
from suite import equal
from toy import Line, make_line, make_model

from skill_agent import (
    SkillConfig,
    SkillEmbedding,
    SkillSpaceVecEnv,
    collecting,
    load_skills,
    make_skill_vec_env,
    make_task_vec_env,
)
from skill_agent.collector import Collector, Recipe, weights_of
from skill_agent.lanes import LaneReplayBuffer, Stretch
from skill_agent.replay import BehaviourStep, TrajectoryReplayBuffer
from skill_agent.workers import MOST_LOSSES, Report, Workers, candidates


def recipe(model):
    return Recipe.of(model.env, model.policy)


@pytest.fixture
def here(monkeypatch):
    """Workers in this process, in place of processes."""
    crews = []

    def make(recipe, timeout):
        crews.append(Here(recipe))
        return crews[-1]

    monkeypatch.setattr(collecting, "Processes", make)
    return crews


# Settings -----------------------------------------------------------------------------------------


def test_settings_of_workers_are_checked():
    with pytest.raises(ValueError, match="worker_lag=3 is not valid with n_workers=4; choose at least as many"):
        SkillConfig(n_workers=4, worker_lag=3)
    assert SkillConfig(n_workers=4, worker_lag=4).worker_lag == 4
    with pytest.raises(ValueError, match="n_workers=-1"):
        SkillConfig(n_workers=-1)
    with pytest.raises(ValueError, match=r"train_freq=.*episode.* is not valid with n_workers=1; choose a number of"):
        make_model(make_line(), train_freq=(2, "episode"), n_workers=1)


# Segments -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalised", [False, True])
def test_a_collector_takes_the_steps_that_the_learner_would(normalised):
    def env():
        made = make_line(3, n_tasks=2, length=7, terminates=True)
        made.seed(4)
        return VecNormalize(made, norm_obs_keys=["observation"]) if normalised else made

    learner = make_model(env(), learning_starts=10**6, trace_embedding_ratio=True)
    learner.env.seed(4)
    collector = Collector(recipe(make_model(env(), trace_embedding_ratio=True)), (0,))
    collector.env.seed(4)
    collector._generator.set_state(learner._generator.get_state())
    if normalised:
        learner.env.training = False
    learner.learn(90)  # 30 steps, in three rollouts
    weights = weights_of(learner.policy, learner.get_vec_normalize_env())
    segments = [collector.collect(weights, 7, 10) for _ in range(3)]
    lanes = LaneReplayBuffer(
        300, spaces.Box(-1, 1, (2,)), learner.action_space, 3, "cpu", n_envs=3, n_parameters=None, n_lanes=1
    )
    for segment in segments:
        assert segment.version == 7 and segment.seconds > 0
        lanes.add_stretch(0, segment.steps)
    assert equal(lanes.state()["rows"], learner.replay_buffer.state()["rows"])
    assert learner.replay_buffer.dones[:30].sum() == 12  # their true successors are among these


def test_seeds_make_collectors_that_repeat_themselves_and_no_others():
    made = recipe(suite_model(0))
    model = suite_model(0)
    weights = weights_of(model.policy, None)
    first, again, other = (Collector(made, seed).collect(weights, 0, 5) for seed in ((1, 2, 0), (1, 2, 0), (1, 2, 1)))
    assert equal(first.steps._asdict()["observation"], again.steps.observation)
    assert equal(first.steps.behaviour.action, again.steps.behaviour.action)
    assert not np.isclose(first.steps.observation, other.steps.observation).all()
    assert not np.isclose(first.steps.behaviour.action, other.steps.behaviour.action).any()


def test_weights_hold_what_acts_and_no_critics():
    model = make_model(make_line(2), embedding_transition="learned", z_period=2)
    names = set(weights_of(model.policy, None).networks)
    assert not [n for n in names if n.startswith(("critics", "inference"))]
    for part in ("actor", "embedding", "transition", "state_mean", "state_scale"):
        assert any(n.startswith(part) for n in names), part


def test_skills_that_act_in_workers_draw_different_actions():
    env = SkillSpaceVecEnv(make_skill_vec_env("SkillEmbed/PointMassCorner-v0", 2, seed=0), load_skills("pointmass"), 3)
    model = make_model(env)
    weights = weights_of(model.policy, None)
    collectors = [Collector(recipe(model), (0, worker, 0)) for worker in range(2)]
    states = [collector.env._generator.get_state() for collector in collectors]
    assert not torch.equal(*states)
    assert collectors[0].collect(weights, 0, 2).steps.reward.shape == (2, 2)


def test_an_environment_that_can_not_be_copied_is_an_error():
    class Stuck(Line):
        def __reduce__(self):
            raise TypeError("it holds a camera")

    env = make_task_vec_env({"a": Stuck}, 1)
    env.venv.envs[0].camera = Stuck()
    with pytest.raises(ValueError, match=r"this environment can't be sent to a worker .*camera.*or choose n_workers=0"):
        make_model(env, n_workers=1).learn(100)


# Replay -------------------------------------------------------------------------------------------


def steps_of(n_envs, count, rng, begin):
    """Steps with episodes of 5; ``begin`` is the age of the first."""
    age = np.repeat(((begin + np.arange(count)) % 5)[:, None], n_envs, axis=1)
    shape = (count, n_envs)
    observation = rng.normal(size=(*shape, 2)).astype(np.float32)
    behaviour = BehaviourStep(
        action=rng.normal(size=(*shape, 1)).astype(np.float32),
        log_prob=rng.normal(size=shape).astype(np.float32),
        latent=rng.normal(size=(*shape, 3)).astype(np.float32),
        latent_log_prob=np.zeros(shape, np.float32),
        task=np.zeros(shape, np.int64),
        age=age,
    )
    done = age == 4
    return Stretch(observation, observation + 1, behaviour, rng.normal(size=shape).astype(np.float32), done, done)


def lanes(rows, n_lanes, n_envs=2):
    total = rows * n_lanes * n_envs
    return LaneReplayBuffer(
        total, spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,)), 3, "cpu", n_envs, None, n_lanes=n_lanes
    )


def test_windows_of_lanes_are_those_of_as_many_environments(monkeypatch):
    rng = np.random.default_rng(0)
    found = lanes(20, 2)
    plain = TrajectoryReplayBuffer(80, spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,)), 3, "cpu", 4)
    for begin, count in ((0, 7), (2, 9), (1, 10)):  # around the ring, and cut in the middle of episodes
        parts = [steps_of(2, count, rng, begin) for _ in range(2)]
        for lane in (1, 0):
            found.add_stretch(lane, parts[lane])
        both = [np.concatenate(values, axis=1) for values in zip(*(p.behaviour for p in parts), strict=True)]
        observation, after, reward, done = (
            np.concatenate([getattr(p, name) for p in parts], axis=1)
            for name in ("observation", "next_observation", "reward", "done")
        )
        infos = [[{"TimeLimit.truncated": bool(d)} for d in row] for row in done]
        plain.extend(observation, after, BehaviourStep(*both), reward, done, infos)
    assert found.size() == plain.size() == 20
    assert equal(found.state()["rows"], plain.state()["rows"])
    monkeypatch.setattr(LaneReplayBuffer, "_drawn_steps", TrajectoryReplayBuffer._drawn_steps)
    windows = [buffer.sample_windows(64, 4, 3, np.random.default_rng(1)) for buffer in (found, plain)]
    for mine, theirs in zip(*windows, strict=True):
        assert torch.equal(mine, theirs)


def test_all_stored_steps_are_drawn_alike_and_no_others():
    found, rng = lanes(20, 3), np.random.default_rng(0)
    for lane, count in ((0, 4), (2, 50)):  # one lane is empty, one is full and was overwritten
        found.add_stretch(lane, steps_of(2, count, rng, 0))
    rows, columns = found._drawn_steps(20_000, rng)
    assert (found.stretch[rows, columns] >= 0).all()
    counts = np.zeros((20, 6), int)
    np.add.at(counts, (rows, columns), 1)
    assert counts[counts > 0].size == 2 * (4 + 20) and counts[counts > 0].min() > 0.7 * 20_000 / 48
    assert len(found.stored_observations()) == 48


def test_a_lane_that_was_ended_is_parted_from_what_comes_next():
    found, rng = lanes(20, 1), np.random.default_rng(0)
    for begin in (0, 3):  # the second goes on, by chance, where the first ended
        found.add_stretch(0, steps_of(2, 3, rng, begin))
        found.end_lane(0)
    assert not set(found.stretch[:3].ravel()) & set(found.stretch[3:6].ravel())
    batch = found.sample_windows(500, 4, 3, rng)
    assert batch.mask.sum(1).max() == 3  # steps 0 to 2
    assert not batch.follows.any()


def test_the_state_of_lanes_comes_back_and_is_checked():
    found, rng = lanes(20, 2), np.random.default_rng(0)
    found.add_stretch(1, steps_of(2, 25, rng, 0))
    state = found.state()
    other = lanes(20, 2)
    other.check_state(state, 1)
    other.set_state(state)
    assert equal(other.state(), state)
    with pytest.raises(ValueError, match="pos"):
        other.check_state({**state, "pos": state["pos"] + 20}, 1)
    with pytest.raises(ValueError, match="full"):
        other.check_state({**state, "full": 1}, 1)
    with pytest.raises(NotImplementedError):
        found.add()


# Who is asked, and whose segment comes next -------------------------------------------------------


@pytest.mark.parametrize(
    ("versions", "now", "most_lag", "expected"),
    [([0, 0, 0], 0, 3, 3), ([0, 0, 0], 1, 3, 3), ([0, 1, 2], 3, 3, 1), ([1, 1, 2], 3, 3, 2), ([], 5, 1, 0)],
)
def test_candidates(versions, now, most_lag, expected):
    assert candidates(versions, now, most_lag) == expected


@pytest.mark.parametrize(("count", "in_flight", "most_lag"), [(1, 1, 1), (3, 1, 3), (3, 2, 6), (4, 2, 9), (3, 2, 5)])
def test_no_segment_is_too_stale_whoever_is_slow(count, in_flight, most_lag):
    model = suite_model(0)
    crew = Here(recipe(model), in_flight=in_flight, slow=(0,))
    workers = Workers(crew, count, 2, most_lag, seed=0)
    lags, whose = [], []
    for round in range(40):
        delivery = workers.next(lambda: weights_of(model.policy, None), 40 - round)
        assert delivery.lag == round - delivery.segment.version
        lags.append(delivery.lag)
        whose.append(delivery.worker)
        assert len(workers._requests) <= count * min(in_flight, max(1, most_lag // count))  # steps ahead of updates
    assert max(lags) <= most_lag and set(whose) == set(range(count))
    assert not workers._requests and not crew.done  # nothing was collected in vain
    assert workers.log()["workers/most_lag"] == max(lags)


def test_a_lost_worker_is_replaced_by_one_with_another_seed():
    model = suite_model(0)
    crew = Here(recipe(model))
    workers = Workers(crew, 2, 2, 4, seed=5)
    weights = lambda: weights_of(model.policy, None)  # noqa: E731
    before = [workers.next(weights, 9) for _ in range(2)]
    crew.dies = {1}
    after = [workers.next(weights, 9) for _ in range(6)]
    assert crew.seeds == [(5, 0, 0), (5, 1, 0), (5, 1, 1)]
    assert workers.lost == ["it was killed"] and workers.log()["workers/lost"] == 1
    for worker, begins in ((0, 1), (1, 1 + any(d.worker == 1 for d in before))):
        goes_on = [d.goes_on for d in before + after if d.worker == worker]
        assert goes_on.count(False) == begins and not goes_on[0] and goes_on[-1]


def test_a_worker_that_is_lost_again_and_again_is_an_error():
    model = suite_model(0)
    crew = Here(recipe(model))
    workers = Workers(crew, 1, 2, 4, seed=5)
    crew.wait = lambda seconds: [Report(0, lost="exit code 1")]
    with pytest.raises(RuntimeError, match=rf"worker 0 was lost {MOST_LOSSES + 1} times.*exit code 1"):
        workers.next(lambda: weights_of(model.policy, None), 9)


# The learner --------------------------------------------------------------------------------------


class Count(BaseCallback):
    """Counts what SB3 calls; stops after ``most`` steps."""

    def __init__(self, most=10**9):
        super().__init__()
        self.most, self.steps, self.starts, self.ends, self.infos = most, 0, 0, 0, []

    def _on_step(self):
        self.steps += 1
        self.infos += self.locals["infos"]
        assert len(self.locals["dones"]) == len(self.locals["rewards"]) == len(self.locals["infos"])
        return self.steps < self.most

    def _on_rollout_start(self):
        self.starts += 1

    def _on_rollout_end(self):
        self.ends += 1


def test_the_ratio_of_updates_to_steps_is_that_without_workers(here):
    made = {}
    for k in (0, 2):
        model, count = suite_model(k, learning_starts=80), Count()
        model.learn(400, callback=count)
        made[k] = (model.num_timesteps, model._n_updates, count.steps, count.starts, count.ends)
    assert made[2] == made[0] == (400, 16, 100, 10, 10)
    assert here[0].closed and here[0].rng is not None
    assert model.replay_buffer._filled().sum() * 4 == 400


def test_tasks_are_logged_and_what_workers_did(here, monkeypatch):
    model = suite_model(2, stats_window_size=100)
    count = Count()
    logged, record = {}, Logger.record

    def noted(self, key, value, *args, **kwargs):
        logged[key] = value
        record(self, key, value, *args, **kwargs)

    monkeypatch.setattr(Logger, "record", noted)
    model.learn(1600, callback=count, log_interval=1)
    assert {"rollout/return/PointMassLeft", "rollout/success/PointMassRight"} <= set(logged)
    assert 0 <= logged["workers/learner_waits"] <= 1 and 0 <= logged["workers/workers_wait"] <= 1
    assert logged["workers/most_lag"] <= 4 and "retrace/mean_trace" in logged
    assert any("episode" in info for info in count.infos)


def test_a_callback_ends_the_training(here):
    model, count = suite_model(2), Count(most=15)
    model.learn(4000, callback=count)
    assert model.num_timesteps == 60 and here[0].closed and model._collection is None


def test_callbacks_of_sb3_work(here, tmp_path):
    evaluation = EvalCallback(make_skill_vec_env(TWO_GOALS, 1, seed=3), n_eval_episodes=1, eval_freq=50, verbose=0)
    saving = CheckpointCallback(50, str(tmp_path), name_prefix="model")
    suite_model(2).learn(400, callback=[evaluation, saving], progress_bar=True)
    assert evaluation.n_calls == 100 and evaluation.last_mean_reward > -np.inf
    assert len(list(tmp_path.glob("model_*_steps.zip"))) == 2
    loaded = SkillEmbedding.load(sorted(tmp_path.glob("model_*_steps.zip"))[-1], device="cpu")
    assert loaded.config.n_workers == 2 and loaded._collection is None


def test_workers_end_with_an_exception(here):
    class Fails(BaseCallback):
        def _on_step(self):
            raise KeyboardInterrupt

    model = suite_model(1)
    with pytest.raises(KeyboardInterrupt):
        model.learn(400, callback=Fails())
    assert here[0].closed and model._collection is None


def test_each_call_of_learn_has_other_episodes(here):
    model = suite_model(1)
    model.learn(80)
    model.learn(80, reset_num_timesteps=False)
    assert here[0].seeds != here[1].seeds
    again = suite_model(1)
    again.learn(80)
    assert here[2].seeds == here[0].seeds  # of the run's seed


def test_one_worker_in_this_process_learns_the_same_twice(here):
    found = []
    for _ in range(2):
        model = suite_model(1)
        model.learn(400)
        found.append(model.policy.parameters_to_vector())
    assert equal(*found)


def test_statistics_of_normalised_environments_are_over_all_workers(here):
    env = VecNormalize(make_line(2, n_tasks=2, length=5), norm_obs_keys=["observation"], gamma=0.9)
    model = make_model(env, n_workers=2)
    model.learn(400)
    rows = model.replay_buffer.stored_observations()
    moments = env.obs_rms["observation"]
    # The learner's own environments were reset once, which is two observations.
    assert abs(moments.count - (400 + 2)) < 1
    assert np.allclose(moments.mean, rows.mean(0), rtol=1e-2) and np.allclose(moments.var, rows.var(0), rtol=0.05)
    rewards, dones = model.replay_buffer.rewards, model.replay_buffer.dones
    returns, running = [], np.zeros(rewards.shape[1])
    for row in range(100):
        running = running * 0.9 + rewards[row]
        returns.append(running.copy())
        running[dones[row] > 0] = 0
    assert np.isclose(env.ret_rms.var, np.var(returns), rtol=0.05)
    # The workers saw what the learner had measured before, and measured nothing.
    for collector in here[0].collectors.values():
        seen = collector._normalize
        assert not seen.training and 0 < seen.obs_rms["observation"].count < moments.count


class Sensors(gymnasium.Env):
    """A Dict of two sensors."""

    observation_space = spaces.Dict(b=spaces.Box(-9, 9, (2, 2)), a=spaces.Box(-9, 9, (1,)))
    action_space = spaces.Box(-1, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        return self.observe(), float(action[0]), False, self.steps == 6, {}

    def observe(self):
        return {"b": self.np_random.normal(size=(2, 2)).astype(np.float32), "a": np.float32([self.steps])}


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_task_vec_env({"one": Sensors, "two": Sensors}, 2, seed=0),
        lambda: gymnasium.vector.SyncVectorEnv([Sensors] * 2),
        lambda: make_task_vec_env(["Pendulum-v1", lambda: gymnasium.make("Pendulum-v1", g=7)], 2, seed=0),
    ],
    ids=["own tasks", "of Gymnasium", "ids"],
)
def test_own_tasks_with_dicts_of_sensors(here, make):
    env = make()
    space = getattr(env, "single_observation_space", env.observation_space)
    policy = "MultiInputPolicy" if set(getattr(space, "spaces", {})) == {"observation", "task"} else "MlpPolicy"
    networks = {"policy_kwargs": {"net_arch": [8, 8]}, "learning_starts": 20, "train_freq": 8, "gradient_steps": 1}
    model = SkillEmbedding(policy, env, n_workers=2, batch_size=4, seed=0, device="cpu", **networks)
    model.learn(96)
    assert model._n_updates > 0 and len(model.replay_buffer.stored_observations()) == 96
    if policy == "MultiInputPolicy":
        assert set(model.replay_buffer.task[model.replay_buffer.stretch >= 0]) == {0, 1}
