"""The claims of the results section, computed from records and written into the README."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import bootstrap

from skill_agent import plots
from skill_agent.experiments import BASELINES, EXPERIMENTS, FAMILIES, FIGURES
from skill_agent.runner import RECORDS, load_records, read_json
from skill_envs import ENVIRONMENTS

BENCHMARK, LEARNER, KILLS = (Path(f"benchmarks/{name}.json") for name in ("envs", "learner", "kills"))
Records = dict[str, list[dict[str, Any]]]


class Claim(NamedTuple):
    """One row of the results table."""

    claim: str
    bar: str
    measured: str
    holds: bool


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
    ratio, low, high = ratio_interval(
        [second_half_error(r) for r in records["without"]], [second_half_error(r) for r in records["with"]]
    )
    spread = {v: float(np.mean([r["final"]["embedding_spread"] for r in records[v]])) for v in ("without", "with")}
    return [
        Claim(
            "two goals: both tasks' success at the end of training",
            "at least 95 % in 9 of 10 seeds",
            f"{_count(both)} (worse task: {', '.join(worst)})",
            sum(both) >= 0.9 * len(both),
        ),
        Claim(
            "two goals: wall clock of a training, two at a time on one thread each",
            "at most 60 s",
            f"{min(seconds):.0f} to {max(seconds):.0f} s",
            max(seconds) <= 60,
        ),
        Claim(
            "figure 2: error of the inferred z in the second half, without / with the inference term",
            "at least 2, 95 % interval above 1.5",
            f"{ratio:.2f} (95 % interval {low:.2f} to {high:.2f}); mean absolute deviation of z itself from its "
            f"task's mean {spread['without']:.2f} / {spread['with']:.2f}",
            ratio >= 2 and low > 1.5,
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
    return [
        Claim(
            f"figure 3: goals that at least {share:.0%} of sampled z end in, Bernoulli",
            "4 of 4 in 8 of 10 seeds",
            f"4 of 4 in {_count(four)} ({', '.join(map(str, bernoulli))}); "
            f"by the relaxed z of training: {', '.join(map(str, relaxed))}",
            sum(four) >= 0.8 * len(four),
        ),
        Claim(
            "the same, Gaussian",
            "at least 2 in all",
            ", ".join(map(str, gaussian)),
            min(gaussian) >= 2,
        ),
        Claim(
            "figure 3: KL(1, 3) of the two equal tasks, and the smaller of KL(1, 2), KL(1, 4)",
            "below 0.1 and above 1 nat in 8 of 10 seeds",
            f"{_count(both)} (KL(1, 3) median {np.median([r[2] for r in kl]):.3f}, "
            f"other median {np.median([min(r[1], r[3]) for r in kl]):.1f})",
            sum(both) >= 0.8 * len(both),
        ),
    ]


def pretrain_claims(records: Records) -> list[Claim]:
    """Success and wall clock of each family's pre-training."""
    claims = []
    for family in FAMILIES:
        if not (found := records.get(family)):
            continue
        tasks = ENVIRONMENTS[found[0]["env_id"]].tasks
        success = np.array([r["final"]["success"] for r in found])  # (seeds, tasks)
        each = "; ".join(f"{name} {_each(column)}" for name, column in zip(tasks, success.T, strict=True))
        both = [bool(row.min() >= 0.9) for row in success]
        claims.append(
            Claim(
                f"pre-training {family}: success of every seed at the end of the episode",
                "at least 90 % in 4 of 5 seeds, in at most 30 min",
                f"{_count(both)} ({each}); {_minutes(found)} on one thread",
                sum(both) >= 0.8 * len(both) and max(r["train_seconds"] for r in found) <= 1800,
            )
        )
    return claims


def fig4_claims(records: Records) -> list[Claim]:
    """Coverage with over without the inference term."""
    pairs = [(a, b) for a in records["with"] for b in records["without"] if a["seed"] == b["seed"]]
    if not pairs:
        return []
    ratio, low, high = ratio_interval(*([r["coverage"] for r in side] for side in zip(*pairs, strict=True)))
    areas, ring = (
        "; ".join(f"{a[key] * 1e4:.0f} / {b[key] * 1e4:.0f}" for a, b in pairs) for key in ("coverage", "coverage_ring")
    )
    return [
        Claim(
            "figure 4: area that the block's paths from one start cover, with / without the inference term",
            "at least 1.5",
            f"{ratio:.2f} (95 % interval {low:.2f} to {high:.2f}; by seed {areas} cm²; "
            f"with starts all around the ring {ring} cm²)",
            ratio >= 1.5,
        )
    ]


