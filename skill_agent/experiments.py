"""Experiments as data: what is trained for each figure, and one runner that keeps raw records."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

import skill_envs
from skill_agent import evaluate
from skill_agent.agent import SkillEmbedding
from skill_agent.checkpoint import RunCheckpoint
from skill_agent.files import write_whole
from skill_agent.vec import make_skill_vec_env
from skill_envs import ENVIRONMENTS

RECORDS, RUNS = Path("records"), Path("runs")
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
        env_id: the environment.
        total_timesteps: environment steps, over all environments.
        settings: arguments of `SkillEmbedding`.
        n_envs: environments stepped together.
        learning_rate: at the start; it falls linearly to a tenth.
    """

    env_id: str
    total_timesteps: int
    settings: dict[str, Any] = field(default_factory=dict)
    n_envs: int = 64
    learning_rate: float = 3e-3


def _point_mass(name: str, total_timesteps: int, **settings: Any) -> Run:
    return Run(f"SkillEmbed/PointMass{name}-v0", total_timesteps, POINT_MASS | settings)


GAUSSIAN: dict[str, Any] = {"inference_coef": 0.1, "embedding_entropy_coef": 1.5}
BERNOULLI: dict[str, Any] = {
    "embedding": "bernoulli",
    "embedding_dim": 2,
    "temperature": 0.3,
    "inference_coef": 2.0,
    "embedding_entropy_coef": 50.0,
    "policy_entropy_coef": 0.3,
}
FOUR_GAUSSIAN: dict[str, Any] = {
    "inference_coef": 0.3,
    "embedding_entropy_coef": 4.5,
    "policy_entropy_coef": 0.05,
}

FIGURES: dict[str, dict[str, Run]] = {
    "fig2": {
        "with": _point_mass("TwoGoals", 280_000, **GAUSSIAN),
        "without": _point_mass("TwoGoals", 280_000, **GAUSSIAN | {"inference_coef": 0.0}),
    },
    "fig3": {
        "bernoulli": _point_mass("FourGoals", 500_000, **BERNOULLI),
        "gaussian": _point_mass("FourGoals", 300_000, **FOUR_GAUSSIAN),
        "duplicate": _point_mass("Duplicate", 350_000, **GAUSSIAN),
    },
}

ARM: dict[str, Any] = {
    "gamma": 0.97,
    "buffer_size": 100_000,
    "learning_starts": 6_400,
    "train_freq": 100,
    "gradient_steps": 100,
    "target_period": 20,
    "bf16": True,
    "embedding_log_std": (-2.5, -0.5),
    "policy_log_std": (-1.4, -0.2),
    "embedding_entropy_coef": 0.03,
    "inference_coef": 0.003,
    "policy_entropy_coef": 0.003,
}


def _pretrain(family: str, total_timesteps: int = 1_536_000, **settings: Any) -> Run:
    return Run(f"SkillEmbed/{family}Pretrain-v0", total_timesteps, ARM | settings, learning_rate=1e-3)


PRETRAIN = {"lwall": _pretrain("LWall"), "springwall": _pretrain("SpringWall"), "railpush": _pretrain("RailPush")}
EXPERIMENTS = {**FIGURES, "pretrain": PRETRAIN}


def build(run: Run, seed: int) -> SkillEmbedding:
    """The untrained agent of a run, with its environments."""
    env = make_skill_vec_env(run.env_id, run.n_envs, seed=seed)
    policy = "MultiInputPolicy" if len(ENVIRONMENTS[run.env_id].tasks) > 1 else "MlpPolicy"
    schedule = LinearSchedule(run.learning_rate, 0.1 * run.learning_rate, 1.0)
    return SkillEmbedding(policy, env, schedule, seed=seed, device="cpu", **run.settings)


