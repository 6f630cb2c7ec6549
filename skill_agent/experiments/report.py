"""The README's tables and figures, made from records and from what the benchmarks wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from skill_agent.experiments import figures as drawn
from skill_agent.experiments.claims import CLAIMS, Claim
from skill_agent.experiments.records import RECORDS, load_records
from skill_agent.experiments.reproduce import films
from skill_agent.experiments.tables import EXPERIMENTS, FAMILIES, FIGURES
from skill_agent.files import read_json, write_whole

BENCHMARK, LEARNER, KILLS, PHYSICS, SAC = (
    Path(f"benchmarks/{name}.json") for name in ("envs", "learner", "kills", "physics", "sac")
)


def results_table(records: Path = RECORDS) -> str:
    """The results table in Markdown."""
    lines = ["| claim | target | measured | holds |", "|---|---|---|---|"]
    for row in _claims(records):
        lines.append(f"| {row.claim} | {row.bar} | {row.measured} | {_met(row.holds)} |")
    return "\n".join(lines)


def seeds_table(records: Path = RECORDS) -> str:
    """What every seed did, claim by claim, in Markdown."""
    lines = ["| claim | measured | by seed |", "|---|---|---|"]
    return "\n".join(lines + [f"| {row.claim} | {row.measured} | {row.seeds} |" for row in _claims(records)])


def _claims(records: Path) -> list[Claim]:
    return [row for figure, claims in CLAIMS.items() for row in claims(load_records(records, figure))]


def cost_table(records: Path = RECORDS) -> str:
    """What the kept runs of each experiment cost, in Markdown."""
    lines = ["| experiment | runs kept | CPU time of their trainings [min] |", "|---|---|---|"]
    for figure in EXPERIMENTS:
        found = [record for kept in load_records(records, figure).values() for record in kept]
        if minutes := sum(record.get("train_seconds", 0.0) for record in found) / 60:
            lines.append(f"| `{figure}` | {len(found)} | {minutes:.0f} |")
    return "\n".join(lines)


def _met(holds: bool) -> str:
    return "yes" if holds else "**no**"


def _fastest(b: dict[str, Any]) -> tuple[int, str, int]:
    """Control steps per second of the batched environments, and the best alternative's name and rate."""
    speed = b["steps_per_second"]
    usual = {name: rate for name, rate in speed.items() if not name.startswith(("batched", "bare"))}
    best = max(usual, key=lambda name: usual[name])
    return max(speed["batched_one_thread"], speed["batched_two_threads"]), best, usual[best]


def speed(path: Path = BENCHMARK, learner: Path = LEARNER) -> str:
    """What is fast, in a sentence, from the benchmarks' files."""
    b, runs = read_json(path), read_json(learner)
    (steps, best, _), ratio = _fastest(b), b["over_best_alternative"]
    sac = {name: run["transitions_over_sac"] for name, run in runs.items() if "thread" in name}
    most = max(sac, key=lambda name: sac[name])
    return (
        f"`{b['id']}` runs at {steps:,} control steps per second on {b['cpus']} CPUs, {ratio} times as fast as "
        "the best of Gymnasium's and SB3's own vector environments, "
        f"with {b['outside_physics_share']:.1%} of the time outside the physics (the best is `{best}`). "
        f"The learner trains up to {sac[most]} times as many transitions per second as SB3's SAC ({most})."
    )


