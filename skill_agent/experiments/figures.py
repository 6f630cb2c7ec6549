"""Figures, from raw records alone."""

from __future__ import annotations

import itertools
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Wedge
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from skill_agent.experiments import measure, statistics
from skill_agent.experiments.records import Record, Records, steps, worst
from skill_agent.experiments.tables import FAMILIES, METHODS, TRANSFER_STEPS, variant_of
from skill_agent.files import write_whole
from skill_envs import ENVIRONMENTS, TASKS

matplotlib.use("Agg", force=False)

_MARKERS = "osD^vP"  # of figure 5's methods
_COLOURS = ("#3b5bdb", "#e8590c", "#2b8a3e", "#9c36b5", "#1098ad", "#f08c00")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=110, metadata={"Software": None})
    write_whole(path, buffer.getvalue())


def trajectories(ax: Axes, record: Record, title: str) -> None:
    """Paths of the mass for different z over the goal regions, coloured by task, or by z where there is one task."""
    tasks = ENVIRONMENTS[record["env_id"]].tasks
    kept = record["final"]["trajectories"]
    for k, name in enumerate(tasks):
        for goal in TASKS[name].goals:
            colour = _COLOURS[k] if len(tasks) > 1 else "#868e96"
            centre, radius = (goal[0], goal[1]), TASKS[name].goal_radius
            ax.add_patch(Circle(centre, radius, facecolor=colour, alpha=0.15, edgecolor=colour))
    bits = record["settings"].get("embedding") == "bernoulli"
    middle = np.mean(kept["latent"], axis=0)
    labels: dict[str, Any] = {}  # of the colours' key
    for task, latent, path in zip(kept["task"], kept["latent"], kept["position"], strict=True):
        if len(tasks) > 1:
            label, colour = tasks[task], _COLOURS[task]
        elif bits:
            code = [int(value > 0) for value in latent]  # the sign of a logit is the bit
            label = f"z = ({', '.join(map(str, code))})"
            colour = _COLOURS[int("".join(map(str, code)), 2) % len(_COLOURS)]
        else:
            label, colour = "", _latent_colour(np.subtract(latent, middle))
        (line,) = ax.plot(*np.transpose(path), color=colour, linewidth=0.8, alpha=0.7)
        labels.setdefault(label, line)
    ax.plot(0, 0, "k+", markersize=7)
    if len(tasks) == 1 and not bits:
        _colour_wheel(ax)
    else:
        names = sorted(labels)
        key = ax.legend([labels[name] for name in names], names, frameon=False, fontsize=8, loc="lower left")
        for line in key.get_lines():
            line.set(linewidth=2.5, alpha=1)
    ax.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal", title=title, xlabel="x [m]", ylabel="y [m]")


def _latent_colour(away: NDArray[np.float64]) -> Any:
    """A colour for z by the direction in which its first two entries lie from the middle."""
    angle = np.arctan2(away[1], away[0]) if len(away) > 1 else np.sign(away[0])
    return matplotlib.colormaps["hsv"]((angle + np.pi) / (2 * np.pi) * 0.92)


def _colour_wheel(ax: Axes) -> None:
    """The key of `_latent_colour`: a ring with the colour of each direction."""
    wheel = ax.inset_axes((0.02, 0.02, 0.2, 0.2))
    for start, end in itertools.pairwise(np.linspace(-np.pi, np.pi, 73)):
        middle = (start + end) / 2
        colour = _latent_colour(np.array([np.cos(middle), np.sin(middle)]))
        ring = Wedge((0, 0), 1, np.degrees(start), np.degrees(end), width=0.45, color=colour, linewidth=0)
        wheel.add_patch(ring)
    wheel.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
    wheel.axis("off")
    text = "z from the middle,\nfirst two entries"
    ax.annotate(text, (0.24, 0.12), xycoords="axes fraction", fontsize=8, va="center")


