"""The reproduction of the paper's section 7: what is trained, measured, claimed and drawn."""

from skill_agent.experiments.tables import EXPERIMENTS, FIGURES, Run

__all__ = ["EXPERIMENTS", "FIGURES", "Run"]
