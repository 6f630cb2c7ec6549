"""Deep copies of models, with environments of every kind, compiled or not."""

import copy

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecNormalize
from toy import make_line, make_model

from skill_agent import SkillSpaceVecEnv, load_skills, make_skill_vec_env

ENVIRONMENTS = {
    "toy": lambda: make_line(2, n_tasks=2),
    "normalised": lambda: VecNormalize(make_line(2)),
    "normalised suite": lambda: VecNormalize(
        make_skill_vec_env("SkillEmbed/PointMassFourGoals-v0", 2, seed=0), gamma=0.9
    ),
    "suite": lambda: make_skill_vec_env("SkillEmbed/PointMassTwoGoals-v0", 2, seed=0),
    "skills": lambda: SkillSpaceVecEnv(
        make_skill_vec_env("SkillEmbed/PointMassCorner-v0", 2, seed=0), load_skills("pointmass"), 3
    ),
}


def everything(model):
    """Parameters, replay and statistics: what a training leaves."""
    buffer = model.replay_buffer.state()["rows"]
    found = [*model.policy.state_dict().values(), *(torch.as_tensor(rows) for rows in buffer.values())]
    if model.get_vec_normalize_env() is not None:
        found += [torch.as_tensor(model.get_vec_normalize_env().ret_rms.var)]
    return found


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_a_deep_copy_trains_on_bit_identically(monkeypatch, kind, compiled):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda *a: (calls.append(function), function(*a))[1])
    model = make_model(ENVIRONMENTS[kind](), compile=compiled).learn(50)
    other = copy.deepcopy(model)
    assert other.policy is not model.policy and other.env is not model.env
    assert other.get_vec_normalize_env() is None or other.get_vec_normalize_env() is other.env
    # One after the other: they share nothing, not even the random numbers of a step.
    for each in (model, other):
        torch.manual_seed(0)
        np.random.seed(0)
        each.learn(60, reset_num_timesteps=False)
    for one, same in zip(everything(model), everything(other), strict=True):
        torch.testing.assert_close(one, same, rtol=0, atol=0)
    assert model._n_updates == other._n_updates > 8
    owners = {function.__self__ for function in calls}
    assert owners == ({model, other} if compiled else set())


def test_a_copy_of_a_model_that_writes_logs(tmp_path):
    model = make_model(make_line(2), verbose=1)
    model.set_logger(configure(str(tmp_path), ["stdout", "csv"]))
    model.learn(40)
    other = copy.deepcopy(model)
    written = (tmp_path / "progress.csv").read_text()
    other.learn(40)
    assert (tmp_path / "progress.csv").read_text() == written
    assert model.logger is not other.logger
    model.logger.close()


def test_a_copy_without_an_environment(tmp_path):
    model = make_model(make_line(2)).learn(30)
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    other = copy.deepcopy(loaded)
    assert other.get_env() is None
    observation = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(
        other.predict(observation, deterministic=True)[0], model.predict(observation, deterministic=True)[0]
    )
