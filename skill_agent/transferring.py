"""Transfer in one call (paper, section 6): z = f(x) is learned on a new task, over frozen skills."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.type_aliases import MaybeCallback, Schedule
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from skill_agent import arguments
from skill_agent.agent import SkillEmbedding
from skill_agent.playing import of_layout
from skill_agent.policy import SkillPolicy
from skill_agent.skill_space import SkillSpaceVecEnv
from skill_agent.skills import load_skills
from skill_agent.tasks import Tasks, make_task_vec_env
from skill_agent.transferred import TransferredPolicy
from skill_agent.vectors import as_vec_env
from skill_envs import checks

# The experiments' settings of the learner of z, which needs no embedding of its own.
MAPPING: dict[str, Any] = {
    "embedding": "task_id",
    "gamma": 0.95,
    "buffer_size": 50_000,
    "learning_starts": 1_280,
    "train_freq": 20,
    "gradient_steps": 40,
    "target_period": 20,
    "window": 5,
    "bf16": True,
    "policy_log_std": (-1.4, -0.2),
    "policy_entropy_coef": 0.05,
}
N_ENVS = 64


def transfer(
    skills: SkillEmbedding | SkillPolicy | Path | str,
    task: Tasks | VecEnv | VectorEnv[Any, Any, Any],
    total_timesteps: int,
    *,
    n_envs: int | None = None,
    seed: int = 0,
    hold: int = 5,
    layout: int = 0,
    learning_rate: float | Schedule | None = None,
    device: torch.device | str = "cpu",
    callback: MaybeCallback = None,
    progress_bar: bool = False,
    verbose: int = 0,
    **settings: Any,
) -> TransferredPolicy:
    """Learn a task with skills of other tasks, which are frozen; what is learned chooses z.

    Args:
        skills: a model that has learned skills, its policy, or a file or shipped name as of `load_skills`. They are
            copied; what is done to the model afterwards does not reach the result.
        task: a Gymnasium id, a callable that makes an environment, or an environment; or a vector environment of one
            task, of SB3 or of Gymnasium, which is left open. It has the observations and actions of the skills' tasks.
        total_timesteps: steps of the environments, those in which a z is held included.
        n_envs: environments stepped together, 64 by default; not with a vector environment, which has its own number.
        seed: of everything.
        hold: steps for which a z is held.
        layout: where the fixtures are, of a task of the suite that has several layouts.
        learning_rate: of the learner; by default it falls linearly from 1e-3 to 1e-4.
        device: of what is learned.
        callback: SB3's, called after each choice of z.
        progress_bar: show SB3's progress bar, which counts choices of z.
        verbose: 0, 1 or 2.
        **settings: further arguments of `SkillEmbedding`, on top of those of the experiments, `MAPPING`. Learning
            starts after a tenth of the budget if that comes before the 1,280 choices of `MAPPING`.

    Returns:
        The policy, with ``predict`` and ``save``.

    Raises:
        FileNotFoundError, SkillsFileError: as of `load_skills`.
        TypeError: an unknown setting, or a task or skills of another kind.
        ValueError: an invalid value, an unknown id, several tasks, or spaces that are not the skills'.
    """
    hold = arguments.one_or_more("hold", hold, arguments.LONGEST_HOLD)
    choices = arguments.steps("total_timesteps", total_timesteps, hold) // hold
    seed = checks.integer("seed", seed, 0, arguments.SEEDS - 1)
    frozen = _frozen(skills)
    given = {"learning_starts": min(MAPPING["learning_starts"], choices // 10), **settings}
    schedule = LinearSchedule(1e-3, 1e-4, 1.0) if learning_rate is None else learning_rate
    given_env = isinstance(task, VecEnv | VectorEnv)
    if isinstance(task, VecEnv | VectorEnv):
        of_layout(layout, task)
        env = as_vec_env(task)
    else:
        env = make_task_vec_env(task, N_ENVS if n_envs is None else n_envs, seed, **of_layout(layout, task))
    try:
        if given_env and n_envs is not None:
            raise ValueError(f"n_envs={n_envs} is not valid with a vector environment; it has {env.num_envs}")
        space = SkillSpaceVecEnv(env, frozen, hold, seed)
        learner = SkillEmbedding(
            "MlpPolicy", space, schedule, seed=seed, device=device, verbose=verbose, **{**MAPPING, **given}
        )
        learner.learn(choices, callback=callback, progress_bar=progress_bar)
    finally:
        if not given_env:
            env.close()
    return TransferredPolicy(frozen, learner.policy, hold)


def _frozen(skills: Any) -> SkillPolicy:
    """The skills of a model, a policy or a file, for this transfer alone."""
    if isinstance(skills, SkillEmbedding):
        normalised = skills.get_vec_normalize_env()
        if normalised is not None and normalised.norm_obs:
            raise ValueError(
                "these skills see what VecNormalize makes of observations, which no file or policy keeps; train with "
                "norm_obs=False: the skills normalise observations by themselves"
            )
        skills = skills.policy
    if isinstance(skills, str | Path):
        return load_skills(arguments.path("skills", skills))
    if not isinstance(skills, SkillPolicy):
        raise TypeError(f"skills={skills!r:.200} are not valid; give a SkillEmbedding, a SkillPolicy, a name or a file")
    frozen = copy.deepcopy(skills)
    frozen.set_training_mode(False)
    return frozen
