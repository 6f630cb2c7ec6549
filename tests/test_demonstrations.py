import numpy as np
import pytest

from skill_envs import TASKS, arm, demonstrate
from skill_envs.demonstrate import ROUTES


@pytest.mark.parametrize("task", list(arm.TASKS))
def test_every_task_is_solvable(task):
    for demonstration in demonstrate(task, seed=0, episodes=4):
        assert demonstration.successes[-5:].all()
        assert np.abs(demonstration.actions).max() <= 1
        assert demonstration.observations.shape == (TASKS[task].horizon + 1, 27)
        assert demonstration.frames is None


def test_a_task_without_a_script_is_an_error():
    with pytest.raises(ValueError, match="choose from"):
        next(demonstrate("PointMassLeft"))


def test_every_task_has_a_route_of_its_own(monkeypatch):
    assert ROUTES.keys() == arm.TASKS.keys()
    monkeypatch.setitem(arm.TASKS, "PushAgain", arm.TASKS["Push"])
    with pytest.raises(ValueError, match=r"'PushAgain' has no demonstration; choose from \['Spring'"):
        next(demonstrate("PushAgain"))
