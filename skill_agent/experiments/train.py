"""Training of one run of the tables in `skill_agent.experiments.tables`, and what is measured on it."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

import skill_envs
from skill_agent import rollouts as evaluate
from skill_agent.agent import SkillEmbedding
from skill_agent.checkpoint import RunCheckpoint
from skill_agent.experiments import own_tasks, progress
from skill_agent.experiments.measure import measure
from skill_agent.experiments.tables import Run
from skill_agent.perceptrons import BFLOAT16
from skill_agent.policy import SkillPolicy
from skill_agent.skill_space import SkillSpaceVecEnv
from skill_agent.tasks import make_task_vec_env
from skill_agent.transferred import TransferredPolicy
from skill_agent.vec import make_skill_vec_env
from skill_envs import ENVIRONMENTS


def build(run: Run, seed: int, skills: SkillPolicy | None = None, ray: str | None = None) -> SkillEmbedding:
    """The untrained agent of a run, with its environments.

    Args:
        run: with all settings.
        seed: of everything.
        skills: those to be transferred.
        ray: where workers are actors of Ray; see `SkillEmbedding`.
    """
    env: VecEnv
    if run.env_id in ENVIRONMENTS:
        env = make_skill_vec_env(run.env_id, run.n_envs, seed=seed)
    else:
        env = make_task_vec_env(run.env_ids, run.n_envs, seed)
    if skills is not None:
        env = SkillSpaceVecEnv(env, skills, run.hold, seed)
    policy = "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "MlpPolicy"
    schedule = LinearSchedule(run.learning_rate, 0.1 * run.learning_rate, 1.0)
    return SkillEmbedding(policy, env, schedule, seed=seed, device="cpu", ray=ray, **run.settings)


class Evaluation(BaseCallback):
    """Evaluates every ``period`` steps; ``curve`` holds one dict each."""

    def __init__(self, run: Run, period: int, episodes_per_task: int = 32) -> None:
        """Evaluate on fresh copies of the run's environment; the training's random state is not touched."""
        super().__init__()
        self.run, self.period, self.episodes = run, period, episodes_per_task
        self.curve: list[dict[str, Any]] = []
        self._start, self._due = time.perf_counter(), 0

    @classmethod
    def of(cls, run: Run) -> Evaluation:
        """Twenty evaluations in a run, and one at its end."""
        return cls(run, run.total_timesteps // 20)

    @property
    def seconds(self) -> float:
        """Time since training began [s], without pauses between two processes."""
        return time.perf_counter() - self._start

    def state(self) -> dict[str, Any]:
        """What a resumed training needs to know."""
        return {"curve": list(self.curve), "due": self._due, "seconds": self.seconds}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.curve, self._due = list(state["curve"]), state["due"]
        self._start = time.perf_counter() - state["seconds"]

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.num_timesteps >= self._due:
            self._due += self.period
            self._evaluate()

    def _on_training_end(self) -> None:
        self._evaluate()

    def _evaluate(self) -> None:
        policy, seed = self.model.policy, 10_000 + len(self.curve)
        assert isinstance(policy, SkillPolicy)
        point: dict[str, Any] = {"steps": self.num_timesteps, "seconds": round(self.seconds, 2)}
        if self.run.of_the_paper:
            rollouts = evaluate.rollout(policy, self.run.env_id, self.episodes, seed=seed)
            point["return"] = round(float(rollouts.reward.sum(1).mean()), 3)
            point["success"] = evaluate.success_rate(rollouts, policy.n_tasks)
            point["kl"] = np.round(evaluate.embedding_kl(policy), 4).tolist()
        else:
            measured = own_tasks.measure(policy, self.run.env_ids, own_tasks.ON_THE_WAY, seed)
            point |= {name: value for name, value in measured.items() if name != "tasks"}
        self.curve.append(point)


def train(
    run: Run,
    seed: int,
    progress_bar: bool = False,
    agent: SkillEmbedding | None = None,
    evaluation: Evaluation | None = None,
    checkpoints: RunCheckpoint | None = None,
) -> tuple[SkillEmbedding, dict[str, Any]]:
    """Train one run, or the rest of one, and measure it.

    Args:
        run: what to train.
        seed: seed of everything.
        progress_bar: show SB3's progress bar, unless steps are reported elsewhere.
        agent: an agent made by `build`, for example with another logger or from a checkpoint; None makes one.
        evaluation: of the run, from the same checkpoint; None begins a new curve.
        checkpoints: saves checkpoints on the way.

    Returns:
        The agent and the raw record, which is JSON-serialisable.
    """
    agent, evaluation = agent or build(run, seed), evaluation or Evaluation.of(run)
    remaining = max(0, run.total_timesteps - agent.num_timesteps)
    callbacks: list[BaseCallback] = [progress.Steps(), evaluation]
    if checkpoints is not None:
        # The last checkpoint is without the last evaluation, so that a resumed training makes it once.
        callbacks.insert(0, checkpoints)
    agent.learn(
        remaining,
        callback=callbacks,
        reset_num_timesteps=agent.num_timesteps == 0,
        progress_bar=progress_bar and remaining > 0 and not progress.is_reported(),
    )
    seconds = evaluation.seconds
    assert agent.env is not None
    agent.env.close()
    record = {**describe(run, seed, agent, seconds), "curve": evaluation.curve, "final": measure(agent, run, seed)}
    return agent, record


def describe(run: Run, seed: int, agent: SkillEmbedding, seconds: float) -> dict[str, Any]:
    """What was trained, with what, on what, and how long it took."""
    settings = asdict(run)
    if not run.skills:  # and nothing is held
        del settings["skills"], settings["hold"]
    return {
        **settings,
        "seed": seed,
        "total_timesteps": agent.num_timesteps * run.hold,
        "updates": agent._n_updates,
        "train_seconds": round(seconds, 1),
        "torch_threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "bfloat16": bool(agent.config.bf16 and BFLOAT16),  # in the settings it is a wish
        "versions": {
            "skill-embed": skill_envs.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "stable-baselines3", "mujoco", "gymnasium")},
        },
    }


def transfer(run: Run, seed: int, skills: SkillPolicy) -> tuple[TransferredPolicy, dict[str, Any]]:
    """Learn z = f(x) over frozen skills.

    Args:
        run: what to train.
        seed: seed of everything.
        skills: trained skills; they are not changed.

    Returns:
        The transferred policy and the raw record.
    """
    agent = build(run, seed, skills)
    policy = TransferredPolicy(skills, agent.policy, run.hold)
    curve = TransferEvaluation(policy, run)
    curve.evaluate(0)
    agent.learn(run.total_timesteps // run.hold, callback=[progress.Steps(run.hold), curve])
    assert agent.env is not None
    agent.env.close()
    reward, success = evaluate.episodes(policy, run.env_id, 100, seed=20_000 + seed)
    final = {"episodes_per_task": 100, "return": float(reward.sum(1).mean()), "success": [float(success[:, -1].mean())]}
    _, success = evaluate.episodes(policy, run.env_id, 100, seed=20_000 + seed, deterministic=True)
    final["success_deterministic"] = [float(success[:, -1].mean())]
    return policy, {**describe(run, seed, agent, curve.seconds), "curve": curve.curve, "final": final}


class TransferEvaluation(BaseCallback):
    """Evaluates a transferred policy twenty times in a run; ``curve`` holds one dict each."""

    def __init__(self, policy: TransferredPolicy, run: Run) -> None:
        """Evaluate on fresh copies of the run's environment."""
        super().__init__()
        self.policy, self.run = policy, run
        self.curve: list[dict[str, Any]] = []
        self.seconds, self._since = 0.0, time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        steps = self.num_timesteps * self.run.hold
        if steps >= len(self.curve) * self.run.total_timesteps / 20:
            self.evaluate(steps)

    def _on_training_end(self) -> None:
        self.evaluate(self.num_timesteps * self.run.hold)

    def evaluate(self, steps: int) -> None:
        """Add a point to the curve; the time that it takes is not the training's."""
        self.seconds += time.perf_counter() - self._since
        reward, success = evaluate.episodes(self.policy, self.run.env_id, 64, seed=10_000 + len(self.curve))
        point = {"steps": steps, "seconds": round(self.seconds, 2), "return": float(reward.sum(1).mean())}
        self.curve.append({**point, "success": [float(success[:, -1].mean())]})
        self._since = time.perf_counter()
