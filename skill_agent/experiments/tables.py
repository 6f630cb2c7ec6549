"""The runs as data: what is trained for each figure, and with which settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from skill_agent.transferring import MAPPING as MAPPING
from skill_envs import ENVIRONMENTS, TASKS, arm

POINT_MASS: dict[str, Any] = {
    "gamma": 0.95,
    "buffer_size": 50_000,
    "policy_kwargs": {"net_arch": [64, 64]},
    "window": 5,
    "n_critics": 1,
    "target_period": 20,
    "embedding_log_std": (-2.0, 0.0),
    "policy_log_std": (-2.5, 0.0),
    "policy_entropy_coef": 0.005,
}


@dataclass(frozen=True)
class Run:
    """One training: an environment, a budget and settings; the seed is added by the runner.

    Attributes:
        env_id: the environment; or several of one task each, with a blank between their ids.
        total_timesteps: environment steps, over all environments.
        settings: arguments of `SkillEmbedding`.
        n_envs: environments stepped together.
        learning_rate: at the start; it falls linearly to a tenth.
        skills: a variant of `PRETRAIN`, whose skills of the same seed act; what is learned, if anything, is z = f(x).
        hold: steps for which such a z is held; the budget counts steps of the environment all the same.
    """

    env_id: str
    total_timesteps: int
    settings: dict[str, Any] = field(default_factory=dict)
    n_envs: int = 64
    learning_rate: float = 3e-3
    skills: str = ""
    hold: int = 1

    @property
    def env_ids(self) -> list[str]:
        """The ids one by one."""
        return self.env_id.split(" ")

    @property
    def of_the_paper(self) -> bool:
        """Whether it has one environment, whose tasks have indices: what the figures need can be measured on it.

        Elsewhere it is `skill_agent.experiments.own_tasks` that measures.
        """
        known = ENVIRONMENTS.get(self.env_id)
        return known is not None and TASKS[known.tasks[0]].parameters is None


def _point_mass(name: str, total_timesteps: int, **settings: Any) -> Run:
    return Run(f"SkillEmbed/PointMass{name}-v0", total_timesteps, POINT_MASS | settings)


# Observations as they are and no saturation penalty: with these two on, two of nine seeds missed 95 %.
TWO_GOALS: dict[str, Any] = {
    "inference_coef": 0.1,
    "embedding_entropy_coef": 1.5,
    "normalize_observations": False,
    "saturation_coef": 0.0,
}
BERNOULLI: dict[str, Any] = {
    "embedding": "bernoulli",
    "embedding_dim": 2,
    "temperature": 0.3,
    "inference_coef": 2.0,
    "embedding_entropy_coef": 50.0,
    "policy_entropy_coef": 0.3,
}
# Large a1 and a2 at first: codes part before they look for a goal.
FOUR_GAUSSIAN: dict[str, Any] = {
    "inference_coef": 0.35,
    "embedding_entropy_coef": 5.25,
    "policy_entropy_coef": 0.05,
    "versatility_start": 5.0,
    "versatility_power": 1.0,
    "versatility_warmup": 0.6,
}
# The same, for a short time: without, the goal of one of the four tasks was not found in most seeds.
DUPLICATE: dict[str, Any] = TWO_GOALS | {"versatility_start": 5.0, "versatility_power": 1.0, "versatility_warmup": 0.3}

FIGURE2 = {
    "with": _point_mass("TwoGoals", 280_000, **TWO_GOALS),
    "without": _point_mass("TwoGoals", 280_000, **TWO_GOALS | {"inference_coef": 0.0}),
}
FIGURE3 = {
    "bernoulli": _point_mass("FourGoals", 500_000, **BERNOULLI),
    "gaussian": _point_mass("FourGoals", 450_000, **FOUR_GAUSSIAN),
    "duplicate": _point_mass("Duplicate", 500_000, **DUPLICATE),
}

# A goal at any angle. A linear p(z|c) carries what is learned on one part of the circle over to the rest. It learns
# slowly: at the policy's rate it follows the first angle that is rewarded.
RING: dict[str, Any] = {
    "policy_kwargs": {"net_arch": {"pi": [], "qf": [64, 64], "inference": [64, 64]}},
    "embedding_dim": 2,
    "embedding_net_arch": (),
    "embedding_rate": 0.01,
    "embedding_init_std": 1.0,
    "embedding_mean_bound": 10.0,
    "embedding_log_std": (-3.0, -1.5),
    "embedding_entropy_coef": 0.015,
    "inference_coef": 0.001,
}
FIGURE_RING = {
    "learned": _point_mass("Ring", 300_000, **RING),
    "deep": _point_mass("Ring", 300_000, **RING | {"policy_kwargs": {"net_arch": [64, 64]}}),
    "given": _point_mass("Ring", 300_000, **RING | {"embedding": "task_id"}),
}

# Four goals in turn, and a z for each fifth of the episode. The z of a chain start apart, and hardly move: otherwise
# the one that finds the first goal is best, and all become that one.
TOUR: dict[str, Any] = {
    "embedding_log_std": (-3.0, -1.5),
    "embedding_entropy_coef": 0.5,
    "inference_coef": 0.02,
    "policy_entropy_coef": 0.01,
}
CHAIN: dict[str, Any] = {"z_period": 20}
LEARNED: dict[str, Any] = {"embedding_transition": "learned", "transition_init_std": 1.5, "embedding_rate": 1e-4}
FIGURE_TOUR = {
    "learned": _point_mass("Tour", 600_000, **TOUR | CHAIN | LEARNED),
    "redraw": _point_mass("Tour", 600_000, **TOUR | CHAIN, embedding_transition="redraw"),
    "one": _point_mass("Tour", 600_000, **TOUR),
}

ARM: dict[str, Any] = {
    "gamma": 0.97,
    "buffer_size": 100_000,
    "learning_starts": 6_400,
    "train_freq": 100,
    "gradient_steps": 100,
    "target_period": 20,
    "bf16": True,
    "compile": True,
    "policy_log_std": (-1.4, -0.2),
    "embedding_entropy_coef": 0.03,
    "inference_coef": 0.003,
    "policy_entropy_coef": 0.003,
}
# For environments of others: what benchmarks/walker.py has for three tasks of dm-control.
OTHERS: dict[str, Any] = {
    "gamma": 0.99,
    "buffer_size": 500_000,
    "learning_starts": 8_000,
    "batch_size": 96,
    "train_freq": 10,
    "gradient_steps": 30,
    "bf16": True,
    "compile": True,
    "window": 3,
    "segment": 2,
    "policy_log_std": (-2.5, 0.3),
    "policy_entropy_coef": 0.01,
}
# What L-wall has of its own: z is to show in the block's position, once both tasks are learned.
VERSATILE: dict[str, Any] = {
    "embedding_entropy_coef": 9.0,
    "inference_coef": 0.3,
    "versatility_warmup": 0.75,
    "embedding_log_std": (-2.0, 0.0),
    "inference_channels": tuple(range(*arm.ENTRIES["block position"].indices(len(arm.OBSERVATION)))),
    "inference_noise": 0.5,
}


class Family(NamedTuple):
    """A family of the arm's tasks (section 7.2): two for pre-training, and one that their skills are transferred to.

    Attributes:
        name: of the transfer task; with "Pretrain" behind it, of the pre-training environment.
        pretrain_steps: budget of its pre-training.
        settings: of its pre-training, on top of `ARM`.
    """

    name: str
    pretrain_steps: int
    settings: dict[str, Any]


FAMILIES = {
    "springwall": Family("SpringWall", 1_024_000, {}),
    "lwall": Family("LWall", 1_536_000, VERSATILE),
    "railpush": Family("RailPush", 1_536_000, {}),
}


class Method(NamedTuple):
    """A method of figure 5; where nothing else is said, its skills are trained for each family.

    Attributes:
        label: for the figure's legend.
        colour: of its curve.
        settings: of its pre-training, on top of ours.
        skills: a variant of `PRETRAIN` whose skills it transfers to every family, in place of own ones.
        transfers: whether there are skills; without, the transfer task is learned from scratch, in as many steps
            as pre-training and transfer have together.
    """

    label: str
    colour: str
    settings: dict[str, Any]
    skills: str = ""
    transfers: bool = True


OURS = ""  # its runs have the family's name alone; those of the others, as in "lwall-scratch", their own as well
METHODS = {
    OURS: Method("ours", "#3b5bdb", {}),
    # Where a2 is 0 the policy ignores q, which noise would only blur.
    "no-inference": Method("without the inference term", "#868e96", {"inference_coef": 0.0, "inference_noise": 0.0}),
    "task-id": Method("task id in place of an embedding", "#e8590c", {"embedding": "task_id"}),
    "all": Method("pre-trained on all six tasks", "#2b8a3e", {}, skills="all"),
    "scratch": Method("from scratch", "#9c36b5", {}, transfers=False),
}


def variant_of(family: str, method: str) -> str:
    """The variant of `PRETRAIN` and of figure 5 that is a family's, by a method."""
    return f"{family}-{method}" if method else family