class Evaluation(BaseCallback):
    """Evaluates every ``period`` steps; ``curve`` holds one dict each."""

    def __init__(self, env_id: str, period: int, episodes_per_task: int = 32) -> None:
        """Evaluate on fresh copies of ``env_id``; the training's random state is not touched."""
        super().__init__()
        self.env_id, self.period, self.episodes = env_id, period, episodes_per_task
        self.curve: list[dict[str, Any]] = []
        self._start, self._due = time.perf_counter(), 0

    @classmethod
    def of(cls, run: Run) -> Evaluation:
        """Ten evaluations in a run, and one at its end."""
        return cls(run.env_id, run.total_timesteps // 10)

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
        policy = self.model.policy
        rollouts = evaluate.rollout(policy, self.env_id, self.episodes, seed=10_000 + len(self.curve))  # type: ignore[arg-type]
        self.curve.append(
            {
                "steps": self.num_timesteps,
                "seconds": round(self.seconds, 2),
                "return": round(float(rollouts.reward.sum(1).mean()), 3),
                "success": evaluate.success_rate(rollouts, policy.n_tasks),  # type: ignore[arg-type]
                "kl": np.round(evaluate.embedding_kl(policy), 4).tolist(),  # type: ignore[arg-type]
            }
        )


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
        progress_bar: show SB3's progress bar.
        agent: an agent made by `build`, for example with another logger or from a checkpoint; None makes one.
        evaluation: of the run, from the same checkpoint; None begins a new curve.
        checkpoints: saves checkpoints on the way.

    Returns:
        The agent and the raw record, which is JSON-serialisable.
    """
    agent, evaluation = agent or build(run, seed), evaluation or Evaluation.of(run)
    remaining = run.total_timesteps - agent.num_timesteps
    agent.learn(
        remaining,
        # The last checkpoint is without the last evaluation, so that a resumed training makes it once.
        callback=[evaluation] if checkpoints is None else [checkpoints, evaluation],
        reset_num_timesteps=agent._last_obs is None,
        progress_bar=progress_bar and remaining > 0,
    )
    seconds = evaluation.seconds
    assert agent.env is not None
    agent.env.close()
    record = {
        "env_id": run.env_id,
        "seed": seed,
        "total_timesteps": agent.num_timesteps,
        "updates": agent._n_updates,
        "n_envs": run.n_envs,
        "learning_rate": run.learning_rate,
        "settings": run.settings,
        "train_seconds": round(seconds, 1),
        "torch_threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "versions": {
            "skill-embed": skill_envs.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "stable-baselines3", "mujoco", "gymnasium")},
        },
        "curve": evaluation.curve,
        "final": measure(agent, run, seed),
    }
    return agent, record


def measure(agent: SkillEmbedding, run: Run, seed: int, episodes: int = 128) -> dict[str, Any]:
    """What the figures need of a trained agent.

    Actions are drawn as in training, and so is z; but trajectories and ``goals_reached_discrete``
    draw a Bernoulli z as what it is, in place of its relaxation.
    """
    policy = agent.policy
    rollouts = evaluate.rollout(policy, run.env_id, episodes, seed=20_000 + seed)
    result: dict[str, Any] = {
        "episodes_per_task": episodes,
        "success": evaluate.success_rate(rollouts, policy.n_tasks),
        "kl": np.round(evaluate.embedding_kl(policy), 4).tolist(),
    }
    if policy.n_tasks == 1:
        discrete = evaluate.rollout(policy, run.env_id, episodes, seed=20_000 + seed, discrete=True)
        result["goals_reached"] = evaluate.goals_reached(rollouts, run.env_id)
        result["goals_reached_discrete"] = evaluate.goals_reached(discrete, run.env_id)
    if policy.inference is not None:
        error = evaluate.inference_error(policy, rollouts)
        result["inference_error"] = np.round(error.mean(0), 4).tolist()  # (T,)
        centre = np.array([rollouts.latent[rollouts.task == k].mean(0) for k in range(policy.n_tasks)])
        result["embedding_spread"] = round(float(np.abs(rollouts.latent - centre[rollouts.task]).mean()), 4)
    shown = rollouts if policy.n_tasks > 1 else discrete
    kept = 1200 // shown.action.shape[1]  # of each task: 24 short episodes, 12 long ones
    rows = np.concatenate([np.flatnonzero(rollouts.task == k)[:kept] for k in range(policy.n_tasks)])
    result["trajectories"] = {
        "task": shown.task[rows].tolist(),
        "latent": np.round(shown.latent[rows], 3).tolist(),
        "position": np.round(evaluate.positions(shown)[rows], 3).tolist(),
    }
    if policy.inference is not None:
        kept_error = evaluate.inference_error(policy, shown)[rows]
        result["trajectories"]["inference_error"] = np.round(kept_error, 3).tolist()
    return result


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    write_whole(path, (json.dumps(value) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a file written by `write_json`."""
    return json.loads(path.read_text(encoding="utf-8"))


def record_path(records: Path, figure: str, variant: str, seed: int) -> Path:
    """Where the record of one run is kept."""
    return records / figure / f"{variant}-seed{seed}.json"


def load_records(records: Path, figure: str) -> dict[str, list[dict[str, Any]]]:
    """The kept records of a figure: variant to records in order of the seed."""
    found = {}
    for variant in EXPERIMENTS[figure]:
        paths = (records / figure).glob(f"{variant}-seed*.json")
        found[variant] = sorted(map(read_json, paths), key=lambda record: record["seed"])
    return found


def _work(figure: str, variant: str, seed: int, records: str) -> str:
    torch.set_num_threads(1)
    run, path = EXPERIMENTS[figure][variant], record_path(Path(records), figure, variant, seed)
    if figure in FIGURES:
        _, record = train(run, seed)
    else:
        record = _long(run, seed, RUNS / figure / path.stem, path.with_suffix(".safetensors"))
    write_json(path, {"figure": figure, "variant": variant, **record})
    return f"{variant} seed {seed}"


def _long(run: Run, seed: int, folder: Path, skills: Path) -> Any:
    """Train in a run's folder, going on where it was stopped; keep the skills, and return the record."""
    from skill_agent import runs

    if (folder / runs.SETTINGS).exists():
        runs.resume(folder)
    else:
        runs.start(run, seed, folder)
    write_whole(skills, (folder / "skills.safetensors").read_bytes())
    return read_json(folder / runs.RECORD)


def reproduce(
    figure: str, seeds: int, jobs: int, records: Path = RECORDS, variants: Sequence[str] = ()
) -> Iterator[tuple[str, int, int]]:
    """Train every run of a figure that has no record yet, ``jobs`` at a time on one thread each.

    Args:
        figure: a key of `EXPERIMENTS`.
        seeds: seeds 0 to ``seeds - 1``.
        jobs: processes.
        records: folder of the records.
        variants: which of the figure's runs; empty for all.

    Yields:
        The name of a finished run, how many are done and how many there are.

    Raises:
        ValueError: an unknown figure or variant, or fewer than one seed or job.
    """
    if figure not in EXPERIMENTS:
        raise ValueError(f"figure={figure!r} is not valid; choose from {list(EXPERIMENTS)}")
    if unknown := sorted(set(variants) - set(EXPERIMENTS[figure])):
        raise ValueError(f"variants={unknown} are not valid; choose from {list(EXPERIMENTS[figure])}")
    if seeds < 1 or jobs < 1:
        raise ValueError(f"seeds={seeds}, jobs={jobs} is not valid; choose at least 1")
    todo = [
        (figure, variant, seed, str(records))
        for seed in range(seeds)
        for variant in variants or EXPERIMENTS[figure]
        if not record_path(records, figure, variant, seed).exists()
    ]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for done, future in enumerate(as_completed([pool.submit(_work, *task) for task in todo]), 1):
            yield future.result(), done, len(todo)
