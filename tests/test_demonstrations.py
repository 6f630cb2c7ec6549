import numpy as np
import pytest

from skill_envs import TASKS, arm, demonstrate


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
