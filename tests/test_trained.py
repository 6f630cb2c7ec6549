"""What comes trained with the package is what the records say, and does what it is said to do."""

from pathlib import Path

import numpy as np
import pytest

from skill_agent import load_policy, load_skills
from skill_agent import rollouts as evaluate
from skill_agent.experiments import EXPERIMENTS
from skill_agent.skills import TRAINED, shipped

RECORDS = Path(__file__).parent.parent / "records"
NAMES = ["lwall", "pointmass", "railpush", "springwall"]


@pytest.mark.parametrize(("kind", "figure"), [("skills", "pretrain"), ("policy", "fig5")])
def test_every_shipped_file_is_that_of_the_first_seed_and_has_its_record(kind, figure):
    assert shipped(kind) == NAMES
    for name in NAMES:
        record = RECORDS / figure / f"{name}-seed0.json"
        assert record.exists()
        kept = record.with_suffix(".safetensors").read_bytes()
        assert (TRAINED / f"{name}-{kind}.safetensors").read_bytes() == kept


@pytest.mark.parametrize("name", NAMES)
def test_skills_solve_the_tasks_that_they_were_trained_on(name):
    skills, env_id = load_skills(name), EXPERIMENTS["pretrain"][name].env_id
    rollouts = evaluate.rollout(skills, env_id, episodes_per_task=10, seed=0)
    assert min(evaluate.success_rate(rollouts, skills.n_tasks)) >= 0.8


@pytest.mark.parametrize("name", NAMES)
def test_a_transferred_policy_solves_the_transfer_task(name):
    _, success = evaluate.episodes(load_policy(name), EXPERIMENTS["fig5"][name].env_id, 20, seed=0, deterministic=True)
    assert np.mean(success[:, -1]) >= 0.75
