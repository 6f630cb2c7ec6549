"""What the paper's figures need to know of trained skills."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import skill_envs
from skill_agent import rollouts as evaluate
from skill_agent.agent import SkillEmbedding
from skill_agent.experiments import own_tasks
from skill_agent.experiments.records import RECORDS, Records, networks_path
from skill_agent.experiments.tables import FAMILIES, OURS, Run, variant_of
from skill_agent.policy import SkillPolicy
from skill_agent.rollouts import Rollouts
from skill_agent.skill_space import act
from skill_agent.transferred import load_policy
from skill_envs import ENVIRONMENTS, TASKS

Array = NDArray[np.float32]
# What figure 6 shows of each transfer task: steps, and the frames at these steps.
Films = dict[str, tuple[list[int], list[NDArray[np.uint8]]]]


def measure(agent: SkillEmbedding, run: Run, seed: int, episodes: int = 128) -> dict[str, Any]:
    """What the figures need of a trained agent; of one on other tasks than the figures have, what `own_tasks` measures.

    Actions are drawn as in training, and so is z; but trajectories and ``goals_reached_discrete``
    draw a Bernoulli z as what it is, in place of its relaxation.
    """
    policy = agent.policy
    if not run.of_the_paper:
        few = own_tasks.IN_THE_END
        return {"episodes_per_task": few, **own_tasks.measure(policy, run.env_ids, few, 20_000 + seed)}
    rollouts = evaluate.rollout(policy, run.env_id, episodes, seed=20_000 + seed)
    result: dict[str, Any] = {
        "episodes_per_task": episodes,
        "success": evaluate.success_rate(rollouts, policy.n_tasks),
        "kl": np.round(evaluate.embedding_kl(policy), 4).tolist(),
    }
    shown = rollouts
    if policy.n_tasks == 1 and len(TASKS[ENVIRONMENTS[run.env_id].tasks[0]].goals) > 1:
        discrete = evaluate.rollout(policy, run.env_id, episodes, seed=20_000 + seed, discrete=True)
        result["goals_reached"] = goals_reached(rollouts, run.env_id)
        result["goals_reached_discrete"] = goals_reached(discrete, run.env_id)
        shown = discrete
    task = TASKS[ENVIRONMENTS[run.env_id].tasks[0]]
    if task.turn:
        visited = rollouts.success.sum(1)  # (n,) steps in the goals that counted
        result["return"] = round(float(rollouts.reward.sum(1).mean()), 3)
        result["goals_in_turn"] = [float((visited > k * task.turn).mean()) for k in range(len(task.goals))]
    if policy.inference is not None:
        error = evaluate.inference_error(policy, rollouts)
        result["inference_error"] = np.round(error.mean(0), 4).tolist()  # (T,)
        first = rollouts.latent[:, 0]
        centre = np.array([first[rollouts.task == k].mean(0) for k in range(policy.n_tasks)])
        result["embedding_spread"] = round(float(np.abs(first - centre[rollouts.task]).mean()), 4)
    kept = 1200 // shown.action.shape[1]  # of each task: 24 short episodes, 12 long ones
    rows = np.concatenate([np.flatnonzero(rollouts.task == k)[:kept] for k in range(policy.n_tasks)])
    result["trajectories"] = {
        "task": shown.task[rows].tolist(),
        "latent": np.round(shown.latent[rows, 0], 3).tolist(),
        "position": np.round(positions(shown, run.env_id)[rows], 3).tolist(),
    }
    if policy.inference is not None:
        kept_error = evaluate.inference_error(policy, shown)[rows]
        result["trajectories"]["inference_error"] = np.round(kept_error, 3).tolist()
    return result


def paths(run: Run, seed: int, skills: SkillPolicy, starts: int = 8, n: int = 40, kept: int = 8) -> dict[str, Any]:
    """What figure 4 needs: the block's paths for z from the marginal over tasks, redrawn every ``run.hold`` steps.

    "coverage" is that of ``n`` paths from one start, the mean over starts [m^2], after one z, two, and so on.

    Args:
        run: the environment, the steps of all paths together, and ``hold``.
        seed: seeds start states, z and actions.
        skills: trained skills.
        starts: start states. With one for each path, they would cover most of the area themselves.
        n: paths from each.
        kept: whole paths from the first start that are kept; of all ``n``, those of the first z are.
    """
    draws = run.total_timesteps // (starts * n * run.hold)
    first = 20_000 + starts * seed
    seeds = np.repeat(np.arange(first, first + starts), n).tolist()
    position = marginal_paths(skills, run.env_id, run.hold, draws, seeds, first)
    groups = position.reshape(starts, n, -1, 3)
    areas = []
    for end in range(run.hold + 1, position.shape[1] + 1, run.hold):
        areas.append(round(float(np.mean([coverage(group[:, :end]) for group in groups])), 4))
    return {
        "seed": seed,
        "env_id": run.env_id,
        "skills": run.skills,
        "hold": run.hold,
        "starts": starts,
        "paths": n,
        "coverage": areas,
        "lifted": round(float(lifted(position).any(1).mean()), 4),
        "position": np.round(groups[0, :kept].astype(float), 3).tolist(),
        "position_of_one_z": np.round(groups[0, :, : run.hold + 1].astype(float), 3).tolist(),
    }


def marginal_paths(skills: SkillPolicy, env_id: str, hold: int, draws: int, starts: Sequence[int], seed: int) -> Array:
    """Paths of the block (n, draws * hold + 1, 3) [m] in a one-task environment, for z from the marginal over tasks.

    Args:
        skills: trained skills.
        env_id: an environment of the suite.
        hold: steps for which a task and its z are kept.
        draws: tasks and z drawn one after the other, without a reset.
        starts: (n,) seeds of the start states; where they are equal, z and actions alone part the paths.
        seed: seeds z and actions.
    """
    n, generator = len(starts), torch.Generator().manual_seed(seed)
    env = evaluate.make_batch(env_id, n, n_tasks=1, max_episode_steps=draws * hold)
    observation, _ = env.reset(seed=list(starts))  # type: ignore[arg-type]
    distribution = skills.embedding_distribution
    done = 0
    code = torch.empty(n, distribution.dim)

    def choose(observation: Array) -> NDArray[Any]:
        nonlocal done, code
        if done % hold == 0:
            task = torch.randint(skills.n_tasks, (n,), generator=generator)
            code = distribution.code(skills.draw_latent(task, generator))
        done += 1
        return act(skills, observation, code, generator)

    block = _observed_position(env_id)
    path = [observation[:, block]]
    path += [step.observation[:, block] for step in evaluate.play(env, observation, choose)]
    env.close()
    return np.stack(path, 1)


def coverage(position: Array, cell: float = 0.02) -> float:
    """Area in the plane that paths (n, T, 3) pass over [m^2]: of all cells of side ``cell`` [m] that they touch."""
    cells = np.unique(np.floor(position[..., :2].reshape(-1, 2) / cell), axis=0)
    return len(cells) * cell**2


def lifted(position: Array, height: float = 0.02) -> NDArray[np.bool_]:
    """Where in paths (n, T, 3) the block is more than ``height`` [m] above its start: (n, T)."""
    above: NDArray[np.bool_] = position[..., 2] > position[:, :1, 2] + height
    return above


def positions(rollouts: Rollouts, env_id: str) -> Array:
    """What has to reach the goal: the point mass (n, T + 1, 2) or the block (n, T + 1, 3) [m]."""
    return rollouts.state[..., _observed_position(env_id)]


def _observed_position(env_id: str) -> slice:
    return TASKS[ENVIRONMENTS[env_id].tasks[0]].observed_position


def goals_reached(rollouts: Rollouts, env_id: str) -> list[float]:
    """Share of episodes that end in each goal region of a one-task environment, goal by goal."""
    (name,) = skill_envs.ENVIRONMENTS[env_id].tasks
    task = skill_envs.TASKS[name]
    final = positions(rollouts, env_id)[:, -1, : len(task.goals[0])]
    offsets = final[:, None] - np.asarray(task.goals)[None]
    inside = np.linalg.norm(offsets, axis=-1) <= task.goal_radius
    return [float(x) for x in inside.mean(axis=0)]


def films(
    folder: Path = RECORDS, records: Records | None = None, shown: Sequence[int] = (0, 6, 12, 18, 28, 44, 99)
) -> Films:
    """What figure 6 shows: steps and frames of one episode of each family's transferred policy that there is.

    Args:
        folder: of the records, with the policies; those of seed 0 are filmed.
        records: of the policies; not needed.
        shown: steps.
    """
    found = {}
    for family, about in FAMILIES.items():
        path = networks_path(folder, "fig5", variant_of(family, OURS), 0)
        if path.exists():
            frames, _ = evaluate.film(load_policy(path), f"SkillEmbed/{about.name}-v0", 1, seed=0)
            found[about.name] = (list(shown), [frames[step] for step in shown])
    return found
