"""The transfer benchmark of docs/benchmark.md: its runs, records and statistics, and how another method enters."""

from skill_agent.benchmark.entering import run
from skill_agent.benchmark.learners import Learner
from skill_agent.benchmark.rows import HEADS, table

__all__ = ["HEADS", "Learner", "run", "table"]
