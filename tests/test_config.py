import copy
import dataclasses
import pickle
import sys
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from toy import ROOT

from skill_agent import SkillConfig, SkillEmbedding, cli, config, formats, load_skills
from skill_agent.commands import common
from skill_agent.distributions import make_distributions
from skill_agent.experiments import folder, tables
from skill_agent.skills import shipped

NAN, INF = float("nan"), float("inf")
NUMBERS = [s.name for s in fields(SkillConfig) if isinstance(s.default, float)]
INTEGERS = [s.name for s in fields(SkillConfig) if type(s.default) is int]
BOOLEANS = [s.name for s in fields(SkillConfig) if isinstance(s.default, bool)]
CHOICES = [s.name for s in fields(SkillConfig) if isinstance(s.default, str)]
BOUNDS = [s.name for s in fields(SkillConfig) if isinstance(s.default, tuple) and s.name != "embedding_net_arch"]


def test_every_setting_has_words_a_check_and_a_group():
    listed = [setting for settings in config.groups().values() for setting in settings]
    assert listed == list(fields(SkillConfig))
    assert list(config.groups()) == [
        "embedding", "coefficients", "versatility", "inference", "policy", "critic", "computation", "workers",
    ]  # fmt: skip
    others = ["embedding_net_arch", "z_period", "inference_channels", "worker_lag"]
    assert set(NUMBERS + INTEGERS + BOOLEANS + BOUNDS + CHOICES + others) == {setting.name for setting in listed}
    for setting in listed:
        assert len(setting.metadata["words"]) > 10
        assert f"{setting.name}: {config.words(setting)}. By default {setting.default!r}." in SkillConfig.__doc__
        assert setting.metadata["valid"].check(setting.name, setting.default) == setting.default


@pytest.mark.parametrize("name", [s.name for s in fields(SkillConfig)])
@pytest.mark.parametrize("value", [NAN, INF, -INF, -1, "yes", b"1", {}, 1j, (), ("a",), [NAN, 1], np.ones(3), object()])
def test_what_is_no_value_of_a_setting_is_named(name, value):
    if name == "embedding_net_arch" and isinstance(value, tuple) and not value:
        return  # no hidden layers: p(z|c) is linear
    with pytest.raises(ValueError, match=rf"^{name}(\[\d\])?=") as error:
        SkillConfig(**{name: value})
    assert "choose" in str(error.value) or "must be below" in str(error.value)


@pytest.mark.parametrize("name", [*NUMBERS, *INTEGERS])
def test_a_boolean_or_none_is_no_number(name):
    for value in (True, None):
        with pytest.raises(ValueError, match=f"^{name}="):
            SkillConfig(**{name: value})


@pytest.mark.parametrize("name", INTEGERS)
def test_a_fraction_is_no_integer_and_zero_too_few(name):
    too_few = -1 if name == "n_workers" else 0  # none is a choice
    for value in (2.5, 2.0, too_few):
        with pytest.raises(ValueError, match=f"^{name}="):
            SkillConfig(**{name: value})


@pytest.mark.parametrize("name", BOOLEANS)
def test_only_booleans_switch(name):
    for value in (0, 1, None):
        with pytest.raises(ValueError, match=f"^{name}=.*True or False"):
            SkillConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gamma", 1), ("retrace_lambda", 1.1), ("versatility_warmup", 1.1), ("temperature", 0), ("z_period", 0),
        ("z_period", True), ("inference_channels", (0, 0)), ("inference_channels", (-1,)), ("inference_channels", 3),
        ("policy_log_std", (1, 0)), ("policy_log_std", (0, 0)), ("policy_log_std", (0, 1, 2)),
        ("embedding", "Gaussian"), ("embedding_transition", "Learned"), ("embedding_transition", None),
    ],
)  # fmt: skip
def test_ranges_and_choices(name, value):
    with pytest.raises((ValueError, TypeError), match=name):
        config.make_config({name: value})


def test_values_are_kept_as_their_own_kind():
    made = SkillConfig(
        segment=np.int64(4),
        inference_coef=1,
        policy_log_std=[-2, 0],
        inference_channels=[2, np.int32(1)],
        bf16=np.True_,
    )
    assert type(made.segment) is int and type(made.inference_coef) is float and made.bf16 is True
    assert made.policy_log_std == (-2.0, 0.0) and made.inference_channels == (2, 1)
    assert pickle.loads(pickle.dumps(made)) == made == copy.deepcopy(made)
    with pytest.raises(FrozenInstanceError):
        made.segment = 3


