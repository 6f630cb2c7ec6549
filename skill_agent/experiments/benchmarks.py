"""What the benchmarks measured: what their files hold, how these are read, and their tables in Markdown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from skill_agent.experiments import workers_measured
from skill_agent.experiments.schema import TEXT, TRUTH, Schema, check, number, whole
from skill_agent.experiments.statistics import improvement_interval
from skill_agent.experiments.sums import read_listed

FOLDER = Path("benchmarks")
Benchmarks = dict[str, Any]  # name of a script to the content of the file that it wrote

_POSITIVE, _SHARE, _COUNT = number(low=0), number(low=0, high=1), whole(low=0)
SCHEMAS: dict[str, Schema] = {
    "envs": {
        "id": TEXT,
        "cpus": whole(low=1),
        "load_average_before": _POSITIVE,
        "steps_per_second": {
            "batched_one_thread": _COUNT,
            "batched_two_threads": _COUNT,
            "bare_loop": _COUNT,
            "*": _COUNT,
        },
        "over_best_alternative": _POSITIVE,
        "over_bare_loop": _POSITIVE,
        "two_threads_over_one": _POSITIVE,
        "step_ms": _POSITIVE,
        "outside_physics_ms": _POSITIVE,
        "outside_physics_share": _SHARE,
        "gigabytes_of_1024": _POSITIVE,
        "identical_at_any_thread_count": TRUTH,
    },
    "learner": {
        "cpus": whole(low=1),
        "load_average_before": _POSITIVE,
        "collection": {"step_ms": _POSITIVE, "over_physics": _POSITIVE},
        "collection, compiled": {"step_ms": _POSITIVE, "over_physics": _POSITIVE},
        "gigabytes": _POSITIVE,
        "*": {  # by precision, compilation and number of threads
            "update_ms": _POSITIVE,
            "products_ms": _POSITIVE,
            "sac_update_ms": _POSITIVE,
            "over_products": _POSITIVE,
            "transitions_over_sac": _POSITIVE,
        },
    },
    "kills": {
        "kills": _COUNT,
        "during_saving": _COUNT,
        "before_the_first_step": _COUNT,
        "trainings_that_went_on": _COUNT,
        "interval_steps": _COUNT,
        "most_steps_lost": _COUNT,
        "steps_lost_in_all": _COUNT,
        "steps": whole("2", low=0),
        "end_bit_identical_to_an_unbroken_training": TRUTH,
        "seconds": _COUNT,
    },
    "workers": workers_measured.SCHEMA,
    "malice": {
        "altered_checkpoints": {
            "count": whole(low=1),
            "named": _COUNT,
            "loaded": _COUNT,
            "loaded_and_diverged": _COUNT,
        },
        "altered_runs": {"count": whole(low=1), "named": _COUNT, "named_when_built": _COUNT, "accepted": _COUNT},
        "seconds": _COUNT,
    },
    "reliability": {
        "seed": _COUNT,
        "files": {
            "*": {
                "tries": whole(low=1),
                **dict.fromkeys(("named", "unchanged", "works", "nameless", "silent", "crash", "hang"), _COUNT),
            }
        },
    },
    "physics": {
        "microseconds_per_substep": _POSITIVE,
        "rounds": whole(low=1),
        "variants": [{"variant": TEXT, "time": _POSITIVE, "error": number(low=0, null=True)}],
    },
    "sac": {
        "id": TEXT,
        "skills": TEXT,
        "steps": whole(low=1),
        "episodes": whole(low=1),
        "runs": [{"seed": _COUNT, "success": _SHARE, "return": number(), "seconds": _POSITIVE}],
    },
    "walker": {
        "steps": whole(low=1),
        "seeds": whole("seeds", low=0),
        "seeds_planned": whole(low=1),
        "cpu_seconds": {"ours": number("seeds", low=0), "sac": number("seeds", low=0)},
        "tasks": {"*": dict.fromkeys(("ours", "sac_same_steps", "sac_same_time"), number("seeds", low=0))},
        "transfer_steps": whole(low=1),
        "transfers": {"*": {"transfer": _POSITIVE, "scratch": _POSITIVE}},  # by seed
    },
    "demonstrations": {
        "resets": whole(low=1),
        "tasks": {"*": {"successes": _COUNT, "mean_steps_in_goal": _POSITIVE}},
    },
    "random_success": {
        "episodes": whole(low=1),
        "seed": _COUNT,
        "tasks": {"*": {"any_step": _SHARE, "last_step": _SHARE, "diverged": _SHARE}},
    },
    "layouts": {
        "episodes": whole(low=1),
        "hold": whole(low=1),
        "seed": _COUNT,
        "tasks": {"*": [{"*": {"any_step": _SHARE, "last_step": _SHARE}}]},  # by layout, and by the skills' file
    },
}


def load_benchmarks(folder: Path = FOLDER) -> Benchmarks:
    """What all benchmarks measured; each file is read once and checked, as by `read_benchmark`."""
    return {name: read_benchmark(folder, name) for name in SCHEMAS}


def read_benchmark(folder: Path, name: str) -> Any:
    """What one benchmark measured.

    Raises:
        FileNotFoundError: the benchmark's file is missing.
        ValueError: the file was changed, is not listed, or is not what it has to be.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run: python benchmarks/{name}.py")
    return read_listed(path, partial(check, schema=SCHEMAS[name]))


