"""Three dm-control tasks at once, beside SB3's SAC given the task one-hot; then transfer to a fourth.

    pip install -e ".[dm]"
    python benchmarks/walker.py                 # all that is missing, one run after another; hours
    python benchmarks/walker.py --only ours-0   # one run
    python benchmarks/walker.py --only ours-100 --set '{"window": 5}' --folder /tmp/tune   # other settings

`walker` stands, walks and runs: one agent for the three, 1,000,000 steps in all, 16 environments, one torch thread.
The fourth task is a speed between walking and running. Each run leaves a file in benchmarks/walker/, and those that
are finished make benchmarks/walker.json. Time is that of the training alone, without its evaluations. Machines are
shared, so that CPU seconds stand beside those of the wall clock; with one thread they are what a free core takes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from skill_agent import SkillEmbedding, SkillSpaceVecEnv, load_skills, make_task_vec_env
from skill_agent.experiments.sums import write_listed
from skill_agent.experiments.tables import MAPPING
from skill_agent.files import read_json, write_whole
from skill_agent.tasks import TaskEnv

FOLDER = Path(__file__).with_suffix("")
TASKS = {name: f"dm_control/walker-{name}-v0" for name in ("stand", "walk", "run")}
STEPS, N_ENVS, EVERY = 1_000_000, 16, 50_000
SEEDS, TRANSFER_SEEDS = range(3), range(6)
EPISODES = 4  # of each task, at each point of a curve
FINAL_EPISODES = 20
# The fourth task is a speed between walking (1 m/s) and running (8 m/s): by transfer, and by learning from scratch.
TRANSFERS = ("transfer", "scratch")
TROT, TRANSFER_STEPS, TRANSFER_EVERY, HOLD = 4.0, 200_000, 20_000, 5

Act = Callable[[Any], NDArray[Any]]

# Found with seeds from 100 on, at 150,000 to 300,000 steps.
OURS: dict[str, Any] = {
    "gamma": 0.99,
    "buffer_size": STEPS,
    "bf16": True,
    "compile": True,
    "learning_starts": 8_000,
    "batch_size": 96,
    "train_freq": 10,
    "gradient_steps": 30,
    "window": 3,
    "segment": 2,
    "policy_log_std": (-2.5, 0.3),
    "policy_entropy_coef": 0.01,
}
BASELINE: dict[str, Any] = {"gamma": 0.99, "learning_starts": 8_000, "train_freq": 1, "gradient_steps": 2}


class OneHot(gymnasium.ObservationWrapper[Any, Any, Any]):
    """The task's one-hot behind the flat observation, which is what SAC's MlpPolicy sees."""

    def __init__(self, env: TaskEnv) -> None:
        """Wrap tasks of `TaskEnv`."""
        super().__init__(env)
        box = env.observation_space["observation"]
        ends = [np.full(len(TASKS), end, np.float32) for end in (0.0, 1.0)]
        low, high = np.concatenate([box.low, ends[0]]), np.concatenate([box.high, ends[1]])
        self.observation_space = gymnasium.spaces.Box(low, high, dtype=np.float32)

    def observation(self, observation: Any) -> NDArray[np.float32]:
        """The flat observation with the one-hot."""
        task = np.eye(len(TASKS), dtype=np.float32)[observation["task"]]
        return np.concatenate([observation["observation"], task])


def trot() -> gymnasium.Env[Any, Any]:
    """The walker at `TROT` m/s, which dm-control's suite does not have."""
    from dm_control.rl.control import Environment
    from dm_control.suite import walker
    from shimmy.dm_control_compatibility import DmControlCompatibilityV0

    physics = walker.Physics.from_xml_string(*walker.get_model_and_assets())
    task = walker.PlanarWalker(move_speed=TROT, random=None)
    return DmControlCompatibilityV0(Environment(physics, task, time_limit=25, control_timestep=0.025))


