"""What `benchmarks/workers.py` measured: its schema and its tables."""

from __future__ import annotations

import math
from typing import Any

from skill_agent.experiments.schema import TEXT, Schema, number, whole

_POSITIVE, _SHARE, _COUNT = number(low=0), number(low=0, high=1), whole(low=0)
SCHEMA: Schema = {
    "clock": {
        "id": TEXT,
        "cpus": whole(low=1),
        "load_average": _POSITIVE,
        "seconds_of_a_round": {"0": _POSITIVE, "1": _POSITIVE, "2": _POSITIVE},
        "over_none": {"1": _POSITIVE, "2": _POSITIVE},
        "cpu_over_none": {"1": _POSITIVE, "2": _POSITIVE},
        "turns": whole(low=1),
    },
    "kills": {
        **dict.fromkeys(("kills", "workers_replaced", "trainings", "finished", "steps"), _COUNT),
        "wrong_steps_in_replay": _COUNT,
        "seconds": _COUNT,
    },
    "limit": {
        "id": TEXT,
        "steps_per_update": whole(low=1),
        **dict.fromkeys(("learner_steps_per_second", "worker_steps_per_second"), whole(low=1)),
        **dict.fromkeys(("segment_bytes", "weights_bytes"), whole(low=1)),
    },
    "scale": {
        "store_bytes_per_second": whole(low=1),
        "network_bytes_per_second": whole(low=1),
        "rows": [
            {
                **dict.fromkeys(("learner_faster", "workers", "steps_per_second"), whole(low=1)),
                **dict.fromkeys(("learner_waits", "network_busy", "store_busy"), _SHARE),
                "mean_lag": _POSITIVE,
            }
        ],
    },
}


def workers_table(measured: dict[str, Any]) -> str:
    """What workers save, what kills of them did, and what one learner takes, in Markdown."""
    b = measured["workers"]
    c, k, one = b["clock"], b["kills"], b["limit"]
    over, cpu, worker = c["over_none"], c["cpu_over_none"], one["worker_steps_per_second"]
    lines = [
        "| quantity | measured |",
        "|---|---|",
        f"| wall clock of a round with 1 and 2 workers, over none | {over['1']} and {over['2']} |",
        f"| the learner's own CPU time in it, over none | {cpu['1']} and {cpu['2']} |",
        f"| steps that one worker gives in a second of CPU | {worker:,} |",
        f"| steps that one learner takes in a second of CPU, one thread | {one['learner_steps_per_second']:,} |",
    ]
    updates = measured["learner"]
    for name in ("float32, 2 threads", "bfloat16, compiled, 2 threads"):
        takes = round(1e3 * one["steps_per_update"] / updates[name]["update_ms"])
        lines.append(f"| steps that one learner takes in a second, {name} | {takes:,} |")
        lines.append(f"| workers with a CPU each that feed it | {math.ceil(takes / worker)} |")
    lines += [
        f"| kills of workers, and workers that were replaced | {k['kills']}, {k['workers_replaced']} |",
        f"| trainings that finished with all steps and updates | {k['finished']} of {k['trainings']} |",
        f"| wrong steps in their replays | {k['wrong_steps_in_replay']} |",
    ]
    return "\n".join(lines) + (
        f"\n\nThe rounds are of `{c['id']}`, {c['turns']} turns in one run on {c['cpus']} CPUs that other programs use "
        f"too, at a load average of {c['load_average']}. So the wall clock is in part what the scheduler gave to more "
        "processes; the learner's CPU time is what a round comes to where every process has a CPU and nobody waits."
    )


def scale_table(measured: dict[str, Any]) -> str:
    """What 1 to 256 simulated workers come to, in Markdown."""
    b = measured["workers"]["scale"]
    lines = [
        "| learner, times as fast | workers | steps per second | learner waits | network busy | object store busy "
        "| rounds behind |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in b["rows"]:
        shares = " | ".join(f"{row[key]:.0%}" for key in ("learner_waits", "network_busy", "store_busy"))
        start = f"| {row['learner_faster']:,} | {row['workers']} | {row['steps_per_second']:,}"
        lines.append(f"{start} | {shares} | {row['mean_lag']} |")
    store, network = (b[f"{name}_bytes_per_second"] / 1e9 for name in ("store", "network"))
    return "\n".join(lines) + (
        f"\n\nThe object store moves {store:.1f} GB/s as measured, one segment in and out; the network is taken to "
        f"move {network:.2f} GB/s."
    )