def demo(record: Record) -> Figure:
    """What one training learned: trajectories, success and inferred z."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    axes = figure.subplots(1, 3)
    trajectories(axes[0], record, "paths for different z, by task")
    at = steps(record)
    for k, name in enumerate(ENVIRONMENTS[record["env_id"]].tasks):
        success = [point["success"][k] for point in record["curve"]]
        axes[1].plot(at, success, color=_COLOURS[k], label=name)
    axes[1].xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[1].set(title="success at the end of the episode", xlabel="environment steps", ylim=(-0.02, 1.02))
    axes[1].legend(frameon=False)
    _error_curves(axes[2], record)
    return figure


def _error_curves(ax: Axes, record: Record, title: str = "error of the inferred z") -> None:
    kept = record["final"]["trajectories"]
    for task, error in zip(kept["task"], kept["inference_error"], strict=True):
        ax.plot(error, color=_COLOURS[task], linewidth=0.6, alpha=0.6)
    ax.plot(record["final"]["inference_error"], "k", linewidth=1.8, label="mean")
    ax.set(title=title, xlabel="step of the trajectory", ylabel="absolute error", ylim=(0, 2))
    ax.legend(frameon=False)


def fig2(records: Records, seed: int = 0) -> Figure:
    """Figure 2: two goals, without (left) and with (right) the inference term in the reward."""
    figure = Figure(figsize=(12, 7.2), layout="constrained")
    axes = figure.subplots(2, 3)
    for column, (variant, title) in enumerate((("without", "without the inference term"), ("with", "with it"))):
        record = records[variant][seed]
        _error_curves(axes[0, column], record, f"{title} (seed {record['seed']})")
        trajectories(axes[1, column], record, title)
    ax = axes[0, 2]
    for variant, colour in (("without", "#868e96"), ("with", "#3b5bdb")):
        curves = np.array([r["final"]["inference_error"] for r in records[variant]])  # (seeds, T)
        ax.plot(curves.T, color=colour, linewidth=0.5, alpha=0.5)
        ax.plot(curves.mean(0), color=colour, linewidth=2.2, label=f"{variant} ({len(curves)} seeds)")
    ax.set(title="mean absolute error, all seeds", xlabel="step of the trajectory", ylim=(0, None))
    ax.legend(frameon=False)
    ax = axes[1, 2]
    for variant, colour in (("without", "#868e96"), ("with", "#3b5bdb")):
        curve = np.array([worst(r, "success") for r in records[variant]])
        at = steps(records[variant][0])
        ax.plot(at, curve.T, color=colour, linewidth=0.5, alpha=0.5)
        ax.plot(at, curve.mean(0), color=colour, linewidth=2.2, label=variant)
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set(title="success of the worse task, all seeds", xlabel="environment steps", ylim=(-0.02, 1.02))
    ax.legend(frameon=False)
    return figure


def fig3(records: Records) -> Figure:
    """Figure 3: four goals in one task, Bernoulli and Gaussian; KL between four tasks, two the same.

    The paths are of the first seed that reaches as many goals as the middle one of the seeds does.
    """
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    axes = figure.subplots(1, 3)
    kinds = {"bernoulli": "goals_reached_discrete", "gaussian": "goals_reached"}
    for ax, (variant, key) in zip(axes, kinds.items(), strict=False):
        found = records[variant]
        reached = [statistics.goals(record["final"][key]) for record in found]
        shown = reached.index(sorted(reached)[(len(reached) - 1) // 2])
        title = f"{variant} z, seed {found[shown]['seed']}: {reached[shown]} of 4 goals"
        trajectories(ax, found[shown], f"{title}\n({_seeds(found)}: {min(reached)} to {max(reached)} goals)")
    ax = axes[2]
    at = steps(records["duplicate"][0])
    for k in (1, 2, 3):
        kl = np.array([_kl_of_the_first(record, k) for record in records["duplicate"]])  # (seeds, points)
        low, middle, high = np.quantile(kl, [0.25, 0.5, 0.75], axis=0)
        label = f"KL(1, {k + 1})" + (": the same task" if k == 2 else "")
        ax.plot(at, middle, color=_COLOURS[k], label=label)
        ax.fill_between(at, low, high, color=_COLOURS[k], alpha=0.2, linewidth=0)
    title = f"four tasks, 1 and 3 the same: KL(1, k)\nmedian and quartiles of {_seeds(records['duplicate'])}"
    ax.set(title=title, xlabel="environment steps", ylabel="KL of the embeddings [nat]")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.set_yscale("symlog", linthresh=0.1)
    ax.set_ylim(0, 300)
    ax.legend(frameon=False, loc="upper left")
    return figure


def _kl_of_the_first(record: Record, k: int) -> list[float]:
    """KL divergence of the first task's embedding from that of task ``k``, at every evaluation."""
    return [point["kl"][0][k] for point in record["curve"]]