def skills_of(seed: int, folder: Path) -> Path:
    """The skills that the run with this seed transfers."""
    return folder / f"ours-{seed % len(SEEDS)}.safetensors"


def make_env(method: str, n_envs: int, seed: int, skills: Path) -> Any:
    """The three tasks as one vector environment, or the fourth; ``skills`` are those of a transfer."""
    if method == "ours":
        return make_task_vec_env(TASKS, n_envs, seed)
    if method == "scratch":
        return make_task_vec_env({"trot": trot}, n_envs, seed)
    if method == "transfer":
        return SkillSpaceVecEnv(make_task_vec_env({"trot": trot}, n_envs, seed), load_skills(skills), HOLD, seed)
    env = VecMonitor(DummyVecEnv([lambda: OneHot(TaskEnv(TASKS)) for _ in range(n_envs)]))
    env.seed(seed)
    return env


def make_model(method: str, seed: int, settings: dict[str, Any], folder: Path) -> BaseAlgorithm:
    """An untrained agent."""
    env = make_env(method, N_ENVS, seed, skills_of(seed, folder))
    if method == "ours":
        return SkillEmbedding("MultiInputPolicy", env, seed=seed, device="cpu", **{**OURS, **settings})
    if method == "scratch":
        own = {**OURS, "embedding": "task_id", **settings}
        return SkillEmbedding("MlpPolicy", env, seed=seed, device="cpu", **own)
    if method == "transfer":
        return SkillEmbedding("MlpPolicy", env, seed=seed, device="cpu", **{**MAPPING, "gamma": 0.98, **settings})
    return SAC("MlpPolicy", env, seed=seed, device="cpu", **{**BASELINE, **settings})


