"""The ring: one goal at a continuous angle, a quarter of which is left out of training. What is measured and shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from skill_agent import rollouts
from skill_agent.experiments.claims import Claim
from skill_agent.experiments.records import Record, Records
from skill_agent.experiments.tables import Run
from skill_agent.policy import SkillPolicy
from skill_agent.rollouts import Rollouts
from skill_envs import ENVIRONMENTS, TASKS

SECTORS = 24  # of 15 degrees
HELD_OUT = 6  # of these, the first ones
_BAR, _SHARE = 0.9, 0.8
_PATHS = 48
_LABELS = {
    "learned": ("p(z|c) and policy without hidden layers", "#3b5bdb"),
    "deep": ("the same with a policy of 64-64 units", "#e8590c"),
    "given": ("c itself in place of z, policy without hidden layers", "#868e96"),
}


def measure(policy: SkillPolicy, run: Run, seed: int, episodes: int = 1_536) -> dict[str, Any]:
    """Success on the trained part of the circle and on the held-out one, as a number and by the goal's angle.

    Args:
        policy: trained on the ring.
        run: its training.
        seed: seeds starts, angles, z and actions.
        episodes: on the trained part; the held-out one, which is a third as long, has a third of them.

    Returns:
        What `ARCS` of `skill_agent.experiments.records` describes.
    """
    played = {
        "train": rollouts.rollout(policy, run.env_id, episodes, seed=20_000 + seed, arc="train"),
        "held_out": rollouts.rollout(policy, run.env_id, episodes // 3, seed=30_000 + seed, arc="held_out"),
    }
    angles = np.concatenate([_angles(found) for found in played.values()])
    success = np.concatenate([found.success[:, -1] for found in played.values()])
    position = np.concatenate([found.state[:, :, _position(run.env_id)] for found in played.values()])
    sectors = (angles / (2 * np.pi / SECTORS)).astype(int) % SECTORS
    by_angle = [float(success[sectors == k].mean()) if (sectors == k).any() else None for k in range(SECTORS)]
    # Paths of angles all around the circle.
    shown = np.argsort(angles)[np.linspace(0, len(angles) - 1, min(_PATHS, len(angles)), dtype=int)]
    return {
        "success": {arc: round(rollouts.success_rate(found, 1)[0], 4) for arc, found in played.items()},
        "episodes": {arc: len(found.success) for arc, found in played.items()},
        "by_angle": [None if share is None else round(share, 4) for share in by_angle],
        "angle": np.round(angles[shown], 3).tolist(),
        "position": np.round(position[shown].astype(float), 3).tolist(),
    }


def _angles(found: Rollouts) -> NDArray[np.float64]:
    """Angles of the goals (n,), from 0 to 2 pi [rad]; c are their cosines and sines."""
    angles: NDArray[np.float64] = np.arctan2(found.task[:, 1], found.task[:, 0]).astype(float) % (2 * np.pi)
    return angles


def _position(env_id: str) -> slice:
    return TASKS[ENVIRONMENTS[env_id].tasks[0]].observed_position


def ring_claims(records: Records) -> list[Claim]:
    """Success on the held-out quarter, of each variant."""
    claims = []
    for variant, (label, _) in _LABELS.items():
        if not records[variant]:
            continue
        held_out, trained = _on("held_out", records[variant]), _on("train", records[variant])
        good = sum(success >= _BAR for success in held_out)
        claims.append(
            Claim(
                f"ring, {label}: success on the quarter of the circle that training leaves out",
                "at least 90 % in four fifths of the seeds",
                f"at least 90 % in {good} of {len(held_out)} seeds; mean {np.mean(held_out):.2f}, "
                f"{np.mean(trained):.2f} on the trained part",
                good >= _SHARE * len(held_out),
                f"{_each(held_out)}; on the trained part {_each(trained)}",
            )
        )
    return claims


def _on(arc: str, found: list[Record]) -> list[float]:
    return [record["arcs"]["success"][arc] for record in found]


def _each(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def ring(records: Records, seed: int = 0) -> Figure:
    """Paths to goals all around the circle, and the success of every variant by the goal's angle."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
    record = records["learned"][seed]
    _paths(left, record)
    left.set_title(f"paths to goals at all angles (seed {record['seed']})", fontsize=10)
    degrees = (np.arange(SECTORS) + 0.5) * 360 / SECTORS
    right.axvspan(0, HELD_OUT * 360 / SECTORS, color="#ffe066", alpha=0.35, label="left out of training")
    for variant, (label, colour) in _LABELS.items():
        if records[variant]:
            curves = np.array([r["arcs"]["by_angle"] for r in records[variant]], float)  # (seeds, SECTORS)
            right.plot(degrees, curves.T, color=colour, linewidth=0.5, alpha=0.35)
            right.plot(degrees, np.nanmean(curves, 0), color=colour, linewidth=2.2, label=f"{label} ({len(curves)})")
    right.set(xlabel="angle of the goal [°]", xlim=(0, 360), ylim=(0, 1.02), xticks=range(0, 361, 90))
    right.set_title("success, mean over seeds; thin lines: each seed", fontsize=10)
    right.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _paths(ax: Axes, record: Record) -> None:
    """Paths of the mass; those to goals that training left out are orange."""
    kept = record["arcs"]
    radius = TASKS[ENVIRONMENTS[record["env_id"]].tasks[0]].goal_radius
    for angle, path in zip(kept["angle"], kept["position"], strict=True):
        colour = "#e8590c" if angle < HELD_OUT * 2 * np.pi / SECTORS else "#3b5bdb"
        ax.add_patch(Circle((np.cos(angle), np.sin(angle)), radius, facecolor="none", edgecolor=colour, alpha=0.2))
        ax.plot(*np.transpose(path), color=colour, linewidth=0.9, alpha=0.8)
    ax.plot(0, 0, "k+", markersize=7)
    ax.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal", xlabel="x [m]", ylabel="y [m]")
