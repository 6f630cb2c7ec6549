"""What tests of the suite share: its ids, and comparisons bit for bit."""

import numpy as np
import pytest

from skill_envs import ENVIRONMENTS

IDS = list(ENVIRONMENTS)
MULTI_TASK_IDS = [i for i in IDS if len(ENVIRONMENTS[i].tasks) > 1]
POINT_MASS_IDS = [i for i in IDS if "PointMass" in i]
TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"
LONG_RUN_IDS = [TWO_GOALS, "SkillEmbed/LWall-v0", "SkillEmbed/RailPush-v0", "SkillEmbed/PretrainAll-v0"]
every_id = pytest.mark.parametrize("env_id", IDS)
multi_task_id = pytest.mark.parametrize("env_id", MULTI_TASK_IDS)
point_mass_id = pytest.mark.parametrize("env_id", POINT_MASS_IDS)


def equal(a, b):
    """Bit for bit, through dictionaries and object arrays."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def row(batch, i):
    return {k: v[i] for k, v in batch.items()} if isinstance(batch, dict) else batch[i]


def vector_of(observation):
    return observation["observation"] if isinstance(observation, dict) else observation


def actions_for(env, steps, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, *env.action_space.shape)).astype(np.float32)


def rollout(env, actions, seed=0, **reset):
    """Everything that the environment returned, as one list."""
    returned = [env.reset(seed=seed, **reset)[0]]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        returned += [observation, reward, terminated, truncated]
    return returned
