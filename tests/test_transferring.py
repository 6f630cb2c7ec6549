"""Transfer in one call: from a model, a policy, a name or a file to an id, a callable, an environment or a batch."""

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize
from toy import Line, make_model

from skill_agent import SkillSpaceVecEnv, load_policy, make_task_vec_env, transfer
from skill_agent.transferring import MAPPING

TINY = {"policy_kwargs": {"net_arch": [8]}, "bf16": False, "gradient_steps": 1, "train_freq": 2}
learn = partial(transfer, total_timesteps=120, n_envs=2, hold=3, **TINY)


@pytest.fixture(scope="module")
def model():
    return make_model(make_task_vec_env({"left": Line, "right": Line}, n_envs=2, seed=0)).learn(100)


def test_what_is_transferred_acts_and_is_saved_with_its_environment(model, tmp_path):
    policy = learn(model, {"new": Line})
    assert policy.origin.tasks == ("new",) and policy.skills.origin.tasks == ("left", "right") and policy.hold == 3
    loaded = load_policy(policy.save(tmp_path / "policy"))
    assert loaded.origin == policy.origin and loaded.skills.origin == policy.skills.origin
    observation = np.array([[100.0, 0.0]], np.float32)
    first, second = (each.predict(observation, deterministic=True)[0] for each in (policy, loaded))
    assert np.array_equal(first, second)
    with pytest.raises(FileExistsError):
        policy.save(tmp_path / "policy")
    policy.save(tmp_path / "policy", force=True)


def test_skills_may_be_a_model_its_policy_or_a_file_and_stay_as_they_are(model, tmp_path):
    path = model.export_skills(tmp_path / "skills")
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    policies = [learn(skills, Line) for skills in (model, model.policy, path, str(path))]
    z = [policy.predict_skill(np.array([[100.0, 0.0]], np.float32), deterministic=True) for policy in policies]
    assert all(np.array_equal(each, z[0]) for each in z)
    assert all(torch.equal(value, before[name]) for name, value in model.policy.state_dict().items())
    assert all(policy.skills is not model.policy for policy in policies)


@pytest.mark.parametrize("make", [lambda: Line, Line, lambda: {"line": Line}], ids=["callable", "env", "named"])
def test_a_task_may_be_a_callable_or_an_environment(model, make):
    assert learn(model, make()).skills.n_tasks == 2


def test_a_shipped_name_and_an_id_serve():
    policy = learn("pointmass", "SkillEmbed/PointMassCorner-v0")
    assert policy.origin.environment == "SkillEmbed/PointMassCorner-v0"
    assert policy.skills.origin.environment == "SkillEmbed/PointMassDuplicate-v0"


def test_a_vector_environment_is_used_and_left_open(model):
    env = make_task_vec_env({"new": Line}, n_envs=3)
    policy = transfer(model, env, 90, hold=3, **TINY)
    assert policy.origin.tasks == ("new",)
    env.reset()
    with pytest.raises(ValueError, match="n_envs=3 is not valid with a vector environment"):
        transfer(model, env, 90, n_envs=3)


def test_a_seed_repeats_a_transfer(model):
    observation = np.array([[100.0, 0.0]], np.float32)
    z = [learn(model, Line, seed=seed).predict_skill(observation, deterministic=True) for seed in (1, 1, 2)]
    assert np.array_equal(z[0], z[1]) and not np.array_equal(z[0], z[2])


def test_the_budget_counts_steps_of_the_environment_and_even_a_small_one_is_learned_from(model):
    counts = []
    policy = learn(model, Line, callback=lambda scope, _: counts.append(scope["self"]) or True)
    learner = counts[-1]
    assert learner.num_timesteps == 120 / 3 and learner._n_updates > 0
    assert learner.learning_starts == 4 and policy.mapping is learner.policy
    assert learner.gamma == MAPPING["gamma"] and learner.config.embedding == "task_id"


class Wide(Line):
    def __init__(self, low=-1.0):
        super().__init__(action_space=spaces.Box(low, 1.0, (1,)))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"total_timesteps": 2}, ValueError, "total_timesteps=2 is not valid"),
        ({"hold": 0}, ValueError, "hold=0"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"n_envs": 0}, ValueError, "n_envs=0"),
        ({"skills": 3}, TypeError, "skills=3 are not valid"),
        ({"skills": "nothing"}, FileNotFoundError, "nothing is neither a file nor one of the names"),
        ({"task": {"a": Line, "b": Line}}, ValueError, "transferred to one task"),
        ({"task": "Pendulum-v1"}, ValueError, "observations have shape"),
        ({"task": "Pendulum-v99"}, ValueError, "Pendulum-v99"),
        ({"task": lambda: Wide(-0.5)}, ValueError, "which goes beyond"),
        ({"hodl": 3}, TypeError, "hodl"),
    ],
)
def test_what_is_wrong_is_named(model, change, error, message):
    given = {"skills": model, "task": Line, **change}
    with pytest.raises(error, match=message):
        learn(given.pop("skills"), given.pop("task"), **given)


def test_skills_that_need_another_normalisation_are_refused():
    env = VecNormalize(make_task_vec_env("Pendulum-v1", n_envs=2))
    with pytest.raises(ValueError, match="VecNormalize"):
        learn(make_model(env), "Pendulum-v1")


def test_skills_refuse_observations_in_another_order(model):
    def goals(*keys):
        class Goals(Line):
            def __init__(self):
                super().__init__()
                # Gymnasium sorts the keys of a dict, and not those of a list of pairs.
                self.observation_space = spaces.Dict([(key, spaces.Box(-1e3, 1e3, (1,))) for key in keys])

            def observe(self):
                return {"a": [self.x], "b": [self.steps]}

        return Goals

    skills = make_model(make_task_vec_env({"1": goals("a", "b"), "2": goals("a", "b")}, n_envs=2)).policy
    assert skills.origin.observation_keys == ("a", "b")
    SkillSpaceVecEnv(make_task_vec_env(goals("a", "b")), skills)
    with pytest.raises(ValueError, match=r"in the order \('b', 'a'\); the skills need \('a', 'b'\)"):
        SkillSpaceVecEnv(make_task_vec_env(goals("b", "a")), skills)


def test_the_module_and_the_function_do_not_collide():
    import skill_agent

    assert callable(skill_agent.transfer)
