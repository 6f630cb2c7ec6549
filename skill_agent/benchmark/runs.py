"""One run of the benchmark: a learner on one layout, evaluated by the protocol."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, cast

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

import skill_envs
from skill_agent import rollouts
from skill_agent.benchmark import protocol
from skill_agent.benchmark.learners import Learner, Policy
from skill_agent.benchmark.records import Record
from skill_agent.divergence import TrainingDiverged
from skill_agent.experiments import progress
from skill_agent.vec import CopiedWrapper, make_skill_vec_env

Factory = Callable[[VecEnv, int], Learner]
REWARD = "sparse"
_NOTHING: dict[str, Any] = {"success": 0.0, "success_at_any_step": 0.0, "return": None}


class Counted(CopiedWrapper):
    """A vector environment that counts its steps, over all environments together; those under a held z are counted."""

    steps = 0

    def reset(self) -> Any:
        """Reset every environment."""
        return self.venv.reset()

    def step_wait(self) -> Any:
        """Step every environment."""
        self.steps += self.num_envs
        return self.venv.step_wait()


class Evaluations(BaseCallback):
    """Evaluates before the first step and on the way; `curve` holds one dict each."""

    def __init__(
        self, policy: Policy, env: Counted, family: str, seed: int, layout: int, budget: int, before: int = 0
    ) -> None:
        """Evaluate on fresh environments; neither the training's environments nor its random state are touched.

        Args:
            policy: what is evaluated.
            env: what counts the steps.
            family: of the run.
            seed: s of the protocol.
            layout: of the run.
            budget: steps of the run.
            before: steps that were told to whoever shows progress, of other runs of the same job.
        """
        super().__init__()
        self.policy, self.env, self.budget, self.before = policy, env, budget, before
        self.family, self.seed, self.layout = family, seed, layout
        self.due = protocol.curve_steps(budget)
        self.curve: list[dict[str, Any]] = []
        self.seconds = 0.0  # that evaluations took

    def _on_step(self) -> bool:
        steps = self.env.steps
        # The last evaluation waits for the last update.
        if len(self.curve) < len(self.due) - 1 and steps >= self.due[len(self.curve)]:
            self.add(steps)
        return steps <= self.budget

    def add(self, steps: int) -> None:
        """Add a point to the curve."""
        seed = protocol.evaluation_seed(self.seed, self.layout, len(self.curve))
        measured = self.measure(protocol.EPISODES, seed)
        self.curve.append({"steps": steps, "episodes": protocol.EPISODES, **measured})
        progress.tell(self.before + steps)

    def last(self) -> dict[str, Any]:
        """What is reported of the end."""
        episodes = protocol.LAST_EPISODES
        return {"episodes": episodes, **self.measure(episodes, protocol.last_seed(self.seed, self.layout))}

    def measure(self, episodes: int, seed: int) -> dict[str, float]:
        """Success and return of whole episodes, whose actions are drawn."""
        begun, policy = time.perf_counter(), cast(Any, self.policy)
        env_id = protocol.env_id(self.family)
        reward, success = rollouts.episodes(policy, env_id, episodes, seed, layout=self.layout, reward_type=REWARD)
        self.seconds += time.perf_counter() - begun
        return {
            "success": float(success[:, -1].mean()),
            "success_at_any_step": float(success.any(1).mean()),
            "return": float(reward.sum(1).mean()),
        }


def work(
    factory: Factory,
    family: str,
    method: str,
    seed: int,
    layout: int,
    *,
    budget: int,
    n_envs: int,
    skills: str = "",
    before: int = 0,
) -> Record:
    """Learn on one layout, and measure.

    Args:
        factory: the training's vector environment and its seed to what learns on it.
        family: a key of `skill_agent.experiments.tables.FAMILIES`.
        method: name of the method.
        seed: s of the protocol.
        layout: of the family's transfer task.
        budget: steps of the environment, over all environments together.
        n_envs: environments stepped together.
        skills: what runs of one seed share; empty where they share nothing.
        before: steps of other runs of the same job, for whoever shows progress.

    Returns:
        The record.

    Raises:
        ValueError: it learned in fewer steps than the budget.
    """
    begun, cpu = time.perf_counter(), time.process_time()
    own = protocol.run_seed(seed, layout)
    env_id = protocol.env_id(family)
    env = Counted(make_skill_vec_env(env_id, n_envs, seed=own, layout=layout, reward_type=REWARD))
    try:
        learner = factory(env, own)
        found = Evaluations(learner.policy, env, family, seed, layout, budget, before)
        diverged = _learn(learner, found)
    finally:
        env.close()
    final = {"episodes": protocol.LAST_EPISODES, **_NOTHING} if diverged else found.last()
    return {
        "family": family,
        "method": method,
        "seed": seed,
        "layout": layout,
        "env_id": env_id,
        "reward_type": REWARD,
        "skills": skills,
        "settings": learner.settings,
        "hold": learner.hold,
        "total_timesteps": found.curve[-1]["steps"],
        "n_envs": n_envs,
        "train_seconds": round(time.perf_counter() - begun - found.seconds, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "torch_threads": torch.get_num_threads(),
        "cpus": os.cpu_count() or 1,
        "versions": _versions(),
        "diverged": diverged,
        "curve": found.curve,
        "final": final,
    }


def _learn(learner: Learner, found: Evaluations) -> bool:
    """Learn with evaluations on the way; whether it diverged, after which nothing succeeds."""
    found.add(0)
    try:
        learner.algorithm.learn(found.budget // learner.hold, callback=found)
    except TrainingDiverged:
        for steps in found.due[len(found.curve) :]:
            found.curve.append({"steps": steps, "episodes": protocol.EPISODES, **_NOTHING})
        return True
    if found.env.steps < found.budget or len(found.curve) < len(found.due) - 1:
        raise ValueError(
            f"it learned for {found.env.steps:,} of {found.budget:,} steps and was evaluated {len(found.curve)} times "
            "on the way; let learn take total_timesteps and call the callback after each"
        )
    found.add(found.env.steps)
    return False


def _versions() -> dict[str, str]:
    names = ("torch", "stable-baselines3", "mujoco", "gymnasium")
    return {
        "skill-embed": skill_envs.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
