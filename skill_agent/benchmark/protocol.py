"""The protocol of docs/benchmark.md as data: budgets, seeds, families and methods. It is not changed after its runs."""

from __future__ import annotations

from typing import NamedTuple

from skill_agent.experiments.tables import FAMILIES
from skill_envs import checks, layouts

STEPS = 256_000  # of the environment, in a transfer
POINTS = 21  # evaluations, the one before the first step included
EPISODES, LAST_EPISODES = 64, 128
N_ENVS = 64
TWO_LAYOUTS = (9, 13)  # those of the methods that are run on two layouts of each family
ON_THE_WAY = (64_000, 128_000)  # steps after which success is reported, besides the end
LAYOUTS = {"test": layouts.TEST, "development": layouts.DEVELOPMENT}


class Method(NamedTuple):
    """A row of the table of methods.

    Attributes:
        label: for tables and figures.
        colour: of its curve.
        skills: what stands behind the family's name in the variant of its pre-training; None without skills.
        all_tasks: whether its skills are those of all six tasks, whatever the family.
        learner: a key of `skill_agent.benchmark.learners.LEARNERS`.
        seeds: of pre-training, or of runs; a family may have another number in `more_seeds`.
        more_seeds: family to number of seeds.
        layouts: which of the test layouts; empty for all.
        long: whether the budget has the steps of pre-training as well.
    """

    label: str
    colour: str
    skills: str | None
    learner: str
    seeds: int
    all_tasks: bool = False
    more_seeds: dict[str, int] = {}  # noqa: RUF012  (it is never changed)
    layouts: tuple[int, ...] = ()
    long: bool = False

    def variant(self, family: str) -> str:
        """The variant of pre-training whose skills it has in a family; empty without skills."""
        if self.skills is None:
            return ""
        if self.all_tasks:
            return "all"
        return f"{family}-{self.skills}" if self.skills else family

    def n_seeds(self, family: str) -> int:
        """Its number of seeds in a family."""
        return self.more_seeds.get(family, self.seeds)

    def budget(self, family: str) -> int:
        """Steps of the environment in one of its runs."""
        return STEPS + (FAMILIES[family].pretrain_steps if self.long else 0)


_TEN = {"lwall": 10}
METHODS = {
    "ours": Method("ours", "#3b5bdb", "", "mapping", 5, more_seeds=_TEN),
    "no-inference": Method("no inference", "#868e96", "no-inference", "mapping", 5, more_seeds=_TEN),
    "task-id": Method("task id", "#e8590c", "task-id", "mapping", 5, more_seeds=_TEN),
    "all": Method("all six", "#2b8a3e", "", "mapping", 5, all_tasks=True),
    "sac-over-skills": Method("SAC over skills", "#0c8599", "", "sac-over-skills", 5, more_seeds=_TEN),
    "scratch": Method("from scratch", "#9c36b5", None, "torques", 3),
    "scratch-long": Method("from scratch, long", "#d6336c", None, "torques", 3, layouts=TWO_LAYOUTS, long=True),
    "sac": Method("SAC", "#f08c00", None, "sac", 3, layouts=TWO_LAYOUTS),
}


def env_id(family: str) -> str:
    """The transfer task of a family.

    Raises:
        ValueError: there is no such family.
    """
    checks.one_of("family", family, list(FAMILIES))
    return f"SkillEmbed/{FAMILIES[family].name}-v0"


def pretraining_seed(s: int) -> int:
    """Seed of pre-training s."""
    return 10_000_000 + 100_000 * s


def run_seed(s: int, layout: int) -> int:
    """Seed of the transfer of skills s to a layout, and of run s from scratch on it."""
    return 100_000 * s + 1_000 * (layout + 1)


def evaluation_seed(s: int, layout: int, j: int) -> int:
    """Seed of evaluation number j of that run."""
    return 20_000_000 + 1_000_000 * s + 20_000 * layout + 200 * j


def last_seed(s: int, layout: int) -> int:
    """Seed of that run's last episodes."""
    return 20_000_000 + 1_000_000 * s + 20_000 * layout + 10_000


def layouts_of(given: tuple[str, ...]) -> tuple[int, ...]:
    """Layouts by name or by number.

    Args:
        given: "test", "development", or numbers of layouts.

    Raises:
        ValueError: there is no such layout, or one comes twice.
    """
    valid = {str(k): (k,) for k in (0, *layouts.DEVELOPMENT, *layouts.TEST)} | LAYOUTS
    found: list[int] = []
    for name in given:
        checks.one_of("layouts", name, list(valid))
        found += valid[name]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"layouts={list(given)} are not valid; choose each once, from {list(valid)}")
    return tuple(found)


def check_names(name: str, given: tuple[str, ...], valid: list[str]) -> tuple[str, ...]:
    """Names that are given, checked; all valid ones where none is given.

    Raises:
        ValueError: one is not valid.
    """
    for each in given:
        checks.one_of(name, each, valid)
    return given or tuple(valid)


def curve_steps(budget: int) -> list[int]:
    """Steps of a run's evaluations, from 0 to its budget."""
    return [budget * j // (POINTS - 1) for j in range(POINTS)]