def fig5_claims(records: Records) -> list[Claim]:
    """Transfer of our skills, and the comparisons with each baseline that has records."""
    claims = []
    for family, (name, *_) in FAMILIES.items():
        if not (ours := records.get(family)):
            continue
        success = [final_success(r) for r in ours]
        claims.append(
            Claim(
                f"transfer to {name}: success of every seed at the end of the episode",
                "at least 80 % in 3 seeds, in at most 10 min",
                f"{_each(success)}; {_minutes(ours)}",
                len(ours) >= 3 and min(success) >= 0.8 and max(r["train_seconds"] for r in ours) <= 600,
            )
        )
        for method in (*BASELINES, "all", "scratch"):
            if baseline := records.get(f"{family}-{method}"):
                claims += _comparisons(family, name, method, ours, baseline)
    return claims


def _comparisons(family: str, name: str, method: str, ours: list[Any], baseline: list[Any]) -> list[Claim]:
    """Ours against a baseline: at the end on L-wall, in every seed pairing; by the mean, and early, on the others."""
    budget = EXPERIMENTS["fig5"][family].total_timesteps
    a, b = ([success_at(r, budget) for r in found] for found in (ours, baseline))
    early = [[early_area(r, budget) for r in found] for found in (ours, baseline)]
    measured = f"{_each(a)} against {_each(b)}; "
    measured += f"mean over the first third {np.mean(early[0]):.2f} against {np.mean(early[1]):.2f}"
    if method == "scratch":
        measured += f"; with the budget of pre-training as well {_each([final_success(r) for r in baseline])}"
    claim = f"{name}, ours against {method}: {{}} after {budget:,} steps"
    if family != "lwall":
        holds = bool(np.mean(a) > np.mean(b) or np.mean(early[0]) > np.mean(early[1]))
        return [Claim(claim.format("success"), "higher at the end, or over the first third", measured, holds)]
    bar = "higher in every pairing of seeds"
    c, d = ([return_at(r, budget) for r in found] for found in (ours, baseline))
    returns = " against ".join(", ".join(f"{value:.1f}" for value in values) for values in (c, d))
    return [
        Claim(claim.format("return, as in the paper's figure"), bar, returns, min(c) > max(d)),
        Claim(claim.format("success"), bar, measured, min(a) > max(b)),
    ]


def final_success(record: dict[str, Any]) -> float:
    """Success of the final policy, on its worst task."""
    return float(min(record["final"]["success"]))


def success_at(record: dict[str, Any], budget: int) -> float:
    """Success after ``budget`` steps: of the final policy where training ended there, else by the curve."""
    if record["total_timesteps"] < 1.05 * budget:
        return final_success(record)
    return float(np.interp(budget, plots.steps(record), plots.successes(record)))


def return_at(record: dict[str, Any], budget: int) -> float:
    """Return after ``budget`` steps; see `success_at`."""
    if record["total_timesteps"] < 1.05 * budget:
        return float(record["final"]["return"])
    return float(np.interp(budget, plots.steps(record), plots.returns(record)))


def early_area(record: dict[str, Any], budget: int) -> float:
    """Mean success over the first third of ``budget``: the area under that part of the curve."""
    grid = np.linspace(0, budget / 3, 101)
    return float(np.interp(grid, plots.steps(record), plots.successes(record)).mean())


