import pytest
from toy import TINY

from skill_agent.experiments import train
from skill_agent.experiments.tables import Run


def test_without_a_compiler_runs_go_on_uncompiled(monkeypatch):
    monkeypatch.setattr(train.shutil, "which", lambda _: None)
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler"):
        agent = train.build(Run("SkillEmbed/PointMassTwoGoals-v0", 100, TINY | {"compile": True}, n_envs=2), seed=0)
    assert not agent.config.compile