def met(holds: bool) -> str:
    """For a table's cell."""
    return "yes" if holds else "**no**"


def _fastest(b: dict[str, Any]) -> tuple[int, str, int]:
    """Control steps per second of the batched environments, and the best alternative's name and rate."""
    speed = b["steps_per_second"]
    usual = {name: rate for name, rate in speed.items() if not name.startswith(("batched", "bare"))}
    best = max(usual, key=lambda name: usual[name])
    return max(speed["batched_one_thread"], speed["batched_two_threads"]), best, usual[best]


def speed(measured: Benchmarks) -> str:
    """What is fast, in a sentence."""
    b = measured["envs"]
    (steps, best, _), ratio = _fastest(b), b["over_best_alternative"]
    sac = {name: run["transitions_over_sac"] for name, run in measured["learner"].items() if "thread" in name}
    most = max(sac, key=lambda name: sac[name])
    return (
        f"`{b['id']}` runs at {steps:,} control steps per second on {b['cpus']} CPUs, {ratio} times as fast as "
        "the best of Gymnasium's and SB3's own vector environments, "
        f"with {b['outside_physics_share']:.1%} of the time outside the physics (the best is `{best}`). "
        f"The learner trains up to {sac[most]} times as many transitions per second as SB3's SAC ({most})."
    )


def sac_over_skills(measured: Benchmarks) -> str:
    """How SB3's SAC does over the skills, in a sentence."""
    b = measured["sac"]
    success = ", ".join(f"{run['success']:.2f}" for run in b["runs"])
    minutes = max(run["seconds"] for run in b["runs"]) / 60
    return (
        f"By `python benchmarks/sac.py`, {len(b['runs'])} seeds of just that: success {success} on `{b['id']}` after "
        f"{b['steps']:,} steps, in {minutes:.0f} minutes at most."
    )


def walker_table(measured: Benchmarks) -> str:
    """The walker's returns beside SAC's, in Markdown; every seed is shown."""
    b = measured["walker"]

    def listed(returns: list[float]) -> str:
        return ", ".join(f"{x:.0f}" for x in returns)

    lines = [
        f"{len(b['seeds'])} of {b['seeds_planned']} planned seeds are finished. One training of ours takes "
        f"{listed(b['cpu_seconds']['ours'])} s of one core, one of SAC {listed(b['cpu_seconds']['sac'])} s.",
        "",
        f"| task | ours, {b['steps']:,} steps | SAC, the same time | SAC, the same steps |",
        "|---|---|---|---|",
    ]
    for name, found in b["tasks"].items():
        columns = [listed(found[key]) for key in ("ours", "sac_same_time", "sac_same_steps")]
        lines.append(f"| {name} | {' | '.join(columns)} |")
    if len(b["transfers"]) > 1:
        ours, scratch = ([run[method] for run in b["transfers"].values()] for method in ("transfer", "scratch"))
        middle, low, high = improvement_interval(ours, scratch)
        lines += [
            "",
            f"On a fourth task, at 4 m/s, {b['transfer_steps']:,} steps of transfer return {listed(ours)}, and as many "
            f"from scratch {listed(scratch)}: probability of improvement {middle:.2f} [{low:.2f}, {high:.2f}].",
        ]
    return "\n".join(lines)


def environments_table(measured: Benchmarks) -> str:
    """The environments' figures in Markdown."""
    b = measured["envs"]
    rows = [
        (
            "`make_vec(id, 64)` over the best of Gymnasium Async, Sync and SB3 Subproc, Dummy",
            b["over_best_alternative"],
            4,
        ),
        ("`make_vec(id, 64)` on one thread over a bare `mj_step` loop", b["over_bare_loop"], 0.85),
        ("two threads over one", b["two_threads_over_one"], 1.7),
    ]
    share, memory, same = b["outside_physics_share"], b["gigabytes_of_1024"], b["identical_at_any_thread_count"]
    lines = ["| quantity | measured | target | met |", "|---|---|---|---|"]
    lines += [f"| {name} | {value} | at least {least} | {met(value >= least)} |" for name, value, least in rows]
    lines += [
        f"| time outside the physics, 64 environments | {share:.1%} | below 10 % | {met(share < 0.1)} |",
        f"| resident memory of 1,024 environments | {memory} GB | below 1.5 GB | {met(memory < 1.5)} |",
        "| observations of 1,000 steps on 1, 2 and 4 threads "
        f"| {'identical' if same else 'differ'} | identical | {met(same)} |",
    ]
    steps, best, rate = _fastest(b)
    bare = b["cpus"] * b["steps_per_second"]["bare_loop"] / rate
    return "\n".join(lines) + (
        f"\n\n`{b['id']}` on {b['cpus']} CPUs: {steps:,} control steps per second. The best alternative is `{best}`; "
        f"{b['cpus']} bare `mj_step` loops at once, with nothing around them, would be {bare:.2f} times as fast as it."
    )


