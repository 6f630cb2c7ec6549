"""Rollouts of a learner whose steps come from workers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.type_aliases import RolloutReturn, TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from skill_agent.collector import Recipe, Segment, weights_of
from skill_agent.lanes import LaneReplayBuffer
from skill_agent.policy import SkillPolicy
from skill_agent.processes import Processes
from skill_agent.ray_workers import RayActors
from skill_agent.workers import Crew, Workers


def check_train_freq(train_freq: Any, n_workers: int) -> None:
    """Check that workers can be asked for a number of steps.

    Raises:
        ValueError: updates come after whole episodes.
    """
    unit = train_freq.unit.value if isinstance(train_freq, TrainFreq) else np.ravel(train_freq)[-1]
    if n_workers and unit == TrainFrequencyUnit.EPISODE.value:
        raise ValueError(f"train_freq={train_freq!r} is not valid with n_workers={n_workers}; choose a number of steps")


class Collection:
    """The workers of one call of ``learn``, and what the learner does with their segments."""

    def __init__(self, env: VecEnv, policy: SkillPolicy, steps: int, seed: int, ray: str | None) -> None:
        """Start the workers that the policy's settings ask for.

        Args:
            env: the learner's environments, of which each worker gets copies.
            policy: what learns.
            steps: of every environment in a segment.
            seed: of all workers together.
            ray: the address of a cluster of Ray, or "local"; None for processes.

        Raises:
            ConnectionError: there is no cluster at this address.
            ImportError: Ray is not installed.
            ValueError: the environments can't be sent to another process.
        """
        config = policy.config
        self._policy = policy
        self._per_round = steps * env.num_envs
        most_lag = 2 * config.n_workers if config.worker_lag is None else config.worker_lag
        recipe = Recipe.of(env, policy)
        crew: Crew
        if ray is None:
            crew = Processes(recipe, config.worker_timeout)
        else:
            crew = RayActors(recipe, config.worker_timeout, ray)
        self.workers = Workers(crew, config.n_workers, steps, most_lag, seed)
        # Discounted returns of every worker's environments, whose spread normalises rewards.
        self._returns = np.zeros((config.n_workers, env.num_envs))

    def close(self) -> None:
        """End all workers."""
        self.workers.close()

    def rollout(self, model: OffPolicyAlgorithm, callback: BaseCallback, log_interval: int | None) -> RolloutReturn:
        """Take the next segment into replay, and call callbacks and logs as if its steps were taken now."""
        replay, normalize = model.replay_buffer, model.get_vec_normalize_env()
        assert isinstance(replay, LaneReplayBuffer)
        callback.on_rollout_start()
        left = math.ceil((model._total_timesteps - model.num_timesteps) / self._per_round)
        worker, segment, goes_on, _ = self.workers.next(lambda: weights_of(self._policy, normalize), left)
        if not goes_on:
            replay.end_lane(worker)
            self._returns[worker] = 0.0
        replay.add_stretch(worker, segment.steps)
        if normalize is not None:
            self._measure(normalize, worker, segment)
        episodes = 0
        for i, infos in enumerate(segment.infos):
            model.num_timesteps += model.n_envs
            dones = segment.steps.done[i]
            now = {"infos": infos, "dones": dones, "rewards": segment.steps.reward[i], "actions": segment.action[i]}
            callback.update_locals({"self": model, "env": model.env, "replay_buffer": replay, **now})
            if not callback.on_step():
                return RolloutReturn((i + 1) * model.n_envs, episodes, continue_training=False)
            model._update_info_buffer(infos, dones)
            model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
            model._on_step()
            for _ in range(int(dones.sum())):
                episodes += 1
                model._episode_num += 1
                if log_interval is not None and model._episode_num % log_interval == 0:
                    model.dump_logs()
        callback.on_rollout_end()
        return RolloutReturn(self._per_round, episodes, continue_training=True)

    def _measure(self, env: VecNormalize, worker: int, segment: Segment) -> None:
        """Measure what `VecNormalize` would have measured of these steps; workers get it with the next weights."""
        if not env.training:
            return
        steps = segment.steps
        if env.norm_obs:
            named = env.obs_rms if isinstance(env.obs_rms, dict) else {"": env.obs_rms}
            for key, moments in named.items():
                assert isinstance(moments, RunningMeanStd) and key in ("", "observation")
                moments.update(steps.observation.reshape(-1, *moments.mean.shape))
        returns = self._returns[worker]
        for reward, done in zip(steps.reward, steps.done, strict=True):
            returns[:] = returns * env.gamma + reward
            env.ret_rms.update(returns)
            returns[done] = 0.0
