import json

import pytest
import torch
from toy import ROOT

from skill_agent import SkillConfig, load_policy, load_skills
from skill_agent.experiments import EXPERIMENTS
from skill_agent.experiments.records import networks_path
from skill_agent.experiments.registry import records_of
from skill_agent.skills import shipped

# What comes with the package.
KEPT = [(name, 0) for name in shipped("skills")]


@pytest.mark.parametrize("figure", ["fig2", "fig3"])
def test_kept_records_are_of_the_present_settings(figure):
    kept = records_of(figure, ROOT / "records")
    for variant, run in EXPERIMENTS[figure].items():
        records = kept[variant]
        assert [record["seed"] for record in records] == list(range(10))
        for record in records:
            assert record["settings"] == json.loads(json.dumps(run.settings)), (variant, record["seed"])
            assert record["env_id"] == run.env_id and record["learning_rate"] == run.learning_rate
            assert run.total_timesteps <= record["total_timesteps"] < run.total_timesteps * 1.05


def effective(settings):
    """Settings as JSON has them, defaults written out, without those that can't change what is learned."""
    found = json.loads(json.dumps(vars(SkillConfig()) | settings))
    del found["compile"]  # it changes speed, and numbers up to rounding alone
    if found["embedding"] == "task_id":  # no inference network, and no entropy of z
        found = {k: v for k, v in found.items() if not k.startswith(("inference_", "embedding_", "versatility_"))}
    return found


@pytest.mark.parametrize("figure", ["pretrain", "fig5"])
def test_kept_arm_records_are_of_the_present_settings_and_what_they_trained_is_there(figure):
    for variant, found in records_of(figure, ROOT / "records").items():
        run = EXPERIMENTS[figure][variant]
        for record in found:
            assert effective(record["settings"]) == effective(run.settings), (variant, record["seed"])
            assert (record["env_id"], record["skills"] if run.skills else "") == (run.env_id, run.skills)
            assert run.total_timesteps <= record["total_timesteps"] < run.total_timesteps * 1.05
            assert all(record[name] == getattr(run, name) for name in ("learning_rate", "n_envs"))
            check_networks(figure, variant, run, record)


def check_networks(figure, variant, run, record):
    """Networks that are kept are those of the record's run; the transferred ones are kept with the skills."""
    path = networks_path(ROOT / "records", figure, variant, record["seed"])
    assert path.exists() or (variant, record["seed"]) not in KEPT, f"{path} is lost"
    if not path.exists():
        return
    if not run.skills:
        assert effective(vars(load_skills(path).config)) == configured(run.settings), path
        return
    policy = load_policy(path)
    skills = load_skills(networks_path(ROOT / "records", "pretrain", run.skills, record["seed"]))
    assert (record["hold"], policy.hold) == (run.hold, run.hold)
    assert effective(vars(policy.mapping.config)) == configured(run.settings)
    assert policy.skills.config == skills.config
    for name, value in skills.state_dict().items():
        assert torch.equal(value, policy.skills.state_dict()[name]), "the transfer is of other skills"


def configured(settings):
    """What of the settings is in the config that goes with the networks."""
    return effective({name: value for name, value in settings.items() if name in vars(SkillConfig())})


def test_kept_records_of_figure_4_are_of_the_present_table():
    for variant, found in records_of("fig4", ROOT / "records").items():
        run = EXPERIMENTS["fig4"][variant]
        for record in found:
            assert (record["env_id"], record["skills"], record["hold"]) == (run.env_id, run.skills, run.hold)
            assert record["starts"] * record["paths"] * record["hold"] * len(record["coverage"]) == run.total_timesteps