class Evaluator:
    """Returns of each task, on environments of their own."""

    def __init__(self, method: str, episodes: int, seed: int, skills: Path) -> None:
        """Make ``episodes`` environments for each task; a transfer acts by the skills that it learned with."""
        self._episodes, self._names = episodes, ["trot"] if method in TRANSFERS else list(TASKS)
        self._env = make_env(method, episodes * len(self._names), 100_000 + 1_000 * seed, skills)

    def __call__(self, model: BaseAlgorithm) -> dict[str, float]:
        """The mean return of the mean action, over one episode of each environment."""
        count = self._env.num_envs
        # A reset forgets them.
        if len(self._names) > 1:
            self._env.set_options([{"task": i // self._episodes} for i in range(count)])
        observation, state = self._env.reset(), None
        start, total, running = np.ones(count, bool), np.zeros(count), np.ones(count, bool)
        while running.any():
            action, state = model.predict(observation, state, episode_start=start, deterministic=True)
            observation, reward, done, _ = self._env.step(action)
            total += reward * running
            running &= ~done
            start = done
        means = total.reshape(-1, self._episodes).mean(1)
        return {name: round(float(mean), 1) for name, mean in zip(self._names, means, strict=True)}


class Curve(BaseCallback):
    """Evaluates now and then, with the training's clocks stopped."""

    def __init__(self, evaluate: Evaluator, every: int, out: Path) -> None:
        """Write the curve to ``out`` at each of its points."""
        super().__init__()
        self._evaluate, self._every, self._out = evaluate, every, out
        self.points: list[dict[str, Any]] = []
        self.wall = self.cpu = 0.0

    def _on_training_start(self) -> None:
        self._clocks = time.perf_counter(), time.process_time()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._every * (len(self.points) + 1):
            self._point()

    def _on_training_end(self) -> None:
        self._point()

    def _point(self) -> None:
        """Add a point: steps, seconds and returns."""
        wall, cpu = self._clocks
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        found = {"steps": self.num_timesteps, "seconds": round(self.wall, 1), "cpu_seconds": round(self.cpu, 1)}
        self.points.append({**found, "return": self._evaluate(self.model)})
        print(self.points[-1], flush=True)
        write_whole(self._out, json.dumps(self.points, indent=1).encode())
        self._clocks = time.perf_counter(), time.process_time()


def train(name: str, settings: dict[str, Any], folder: Path) -> None:
    """One run, with its curve; it leaves <name>.json and, of ours, the skills."""
    method, _, number = name.partition("-")
    seed = int(number)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.partial"
    on_fourth = method in TRANSFERS
    steps, every = (TRANSFER_STEPS, TRANSFER_EVERY) if on_fourth else (STEPS, EVERY)
    held = HOLD if method == "transfer" else 1
    model = make_model(method, seed, settings, folder)
    skills = skills_of(seed, folder)
    curve = Curve(Evaluator(method, EPISODES, seed, skills), every // held, partial)
    model.learn(steps // held, callback=curve)
    final = Evaluator(method, FINAL_EPISODES, 50 + seed, skills)(model)
    for point in curve.points:
        point["steps"] *= held
    record = {"method": method, "seed": seed, "settings": settings, "curve": curve.points, "final": final}
    print(final)
    if method == "ours":
        model.export_skills(folder / f"{name}.safetensors", force=True)
    write_whole(folder / f"{name}.json", (json.dumps(record, indent=1) + "\n").encode())
    partial.unlink(missing_ok=True)


def at(curve: list[dict[str, Any]], cpu_seconds: float, name: str) -> float:
    """A task's return at a time, between the points of a curve."""
    return float(np.interp(cpu_seconds, [p["cpu_seconds"] for p in curve], [p["return"][name] for p in curve]))


def summary(records: dict[str, Any]) -> dict[str, Any]:
    """What the finished runs came to: returns at the end, and SAC's at the CPU time of ours with the same seed."""
    seeds = [seed for seed in SEEDS if f"ours-{seed}" in records and f"sac-{seed}" in records]
    tasks: dict[str, Any] = {name: {"ours": [], "sac_same_steps": [], "sac_same_time": []} for name in TASKS}
    seconds: dict[str, list[float]] = {"ours": [], "sac": []}
    for seed in seeds:
        ours, sac = records[f"ours-{seed}"]["curve"], records[f"sac-{seed}"]["curve"]
        seconds["ours"].append(ours[-1]["cpu_seconds"])
        seconds["sac"].append(sac[-1]["cpu_seconds"])
        for name, found in tasks.items():
            found["ours"].append(ours[-1]["return"][name])
            found["sac_same_steps"].append(sac[-1]["return"][name])
            found["sac_same_time"].append(round(at(sac, ours[-1]["cpu_seconds"], name), 1))
    transfers = {}
    for seed in TRANSFER_SEEDS:
        if all(f"{method}-{seed}" in records for method in TRANSFERS):
            transfers[str(seed)] = {method: records[f"{method}-{seed}"]["final"]["trot"] for method in TRANSFERS}
    return {
        "steps": STEPS,
        "seeds": seeds,
        "seeds_planned": len(SEEDS),
        "cpu_seconds": seconds,
        "tasks": tasks,
        "transfer_steps": TRANSFER_STEPS,
        "transfers": transfers,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="one run: a method of ours, sac, transfer, scratch, and a seed")
    parser.add_argument("--set", default="{}", help="JSON of other settings, to look for better ones")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = [f"{method}-{seed}" for seed in SEEDS for method in ("ours", "sac")]
    names += [f"{method}-{seed}" for seed in TRANSFER_SEEDS for method in TRANSFERS]
    for name in [args.only] if args.only else names:
        if not (args.folder / f"{name}.json").exists():
            train(name, json.loads(args.set), args.folder)
    files = {name: args.folder / f"{name}.json" for name in names}
    records = {name: read_json(path) for name, path in files.items() if path.exists()}
    if {"ours-0", "sac-0"} <= set(records):
        write_listed(args.folder.with_suffix(".json"), (json.dumps(summary(records), indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
