import torch
from toy import TINY

from skill_agent import load_skills
from skill_agent.experiments import train
from skill_agent.experiments.progress import is_reported, reported_to
from skill_agent.experiments.tables import Run

RUN = Run("SkillEmbed/PointMassTwoGoals-v0", 400, TINY, n_envs=4)


def test_steps_are_reported_in_place_of_a_bar_and_change_nothing(capsys):
    told = []
    with reported_to(told.append):
        reported, record = train.train(RUN, 0, progress_bar=True)
    assert told == list(range(40, 401, 40)) and not is_reported()
    assert capsys.readouterr() == ("", "")
    alone, same = train.train(RUN, 0)
    assert len(told) == 10
    for name, value in alone.policy.state_dict().items():
        assert torch.equal(value, reported.policy.state_dict()[name])
    assert record["final"] == same["final"]


def test_a_transfer_reports_steps_of_the_environment():
    told = []
    run = Run("SkillEmbed/PointMassCorner-v0", 400, TINY | {"embedding": "task_id"}, 4, skills="pointmass", hold=5)
    with reported_to(told.append):
        train.transfer(run, 0, load_skills("pointmass"))
    assert told == [200, 400]
