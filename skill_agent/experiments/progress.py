"""Steps of a training, for whoever shows them: in a worker they go to the process that began it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from stable_baselines3.common.callbacks import BaseCallback

Report = Callable[[int], None]
_reports: list[Report] = []


@contextmanager
def reported_to(report: Report) -> Iterator[None]:
    """Tell ``report`` the environment steps so far of every training in this block; no bar of its own is shown."""
    _reports.append(report)
    try:
        yield
    finally:
        _reports.pop()


def is_reported() -> bool:
    """Whether somebody is told."""
    return bool(_reports)


def tell(steps: int) -> None:
    """Tell whoever is told that so many environment steps were taken so far."""
    for report in _reports:
        report(steps)


class Progress(NamedTuple):
    """How far all runs are.

    Attributes:
        finished: name of a run that has just ended; empty between two ends.
        done: finished runs.
        runs: all runs.
        steps_done: environment steps that were taken, in finished and in unfinished runs.
        steps: those of all runs together.
    """

    finished: str
    done: int
    runs: int
    steps_done: int
    steps: int


def progress(budgets: Sequence[int], taken: Sequence[int], done: int, finished: str) -> Progress:
    """How far runs are that have taken so many steps of their budgets; a training takes a few more than those."""
    steps = sum(min(so_far, budget) for so_far, budget in zip(taken, budgets, strict=True))
    return Progress(finished, done, len(budgets), steps, sum(budgets))


class Steps(BaseCallback):
    """Tells how many environment steps were taken; ``hold`` is the number of those in one step of the learner."""

    def __init__(self, hold: int = 1) -> None:
        """It changes nothing about the training."""
        super().__init__()
        self.hold = hold

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        tell(self.num_timesteps * self.hold)
