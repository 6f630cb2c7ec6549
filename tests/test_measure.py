import numpy as np
import pytest
import torch

from skill_agent import rollouts
from skill_agent.experiments import measure, train
from skill_agent.experiments.tables import Run


def test_goals_reached_counts_each_goal():
    state = np.zeros((5, 2, 4), np.float32)
    state[0, -1, :2], state[1, -1, :2], state[2, -1, :2] = (-1, 0.1), (1, 0), (1.2, 0.1)
    found = rollouts.Rollouts(state, *[np.zeros(0)] * 5)
    assert measure.goals_reached(found, "SkillEmbed/PointMassFourGoals-v0") == [0.2, 0.4, 0.0, 0.0]


def test_coverage_and_lifts_by_hand():
    path = np.zeros((2, 3, 3), np.float32)
    path[0, :, 0] = 0.01, 0.03, 0.05  # three cells of 2 cm
    path[1, :, 0] = 0.01, 0.015, 0.03  # none that is new
    path[1, :, 2] = 0.04, 0.05, 0.07
    assert measure.coverage(path + np.float32([0, 0.01, 0])) == pytest.approx(3 * 0.02**2)
    assert measure.lifted(path).tolist() == [[False] * 3, [False, False, True]]


def test_marginal_paths_draw_z_anew_and_only_so_often(monkeypatch):
    agent = train.build(Run("SkillEmbed/LWallPretrain-v0", 100, n_envs=2), seed=0)
    codes = []
    monkeypatch.setattr(measure, "act", lambda skills, obs, code, generator: codes.append(code) or np.zeros((3, 7)))
    path = measure.marginal_paths(agent.policy, "SkillEmbed/Push-v0", hold=40, draws=3, starts=[0, 1, 0], seed=0)
    assert path.shape == (3, 121, 3)
    changes = [t for t in range(1, 120) if not torch.equal(codes[t], codes[t - 1])]
    assert changes == [40, 80]
    assert np.array_equal(path[0, 0], path[2, 0]) and not np.array_equal(path[0, 0], path[1, 0])
