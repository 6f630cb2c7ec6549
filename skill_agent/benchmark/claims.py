"""The claims of docs/benchmark.md, and what was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from skill_agent.benchmark import scores
from skill_agent.benchmark.records import RECORDS, Record, load_records
from skill_agent.benchmark.rows import told
from skill_agent.benchmark.statistics import Array, Table, forward_transfer, improvement, interval, level
from skill_agent.experiments import records as pretrainings
from skill_agent.experiments.claims import Claim
from skill_agent.experiments.tables import FAMILIES
from skill_envs import layouts

Kept = dict[str, list[Record]]  # method to records
_COMPARISON = "probability of improvement at least .8, interval above .5"
_PRETRAINED = 0.9  # success of each task, and share of the seeds


def claims(records: Path = RECORDS) -> list[Claim]:
    """The claims whose records are there, with all test layouts.

    Raises:
        ValueError: as of `load_records`.
    """
    found = []
    for family in ("lwall", "railpush", "springwall"):
        kept = load_records(records, family)
        others = ("task-id",) if family == "springwall" else ("no-inference", "task-id")
        found += [_transfer(family, other, kept) for other in others if _are_whole(kept, "ours", other, "scratch")]
        if family == "springwall" and _are_whole(kept, "ours", "scratch"):
            found.append(_area(family, kept))
        if _are_whole(kept, "ours"):
            found.append(_success(family, "ours", kept, "at least 80 %", lambda success: success >= 0.8))
        if _are_whole(kept, "scratch"):
            found.append(_success(family, "scratch", kept, "at most 20 %", lambda success: success <= 0.2))
    return found + _pretraining(records)


def _are_whole(kept: Kept, *methods: str) -> bool:
    """Whether every one of these methods has a seed with all test layouts."""
    return all(scores.whole_seeds(kept.get(method, []), layouts.TEST) for method in methods)


def _areas(kept: Kept, method: str) -> Table:
    return scores.table(kept[method], scores.auc, layouts.TEST)


def gain(ours: Array, other: Array, scratch: Array) -> Array:
    """Probability of improvement of forward transfer, of areas under the curve."""
    return improvement(forward_transfer(ours, scratch), forward_transfer(other, scratch))


def _transfer(family: str, other: str, kept: Kept) -> Claim:
    """Ours over another method, by forward transfer."""
    found = interval(gain, *(_areas(kept, method) for method in ("ours", other, "scratch")))
    holds = found.middle >= 0.8 and found.low > 0.5
    return Claim(f"{family}: forward transfer, ours over {other}", _COMPARISON, told(found), holds)


def _area(family: str, kept: Kept) -> Claim:
    """Ours over learning from scratch, by area under the curve."""
    found = interval(improvement, _areas(kept, "ours"), _areas(kept, "scratch"))
    holds = found.middle >= 0.8 and found.low > 0.5
    return Claim(f"{family}: AUC, ours over from scratch", _COMPARISON, told(found), holds)


def _success(family: str, method: str, kept: Kept, bar: str, holds: Callable[[float], bool]) -> Claim:
    """A level of success after the last step."""
    found = interval(level, scores.table(kept[method], scores.success, layouts.TEST))
    claim = f"{family}: success, {method}, after 256,000 steps"
    return Claim(claim, f"interquartile mean {bar}", told(found), holds(found.middle))


def _pretraining(records: Path) -> list[Claim]:
    """Success of our pre-trainings, which has to reach the bar in each family; nothing where one has no records."""
    kept = pretrainings.load_records(records, "pretrain", FAMILIES)
    if not all(kept[family] for family in FAMILIES):
        return []
    worst = {family: [pretrainings.final(record, "success") for record in kept[family]] for family in FAMILIES}
    shares = {family: float(np.mean(np.array(each) >= _PRETRAINED)) for family, each in worst.items()}
    return [
        Claim(
            "pre-training: success on every task of every family, after its last step",
            "at least 90 % in nine tenths of the seeds",
            ", ".join(f"{family} {share:.0%} of {len(worst[family])} seeds" for family, share in shares.items()),
            all(share >= _PRETRAINED for share in shares.values()),
            "; ".join(f"{family} {', '.join(f'{x:.2f}' for x in each)}" for family, each in worst.items()),
        )
    ]
