"""Files of 0.1.0 are read for ever, whatever settings are called and added; files of the future are refused by name."""

from dataclasses import MISSING, dataclass, field, fields, make_dataclass

import numpy as np
import pytest
import torch
from sharing import forge
from toy import ROOT

from skill_agent import (
    PickleWarning,
    SkillConfig,
    SkillEmbedding,
    arguments,
    export_skills,
    formats,
    load_policy,
    load_skills,
)
from skill_agent.tensorfile import SkillsFileError

OLD = ROOT / "tests/data/0.1.0"
OBSERVATION = np.array([[0.3, -0.2, 0.1, 0], [-0.4, 0.5, 0, 0.2]], np.float32)
# What version 0.1.0 itself gave for these observations, of the first and the last task, without noise.
ACTIONS = {
    "skills": [[-0.4002136, -0.1285815], [-0.6155633, -0.3921774]],
    "with-critics": [[-0.4093974, -0.1810384], [-0.6280780, -0.4111475]],
    "bernoulli": [[0.0938524, 0.2385908], [0.1187251, 0.4395516]],
    "policy": [[-0.0215118, 0.0566970], [0.1419205, 0.4260141]],
    "model": [[-0.4002136, -0.1285815], [-0.6155633, -0.3921774]],
}
SHARED = ["skills", "with-critics", "bernoulli", "policy"]


def load(name, path=None):
    path = path or OLD / f"{name}.safetensors"
    return load_policy(path) if name == "policy" else load_skills(path)


def check_acts(name, loaded):
    skills = getattr(loaded, "skills", loaded)
    observation = OBSERVATION
    if name != "policy" and skills.n_tasks > 1:
        observation = {"observation": OBSERVATION, "task": np.array([0, 1])}
    actions, _ = loaded.predict(observation, deterministic=True)
    np.testing.assert_allclose(actions, ACTIONS[name], atol=1e-6)


@pytest.mark.parametrize("name", SHARED)
def test_shared_files_of_0_1_0_act_as_they_did(name):
    loaded = load(name)
    check_acts(name, loaded)
    skills = getattr(loaded, "skills", loaded)
    assert hasattr(skills, "critics") == (name == "with-critics")
    assert all(value.isfinite().all() for value in skills.state_dict().values())


def test_a_zip_of_0_1_0_acts_as_it_did_once_it_is_trusted():
    loaded = SkillEmbedding.load(OLD / "model.zip", trust=True)
    actions, _ = loaded.predict({"observation": OBSERVATION, "task": np.array([0, 1])}, deterministic=True)
    np.testing.assert_allclose(actions, ACTIONS["model"], atol=1e-6)
    with pytest.warns(PickleWarning, match=r"model\.zip runs the pickles"):
        SkillEmbedding.load(OLD / "model.zip")


def renamed(old, new):
    """SkillConfig with another name for a field, as a later version may have it."""
    made = []
    for setting in fields(SkillConfig):
        assert setting.default is not MISSING
        name = new if setting.name == old else setting.name
        made.append((name, setting.type, field(default=setting.default, metadata=setting.metadata)))
    methods = {"__post_init__": SkillConfig.__post_init__, "versatility": SkillConfig.versatility}
    return make_dataclass("Renamed", made, namespace=methods, frozen=True, kw_only=True)


@dataclass(frozen=True, kw_only=True)
class Extended(SkillConfig):
    """SkillConfig of a later version, with a setting more."""

    novelty: float = field(default=0.5, metadata=SkillConfig.__dataclass_fields__["inference_noise"].metadata)


@pytest.mark.parametrize("name", SHARED)
def test_files_of_0_1_0_load_after_a_setting_was_renamed(name, monkeypatch):
    later = renamed("saturation_coef", "flatness_coef")
    for module in (formats, arguments):
        monkeypatch.setattr(module, "SkillConfig", later)
    with pytest.raises(SkillsFileError, match=r"unknown settings \['saturation_coef'\]"):
        load(name)
    monkeypatch.setitem(formats.RENAMED, "saturation_coef", "flatness_coef")
    loaded = load(name)
    assert getattr(loaded, "skills", loaded).config.flatness_coef == SkillConfig().saturation_coef
    check_acts(name, loaded)


@pytest.mark.parametrize("name", SHARED)
def test_files_of_0_1_0_load_after_a_setting_was_added(name, monkeypatch):
    monkeypatch.setattr(formats, "SkillConfig", Extended)
    loaded = load(name)
    assert getattr(loaded, "skills", loaded).config.novelty == 0.5
    check_acts(name, loaded)
    # Where today's default is not what was done then, the file means what was done then.
    monkeypatch.setitem(formats.BEFORE, "novelty", 0.0)
    loaded = load(name)
    assert getattr(loaded, "skills", loaded).config.novelty == 0.0


def test_what_a_file_says_comes_before_any_default(monkeypatch):
    monkeypatch.setitem(formats.BEFORE, "z_period", 7)
    assert formats.settings_of({"z_period": 20})["z_period"] == 20
    assert formats.settings_of({})["z_period"] == 7
    assert formats.settings_of({"policy_log_std": [-1, 0]})["policy_log_std"] == (-1, 0)


@pytest.mark.parametrize("number", [formats.FORMAT + 1, 99, 0, -1, True, 1.0, "1", None, [1]])
@pytest.mark.parametrize("name", SHARED)
def test_another_format_is_refused_by_name(tmp_path, name, number):
    path = tmp_path / "future.safetensors"
    forge(OLD / f"{name}.safetensors", path, lambda d: d.update(format=number))
    with pytest.raises(SkillsFileError, match=rf"future\.safetensors .*format=.* reads formats 1 to {formats.FORMAT}"):
        load(name, path)


def test_a_policy_learned_long_ago_can_be_exported_again(tmp_path):
    skills = load("skills")
    again = load_skills(export_skills(skills, tmp_path / "again"))
    assert again.config == skills.config
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in skills.state_dict().items())
