"""Several solutions of one task (T = 1): how many z can be told apart by what the block does.

z are drawn from p(z), and each is played several times from the same start, with actions drawn as in training. A
classifier that never saw an episode says by the block's path which z it was of. The mutual information I between the
z and the guesses makes a number of solutions: exp(I) of them could be told apart without an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skill_agent import rollouts
from skill_agent.experiments.tables import Run
from skill_agent.policy import SkillPolicy
from skill_agent.skill_space import act
from skill_envs import ENVIRONMENTS, TASKS

Array = NDArray[np.float32]
_DRAWN_EPISODES = 2  # of each z, whose paths are kept for the figure
_DRAWN_EVERY = 4  # steps between two points that are kept


def measure(policy: SkillPolicy, run: Run, seed: int, codes: int = 32, starts: int = 4, episodes: int = 8) -> Any:
    """How many solutions a trained policy has of its one task.

    Args:
        policy: skills of one task.
        run: their training.
        seed: seeds z, start states and actions.
        codes: K, number of z drawn from p(z).
        starts: start states; every z is played from each.
        episodes: M, of each z from each start; at least 2.

    Returns:
        What `SOLUTIONS` of `skill_agent.experiments.records` describes.
    """
    latent, position, success = play(policy, run.env_id, codes, starts, episodes, seed)
    confusion = np.sum([guesses(paths) for paths in position], axis=0)  # of all starts
    ends = position[:, :, :, -1].astype(float)  # (starts, M, K, 3)
    by_end = np.sum([guesses(points) for points in position[:, :, :, -1]], axis=0)
    means = ends.mean(1)  # (starts, K, 3)
    return {
        "codes": codes,
        "starts": starts,
        "episodes": episodes,
        "success": np.round(success.mean((0, 1)), 4).tolist(),
        "told_apart": round(float(np.trace(confusion) / confusion.sum()), 4),
        "number": round(distinguishable(confusion), 4),
        "number_by_end": round(distinguishable(by_end), 4),
        "spread": round(_root_mean_square(means - means.mean(1, keepdims=True)), 4),
        "scatter": round(_root_mean_square(ends - means[:, None]), 4),
        "latent": np.round(latent.astype(float), 3).tolist(),
        "position": np.round(position[0, :_DRAWN_EPISODES, :, ::_DRAWN_EVERY].astype(float), 3).tolist(),
    }


def play(
    policy: SkillPolicy, env_id: str, codes: int, starts: int, episodes: int, seed: int
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Play every z several times from every start.

    Args:
        policy: skills of one task.
        env_id: its environment.
        codes: K, number of z drawn from p(z).
        starts: start states.
        episodes: M, of each z from each start.
        seed: seeds z, start states and actions.

    Returns:
        z (K, Z); the block's paths (starts, M, K, T + 1, 3) [m]; whether each episode ended in success (starts, M, K).

    Raises:
        ValueError: the environment has more than one task.
    """
    n, first = codes * episodes, 20_000 + starts * seed
    generator = torch.Generator().manual_seed(first)
    env = rollouts.make_batch(env_id, n, n_tasks=1)
    block = TASKS[ENVIRONMENTS[env_id].tasks[0]].observed_position
    positions, successes = [], []
    with torch.no_grad():
        latent = policy.draw_latent(torch.zeros(codes, dtype=torch.long), generator)
        code = policy.embedding_distribution.code(latent).repeat(episodes, 1)  # (M * K, Z)
        for start in range(first, first + starts):
            observation, _ = env.reset(seed=[start] * n)  # type: ignore[arg-type]
            path = [observation[:, block]]
            for step in rollouts.play(env, observation, lambda seen: act(policy, seen, code, generator)):
                path.append(step.observation[:, block])
            positions.append(np.stack(path, 1).reshape(episodes, codes, len(path), -1))
            successes.append(step.success.reshape(episodes, codes))
    env.close()
    return latent.numpy(), np.stack(positions), np.stack(successes)


def guesses(paths: Array) -> NDArray[np.int64]:
    """Which z a nearest-centroid classifier takes each path for, leaving one episode of every z out at a time.

    Args:
        paths: (M, K, ...) of M episodes of K z, all from one start; M at least 2.

    Returns:
        (K, K): how often a path of the row's z was taken for one of the column's.
    """
    episodes, codes = paths.shape[:2]
    points = paths.reshape(episodes, codes, -1).astype(float)
    total = points.sum(0)
    confusion = np.zeros((codes, codes), np.int64)
    for left_out in points:  # (K, D)
        # No z has an advantage: each centroid is the mean of as many episodes.
        centroids = (total - left_out) / (episodes - 1)
        distance = np.square(left_out[:, None] - centroids[None]).sum(-1)  # (path, centroid)
        confusion[np.arange(codes), distance.argmin(1)] += 1
    return confusion


def distinguishable(confusion: NDArray[np.int64]) -> float:
    """exp(I), I being the mutual information [nat] of what it was and what it was taken for.

    It is K where every guess is right. Where all guesses are by chance, it is 1 but for their number: about
    exp((K - 1)^2 / 2n) with n guesses.
    """
    joint = confusion / confusion.sum()
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float(np.exp(np.sum(joint[seen] * np.log(joint[seen] / apart[seen]))))


def _root_mean_square(offsets: NDArray[np.float64]) -> float:
    """Of the lengths of vectors (..., 3)."""
    return float(np.sqrt(np.square(offsets).sum(-1).mean()))
