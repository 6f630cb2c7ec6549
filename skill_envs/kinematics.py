"""Inverse kinematics of the arm, for start poses and scripted demonstrations."""

from __future__ import annotations

import mujoco
import numpy as np

from skill_envs.arrays import Float

ARM = slice(0, 7)  # the arm's joints in qpos, qvel and ctrl
TIP = "arm/hand/tip"  # the site in the plane of the finger tips, between them
HOME = np.array([0.0, -1.18, 0.0, 2.18, 0.0, 0.57, 3.32])  # [rad]
_DOWN = np.diag([-1.0, 1.0, -1.0])  # orientation of the hand: fingers down, aligned with the world
_DAMPING = 0.05


def tip_position(model: mujoco.MjModel, data: mujoco.MjData, joints: Float) -> Float:
    """Position of the hand's tip (3,) [m] at the given joint angles (7,) [rad]; ``data`` is overwritten."""
    data.qpos[ARM] = joints
    mujoco.mj_kinematics(model, data)
    return np.array(data.site(TIP).xpos)


def tip_jacobian(model: mujoco.MjModel, data: mujoco.MjData, joints: Float) -> Float:
    """Jacobian (3, 7) [m/rad] of the tip's position at joint angles (7,) [rad]; ``data`` is overwritten."""
    tip_position(model, data, joints)
    mujoco.mj_comPos(model, data)
    jacobian = np.zeros((3, model.nv))
    mujoco.mj_jacSite(model, data, jacobian, None, data.site(TIP).id)
    return jacobian[:, ARM]


def solve(
    model: mujoco.MjModel, data: mujoco.MjData, position: Float, initial: Float, iterations: int = 200, yaw: float = 0.0
) -> Float:
    """Joint angles that put the tip at ``position`` with the fingers down, near ``initial``.

    Damped least squares; what is left of the seven degrees of freedom pulls towards `HOME`.

    Args:
        model: a model of the manipulation scene.
        data: scratch data of that model; overwritten.
        position: (3,) of the tip [m].
        initial: (7,) angles to start from [rad].
        iterations: number of steps; the result is the last one's, converged or not.
        yaw: turn of the hand about the vertical [rad].

    Returns:
        (7,) joint angles within the joints' ranges [rad].
    """
    site = data.site(TIP).id
    joints = initial.copy()
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
    goal = turn @ _DOWN
    jacobian = np.zeros((6, model.nv))
    for _ in range(iterations):
        data.qpos[ARM] = joints
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)
        current = data.site_xmat[site].reshape(3, 3)
        rotation = 0.5 * np.cross(current.T, goal.T).sum(axis=0)
        error = np.concatenate((position - data.site_xpos[site], rotation))
        arm = jacobian[:, ARM]
        inverse = arm.T @ np.linalg.inv(arm @ arm.T + _DAMPING**2 * np.eye(6))
        step = inverse @ error + 0.02 * (np.eye(7) - inverse @ arm) @ (HOME - joints)
        joints = np.clip(joints + np.clip(step, -0.2, 0.2), *model.jnt_range[ARM].T)
    return joints
