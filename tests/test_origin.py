"""Networks know the environment that they are for, their files keep it, and another one is named in a warning."""

import warnings

import gymnasium
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv
from toy import Line, make_line, make_model

from skill_agent import SkillEmbedding, load_policy, load_skills, make_skill_vec_env, make_task_vec_env, rollouts
from skill_agent.experiments import EXPERIMENTS
from skill_agent.origin import LONGEST_NAME, Origin, of_file, of_suite, origin_of, warn_of_other
from skill_agent.skills import shipped

PAIR = Origin("", ("a", "b"), ("", ""))


def pendulum(g):
    return lambda: gymnasium.make("Pendulum-v1", g=g)


def test_the_suite_is_known_by_its_id_however_it_is_made():
    usual = origin_of("SkillEmbed/LWallPretrain-v0")
    assert usual == Origin(
        "SkillEmbed/LWallPretrain-v0", ("Push", "Lift"), ("SkillEmbed/Push-v0", "SkillEmbed/Lift-v0")
    )
    for env in (
        make_skill_vec_env("SkillEmbed/LWallPretrain-v0", 2),
        make_task_vec_env(["SkillEmbed/Push-v0", "SkillEmbed/Lift-v0"], 2),
        gymnasium.make("SkillEmbed/LWallPretrain-v0"),
        gymnasium.make_vec("SkillEmbed/LWallPretrain-v0", num_envs=2),
        make_vec_env("SkillEmbed/LWallPretrain-v0", 1),
    ):
        assert origin_of(env) == usual


def test_own_tasks_are_known_by_their_names_and_ids():
    env = make_task_vec_env({"light": pendulum(2.0), "usual": "Pendulum-v1", "own": pendulum(10.0)}, 2)
    assert origin_of(env) == Origin(
        "", ("light", "usual", "own"), ("Pendulum-v1(g=2.0)", "Pendulum-v1", "Pendulum-v1(g=10.0)")
    )
    assert origin_of(make_task_vec_env("Pendulum-v1")).environment == "Pendulum-v1"
    assert origin_of(gymnasium.make("Pendulum-v1", render_mode="rgb_array")).ids == ("Pendulum-v1",)


def test_what_has_no_name_is_not_known():
    assert origin_of(make_line()) is None
    assert origin_of("Pendulum-v1") is None
    assert origin_of(make_line(n_tasks=2)).tasks == ("task 0", "task 1")


def test_processes_survive_the_question():
    env = make_vec_env("Pendulum-v1", 1, vec_env_cls=SubprocVecEnv)
    assert origin_of(env).environment == "Pendulum-v1"
    env.reset()
    env.close()


def test_a_model_keeps_it_in_every_file(tmp_path):
    model = make_model(make_task_vec_env({"a": Line, "b": Line}, n_envs=2)).learn(40)
    assert model.policy.origin == model.origin == PAIR
    assert load_skills(model.export_skills(tmp_path / "skills")).origin == PAIR
    learning_on = SkillEmbedding.load(tmp_path / "skills.safetensors")
    assert learning_on.policy.origin == PAIR
    model.save(tmp_path / "model.zip")
    assert SkillEmbedding.load(tmp_path / "model.zip", trust=True).policy.origin == PAIR
    model.set_env(make_task_vec_env({"c": Line, "d": Line}, n_envs=2))
    assert model.learn(40, reset_num_timesteps=False).policy.origin.tasks == ("c", "d")


def test_every_shipped_file_says_what_it_is_for():
    for name in shipped("skills"):
        assert load_skills(name).origin == origin_of(EXPERIMENTS["pretrain"][name].env_id)
    for name in shipped("policy"):
        assert load_policy(name).origin == origin_of(EXPERIMENTS["fig5"][name].env_id)


def test_a_policy_on_another_environment_of_the_same_shapes_is_named(monkeypatch):
    policy = load_policy("springwall")
    with pytest.warns(UserWarning, match=r"trained on 'SkillEmbed/SpringWall-v0'.* play on 'SkillEmbed/Push-v0'"):
        rollouts.episodes(policy, "SkillEmbed/Push-v0", 1, seed=0)
    rollouts.episodes(policy, "SkillEmbed/SpringWall-v0", 1, seed=0)
    monkeypatch.setattr(rollouts, "play", lambda *_: iter(()))  # frames are slow
    with pytest.warns(UserWarning, match="SpringWall"):
        rollouts.show_film(lambda _: None, policy, "SkillEmbed/Push-v0", 1, 0, width=16, height=16)


def test_skills_on_other_tasks_of_the_same_shapes_are_named():
    skills = load_skills("lwall")
    with pytest.warns(UserWarning, match=r"LWallPretrain.*play on 'SkillEmbed/SpringWallPretrain-v0'"):
        rollouts.rollout(skills, "SkillEmbed/SpringWallPretrain-v0", 1, seed=0)


@pytest.mark.parametrize(
    ("trained", "here", "same"),
    [
        (Origin("", ("a", "b"), ("X", "Y")), Origin("", ("1", "2"), ("X", "Y")), True),
        (Origin("", ("a", "b"), ("X", "Y")), Origin("", ("b", "a"), ("Y", "X")), False),
        (Origin("", ("a", "b"), ("X", "X")), Origin("", ("b", "a"), ("X", "X")), False),
        (Origin("", ("a",), ("X(g=2)",)), Origin("", ("a",), ("X(g=3)",)), False),
        (Origin("", ("a",), ("X",)), Origin("", ("a",), ("",)), True),
        (Origin("", ("a",), ("X",)), Origin("", ("b",), ("",)), False),
        (Origin("X", ("a",), ("X",)), Origin("", ("a", "b"), ("X", "X")), False),
        (Origin("X", ("a",), ("X",), ("p", "q")), Origin("X", ("a",), ("X",), ("q", "p")), False),
        (None, PAIR, True),
    ],
)
def test_tasks_are_compared_one_by_one(monkeypatch, trained, here, same):
    class Holder:
        origin = trained

    monkeypatch.setattr("skill_agent.origin.origin_of", lambda env: here)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_other(Holder, None)
    assert (not caught) == same


GOOD = of_suite(["Push", "Lift"]).describe()


def test_json_is_read_back():
    assert of_file(GOOD, 2) == of_suite(["Push", "Lift"])
    assert of_file(None, 2) is None


@pytest.mark.parametrize(
    "kept",
    [
        3,
        [],
        {},
        {**GOOD, "more": 1},
        {**GOOD, "tasks": ["Push"]},
        {**GOOD, "tasks": [1, 2]},
        {**GOOD, "ids": "ab"},
        {**GOOD, "ids": []},
        {**GOOD, "environment": None},
        {**GOOD, "environment": "x" * (LONGEST_NAME + 1)},
        {**GOOD, "observation_keys": [None]},
    ],
)
def test_a_strangers_origin_is_checked(kept):
    with pytest.raises(ValueError, match="not valid"):
        of_file(kept, 2)


def test_names_of_strangers_are_quoted_in_messages():
    assert "\x1b" not in str(Origin("\x1b[2J", ("\x1b[31m",), ("",)))


def test_a_name_that_no_file_can_keep_is_an_error_before_training():
    with pytest.raises(ValueError, match="at most 200 characters"):
        make_task_vec_env({"x" * 201: Line})
    assert isinstance(make_task_vec_env({"x" * 200: Line}).observation_space, spaces.Box)
