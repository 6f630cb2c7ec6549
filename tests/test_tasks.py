import subprocess
import sys
import threading
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv
from toy import Line, make_model

from skill_agent import make_skill_vec_env
from skill_agent.tasks import TaskEnv, flat_box, make_task_vec_env, name_tasks

PENDULA = {f"g={g}": lambda g=g: gymnasium.make("Pendulum-v1", g=g) for g in (2.0, 5.0, 10.0)}


def test_three_gravities_of_pendulum_are_three_tasks():
    env = make_task_vec_env(PENDULA, n_envs=2, seed=0)
    assert env.observation_space == spaces.Dict(
        observation=gymnasium.make("Pendulum-v1").observation_space, task=spaces.Discrete(3)
    )
    assert env.get_attr("task_names") == [list(PENDULA)] * 2
    model = make_model(env).learn(1_000)
    assert model.policy.n_tasks == 3 and model.num_timesteps >= 1_000
    assert {episode["l"] for episode in model.ep_info_buffer} == {200}


def test_a_task_is_its_environment_step_by_step():
    env = TaskEnv({name: make() for name, make in PENDULA.items()})
    for k, make in enumerate(PENDULA.values()):
        alone = make()
        observation, info = env.reset(seed=7, options={"task": k})
        expected, _ = alone.reset(seed=7)
        assert observation["task"] == k and info["task"] == list(PENDULA)[k]
        np.testing.assert_array_equal(observation["observation"], expected)
        for action in np.linspace(-2, 2, 20, dtype=np.float32)[:, None]:
            observation, reward, terminated, truncated, info = env.step(action)
            expected, *rest, _ = alone.step(action)
            np.testing.assert_array_equal(observation["observation"], expected)
            assert [reward, terminated, truncated] == rest and info["task"] == list(PENDULA)[k]


def test_tasks_are_drawn_alike_and_a_seed_repeats_them():
    def drawn(seed):
        env = TaskEnv({str(k): Line() for k in range(3)})
        env.reset(seed=seed)
        return [env.reset()[0]["task"] for _ in range(300)]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first == again != other
    assert min(np.bincount(first, minlength=3)) > 70


def test_one_task_has_no_task_in_its_observation():
    env = make_task_vec_env("Pendulum-v1", n_envs=2, seed=0)
    assert env.observation_space == gymnasium.make("Pendulum-v1").observation_space
    make_model(env).learn(50)
    SAC("MlpPolicy", env, learning_starts=10).learn(30)


def test_dict_observations_are_flattened_in_a_known_order():
    space = spaces.Dict(
        desired_goal=spaces.Box(-1, 1, (3,)), observation=spaces.Box(-9, 9, (2, 2)), achieved_goal=spaces.Box(-2, 2, ())
    )

    class Goals(Line):
        def __init__(self):
            super().__init__()
            self.observation_space = space

        def observe(self):
            return {"desired_goal": [0.1, 0.2, 0.3], "observation": [[1.0, 2.0], [3.0, 4.0]], "achieved_goal": 1.5}

    env = TaskEnv({"a": Goals, "b": Goals})
    observation, _ = env.reset(seed=0)
    values = {"desired_goal": [0.1, 0.2, 0.3], "observation": [1, 2, 3, 4], "achieved_goal": [1.5]}
    expected = np.concatenate([values[key] for key in env.observation_keys]).astype(np.float32)
    assert sorted(env.observation_keys) == sorted(values)
    np.testing.assert_array_equal(observation["observation"], expected)
    assert env.observation_space.contains({**observation, "task": np.int64(observation["task"])})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(0, 255, (64, 64, 3), np.uint8), "image"),
        (spaces.Dict(camera=spaces.Box(0, 255, (64, 64, 3), np.uint8), joints=spaces.Box(-1, 1, (3,))), "image"),
        (spaces.Discrete(4), "choose a Box"),
        (spaces.Dict(a=spaces.Dict(b=spaces.Box(-1, 1, (3,)))), "choose a Box"),
    ],
)
def test_what_can_not_be_learned_from_is_named(space, message):
    with pytest.raises(ValueError, match=message):
        flat_box(space)


def test_spaces_that_differ_are_both_shown():
    with pytest.raises(ValueError, match=r"'p' is Box.*\(3,\).*'c' is Box.*\(4,\)"):
        TaskEnv({"p": "Pendulum-v1", "c": "CartPole-v1"})
    with pytest.raises(ValueError, match="action_space"):
        TaskEnv({"a": Line, "b": lambda: Line(action_space=spaces.Box(-2, 2, (1,)))})


@pytest.mark.parametrize(
    ("tasks", "error", "message"),
    [
        ({}, ValueError, "at least one task"),
        ("Pendulum-v99", ValueError, "Pendulum"),
        ({"a": 3}, TypeError, "'a' is 3"),
        ({"a": lambda: 3}, TypeError, "'a' made 3"),
        ("CartPole-v1", ValueError, "action space"),
        (["SkillEmbed/LWallPretrain-v0", "SkillEmbed/Push-v0"], ValueError, "one task each"),
    ],
)
def test_wrong_tasks_are_named(tasks, error, message):
    with pytest.raises(error, match=message):
        make_task_vec_env(tasks)