def physics_table(measured: Benchmarks) -> str:
    """What other settings of the physics cost, in Markdown."""
    b = measured["physics"]
    lines = ["| physics of `LWall` | time | error of accelerations |", "|---|---|---|"]
    for row in b["variants"]:
        error = "" if row["error"] is None else f"{row['error']:g}"
        lines.append(f"| {row['variant']} | {row['time']:.2f} | {error} |")
    return "\n".join(lines) + f"\n\nA time of 1 is {b['microseconds_per_substep']} µs a physics step."


def learner_table(measured: Benchmarks) -> str:
    """The learner's figures in Markdown, and what kills lost."""
    b, k = measured["learner"], measured["kills"]
    runs = {name: value for name, value in b.items() if "thread" in name}
    rows: tuple[tuple[str, str, str, Callable[[float], bool]], ...] = (
        (
            "over_products",
            "time of an update over that of its matrix products alone",
            "at most 1.5",
            lambda x: x <= 1.5,
        ),
        ("transitions_over_sac", "transitions trained per second over SB3's SAC", "at least 2.5", lambda x: x >= 2.5),
        ("update_ms", "an update [ms]", "", lambda _: False),
    )
    lines = ["| quantity | target | " + " | ".join(runs) + " |", "|---|---|" + "---|" * len(runs)]
    for key, what, target, reaches in rows:
        cells = (f"**{run[key]}**" if reaches(run[key]) else str(run[key]) for run in runs.values())
        lines.append(f"| {what} | {target} | " + " | ".join(cells) + " |")
    plain, compiled = (b[name]["over_physics"] for name in ("collection", "collection, compiled"))
    lost, interval = k["most_steps_lost"], k["interval_steps"]
    return "\n".join(
        [
            *lines,
            "",
            "| quantity | measured | target | met |",
            "|---|---|---|---|",
            f"| collection over its physics alone, 64 environments, one thread | {plain}; compiled {compiled} "
            f"| at most 1.25 | {met(max(plain, compiled) <= 1.25)} |",
            f"| resident memory of a training with 1e5 steps of replay | {b['gigabytes']} GB | below 1 GB "
            f"| {met(b['gigabytes'] < 1)} |",
            f"| most steps lost by one of {k['kills']} kills of a training, {k['during_saving']} while it saved "
            f"| {lost} | one interval, {interval} | {met(lost <= interval)} |",
        ]
    )


def reliability_table(measured: Benchmarks) -> str:
    """What came of damaged and forged files, in Markdown."""
    lines = [
        "| files | tried | named by an error | loaded as they were | forged, and work | faults |",
        "|---|---|---|---|---|---|",
    ]
    for kind, found in measured["reliability"]["files"].items():
        faults = sum(found[name] for name in ("nameless", "silent", "crash", "hang"))
        cells = (kind, found["tries"], found["named"], found["unchanged"], found["works"], faults)
        lines.append("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells) + " |")
    altered, runs = measured["malice"]["altered_checkpoints"], measured["malice"]["altered_runs"]
    for kind, found, works in (
        ("altered checkpoint", altered, altered["loaded"]),
        ("altered run.json", runs, runs["accepted"]),
    ):
        named = found["named"] + found.get("named_when_built", 0)
        faults = found["count"] - named - works
        lines.append(f"| {kind} | {found['count']:,} | {named:,} | 0 | {works:,} | {faults} |")
    return "\n".join(lines)


def kills_table(measured: Benchmarks) -> str:
    """What came of killed trainings, in Markdown."""
    k = measured["kills"]
    same = "yes" if k["end_bit_identical_to_an_unbroken_training"] else "**no**"
    return "\n".join(
        [
            "| quantity | measured |",
            "|---|---|",
            f"| kills of a training | {k['kills']} |",
            f"| of these, while it saved a checkpoint | {k['during_saving']} |",
            f"| trainings that went on | {k['trainings_that_went_on']} |",
            f"| most steps lost, of an interval of {k['interval_steps']} | {k['most_steps_lost']} |",
            f"| the end is bit for bit that of a training left alone | {same} |",
        ]
    )
