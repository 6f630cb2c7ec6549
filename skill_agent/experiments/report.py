"""Figures, and the tables of the README and of the pages of docs, made from records and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from skill_agent.experiments import benchmarks as measurements
from skill_agent.experiments import figures as drawn
from skill_agent.experiments import workers_measured
from skill_agent.experiments.benchmarks import Benchmarks, load_benchmarks, met
from skill_agent.experiments.claims import Claim
from skill_agent.experiments.records import RECORDS, Records
from skill_agent.experiments.registry import FIGURES, records_of
from skill_agent.files import write_whole

Kept = dict[str, Records]  # figure to its records


def load_all(records: Path = RECORDS) -> Kept:
    """The records of all figures that have their own; each is read once."""
    return {name: records_of(name, records) for name, entry in FIGURES.items() if not entry.records}


def claims_of(kept: Kept) -> list[Claim]:
    """What is claimed of every figure."""
    claims: list[Claim] = []
    for name, records in kept.items():
        claims += FIGURES[name].claims(records)
    return claims


def short_table(claims: list[Claim]) -> str:
    """The rows that tell the paper's story, in Markdown, and how many of all claims hold."""
    told = [claim for claim in claims if claim.told]
    hold = sum(claim.holds for claim in claims)
    return f"{claims_table(told)}\n\nOf all {len(claims)} claims, {hold} hold and {len(claims) - hold} do not."


def claims_table(claims: list[Claim]) -> str:
    """Claims, targets and what was measured, in Markdown."""
    lines = ["| claim | target | measured | holds |", "|---|---|---|---|"]
    for row in claims:
        lines.append(_row(row.claim, row.bar, row.measured, met(row.holds)))
    return "\n".join(lines)


def seeds_table(claims: list[Claim]) -> str:
    """What every seed did, claim by claim, in Markdown."""
    lines = ["| claim | measured | by seed |", "|---|---|---|"]
    for row in claims:
        lines.append(_row(row.claim, row.measured, row.seeds))
    return "\n".join(lines)


def _row(*cells: str) -> str:
    """A row of a table, in which p(z|t) is no end of a cell."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def cost_table(kept: Kept) -> str:
    """What the kept runs of each figure cost, in Markdown."""
    lines = ["| experiment | runs kept | wall clock of their trainings, added up [min] |", "|---|---|---|"]
    for figure, records in kept.items():
        found = list(chain(*records.values()))
        minutes = sum(record.get("train_seconds", 0.0) for record in found) / 60
        if minutes:
            lines.append(f"| `{figure}` | {len(found)} | {minutes:.0f} |")
    return "\n".join(lines)


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
    benchmarks: Path = measurements.FOLDER,
) -> list[Path]:
    """Draw every figure from its records; write results and benchmarks into the README and the pages of ``docs``.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: records of a figure, or a benchmark's file, are missing.
        ValueError: a record or a benchmark's file was changed, or README or page lacks the markers for a table.
    """
    kept = load_all(records)
    for figure, found in kept.items():
        absent = FIGURES[figure].missing(found)
        if absent and not FIGURES[figure].optional:
            raise FileNotFoundError(
                f"no records of {absent} in {records / figure}; run: skill-embed reproduce {figure}"
            )
    texts: dict[Path, str] = {}
    for (name, marker), content in tables_of(kept, load_benchmarks(benchmarks)).items():
        page = readme if name == "README.md" else docs / name
        texts[page] = fill(texts.get(page) or page.read_text(encoding="utf-8"), marker, content)
    for page, text in texts.items():
        write_whole(page, text.encode())
    return [*texts, *draw(records, docs / "figures", FIGURES, kept)]


def tables(records: Path = RECORDS, benchmarks: Path = measurements.FOLDER) -> dict[tuple[str, str], str]:
    """What is written between the markers of the README and of the pages of docs: (page, marker) to Markdown."""
    return tables_of(load_all(records), load_benchmarks(benchmarks))


def tables_of(kept: Kept, measured: Benchmarks) -> dict[tuple[str, str], str]:
    """As `tables`, of what was read."""
    claims = claims_of(kept)
    return {
        ("README.md", "speed"): measurements.speed(measured),
        ("README.md", "results"): short_table(claims),
        ("benchmarks.md", "environments"): measurements.environments_table(measured),
        ("benchmarks.md", "learner"): measurements.learner_table(measured),
        ("benchmarks.md", "physics"): measurements.physics_table(measured),
        ("reliability.md", "files"): measurements.reliability_table(measured),
        ("reliability.md", "kills"): measurements.kills_table(measured),
        ("workers.md", "measured"): workers_measured.workers_table(measured),
        ("workers.md", "scale"): workers_measured.scale_table(measured),
        ("results.md", "claims"): claims_table(claims),
        ("results.md", "seeds"): seeds_table(claims),
        ("results.md", "cost"): cost_table(kept),
        ("results.md", "sac"): measurements.sac_over_skills(measured),
        ("results.md", "walker"): measurements.walker_table(measured),
    }


def draw(records: Path, folder: Path, figures: Iterable[str], kept: Kept | None = None) -> Iterator[Path]:
    """Draw figures; one whose records are not there, or not enough of them, is left as it is.

    Args:
        records: folder of the records.
        folder: gets a PNG of each figure.
        figures: keys of `FIGURES`. Figure 6 needs OpenGL.
        kept: records that were read before.

    Yields:
        The files written.
    """
    for name in figures:
        entry = FIGURES[name]
        found = (kept or {}).get(entry.records or name)
        if found is None:
            found = records_of(name, records)
        if entry.missing(found):
            continue
        shown = entry.shown(records, found)
        if shown:
            path = folder / f"{name}.png"
            drawn.save(entry.draw(shown), path)
            yield path
