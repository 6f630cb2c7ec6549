"""The tour: four goals that count one after the other, by a z that changes over time. Its claims and its drawing."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import EngFormatter

from skill_agent.experiments.claims import Claim
from skill_agent.experiments.records import Record, Records, steps
from skill_envs import ENVIRONMENTS, TASKS

_LABELS = {
    "learned": ("a learned p(z'|z,t)", "#3b5bdb"),
    "redraw": ("z of p(z|t) redrawn", "#e8590c"),
    "one": ("one z an episode", "#868e96"),
}
_TURNS = ("#3b5bdb", "#e8590c", "#2b8a3e", "#9c36b5")


def tour_claims(records: Records) -> list[Claim]:
    """Goals that the episodes reach in their turn, and returns of every pairing of seeds."""
    found = {variant: kept for variant, kept in records.items() if kept}
    learned = found.pop("learned", [])
    if not learned:
        return []
    reached = [_reached(record) for record in learned]
    all_four = [count == 4 for count in reached]
    claims = [
        Claim(
            "tour: goals that at least 90 % of the episodes reach in their turn, learned transition",
            "4 of 4 in four fifths of the seeds",
            f"4 of 4 in {sum(all_four)} of {len(all_four)} seeds",
            sum(all_four) >= 0.8 * len(all_four),
            ", ".join(map(str, reached)),
        )
    ]
    ours = _returns(learned)
    for variant, others in found.items():
        theirs = _returns(others)
        higher = np.greater.outer(ours, theirs)
        pairings = f"higher in {higher.sum()} of {higher.size} pairings"
        goals = ", ".join(str(_reached(record)) for record in others)
        claims.append(
            Claim(
                f"tour: return with a learned transition against {_LABELS[variant][0]}",
                "higher in every pairing of seeds",
                f"{np.mean(ours):.1f} against {np.mean(theirs):.1f}; {pairings}",
                bool(higher.all()),
                f"{_each(ours)} against {_each(theirs)}; goals {goals}",
            )
        )
    return claims


def _reached(record: Record, share: float = 0.9) -> int:
    """How many goals at least ``share`` of the episodes reach in their turn."""
    return sum(reached >= share for reached in record["final"]["goals_in_turn"])


def _returns(found: list[Record]) -> list[float]:
    return [record["final"]["return"] for record in found]


def _each(values: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def tour(records: Records) -> Figure:
    """Paths of every variant's middle seed by its return, coloured by which z acts, and the returns of all seeds."""
    found = {variant: kept for variant, kept in records.items() if kept}
    figure = Figure(figsize=(4 * (len(found) + 1), 3.9), layout="constrained")
    *axes, last = figure.subplots(1, len(found) + 1)
    for ax, (variant, kept) in zip(axes, found.items(), strict=True):
        middle = sorted(kept, key=lambda record: record["final"]["return"])[len(kept) // 2]
        _paths(ax, middle, f"{_LABELS[variant][0]} (seed {middle['seed']})")
    for variant, kept in found.items():
        label, colour = _LABELS[variant]
        curves = np.array([[point["return"] for point in record["curve"]] for record in kept])  # (seeds, points)
        last.plot(steps(kept[0]), curves.T, color=colour, linewidth=0.5, alpha=0.5)
        last.plot(steps(kept[0]), curves.mean(0), color=colour, linewidth=2.2, label=f"{label} ({len(kept)})")
    last.set(title="return, all seeds (paths: the middle one)", xlabel="environment steps", ylim=(0, None))
    last.xaxis.set_major_formatter(EngFormatter(sep=""))
    last.legend(frameon=False)
    return figure


def _paths(ax: Axes, record: Record, title: str) -> None:
    """Paths of the mass, coloured by which z of the episode acts."""
    task = TASKS[ENVIRONMENTS[record["env_id"]].tasks[0]]
    period = record["settings"].get("z_period") or task.horizon
    for goal, colour in zip(task.goals, _TURNS, strict=True):
        ax.add_patch(Circle((goal[0], goal[1]), task.goal_radius, facecolor=colour, alpha=0.15, edgecolor=colour))
    for path in record["final"]["trajectories"]["position"]:
        for k in range(task.horizon // period):
            colour = _TURNS[k % len(_TURNS)] if period < task.horizon else "#495057"
            ax.plot(*np.transpose(path[k * period : (k + 1) * period + 1]), color=colour, linewidth=0.7, alpha=0.6)
    ax.plot(0, 0, "k+", markersize=7)
    ax.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal", title=title, xlabel="x [m]", ylabel="y [m]")
