"""Speed and memory of learning, as ratios taken in turn in one run: prints a table, writes learner.json.

The paper's networks on ``LWallPretrain`` (27-D observations, 7-D actions, two tasks, 3-D z), batches of 64 windows
of 10 steps. SB3's SAC learns the one-task ``LWall`` with 200-200 networks and its own batch size, 256.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC

from skill_agent import SkillEmbedding, make_skill_vec_env
from skill_agent.perceptrons import BFLOAT16

WINDOWS, STEPS, SAC_BATCH = 64, 10, 256


def milliseconds(work: Callable[[], Any], calls: int = 3) -> float:
    """Wall-clock time of one call, averaged over a few."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return 1e3 * (time.perf_counter() - start) / calls


def products_of(agent: SkillEmbedding) -> Callable[[], None]:
    """All matrix products of one update, of the same shapes and precision, and nothing else."""
    policy, n, bf16 = agent.policy, WINDOWS * STEPS, agent.config.bf16
    assert policy.inference is not None
    critics, actor, inference = policy.critics.weights, policy.actor.weights, policy.inference.weights
    passes = [  # network, rows, whether weights and whether inputs get gradients
        (actor, WINDOWS * (STEPS + 1), False, False),  # the next actions of the targets
        (critics, 2 * n - WINDOWS, False, False),  # the targets
        (critics, n, True, False),
        (inference, n, True, False),
        (actor, n, True, True),  # the policy's gradient, through z too
        ([weight[:1] for weight in critics], n, False, True),  # the policy's gradient through the first critic
    ]
    pairs = []
    for weights, rows, train_weights, train_inputs in passes:
        for i, weight in enumerate(weights):
            count, size_in, size_out = weight.shape
            last = i + 1 == len(weights)  # in float32, and its few columns as rows, as in `Perceptrons`
            h, w, g = (torch.randn(count, *size) for size in ((rows, size_in), (size_in, size_out), (rows, size_out)))
            if last:
                pairs.append((w.transpose(1, 2), h.transpose(1, 2)))
            if bf16:
                h, w, g = h.bfloat16(), w.bfloat16(), g.bfloat16()
            if not last:
                pairs.append((h, w))
            if train_weights:
                pairs.append((g.transpose(1, 2), h) if last else (h.transpose(1, 2), g))
            if (train_inputs or (train_weights and i)) and size_out > 1:
                pairs.append((g, w.transpose(1, 2)))

    def run() -> None:
        for a, b in pairs:
            torch.bmm(a, b)

    return run


def make_agent(bf16: bool, compiled: bool = False) -> SkillEmbedding:
    """An agent with replay to learn from."""
    env = make_skill_vec_env("SkillEmbed/LWallPretrain-v0", 64, seed=0, num_threads=1)
    agent = SkillEmbedding(
        "MultiInputPolicy", env, seed=0, device="cpu", gradient_steps=0, learning_starts=0, bf16=bf16, compile=compiled
    )
    return agent.learn(12_800)


def make_sac() -> SAC:
    """SB3's SAC with replay to learn from."""
    env = make_skill_vec_env("SkillEmbed/LWall-v0", 64, seed=0, num_threads=1)
    net = {"net_arch": [200, 200]}
    sac = SAC(
        "MlpPolicy", env, seed=0, device="cpu", policy_kwargs=net, buffer_size=100_000, train_freq=100, gradient_steps=1
    )
    return sac.learn(6_400)


def updates(rounds: int) -> dict[str, Any]:
    """Medians over rounds of ratios taken within a round, for each precision and number of threads."""
    sac = make_sac()
    result: dict[str, Any] = {}
    # Without instructions for bfloat16, `bf16` has no effect.
    for bf16, compiled in itertools.product((False, True) if BFLOAT16 else (False,), (False, True)):
        agent = make_agent(bf16, compiled)
        products = products_of(agent)
        name = ("bfloat16" if bf16 else "float32") + ", compiled" * compiled
        for threads in (1, 2):
            torch.set_num_threads(threads)
            times = []
            for _ in range(rounds):
                update = milliseconds(lambda: agent.train(1, WINDOWS))  # noqa: B023
                times.append((update, milliseconds(products), milliseconds(lambda: sac.train(1, SAC_BATCH))))
            update_ms, products_ms, sac_ms = np.array(times[1:]).T  # the first round warms up
            result[f"{name}, {threads} thread{'s' * (threads > 1)}"] = {
                "update_ms": round(float(np.median(update_ms)), 2),
                "products_ms": round(float(np.median(products_ms)), 2),
                "sac_update_ms": round(float(np.median(sac_ms)), 2),
                "over_products": round(float(np.median(update_ms / products_ms)), 2),
                "transitions_over_sac": round(float(np.median(sac_ms / update_ms)) * WINDOWS * STEPS / SAC_BATCH, 2),
            }
    torch.set_num_threads(1)
    return result


def collection(rounds: int, compiled: bool) -> dict[str, float]:
    """Time of a step of 64 environments in `learn` without updates, and of its physics alone."""
    agent = make_agent(bf16=False, compiled=compiled)
    batch = agent.env.unwrapped.env.physics._batch  # type: ignore[union-attr]
    inside, step = 0.0, batch.step

    def timed(*args: Any, **kwargs: Any) -> None:
        nonlocal inside
        start = time.perf_counter()
        step(*args, **kwargs)
        inside += time.perf_counter() - start

    object.__setattr__(batch, "step", timed)
    ratios, steps = [], []
    for _ in range(rounds):
        inside = 0.0
        total = milliseconds(lambda: agent.learn(6_400, reset_num_timesteps=False), 1)
        ratios.append(total / (1e3 * inside))
        steps.append(total / 100)
    return {"step_ms": round(float(np.median(steps)), 2), "over_physics": round(float(np.median(ratios)), 3)}


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument(
        "--memory", action="store_true", help="only fill a replay of 1e5 steps, update, print the memory"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory:
        make_agent(bf16=False).learn(100_000).train(5, WINDOWS)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    load = os.getloadavg()[0]
    record: dict[str, Any] = {"cpus": os.cpu_count(), "load_average_before": round(load, 2), **updates(args.rounds)}
    for name, compiled in (("collection", False), ("collection, compiled", True)):
        record[name] = collection(args.rounds // 4, compiled)
    output = subprocess.run([sys.executable, __file__, "--memory"], check=True, capture_output=True, text=True).stdout
    record["gigabytes"] = round(int(output.split()[-1]) / 2**20, 3)
    for key, value in record.items():
        print(f"{key:24s} {value}")
    from skill_agent.experiments.sums import write_listed  # not before: it takes memory, which is measured

    write_listed(args.out, (json.dumps(record, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