@pytest.mark.parametrize(("name", "value"), [("n_envs", 0), ("n_envs", 1.5), ("seed", -1), ("seed", "0")])
def test_wrong_numbers_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}="):
        make_task_vec_env("Pendulum-v1", **{name: value})


def test_a_task_out_of_range_is_named():
    env = TaskEnv({"a": Line, "b": Line})
    with pytest.raises(ValueError, match=r"options\['task'\]=2 .* from 0 to 1"):
        env.reset(options={"task": 2})


def test_the_suite_stays_batched():
    one = make_task_vec_env("SkillEmbed/LWallPretrain-v0", 4, seed=3)
    two = make_task_vec_env({"push": "SkillEmbed/Push-v0", "lift": "SkillEmbed/Lift-v0"}, 4, seed=3)
    usual = make_skill_vec_env("SkillEmbed/LWallPretrain-v0", 4, seed=3)
    assert type(one.unwrapped) is type(two.unwrapped) is type(usual.unwrapped)
    observations = [env.reset() for env in (one, two, usual)]
    for _ in range(3):
        for key in ("observation", "task"):
            np.testing.assert_array_equal(observations[0][key], observations[2][key])
            np.testing.assert_array_equal(observations[1][key], observations[2][key])
        observations = [env.step(np.full((4, 7), 0.3))[0] for env in (one, two, usual)]


def test_names_of_lists_are_ids_and_numbered_where_they_repeat():
    assert list(name_tasks(["a", "b", "a"])) == ["a", "b", "a #2"]
    assert list(name_tasks(Line)) == ["Line"]
    assert list(name_tasks([gymnasium.make("Pendulum-v1"), Line()])) == ["Pendulum-v1", "Line"]


def test_environments_serve_as_tasks_of_several_copies_and_processes():
    env = make_task_vec_env({"p": gymnasium.make("Pendulum-v1"), "q": "Pendulum-v1"}, n_envs=3, seed=0)
    tasks = env.reset()["task"]
    assert tasks.shape == (3,) and len({id(e) for e in env.unwrapped.envs}) == 3
    here, there = (
        make_task_vec_env(["Pendulum-v1"] * 2, n_envs=2, seed=0, vec_env_cls=cls)
        for cls in (DummyVecEnv, SubprocVecEnv)
    )
    expected, found = here.reset(), there.reset()
    for key in ("observation", "task"):
        np.testing.assert_array_equal(found[key], expected[key])
    there.close()


# Other processes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("start_method", "n"), [("fork", 2), ("spawn", 1)])
def test_processes_know_what_was_registered_here(start_method, n):
    gymnasium.register("OwnLine-v0", entry_point=lambda: Line(), max_episode_steps=5)
    make = partial(SubprocVecEnv, start_method=start_method)
    try:
        env = make_task_vec_env({"a": "OwnLine-v0", "b": Line}, n_envs=n, seed=0, vec_env_cls=make)
        here = make_task_vec_env({"a": "OwnLine-v0", "b": Line}, n_envs=n, seed=0)
    finally:
        del gymnasium.registry["OwnLine-v0"]
    expected, found = here.reset(), env.reset()
    for _ in range(6):
        for key in expected:
            np.testing.assert_array_equal(found[key], expected[key])
        expected, found = (each.step(np.zeros((n, 1), np.float32))[0] for each in (here, env))
    assert env.get_attr("task_names") == [["a", "b"]] * n
    env.close()


class Unsendable(Line):
    def __init__(self):
        super().__init__()
        self.lock, self.closed = threading.Lock(), False

    def close(self):
        self.closed = True


def test_what_can_not_be_sent_is_named():
    env = Unsendable()
    with pytest.raises(ValueError, match=r"'q' can't be sent to another process .*give a Gymnasium id"):
        make_task_vec_env({"p": Line, "q": env}, 1, vec_env_cls=partial(SubprocVecEnv, start_method="spawn"))
    assert not env.closed


def test_what_is_wrong_in_a_task_is_said_here_and_not_in_a_process():
    for tasks, message in (
        ({"a": "Pendulum-v99"}, "Pendulum-v99"),
        ({"a": Line, "b": lambda: Line(action_space=spaces.Box(-2, 2, (1,)))}, "action_space"),
    ):
        with pytest.raises(ValueError, match=message):
            make_task_vec_env(tasks, 2, vec_env_cls=SubprocVecEnv)


def test_a_script_without_its_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from functools import partial\nfrom stable_baselines3.common.vec_env import SubprocVecEnv\n"
        "from skill_agent import make_task_vec_env\n"
        "make_task_vec_env('Pendulum-v1', 1, vec_env_cls=partial(SubprocVecEnv, start_method='spawn'))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "RuntimeError: the other processes ended" in done.stderr


@pytest.mark.parametrize("wrong", [3, "SubprocVecEnv", lambda envs, more: None])
def test_a_wrong_class_is_named(wrong):
    with pytest.raises(TypeError, match=r"vec_env_cls=.*choose SB3's"):
        make_task_vec_env(Line, 2, vec_env_cls=wrong)


def test_a_callable_that_gives_one_environment_again_is_an_error():
    one = Line()
    with pytest.raises(ValueError, match="gives the same environment again"):
        make_task_vec_env({"a": lambda: one, "b": Line}, n_envs=2)
    make_task_vec_env({"a": lambda: one, "b": Line}, n_envs=1)
