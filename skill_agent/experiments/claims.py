"""What the paper claims and what was measured, computed from records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from skill_agent.experiments.records import Record, Records, early_area, final, steps_to, value_at
from skill_agent.experiments.statistics import goals, ratio_interval
from skill_agent.experiments.tables import FAMILIES, METHODS, OURS, TRANSFER_STEPS, variant_of
from skill_envs import ENVIRONMENTS


class Claim(NamedTuple):
    """One row of the results.

    Attributes:
        claim: what is measured.
        bar: what it has to be.
        measured: what it was.
        holds: whether it was.
        seeds: what every seed did.
        told: whether the README's short table has it: those rows tell the paper's story, failures included.
    """

    claim: str
    bar: str
    measured: str
    holds: bool
    seeds: str = ""
    told: bool = False


def second_half_error(record: Record) -> float:
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
    errors_without = [second_half_error(r) for r in records["without"]]
    errors_with = [second_half_error(r) for r in records["with"]]
    ratio, low, high = ratio_interval(errors_without, errors_with)
    spread_without = np.mean([r["final"]["embedding_spread"] for r in records["without"]])
    spread_with = np.mean([r["final"]["embedding_spread"] for r in records["with"]])
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
            f"{_each(errors_without)} / {_each(errors_with)}; mean absolute deviation of z itself from its "
            f"task's mean {spread_without:.2f} / {spread_with:.2f}",
            told=True,
        ),
    ]


def fig3_claims(records: Records, share: float = 0.05) -> list[Claim]:
    """Goals reached by sampling z, and the KL divergences; a goal counts from ``share`` of the episodes."""

    def reached(variant: str, key: str) -> list[int]:
        return [goals(record["final"][key], share) for record in records[variant]]

    bernoulli, relaxed = reached("bernoulli", "goals_reached_discrete"), reached("bernoulli", "goals_reached")
    gaussian = reached("gaussian", "goals_reached")
    four = [n == 4 for n in bernoulli]
    # Of the four tasks, the first and the third are the same.
    kl = [r["final"]["kl"][0] for r in records["duplicate"]]
    to_the_same = [row[2] for row in kl]
    to_the_others = [min(row[1], row[3]) for row in kl]
    both = [same < 0.1 and others > 1 for same, others in zip(to_the_same, to_the_others, strict=True)]
    success = np.array([r["final"]["success"] for r in records["duplicate"]])  # (seeds, tasks)
    learned = [bool(row.min() >= 0.9) for row in success]
    return [
        Claim(
            f"figure 3: goals that at least {share:.0%} of sampled z end in, Bernoulli",
            "4 of 4 in four fifths of the seeds",
            f"4 of 4 in {_count(four)}",
            sum(four) >= 0.8 * len(four),
            f"{', '.join(map(str, bernoulli))}; by the relaxed z of training {', '.join(map(str, relaxed))}",
            told=True,
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
            f"{', '.join(f'{x:.3f}' for x in to_the_same)}; {', '.join(f'{x:.1f}' for x in to_the_others)}",
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
        found = records.get(family)
        if not found:
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
    without = {record["seed"]: record for record in records["without"]}
    paired = [record for record in records["with"] if record["seed"] in without]
    if not paired:
        return []
    first = paired[0]
    hold, draws = first["hold"], len(first["coverage"])
    episode = ENVIRONMENTS[first["env_id"]].horizon // hold
    claims = []
    for k, about in ((1, "one z"), (episode, f"{episode} z in turn, an episode's"), (draws, f"{draws} z in turn")):
        a = [record["coverage"][k - 1] for record in paired]
        b = [without[record["seed"]]["coverage"][k - 1] for record in paired]
        ratio, low, high = ratio_interval(a, b)
        each = "; ".join(f"{x * 1e4:.0f} / {y * 1e4:.0f}" for x, y in zip(a, b, strict=True))
        claims.append(
            Claim(
                "figure 4: area that the block's paths cover, with / without the inference term: "
                f"{about}, {hold} steps each",
                "at least 1.5",
                _interval(ratio, low, high),
                ratio >= 1.5,
                f"{each} cm²",
                told=k == draws,  # the hardest of the three
            )
        )
    return claims


def solutions_claims(records: Records) -> list[Claim]:
    """How many solutions of one task can be told apart, with and without the inference term."""
    if not records["with"] or not records["without"]:
        return []
    kept = {variant: [record["solutions"] for record in found] for variant, found in records.items()}

    def beside(key: str, digits: int, factor: float = 1.0) -> str:
        """Every seed's value with the term, and without."""
        return " / ".join(_each((factor * r[key] for r in kept[variant]), digits) for variant in ("with", "without"))

    task = ENVIRONMENTS[records["with"][0]["env_id"]].tasks[0]
    number = [[r["number"] for r in kept[variant]] for variant in ("with", "without")]
    higher = np.greater.outer(*number)
    success = [float(np.mean(r["success"])) for r in (*kept["with"], *kept["without"])]
    errors = [[second_half_error(r) for r in records[variant]] for variant in ("with", "without")]
    return [
        Claim(
            f"{task} alone: solutions that can be told apart among {kept['with'][0]['codes']} z, "
            "with / without the inference term",
            "more in every pairing of seeds, and success at least 90 % in each",
            f"{np.mean(number[0]):.1f} / {np.mean(number[1]):.1f}; more in {higher.sum()} of {higher.size} pairings; "
            f"worst success {min(success):.2f}",
            bool(higher.all()) and min(success) >= 0.9,
            f"{beside('number', 1)}; by where paths end {beside('number_by_end', 1)}; share of paths whose z was "
            f"recognised {beside('told_apart', 2)}; spread of where different z end {beside('spread', 1, 100)} cm, "
            f"of one z {beside('scatter', 1, 100)} cm",
        ),
        Claim(
            f"{task} alone: error of the inferred z in the second half, with / without",
            "lower in every pairing of seeds",
            f"{np.mean(errors[0]):.2f} / {np.mean(errors[1]):.2f}",
            bool(np.less.outer(*errors).all()),
            f"{_each(errors[0])} / {_each(errors[1])}",
        ),
    ]