def trained(monkeypatch, *arguments):
    """The run that a command line would train."""
    started = []
    monkeypatch.setattr(folder, "start", lambda run, *_, **__: started.append(run))
    monkeypatch.setattr(common, "success", lambda _: "")
    monkeypatch.setattr(sys, "argv", ["skill-embed", "train", "SkillEmbed/LWallPretrain-v0", *arguments])
    cli.main()
    return started[0].settings


def test_the_command_line_has_every_setting_by_its_name(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        trained(monkeypatch, "--help")
    text = "".join(capsys.readouterr().out.replace("│", "").split())  # lines break anywhere
    for setting in fields(SkillConfig):
        assert f"--{setting.name.replace('_', '-')}" in text
        assert "".join(config.words(setting).split()) in text
    assert f"--embedding{{{','.join(config.EMBEDDINGS)}}}" in text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--compile"], {"compile": True}),
        (["--no-compile"], {"compile": False}),
        (["--no-normalize-observations"], {"normalize_observations": False}),
        (["--policy-log-std", "-1", "0"], {"policy_log_std": (-1.0, 0.0)}),
        (["--inference-channels", "None"], {"inference_channels": None}),
        (["--inference-channels", "14", "3"], {"inference_channels": (14, 3)}),
        (["--z-period", "None", "--window", "7"], {"z_period": None, "window": 7}),
        (["--z-period", "20"], {"z_period": 20}),
        (["--inference-coef", "0.7", "--embedding", "bernoulli"], {"inference_coef": 0.7, "embedding": "bernoulli"}),
    ],
)
def test_the_command_line_changes_what_it_names_and_nothing_else(monkeypatch, given, expected):
    usual = trained(monkeypatch)
    assert usual["compile"] and usual["inference_channels"] and usual == tables.ARM | tables.VERSATILE
    assert trained(monkeypatch, *given) == usual | expected


def test_settings_beside_resume_are_named(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match=r"leave out \['seed', 'window', 'compile'\]"):
        resumed = ["skill-embed", "train", "--resume", str(tmp_path), "--window", "7", "--no-compile", "--seed", "3"]
        monkeypatch.setattr(sys, "argv", resumed)
        cli.main()


def test_what_0_1_0_kept_is_read():
    data = ROOT / "tests/data/0.1.0"
    model = SkillEmbedding.load(data / "model.zip", device="cpu")
    assert type(model.config).__module__ == "skill_agent.config"
    assert dataclasses.replace(model.config) == model.config  # all of its values are valid today
    for name in ("skills", "bernoulli", "with-critics"):
        assert isinstance(load_skills(data / f"{name}.safetensors").config, SkillConfig)
    for name in shipped("skills"):
        assert isinstance(load_skills(name).config, SkillConfig)


def test_older_settings_are_read_by_todays_names(monkeypatch):
    kept = {"inference_weight": 0.5, "policy_log_std": [-2, 0]}
    with pytest.raises(ValueError, match=r"unknown settings \['inference_weight'\]; valid ones are \['embedding'"):
        formats.config_of(kept)
    monkeypatch.setitem(formats.RENAMED, "inference_weight", "inference_coef")
    monkeypatch.setitem(formats.BEFORE, "window", 4)
    assert formats.config_of(kept) == SkillConfig(inference_coef=0.5, policy_log_std=(-2, 0), window=4)
    assert formats.config_of({**kept, "window": 3}).window == 3
    with pytest.raises(ValueError, match=r"inference_coef is there by two names"):
        formats.config_of({**kept, "inference_coef": 0.1})


@pytest.mark.parametrize("kept", [None, [], "config", 3, {3: 1}])
def test_settings_of_a_file_are_names_and_values(kept):
    with pytest.raises(ValueError, match=r"settings.*"):
        formats.settings_of(kept)


@pytest.mark.parametrize("found", [0, 2, -1, "1", 1.0, True, None, [1]])
def test_only_known_formats_are_read(found):
    formats.check_format(formats.FORMAT)
    with pytest.raises(ValueError, match=r"format=.* is not valid; this version reads formats 1 to 1"):
        formats.check_format(found)


def test_an_embedding_without_a_family_is_no_other_method_without_a_word(monkeypatch):
    # As where a name was added to the settings and nothing to the distributions.
    config = SkillConfig()
    object.__setattr__(config, "embedding", "laplace")
    with pytest.raises(ValueError, match=r"embedding='laplace' has no family; choose from"):
        make_distributions(config, 2)
