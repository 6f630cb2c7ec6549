"""The README's tables and figures, made from records and from what the benchmarks wrote."""

from __future__ import annotations

from pathlib import Path

from skill_agent import plots
from skill_agent.experiments import FIGURES
from skill_agent.results import CLAIMS, Claim
from skill_agent.runner import RECORDS, load_records, read_json

BENCHMARK, LEARNER, KILLS, PHYSICS = (
    Path(f"benchmarks/{name}.json") for name in ("envs", "learner", "kills", "physics")
)


def results_table(records: Path = RECORDS) -> str:
    """The results table in Markdown."""
    lines = ["| claim | bar | measured | holds |", "|---|---|---|---|"]
    for row in _claims(records):
        lines.append(f"| {row.claim} | {row.bar} | {row.measured} | {'yes' if row.holds else '**no**'} |")
    return "\n".join(lines)


def seeds_table(records: Path = RECORDS) -> str:
    """What every seed did, claim by claim, in Markdown."""
    lines = ["| claim | measured | by seed |", "|---|---|---|"]
    return "\n".join(lines + [f"| {row.claim} | {row.measured} | {row.seeds} |" for row in _claims(records)])


def _claims(records: Path) -> list[Claim]:
    return [row for figure, claims in CLAIMS.items() for row in claims(load_records(records, figure))]


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
    usual = {name: rate for name, rate in speed.items() if not name.startswith(("batched", "bare"))}
    best = max(usual, key=lambda name: usual[name])
    return "\n".join(lines) + (
        f"\n\n`{b['id']}` on {b['cpus']} CPUs: {fastest:,} control steps per second. The best alternative is `{best}`; "
        f"{b['cpus']} bare `mj_step` loops at once, with nothing around them, would be "
        f"{b['cpus'] * speed['bare_loop'] / usual[best]:.2f} times as fast as it."
    )


def physics_table(path: Path = PHYSICS) -> str:
    """What other settings of the physics cost, in Markdown, from the file that ``benchmarks/physics.py`` wrote."""
    b = read_json(path)
    lines = ["| physics of `LWall` | time | error of accelerations |", "|---|---|---|"]
    lines += [
        f"| {row['variant']} | {row['time']:.2f} | {'' if row['error'] is None else format(row['error'], 'g')} |"
        for row in b["variants"]
    ]
    return "\n".join(lines) + f"\n\nA time of 1 is {b['microseconds_per_substep']} µs a physics step."


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
    plain, compiled = (b[name]["over_physics"] for name in ("collection", "collection, compiled"))
    return "\n".join(
        [
            *lines,
            "",
            "| figure | bar | measured |",
            "|---|---|---|",
            "| collection over its physics alone, 64 environments, one thread | at most 1.25 "
            f"| {plain}; compiled {compiled} |",
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
        raise ValueError(f"the text lacks the markers {start} and {end}")
    return f"{text.split(start)[0]}{start}\n{content}\n{end}{text.split(end)[1]}"


def write_report(
    records: Path = RECORDS,
    readme: Path = Path("README.md"),
    docs: Path = Path("docs"),
    benchmarks: Path = BENCHMARK.parent,
) -> list[Path]:
    """Draw every figure from its records; write results and benchmarks into the README and the pages of ``docs``.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: records of a figure, or a benchmark's file, are missing.
        ValueError: README or page lacks the markers between which a table goes.
    """
    for figure in FIGURES:  # the other experiments are long, and may be there in part
        if missing := [v for v, found in load_records(records, figure).items() if not found]:
            raise FileNotFoundError(
                f"no records of {missing} in {records / figure}; run: skill-embed reproduce {figure}"
            )
    tables = {
        (readme, "results"): results_table(records),
        (readme, "benchmark"): benchmark_table(benchmarks / BENCHMARK.name),
        (readme, "learner"): learner_table(benchmarks / LEARNER.name, benchmarks / KILLS.name),
        (docs / "results.md", "seeds"): seeds_table(records),
        (docs / "tried.md", "physics"): physics_table(benchmarks / PHYSICS.name),
    }
    texts = {page: page.read_text(encoding="utf-8") for page, _ in tables}
    for (page, name), table in tables.items():
        texts[page] = fill(texts[page], name, table)
    written = list(texts)
    for figure, draw in plots.FIGURES.items():
        found = load_records(records, figure)
        if all(found.values()) if figure == "fig4" else any(found.values()):
            path = docs / "figures" / f"{figure}.png"
            plots.save(draw(found), path)
            written.append(path)
    for page, text in texts.items():
        page.write_text(text, encoding="utf-8")
    return written