# Families and baselines of the README's table: what the paper compares on the task that tells methods apart, and one
# task that is learned from scratch as well.
_TOLD = {("lwall", "no-inference"), ("lwall", "task-id"), ("lwall", "scratch"), ("railpush", "scratch")}


def fig5_claims(records: Records) -> list[Claim]:
    """Transfer of our skills, and the comparisons with each baseline that has records."""
    claims = []
    for family, about in FAMILIES.items():
        ours = records.get(variant_of(family, OURS))
        if not ours:
            continue
        success = [final(r, "success") for r in ours]
        in_time = max(r["train_seconds"] for r in ours) <= 600
        claims.append(
            Claim(
                f"transfer to {about.name}: success of every seed at the end of the episode",
                "at least 80 % in 3 seeds, in at most 10 min",
                f"worst {min(success):.2f}; {_minutes(ours)}",
                len(ours) >= 3 and min(success) >= 0.8 and in_time,
                _each(success),
                told=family == "lwall",
            )
        )
        for method in METHODS:
            baseline = records.get(variant_of(family, method))
            if method == OURS or not baseline:
                continue
            compare = _every_pairing if family == "lwall" else _means_and_beginnings
            told = (family, method) in _TOLD
            claims += compare(f"{about.name}, ours against {method}", method, ours, baseline, told)
    return claims


def _means_and_beginnings(
    title: str, method: str, ours: list[Record], baseline: list[Record], told: bool
) -> list[Claim]:
    """Ours against a baseline on tasks that both may solve: success at the end, or over the first third."""
    a, b = np.mean(_after_transfer(ours, "success")), np.mean(_after_transfer(baseline, "success"))
    early_a = np.mean([early_area(r, TRANSFER_STEPS) for r in ours])
    early_b = np.mean([early_area(r, TRANSFER_STEPS) for r in baseline])
    # Less is a tie: a thousandth is one episode in all evaluations of a first third.
    holds = a - b >= 0.01 or early_a - early_b >= 0.01
    return [
        Claim(
            f"{title}: success after {TRANSFER_STEPS:,} steps",
            "higher by 0.01 at the end, or over the first third",
            f"{a:.2f} against {b:.2f}; over the first third {early_a:.3f} against {early_b:.3f}",
            bool(holds),
            _success_by_seed(method, ours, baseline),
            told=told,
        )
    ]


def _every_pairing(title: str, method: str, ours: list[Record], baseline: list[Record], told: bool) -> list[Claim]:
    """Ours against a baseline on a task that has to tell them apart: return and success, in every pairing of seeds."""
    claims = []
    for key, digits in (("return", 1), ("success", 2)):
        a, b = _after_transfer(ours, key), _after_transfer(baseline, key)
        higher = np.greater.outer(a, b)  # (ours, baseline)
        seeds = f"{_each(a, digits)} against {_each(b, digits)}"
        if key == "success":
            seeds = _success_by_seed(method, ours, baseline)
        claims.append(
            Claim(
                f"{title}: {key} after {TRANSFER_STEPS:,} steps",
                "higher in every pairing of seeds",
                f"{np.mean(a):.{digits}f} against {np.mean(b):.{digits}f}; "
                f"higher in {higher.sum()} of {higher.size} pairings",
                bool(higher.all()),
                seeds,
                told=told and key == "success",
            )
        )
    return claims


def _success_by_seed(method: str, ours: list[Record], baseline: list[Record]) -> str:
    """Success of every seed after the steps of a transfer, and when it was first high."""
    success, reached = [], []
    for found in (ours, baseline):
        success.append(_each(_after_transfer(found, "success")))
        reached.append(", ".join(_millions(steps_to(r, 0.9)) for r in found))
    seeds = f"{' against '.join(success)}; first evaluation at 90 %, in million steps, {' against '.join(reached)}"
    if not METHODS[method].transfers:
        ends = _each(final(r, "success") for r in baseline)
        seeds += f"; with the budget of pre-training as well {ends}"
    return seeds


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.2f} (95 % interval {low:.2f} to {high:.2f})"


def _after_transfer(found: list[Record], key: str) -> list[float]:
    """Success or return (``key``) of every seed after as many steps as a transfer has."""
    return [value_at(record, TRANSFER_STEPS, key) for record in found]


def _each(values: Iterable[float], digits: int = 2) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)


def _millions(steps: int | None) -> str:
    return "never" if steps is None else f"{steps / 1e6:.2f}"


def _minutes(found: list[Record]) -> str:
    minutes = [r["train_seconds"] / 60 for r in found]
    low, high = f"{min(minutes):.0f}", f"{max(minutes):.0f}"
    if low == high:
        return f"{low} min"
    return f"{low} to {high} min"
