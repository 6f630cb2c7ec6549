"""What comes trained with the package does what it is said to do."""

import numpy as np
import pytest

from skill_agent import evaluate, load_policy, load_skills
from skill_agent.share import shipped

PRETRAINED = {"lwall": "SkillEmbed/LWallPretrain-v0"}
TRANSFERRED = {"lwall": "SkillEmbed/LWall-v0"}


def test_every_file_is_tested():
    assert shipped("skills") == sorted(PRETRAINED) and shipped("policy") == sorted(TRANSFERRED)


@pytest.mark.parametrize("name", PRETRAINED)
def test_skills_solve_the_tasks_that_they_were_trained_on(name):
    rollouts = evaluate.rollout(load_skills(name), PRETRAINED[name], episodes_per_task=10, seed=0)
    assert min(evaluate.success_rate(rollouts, 2)) >= 0.8


@pytest.mark.parametrize("name", TRANSFERRED)
def test_a_transferred_policy_solves_the_transfer_task(name):
    _, success = evaluate.episodes(load_policy(name), TRANSFERRED[name], 20, seed=0, deterministic=True)
    assert np.mean(success[:, -1]) >= 0.6