def pretrain(records: Records) -> Figure:
    """Success of each pre-training task against environment steps, one panel for each set of skills."""
    trained = {variant: found for variant, found in records.items() if found}
    rows = -(-len(trained) // 4)
    figure = Figure(figsize=(14, 3.2 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, min(len(trained), 4), squeeze=False).ravel())
    for ax in axes[len(trained) :]:
        ax.remove()
    for ax, (variant, found) in zip(axes, trained.items(), strict=False):
        for k, name in enumerate(ENVIRONMENTS[found[0]["env_id"]].tasks):
            grid = max((steps(r) for r in found), key=len)  # runs may have been evaluated at other steps
            curves = [[point["success"][k] for point in r["curve"]] for r in found]
            success = np.array([np.interp(grid, steps(r), curve) for r, curve in zip(found, curves, strict=True)])
            ax.plot(grid, success.T, color=_COLOURS[k], linewidth=0.6, alpha=0.5)
            ax.plot(grid, success.mean(0), color=_COLOURS[k], linewidth=2.2, label=f"{k + 1} {name}")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.set(title=f"{variant} ({_seeds(found)})", xlabel="environment steps", ylim=(-0.02, 1.02))
        ax.legend(frameon=False)
    figure.supylabel("success at the end of the episode")
    figure.suptitle("thin: a seed; thick: mean of the seeds")
    return figure


def fig4(records: Records, seed: int = 0) -> Figure:
    """Figure 4, right: paths of the block for z from the marginal, without and with the inference term."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    axes = figure.subplots(1, 4, sharex=True, sharey=True)
    columns = (axes[::2], axes[1::2])  # one z on the left, several in turn on the right
    for column, (variant, colour) in zip(columns, (("without", "#495057"), ("with", "#e03131")), strict=True):
        found = records[variant]
        record = found[seed]
        for ax, key, draws in zip(column, ("position_of_one_z", "position"), (1, len(record["coverage"])), strict=True):
            path = np.array(record[key])  # (n, T + 1, 3)
            for xyz, above in zip(path, measure.lifted(path), strict=True):
                ax.plot(xyz[:, 0], xyz[:, 1], color=colour, linewidth=0.8, alpha=0.7)
                ax.plot(xyz[above, 0], xyz[above, 1], ".", color="#1971c2", markersize=2)
            ax.plot(*path[0, 0, :2], "k.", markersize=8)
            drawn = "one z" if draws == 1 else f"{draws} z in turn"
            shown = f"{len(path)} paths of {drawn}"
            areas = ", ".join(f"{r['coverage'][draws - 1] * 1e4:.0f}" for r in found)
            ax.set_title(f"{variant} the inference term\n{shown}\n{areas} cm² by seed", fontsize=10)
            ax.set(aspect="equal", xlabel="x [m]")
    axes[0].set(ylabel="y [m]")
    about = f"paths of the block from one start, each z for {record['hold']} steps (seed {record['seed']})"
    figure.suptitle(f"{about}; area: that of {record['paths']} paths, mean of {record['starts']} starts", fontsize=11)
    handles = [
        Line2D([], [], color="#495057", label="pushed, without the inference term"),
        Line2D([], [], color="#e03131", label="pushed, with it"),
        Line2D([], [], color="#1971c2", marker=".", linestyle="", label="lifted"),
        Line2D([], [], color="k", marker=".", linestyle="", markersize=8, label="start"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def fig5(records: Records) -> Figure:
    """Figure 5: return and success against steps on the transfer tasks: interquartile mean, 95 % bootstrap interval.

    Each method has a marker of its own, and no two methods have one at the same step: lines that lie on each other can
    be told apart.
    """
    figure = Figure(figsize=(13, 8.6), layout="constrained")
    axes = figure.subplots(2, len(FAMILIES), sharex="col")
    grid = np.linspace(0, TRANSFER_STEPS, 21)
    for column, (family, about) in enumerate(FAMILIES.items()):
        for place, (method, (label, colour, *_)) in enumerate(METHODS.items()):
            found = records.get(variant_of(family, method))
            if not found:
                continue
            for ax, key in zip(axes[:, column], ("return", "success"), strict=True):
                scores = np.array([np.interp(grid, steps(r), worst(r, key)) for r in found])  # (seeds, points)
                middle, low, high = statistics.iqm_interval(scores)
                ax.plot(
                    grid,
                    middle,
                    color=colour,
                    linewidth=1.5,
                    marker=_MARKERS[place],
                    markersize=6.5,
                    markeredgecolor="white",
                    markeredgewidth=0.6,
                    markevery=(place, len(METHODS)),
                    zorder=4 - 0.1 * place,  # ours is in front
                    label=f"{label} ({_seeds_and_budget(found)})",
                )
                ax.fill_between(grid, low, high, color=colour, alpha=0.1, linewidth=0)
                for bound in (low, high):
                    ax.plot(grid, bound, color=colour, linewidth=0.5, alpha=0.5)
        axes[0, column].set(title=about.name, ylim=(-4, None))
        axes[1, column].set(xlabel="environment steps", ylim=(-0.04, 1.04))
        axes[1, column].xaxis.set_major_formatter(EngFormatter(sep=""))
        if axes[1, column].lines:
            axes[1, column].legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    axes[0, 0].set(ylabel="return")
    axes[1, 0].set(ylabel="success at the end of the episode")
    figure.suptitle("line: interquartile mean of the seeds; band: its 95 % bootstrap interval", fontsize=11)
    return figure


def _seeds(found: list[Record]) -> str:
    return f"{len(found)} seed{'s' * (len(found) > 1)}"


def _seeds_and_budget(found: list[Record]) -> str:
    """For a legend: number of seeds and, where training went on beyond the figure, how it ended."""
    last = steps(found[0])[-1]
    if last < 1.05 * TRANSFER_STEPS:
        return _seeds(found)
    success = np.mean([worst(r, "success")[-1] for r in found])
    return f"{_seeds(found)}; {success:.0%} after {last / 1e6:.1f} M steps"


def solutions(records: Records, seed: int = 0) -> Figure:
    """Several solutions of one task: paths of the block from one start, coloured by z, from above and from the side."""
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    rows = figure.subplots(2, 2, sharex=True, sharey="row")
    for column, variant in zip(rows.T, ("without", "with"), strict=True):
        record = records[variant][seed]
        kept = record["solutions"]
        for ax, side in zip(column, (1, 2), strict=True):  # x against y, and against z
            for paths in kept["position"]:
                for latent, path in zip(kept["latent"], paths, strict=True):
                    xyz, colour = np.array(path), _latent_colour(latent)
                    ax.plot(xyz[:, 0], xyz[:, side], color=colour, linewidth=0.8, alpha=0.6)
                    ax.plot(xyz[-1, 0], xyz[-1, side], ".", color=colour, markersize=6)
            ax.plot(xyz[0, 0], xyz[0, side], "k+", markersize=9)
            ax.set(aspect="equal")
        numbers = ", ".join(f"{r['solutions']['number']:.1f}" for r in records[variant])
        column[0].set_title(
            f"{variant} the inference term (seed {record['seed']})\n"
            f"{numbers} of {kept['codes']} z can be told apart, by seed",
            fontsize=10,
        )
        column[1].set(xlabel="x [m]")
    rows[0, 0].set(ylabel="y [m], from above")
    rows[1, 0].set(ylabel="height [m]")
    task = ENVIRONMENTS[record["env_id"]].tasks[0]
    figure.suptitle(f"{task} alone: the block's paths from one start, coloured by z; dots: where an episode ends")
    return figure


def fig6(films: measure.Films) -> Figure:
    """Figure 6: frames of the final policies."""
    columns = max(len(shown) for shown, _ in films.values())
    figure = Figure(figsize=(2.2 * columns, 2.35 * len(films)), layout="constrained")
    axes = figure.subplots(len(films), columns, squeeze=False)
    for row, (name, (shown, frames)) in zip(axes, films.items(), strict=True):
        for ax, step, frame in zip(row, shown, frames, strict=True):
            ax.imshow(frame)
            ax.set(xticks=[], yticks=[])
            ax.set_title(f"{name}, step {step}", fontsize=8)
    return figure
