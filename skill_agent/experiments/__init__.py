"""The reproduction of the paper's section 7: what is trained, measured, claimed and drawn."""

from skill_agent.experiments.registry import EXPERIMENTS, FIGURES
from skill_agent.experiments.tables import Run

__all__ = ["EXPERIMENTS", "FIGURES", "Run"]
