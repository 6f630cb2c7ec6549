"""The command ``push``."""

from __future__ import annotations

from pathlib import Path

from skill_agent.commands import common
from skill_agent.options import Push


def push(args: Push) -> None:
    """Put a file on the Hub, and say how it is loaded from there."""
    from skill_agent import hub, publishing

    name = hub.parse(args.repository)
    given = {"skills": args.skills, "policy": args.policy}
    named = [kind for kind, value in given.items() if value]
    if len(named) != 1:
        raise ValueError(f"{named} is not valid; give one of --skills and --policy")
    kind = named[0]
    file = common.of_run(given[kind], kind)
    record = args.record
    if record is None and file != given[kind] and (Path(given[kind]) / "record.json").exists():
        record = Path(given[kind]) / "record.json"
    address = publishing.push_to_hub(
        file,
        args.repository,
        kind=kind,
        record=record,
        license=args.license,
        private=args.private,
        force=args.force,
    )
    print(f"{address} has it now; from Python: load_{kind}('{name}')")
