"""The claims of the README's results, computed from records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import bootstrap

from skill_agent.experiments.records import Records, early_area, final, steps_to, value_at
from skill_agent.experiments.tables import BASELINES, EXPERIMENTS, FAMILIES
from skill_envs import ENVIRONMENTS


class Claim(NamedTuple):
    """One row of the results tables; the README's leaves out ``seeds``, that of docs/results.md the target."""

    claim: str
    bar: str
    measured: str
    holds: bool
    seeds: str = ""  # what every seed did


def ratio_interval(numerator: list[float], denominator: list[float]) -> tuple[float, float, float]:
    """Ratio of the means over seeds and its 95 % bootstrap interval (percentile, paired by seed); NaN for one seed."""
    a, b = np.asarray(numerator), np.asarray(denominator)
    if len(a) < 2:
        return float(a.mean() / b.mean()), float("nan"), float("nan")

    def ratio(x: Any, y: Any, axis: int = -1) -> Any:
        return x.mean(axis) / y.mean(axis)

    interval = bootstrap(
        (a, b), ratio, paired=True, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return float(ratio(a, b)), float(interval.low), float(interval.high)


def second_half_error(record: dict[str, Any]) -> float:
    """Mean absolute error of the inferred z over the second half of the trajectory."""
    error = record["final"]["inference_error"]
    return float(np.mean(error[len(error) // 2 :]))


def _count(flags: list[bool]) -> str:
    return f"{sum(flags)} of {len(flags)} seeds"


def fig2_claims(records: Records) -> list[Claim]:
    """Success of both tasks, training time and the error ratio."""
    both = [min(r["final"]["success"]) >= 0.95 for r in records["with"]]
    worst = [f"{min(r['final']['success']):.2f}" for r in records["with"]]
    seconds = [r["train_seconds"] for r in records["with"]]
    errors = {v: [second_half_error(r) for r in records[v]] for v in ("without", "with")}
    ratio, low, high = ratio_interval(errors["without"], errors["with"])
    spread = {v: float(np.mean([r["final"]["embedding_spread"] for r in records[v]])) for v in ("without", "with")}
    return [
        Claim(
            "two goals: both tasks' success at the end of training",
            "at least 95 % in nine tenths of the seeds",
            _count(both),
            sum(both) >= 0.9 * len(both),
            f"worse task {', '.join(worst)}",
        ),
        Claim(
            "two goals: wall clock of a training, two at a time on one thread of torch each",
            "at most 60 s",
            f"{min(seconds):.0f} to {max(seconds):.0f} s",
            max(seconds) <= 60,
            ", ".join(f"{s:.0f}" for s in seconds),
        ),
        Claim(
            "figure 2: error of the inferred z in the second half, without / with the inference term",
            "at least 2, 95 % interval above 1.5",
            _interval(ratio, low, high),
            ratio >= 2 and low > 1.5,
            f"{_each(errors['without'])} / {_each(errors['with'])}; mean absolute deviation of z itself from its "
            f"task's mean {spread['without']:.2f} / {spread['with']:.2f}",
        ),
    ]


def fig3_claims(records: Records, share: float = 0.05) -> list[Claim]:
    """Goals reached by sampling z, and the KL divergences; a goal counts from ``share`` of the episodes."""

    def reached(variant: str, key: str) -> list[int]:
        return [sum(x >= share for x in r["final"][key]) for r in records[variant]]

    bernoulli, relaxed = reached("bernoulli", "goals_reached_discrete"), reached("bernoulli", "goals_reached")
    gaussian = reached("gaussian", "goals_reached")
    kl = [r["final"]["kl"][0] for r in records["duplicate"]]
    same, apart = [row[2] < 0.1 for row in kl], [min(row[1], row[3]) > 1 for row in kl]
    both = [s and a for s, a in zip(same, apart, strict=True)]
    four = [n == 4 for n in bernoulli]
    success = np.array([r["final"]["success"] for r in records["duplicate"]])  # (seeds, tasks)
    learned = [bool(row.min() >= 0.9) for row in success]
    return [
        Claim(
            f"figure 3: goals that at least {share:.0%} of sampled z end in, Bernoulli",
            "4 of 4 in four fifths of the seeds",
            f"4 of 4 in {_count(four)}",
            sum(four) >= 0.8 * len(four),
            f"{', '.join(map(str, bernoulli))}; by the relaxed z of training {', '.join(map(str, relaxed))}",
        ),
        Claim(
            "the same, Gaussian",
            "at least 2 in all",
            f"{min(gaussian)} to {max(gaussian)}",
            min(gaussian) >= 2,
            ", ".join(map(str, gaussian)),
        ),
        Claim(
            "figure 3: KL(1, 3) of the two equal tasks, and the smaller of KL(1, 2), KL(1, 4)",
            "below 0.1 and above 1 nat in four fifths of the seeds",
            _count(both),
            sum(both) >= 0.8 * len(both),
            f"{', '.join(f'{row[2]:.3f}' for row in kl)}; {', '.join(f'{min(row[1], row[3]):.1f}' for row in kl)}",
        ),
        Claim(
            "figure 3: success of each of these four tasks",
            "at least 90 % in four fifths of the seeds",
            _count(learned),
            sum(learned) >= 0.8 * len(learned),
            "; ".join(f"task {k + 1} {_each(column)}" for k, column in enumerate(success.T)),
        ),
    ]


def pretrain_claims(records: Records) -> list[Claim]:
    """Success and wall clock of the pre-training of each family, and of all six tasks at once."""
    claims = []
    for family in (*FAMILIES, "all"):
        if not (found := records.get(family)):
            continue
        tasks = ENVIRONMENTS[found[0]["env_id"]].tasks
        success = np.array([r["final"]["success"] for r in found])  # (seeds, tasks)
        each = "; ".join(f"{name} {_each(column)}" for name, column in zip(tasks, success.T, strict=True))
        both = [bool(row.min() >= 0.9) for row in success]
        claims.append(
            Claim(
                f"pre-training {family}: success of every seed at the end of the episode",
                "at least 90 % in four fifths of the seeds, in at most 30 min",
                f"{_count(both)}; {_minutes(found)} on one thread of torch",
                sum(both) >= 0.8 * len(both) and max(r["train_seconds"] for r in found) <= 1800,
                each,
            )
        )
    return claims


def fig4_claims(records: Records) -> list[Claim]:
    """Coverage with over without the inference term, of paths of many z in turn and of one z."""
    pairs = [(a, b) for a in records["with"] for b in records["without"] if a["seed"] == b["seed"]]
    if not pairs:
        return []
    hold, draws = pairs[0][0]["hold"], len(pairs[0][0]["coverage"])
    episode = ENVIRONMENTS[pairs[0][0]["env_id"]].horizon // hold
    claims = []
    for k, about in ((1, "one z"), (episode, f"{episode} z in turn, an episode's"), (draws, f"{draws} z in turn")):
        areas = [(a["coverage"][k - 1], b["coverage"][k - 1]) for a, b in pairs]
        ratio, low, high = ratio_interval(*map(list, zip(*areas, strict=True)))
        each = "; ".join(f"{a * 1e4:.0f} / {b * 1e4:.0f}" for a, b in areas)
        claims.append(
            Claim(
                "figure 4: area that the block's paths cover, with / without the inference term: "
                f"{about}, {hold} steps each",
                "at least 1.5",
                _interval(ratio, low, high),
                ratio >= 1.5,
                f"{each} cm²",
            )
        )
    return claims


def fig5_claims(records: Records) -> list[Claim]:
    """Transfer of our skills, and the comparisons with each baseline that has records."""
    claims = []
    for family, (name, *_) in FAMILIES.items():
        if not (ours := records.get(family)):
            continue
        success = [final(r, "success") for r in ours]
        claims.append(
            Claim(
                f"transfer to {name}: success of every seed at the end of the episode",
                "at least 80 % in 3 seeds, in at most 10 min",
                f"worst {min(success):.2f}; {_minutes(ours)}",
                len(ours) >= 3 and min(success) >= 0.8 and max(r["train_seconds"] for r in ours) <= 600,
                _each(success),
            )
        )
        for method in (*BASELINES, "all", "scratch"):
            if baseline := records.get(f"{family}-{method}"):
                claims += _comparisons(family, name, method, ours, baseline)
    return claims


def _comparisons(family: str, name: str, method: str, ours: list[Any], baseline: list[Any]) -> list[Claim]:
    """Ours against a baseline: at the end on L-wall, in every seed pairing; by the mean, and early, on the others."""
    budget = EXPERIMENTS["fig5"][family].total_timesteps
    a, b = ([value_at(r, budget, "success") for r in found] for found in (ours, baseline))
    early = [[early_area(r, budget) for r in found] for found in (ours, baseline)]
    mean = f"{np.mean(a):.2f} against {np.mean(b):.2f}"
    reached = (", ".join(_millions(steps_to(r, 0.9)) for r in found) for found in (ours, baseline))
    seeds = f"{_each(a)} against {_each(b)}; first evaluation at 90 %, in million steps, {' against '.join(reached)}"
    if method == "scratch":
        seeds += f"; with the budget of pre-training as well {_each([final(r, 'success') for r in baseline])}"
    claim = f"{name}, ours against {method}: {{}} after {budget:,} steps"
    if family != "lwall":
        measured = f"{mean}; over the first third {np.mean(early[0]):.3f} against {np.mean(early[1]):.3f}"
        # Less is a tie: a thousandth is one episode in all evaluations of a first third.
        holds = bool(max(np.mean(a) - np.mean(b), np.mean(early[0]) - np.mean(early[1])) >= 0.01)
        bar = "higher by 0.01 at the end, or over the first third"
        return [Claim(claim.format("success"), bar, measured, holds, seeds)]
    c, d = ([value_at(r, budget, "return") for r in found] for found in (ours, baseline))
    returns = " against ".join(", ".join(f"{value:.1f}" for value in values) for values in (c, d))
    means = f"{np.mean(c):.1f} against {np.mean(d):.1f}"
    claims = []
    for key, found, text, x, y in (("return", means, returns, c, d), ("success", mean, seeds, a, b)):
        higher = np.greater.outer(x, y)  # (ours, baseline)
        measured = f"{found}; higher in {higher.sum()} of {higher.size} pairings"
        claims.append(Claim(claim.format(key), "higher in every pairing of seeds", measured, bool(higher.all()), text))
    return claims


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.2f} (95 % interval {low:.2f} to {high:.2f})"


def _each(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _millions(steps: int | None) -> str:
    return "never" if steps is None else f"{steps / 1e6:.2f}"


def _minutes(found: list[dict[str, Any]]) -> str:
    minutes = [r["train_seconds"] / 60 for r in found]
    low, high = f"{min(minutes):.0f}", f"{max(minutes):.0f}"
    return f"{low} min" if low == high else f"{low} to {high} min"


CLAIMS = {
    "fig2": fig2_claims,
    "fig3": fig3_claims,
    "pretrain": pretrain_claims,
    "fig4": fig4_claims,
    "fig5": fig5_claims,
}