def _each(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _minutes(found: list[dict[str, Any]]) -> str:
    minutes = [r["train_seconds"] / 60 for r in found]
    return f"{min(minutes):.0f} to {max(minutes):.0f} min"


CLAIMS = {
    "fig2": fig2_claims,
    "fig3": fig3_claims,
    "pretrain": pretrain_claims,
    "fig4": fig4_claims,
    "fig5": fig5_claims,
}


def table(records: Path = RECORDS) -> str:
    """The results table in Markdown."""
    lines = ["| claim | bar | measured | holds |", "|---|---|---|---|"]
    for figure, claims in CLAIMS.items():
        for row in claims(load_records(records, figure)):
            lines.append(f"| {row.claim} | {row.bar} | {row.measured} | {'yes' if row.holds else '**no**'} |")
    return "\n".join(lines)


def benchmark_table(path: Path = BENCHMARK) -> str:
    """The benchmark's figures in Markdown, from the file that ``benchmarks/envs.py`` wrote."""
    b = read_json(path)
    rows = [
        (
            "`make_vec(id, 64)` over the best of Gymnasium Async, Sync and SB3 Subproc, Dummy",
            b["over_best_alternative"],
            4,
        ),
        ("`make_vec(id, 64)` on one thread over a bare `mj_step` loop", b["over_bare_loop"], 0.85),
        ("two threads over one", b["two_threads_over_one"], 1.7),
    ]
    lines = ["| figure | measured | bar |", "|---|---|---|"]
    lines += [f"| {name} | {value} | at least {bar} |" for name, value, bar in rows]
    lines += [
        f"| time outside the physics, 64 environments | {b['outside_physics_share']:.1%} | below 10 % |",
        f"| resident memory of 1,024 environments | {b['gigabytes_of_1024']} GB | below 1.5 GB |",
        "| observations of 1,000 steps on 1, 2 and 4 threads | "
        + ("identical" if b["identical_at_any_thread_count"] else "**differ**")
        + " | identical |",
    ]
    speed = b["steps_per_second"]
    fastest = max(speed["batched_one_thread"], speed["batched_two_threads"])
    return "\n".join(lines) + f"\n\n`{b['id']}` on {b['cpus']} CPUs: {fastest:,} control steps per second."


def learner_table(path: Path = LEARNER, kills: Path = KILLS) -> str:
    """The learner's figures in Markdown, from the files that ``benchmarks/learner.py`` and ``kills.py`` wrote."""
    b, k = read_json(path), read_json(kills)
    runs = {name: value for name, value in b.items() if "thread" in name}
    lines = ["| figure | bar | " + " | ".join(runs) + " |", "|---|---|" + "---|" * len(runs)]
    for key, what, bar in (
        ("over_products", "time of an update over that of its matrix products alone", "at most 1.5"),
        ("transitions_over_sac", "transitions trained per second over SB3's SAC", "at least 2.5"),
        ("update_ms", "an update [ms]", ""),
    ):
        lines.append(f"| {what} | {bar} | " + " | ".join(str(run[key]) for run in runs.values()) + " |")
    collection = b["collection"]["over_physics"]
    return "\n".join(
        [
            *lines,
            "",
            "| figure | bar | measured |",
            "|---|---|---|",
            f"| collection over its physics alone, 64 environments, one thread | at most 1.25 | {collection} |",
            f"| resident memory of a training with 1e5 steps of replay | below 1 GB | {b['gigabytes']} GB |",
            f"| most steps lost by one of {k['kills']} kills of a training, {k['during_saving']} while it saved "
            f"| one interval, {k['interval_steps']} | {k['most_steps_lost']} |",
        ]
    )


def fill(text: str, name: str, content: str) -> str:
    """Put ``content`` between the markers ``<!-- name -->`` and ``<!-- /name -->`` of ``text``.

    Raises:
        ValueError: the text lacks the markers.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if start not in text or end not in text:
        raise ValueError(f"the README lacks the markers {start} and {end}")
    return f"{text.split(start)[0]}{start}\n{content}\n{end}{text.split(end)[1]}"


def report(
    records: Path = RECORDS,
    readme: Path = Path("README.md"),
    figures: Path = Path("docs/figures"),
    benchmarks: Path = BENCHMARK.parent,
) -> list[Path]:
    """Draw every figure from its records and write results and benchmark into the README.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: records of a figure, or the benchmark's file, are missing.
        ValueError: the README lacks the markers between which the tables go.
    """
    for figure in FIGURES:  # the other experiments are long, and may be there in part
        if missing := [v for v, found in load_records(records, figure).items() if not found]:
            raise FileNotFoundError(
                f"no records of {missing} in {records / figure}; run: skill-embed reproduce {figure}"
            )
    text = fill(readme.read_text(encoding="utf-8"), "results", table(records))
    text = fill(text, "benchmark", benchmark_table(benchmarks / BENCHMARK.name))
    text = fill(text, "learner", learner_table(benchmarks / LEARNER.name, benchmarks / KILLS.name))
    written = [readme]
    for figure, draw in plots.FIGURES.items():
        found = load_records(records, figure)
        if all(found.values()) if figure == "fig4" else any(found.values()):
            path = figures / f"{figure}.png"
            plots.save(draw(found), path)
            written.append(path)
    readme.write_text(text, encoding="utf-8")
    return written