def _arm(name: str, total_timesteps: int, **settings: Any) -> Run:
    return Run(f"SkillEmbed/{name}-v0", total_timesteps, ARM | settings, learning_rate=1e-3)


def pretrain_runs() -> dict[str, Run]:
    """The pre-trainings of every family by every method that has its own, of all six tasks, and of the point mass."""
    runs = {}
    for method, about in METHODS.items():
        if about.skills or not about.transfers:
            continue
        for family, (name, steps, settings) in FAMILIES.items():
            runs[variant_of(family, method)] = _arm(f"{name}Pretrain", steps, **settings | about.settings)
    runs["all"] = _arm("PretrainAll", 3_072_000, **VERSATILE, embedding_dim=6)
    runs["pointmass"] = _point_mass("Duplicate", 500_000, **TWO_GOALS)
    return runs


TRANSFER_STEPS = 512_000
_POINT_MASS_MAPPING = MAPPING | {"bf16": False, "policy_kwargs": {"net_arch": [64, 64]}}


def transfer_runs() -> dict[str, Run]:
    """The transfers to every family's task by every method, and that of the point mass."""
    runs = {}
    for family, (name, pretrain_steps, _) in FAMILIES.items():
        for method, about in METHODS.items():
            variant = variant_of(family, method)
            if about.transfers:
                skills = about.skills or variant
                runs[variant] = Run(
                    f"SkillEmbed/{name}-v0", TRANSFER_STEPS, MAPPING, learning_rate=1e-3, skills=skills, hold=5
                )
            else:
                runs[variant] = _arm(name, pretrain_steps + TRANSFER_STEPS, embedding="task_id")
    runs["pointmass"] = Run("SkillEmbed/PointMassCorner-v0", 1_000_000, _POINT_MASS_MAPPING, skills="pointmass", hold=2)
    return runs


