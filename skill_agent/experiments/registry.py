"""The figures of the paper's section 7: one entry has all that is to be known of a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from skill_agent.experiments import claims, figures, measure, ring, tables, tour, work
from skill_agent.experiments.claims import Claim
from skill_agent.experiments.records import RECORDS, Records, load_records
from skill_agent.experiments.tables import FAMILIES, OURS, Run, variant_of


def no_claims(records: Records) -> list[Claim]:
    """For figures that claim nothing."""
    return []


def the_records(folder: Path, records: Records) -> Records:
    """For figures that are drawn from their records alone."""
    return records


@dataclass(frozen=True)
class Entry:
    """A figure.

    Attributes:
        runs: variant to run.
        seeds: the default number of seeds.
        work: what is done for one run with one seed.
        draw: the drawing, of what ``shown`` returns.
        claims: what is claimed of its records.
        required: the variants without whose records it is not drawn; None for all. Others may follow later.
        networks: whether it shows the networks that its runs leave, so that no run is done without them.
        optional: whether the report goes without it where records are missing, since its runs are long.
        shown: what is drawn, of the folder of the records and the figure's records; where it is empty, nothing is.
        records: folder of its records; by default its own name. A figure that shows another's runs names the other.
    """

    runs: dict[str, Run]
    seeds: int
    work: Callable[[work.Job], work.Result]
    draw: Callable[[Any], Figure]
    claims: Callable[[Records], list[Claim]] = no_claims
    required: tuple[str, ...] | None = None
    networks: bool = False
    optional: bool = False
    shown: Callable[[Path, Records], Any] = the_records
    records: str = ""

    def missing(self, records: Records) -> list[str]:
        """The required variants that have no records."""
        required = self.runs if self.required is None else self.required
        return [variant for variant in required if not records[variant]]


def registered() -> dict[str, Entry]:
    """Every figure, from the tables as they are."""
    ours = tuple(variant_of(family, OURS) for family in FAMILIES)
    transfers = tables.transfer_runs()
    return {
        "fig2": Entry(tables.FIGURE2, 10, work.short, figures.fig2, claims.fig2_claims),
        "fig3": Entry(tables.FIGURE3, 10, work.short, figures.fig3, claims.fig3_claims),
        "ring": Entry(
            tables.FIGURE_RING, 10, work.arcs, ring.ring, ring.ring_claims, required=("learned",), optional=True
        ),
        "tour": Entry(tables.FIGURE_TOUR, 5, work.short, tour.tour, tour.tour_claims, optional=True),
        "pretrain": Entry(
            tables.pretrain_runs(), 3, work.arm, figures.pretrain, claims.pretrain_claims, required=ours, optional=True
        ),
        "fig4": Entry(tables.FIGURE4, 5, work.paths, figures.fig4, claims.fig4_claims, optional=True),
        "fig5": Entry(transfers, 3, work.arm, figures.fig5, claims.fig5_claims, required=ours, optional=True),
        "fig6": Entry(
            {variant: transfers[variant] for variant in ours},
            1,
            work.arm,
            figures.fig6,
            required=(),
            networks=True,
            shown=measure.films,
            records="fig5",
        ),
        "solutions": Entry(
            tables.SOLUTIONS, 3, work.several, figures.solutions, claims.solutions_claims, optional=True
        ),
    }


FIGURES = registered()
# Figure to variant to run, of the figures that have records of their own.
EXPERIMENTS = {name: entry.runs for name, entry in FIGURES.items() if not entry.records}


def records_of(name: str, folder: Path = RECORDS) -> Records:
    """The kept records of a figure, variant by variant; see `load_records`."""
    entry = FIGURES[name]
    return load_records(folder, entry.records or name, entry.runs)