def sac_over_skills(path: Path = SAC) -> str:
    """How SB3's SAC does over the skills, in a sentence, from the file that ``benchmarks/sac.py`` wrote."""
    b = read_json(path)
    success = ", ".join(f"{run['success']:.2f}" for run in b["runs"])
    minutes = max(run["seconds"] for run in b["runs"]) / 60
    return (
        f"By `python benchmarks/sac.py`, {len(b['runs'])} seeds of just that: success {success} on `{b['id']}` after "
        f"{b['steps']:,} steps, in {minutes:.0f} minutes at most."
    )


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
    share, memory, same = b["outside_physics_share"], b["gigabytes_of_1024"], b["identical_at_any_thread_count"]
    lines = ["| quantity | measured | target | met |", "|---|---|---|---|"]
    lines += [f"| {name} | {value} | at least {least} | {_met(value >= least)} |" for name, value, least in rows]
    lines += [
        f"| time outside the physics, 64 environments | {share:.1%} | below 10 % | {_met(share < 0.1)} |",
        f"| resident memory of 1,024 environments | {memory} GB | below 1.5 GB | {_met(memory < 1.5)} |",
        "| observations of 1,000 steps on 1, 2 and 4 threads "
        f"| {'identical' if same else 'differ'} | identical | {_met(same)} |",
    ]
    steps, best, rate = _fastest(b)
    bare = b["cpus"] * b["steps_per_second"]["bare_loop"] / rate
    return "\n".join(lines) + (
        f"\n\n`{b['id']}` on {b['cpus']} CPUs: {steps:,} control steps per second. The best alternative is `{best}`; "
        f"{b['cpus']} bare `mj_step` loops at once, with nothing around them, would be {bare:.2f} times as fast as it."
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
    for key, what, target, met in rows:
        cells = (f"**{run[key]}**" if met(run[key]) else str(run[key]) for run in runs.values())
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
            f"| at most 1.25 | {_met(max(plain, compiled) <= 1.25)} |",
            f"| resident memory of a training with 1e5 steps of replay | {b['gigabytes']} GB | below 1 GB "
            f"| {_met(b['gigabytes'] < 1)} |",
            f"| most steps lost by one of {k['kills']} kills of a training, {k['during_saving']} while it saved "
            f"| {lost} | one interval, {interval} | {_met(lost <= interval)} |",
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
        if absent := missing(records, figure):
            raise FileNotFoundError(
                f"no records of {absent} in {records / figure}; run: skill-embed reproduce {figure}"
            )
    texts: dict[Path, str] = {}
    for (name, marker), content in tables(records, benchmarks).items():
        page = readme if name == "README.md" else docs / name
        texts[page] = fill(texts.get(page) or page.read_text(encoding="utf-8"), marker, content)
    for page, text in texts.items():
        write_whole(page, text.encode())
    return [*texts, *draw(records, docs / "figures", [*drawn.FIGURES, "fig6"])]


def tables(records: Path = RECORDS, benchmarks: Path = BENCHMARK.parent) -> dict[tuple[str, str], str]:
    """What is written between the markers of the README and of the pages of docs: (page, marker) to Markdown."""
    envs, learner, kills, physics = (benchmarks / path.name for path in (BENCHMARK, LEARNER, KILLS, PHYSICS))
    return {
        ("README.md", "speed"): speed(envs, learner),
        ("README.md", "sac"): sac_over_skills(benchmarks / SAC.name),
        ("README.md", "results"): results_table(records),
        ("README.md", "cost"): cost_table(records),
        ("benchmarks.md", "environments"): benchmark_table(envs),
        ("benchmarks.md", "learner"): learner_table(learner, kills),
        ("benchmarks.md", "physics"): physics_table(physics),
        ("results.md", "seeds"): seeds_table(records),
    }


def draw(records: Path, folder: Path, figures: Sequence[str]) -> Iterator[Path]:
    """Draw figures from their records; one whose records are not there, or not enough of them, is left as it is.

    Args:
        records: folder of the records.
        folder: gets a PNG of each figure.
        figures: keys of `drawn.FIGURES`, or "fig6", which needs OpenGL.

    Yields:
        The files written.
    """
    for figure in figures:
        path = folder / f"{figure}.png"
        if figure == "fig6":
            if found := films(records):
                drawn.save(drawn.fig6(found), path)
                yield path
        elif not missing(records, figure):
            drawn.save(drawn.FIGURES[figure](load_records(records, figure)), path)
            yield path


def missing(records: Path, figure: str) -> list[str]:
    """The variants of which a figure needs records and has none; baselines are long, and may follow."""
    found = load_records(records, figure)
    return [variant for variant in (FAMILIES if figure in ("pretrain", "fig5") else found) if not found[variant]]