SOLUTIONS_STEPS = 256_000

PRETRAIN = pretrain_runs()
FIGURE4 = {
    "with": Run("SkillEmbed/Push-v0", 160_000, skills="lwall", hold=50),
    "without": Run("SkillEmbed/Push-v0", 160_000, skills="lwall-no-inference", hold=50),
}
# One task, many ways to do it: the block may be held anywhere up in the container.
SOLUTIONS = {
    "with": _arm("Lift", SOLUTIONS_STEPS, **VERSATILE),
    "without": _arm("Lift", SOLUTIONS_STEPS, **VERSATILE | METHODS["no-inference"].settings),
}


def default_run(env_id: str) -> Run:
    """The training of an environment where nothing else is said: that of its family, if it is for pre-training."""
    for run in PRETRAIN.values():
        if run.env_id == env_id:
            return run
    env_ids = env_id.split(" ")
    if not all(each in ENVIRONMENTS for each in env_ids):
        return Run(env_id, 1_000_000, OTHERS, n_envs=16, learning_rate=1e-3)
    if ENVIRONMENTS[env_ids[0]].tasks[0] in arm.TASKS:
        return Run(env_id, 1_024_000, ARM, learning_rate=1e-3)
    return Run(env_id, 280_000, POINT_MASS | TWO_GOALS)
