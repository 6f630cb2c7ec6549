"""The command of the transfer benchmark: ``benchmark``."""

from __future__ import annotations

from skill_agent.commands import common, paper
from skill_agent.options import Benchmark


def benchmark(args: Benchmark) -> None:
    """Train and transfer what is missing, with progress and time left, then print each family's table."""
    from contextlib import closing

    from skill_agent.benchmark import rows, runner

    ray = common.ray_address(args.ray)
    runs = runner.benchmark(args.families, args.methods, args.seeds, args.layouts, args.jobs, args.records, ray)
    with paper.interruptible(), closing(runs):
        paper.show("benchmark", runs)
    print(f"records in {args.records}")
    for family in rows.families(args.families):
        table = rows.table(family, args.records)
        if table:
            print()
            common.print_table((family, *rows.HEADS), table)
