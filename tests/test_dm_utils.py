"""Functions of dm-control that do what the suite does by hand: how far they agree, and why the hand stays."""

import mujoco
import numpy as np
import pytest
from dm_control.mujoco import Physics, wrapper
from dm_control.utils.inverse_kinematics import qpos_from_site_pose
from dm_control.utils.rewards import tolerance

from skill_envs import TASKS, arm, kinematics, rewards, scenes

MARGINS = sorted({task.shaping_margin for task in TASKS.values()})


@pytest.mark.parametrize("margin", MARGINS)
def test_the_shaped_reward_is_dm_controls_tolerance(margin):
    distance = np.concatenate((np.zeros(10), np.random.default_rng(0).exponential(1.0, 100_000)))
    theirs = tolerance(distance, margin=margin)
    assert np.abs(rewards.shaped(distance, np.full(len(distance), margin)) - theirs).max() < 1e-15


def test_over_margins_of_several_tasks_too():
    """Of tolerance the margin is a single number; distances in margins have the margin 1."""
    rng = np.random.default_rng(0)
    distance, margin = rng.exponential(1.0, 10_000), rng.uniform(0.1, 2.0, 10_000)
    assert np.abs(rewards.shaped(distance, margin) - tolerance(distance / margin, margin=1.0)).max() < 1e-15


def ring_of_starts(centre, radius):
    """The start poses (n, 7) over a ring, and the places (n, 3) of the hand's tip."""
    angles = np.linspace(0.0, 2 * np.pi, 65)
    height = np.full(65, scenes.HALF_BLOCK - arm.GRIP_DEPTH)
    places = centre + np.stack((radius * np.cos(angles), radius * np.sin(angles), height), axis=1)
    return arm._hand_over(centre, radius).joints[::4], places[::4]


def by_dm_control(physics, place, initial):
    names = [physics.model.id2name(i, "joint") for i in range(7)]
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, kinematics._DOWN.ravel())
    with physics.reset_context():
        physics.data.qpos[kinematics.ARM] = initial
    result = qpos_from_site_pose(physics, kinematics.TIP, place, quat, names)
    assert result.success
    return result.qpos[kinematics.ARM]


@pytest.mark.parametrize(("centre", "radius"), [(arm._FLOOR, arm.RING_RADIUS), (arm._TABLE_TOP, 0.095)])
def test_dm_controls_inverse_kinematics_has_other_starts(centre, radius):
    """Both put the hand over the block; the arm has a degree of freedom left, and they spend it apart.

    Records are of starts that are the same to 1e-6 rad. Started from home or from ours, dm_control's are not.
    """
    model = scenes.manipulation((), centre, centre, (0.01, 0.01), arm.Camera((1, 0, 1), (0, 0, 0))).compile()
    physics, data = Physics(wrapper.MjData(wrapper.MjModel(model))), mujoco.MjData(model)
    chained, apart, moved = kinematics.HOME, [], []
    for ours, place in zip(*ring_of_starts(centre, radius), strict=True):
        assert np.linalg.norm(kinematics.tip_position(model, data, ours) - place) < 1e-3
        chained = by_dm_control(physics, place, chained)
        apart.append(np.abs(chained - ours).max())
        moved.append(np.abs(by_dm_control(physics, place, ours) - ours).max())
    assert min(apart) > 1e-4 and 1e-3 < max(apart) < 0.2
    assert min(moved) > 1e-6 and max(moved) < 0.01
