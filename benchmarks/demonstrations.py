"""Success of the scripted demonstrations in every layout: prints a table, writes demonstrations.json."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from skill_envs import arm, demonstrate
from skill_envs.layouts import named_layouts


def main() -> None:
    """Run the measurement from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resets", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    table = {}
    for name, (task, layout) in named_layouts(arm.TASKS).items():
        episodes = [next(demonstrate(task, seed=seed, layout=layout)) for seed in range(args.resets)]
        table[name] = {
            "successes": sum(bool(e.successes[-1]) for e in episodes),
            "mean_steps_in_goal": round(sum(float(e.successes.sum()) for e in episodes) / args.resets, 1),
        }
        print(f"{name:24s} {table[name]['successes']:3d} of {args.resets} end in the goal region", flush=True)
    from skill_agent.experiments.sums import write_listed  # torch comes with it, after all is measured

    write_listed(args.out, (json.dumps({"resets": args.resets, "tasks": table}, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
