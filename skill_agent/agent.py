"""The algorithm: off-policy learning of an embedding space of skills (paper, section 5)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, RolloutReturn, Schedule, TrainFreq
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from skill_agent import arguments, hub, objective, task_logs
from skill_agent.behaviour import act, behave
from skill_agent.collecting import Collection, check_train_freq
from skill_agent.compiling import compiled
from skill_agent.config import SkillConfig, make_config
from skill_agent.copying import copy_env
from skill_agent.divergence import (
    TrainingDiverged,
    check_learning_rate,
    check_observation,
    check_parameters,
    check_transition,
    clip_gradients,
    parameters_kept,
)
from skill_agent.lanes import LaneReplayBuffer
from skill_agent.objective import Draws
from skill_agent.observations import check_normalised, split_observation_space
from skill_agent.origin import Origin, origin_of
from skill_agent.policy import SkillPolicy, SkillState
from skill_agent.replay import TrajectoryBatch, TrajectoryReplayBuffer
from skill_agent.returns import masked_mean
from skill_agent.skills import SUFFIX, export_skills, load_skills
from skill_agent.trust import warn_of_pickles
from skill_agent.vectors import as_vec_env, flattened


class SkillEmbedding(OffPolicyAlgorithm):
    """Skills learned from several tasks at once, indexed by a continuous embedding z.

    Hausman et al., *Learning an Embedding Space for Transferable Robot Skills*, ICLR 2018.

    Attributes:
        config: the settings specific to this method.
        origin: the environment that it learns on, or has learned on; None if that has no name.
        ray: where workers are actors of Ray; None where they are processes.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": SkillPolicy, "MultiInputPolicy": SkillPolicy}
    policy: SkillPolicy
    action_space: spaces.Box
    replay_buffer: TrajectoryReplayBuffer | None
    origin: Origin | None = None
    _progress_bar = False  # whether `learn` shows one
    ray: str | None = None
    _collection: Collection | None = None  # workers, while it learns with any

    def __init__(
        self,
        policy: str | type[SkillPolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-3,
        buffer_size: int = 100_000,
        learning_starts: int = 1_000,
        batch_size: int = 64,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 50,
        gradient_steps: int = 50,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        config: SkillConfig | None = None,
        ray: str | None = None,
        _init_setup_model: bool = True,
        **settings: Any,
    ) -> None:
        """Take SB3's arguments and the method's settings.

        Args:
            policy: "MultiInputPolicy" for observations with a task or its parameters, "MlpPolicy" for a Box.
            env: an environment, a vector environment of SB3 or of Gymnasium, or the id of a registered one.
            learning_rate: of Adam, for all networks; may be a schedule.
            buffer_size: transitions kept in replay; a whole float such as 1e6 is taken, as in ``learning_starts``.
            learning_starts: steps before the first update; the untrained policy acts in them.
            batch_size: windows per update.
            gamma: discount factor, from 0 to below 1.
            train_freq: steps (of every environment) or episodes between updates, as in SB3.
            gradient_steps: updates each time; -1 for as many as steps were taken.
            policy_kwargs: arguments of `SkillPolicy`: net_arch, activation_fn, optimizer_class.
            stats_window_size: episodes over which rollout statistics are averaged.
            tensorboard_log: folder for TensorBoard.
            verbose: 0, 1 or 2.
            seed: seeds every source of randomness; from 0 to 2^32 - 1.
            device: torch device.
            config: settings of the method as one object, in place of ``settings``.
            ray: has ``n_workers`` be actors of Ray: "local" on this machine alone, or the address of a cluster. It is
                not kept in files.
            _init_setup_model: build the networks now.
            **settings: fields of `SkillConfig`.

        Raises:
            TypeError: an unknown setting; the message lists the valid ones.
            ValueError: an invalid value.
        """
        if config is not None and settings:
            raise TypeError(f"give either config or single settings, not both: {sorted(settings)}")
        arguments.policy_and_env(policy, env, SkillPolicy, _init_setup_model)
        given = {
            "learning_rate": learning_rate,
            "buffer_size": buffer_size,
            "learning_starts": learning_starts,
            "batch_size": batch_size,
            "gamma": gamma,
            "train_freq": train_freq,
            "gradient_steps": gradient_steps,
            "policy_kwargs": policy_kwargs,
            "stats_window_size": stats_window_size,
            "tensorboard_log": tensorboard_log,
            "verbose": verbose,
            "seed": seed,
            "device": device,
            "ray": ray,
        }
        checked = arguments.learner(given)
        # Before SB3 makes environments.
        self.config = make_config(settings) if config is None else arguments.config("config", config)
        self.ray = checked.pop("ray")
        if self.ray is not None and not self.config.n_workers:
            raise ValueError(f"ray={ray!r} is not valid with n_workers=0; choose at least one worker")
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]
            **checked,
            support_multi_env=True,
            sde_support=False,
            supported_action_spaces=(spaces.Box,),
        )
        if self.env is not None:
            arguments.episodes_of_one(self.train_freq, self.n_envs)
            check_train_freq(self.train_freq, self.config.n_workers)
        self._skill: SkillState | None = None
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        box, task_space = split_observation_space(self.observation_space)
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space, self.action_space, self.lr_schedule, config=self.config, **self.policy_kwargs
        )
        self.policy.to(self.device)
        if self.origin is None and self.env is not None:
            self.origin = origin_of(self.env)
        self.policy.origin = self.origin
        if self.replay_buffer is None:
            latent_dim = self.policy.embedding_distribution.dim
            n_parameters = spaces.flatdim(task_space) if isinstance(task_space, spaces.Box) else None
            sizes = (self.buffer_size, box, self.action_space, latent_dim, self.device, self.n_envs, n_parameters)
            if self.config.n_workers:
                self.replay_buffer = LaneReplayBuffer(*sizes, self.config.n_workers)
            else:
                self.replay_buffer = TrajectoryReplayBuffer(*sizes)
        # The factor of a1 and a2 in force; compiled code sees a tensor change.
        self._versatility = torch.ones((), device=self.device)
        # How far the warm-up is, and the training's progress when it was last looked at: both from 0 to 1.
        self.versatility_clock = (0.0, 0.0)
        self._compile()
        self._convert_train_freq()

    def _compile(self) -> None:
        """Have the functions compiled that most of the time goes into, if the settings ask for it."""
        self._compiled: dict[str, Callable[..., Any]] = {}
        if self.config.compile:
            self._compiled["gradients"] = compiled(self.gradients, self._announce, traces_gradients=True)
            self._compiled["behaviour"] = compiled(self.behaviour, self._announce)

    def _announce(self, what: str) -> None:
        """Say what takes long, where somebody watches."""
        if self.verbose or self._progress_bar:
            print(what, file=sys.stderr)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A model that trains on as this one does; it has its own environments, and sets up its own logger."""
        model = type(self).__new__(type(self))
        memo[id(self)] = model
        kept = vars(self).copy()
        # Compiled functions and workers belong to this model, and loggers have open files.
        for name in ("_compiled", "_logger", "_collection"):
            kept.pop(name, None)
        # Before all else, so that other references to its layers lead to the copy.
        env = kept.pop("env")
        model.env = None if env is None else copy_env(env, memo)
        vars(model).update(deepcopy(kept, memo), _custom_logger=False)
        model._compile()
        return model

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed every source of randomness; None draws a seed for the learner's own generators."""
        super().set_random_seed(seed)
        self._generator = torch.Generator(self.device)
        self._rng = np.random.default_rng(seed)
        self._generator.manual_seed(int(self._rng.integers(2**63)))

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        if isinstance(env, VectorEnv):
            env = as_vec_env(env)
        return flattened(OffPolicyAlgorithm._wrap_env(env, verbose, monitor_wrapper))

    def _excluded_save_params(self) -> list[str]:
        return [
            *super()._excluded_save_params(),
            "_generator",
            "_versatility",
            "_compiled",
            "_progress_bar",
            "_collection",
            "ray",
        ]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "SkillEmbedding",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learn for ``total_timesteps`` steps, counted over all environments; as in SB3.

        Where it is left by an exception, the next call starts new episodes.

        Raises:
            ValueError: an invalid argument. ``total_timesteps`` is an integer from 0 to 10^12, or a float such as 1e6
                that stands for one. ``log_interval`` is None or an integer of at least 1.
        """
        # Since construction they may have been set anew, or given to `load`.
        for name, value in arguments.learner({name: getattr(self, name) for name in arguments.LATER}).items():
            setattr(self, name, value)
        self._convert_train_freq()
        if self.env is not None:
            arguments.episodes_of_one(self.train_freq, self.n_envs)
            check_train_freq(self.train_freq, self.config.n_workers)
        check_normalised(self._vec_normalize_env)
        given = {
            "total_timesteps": total_timesteps,
            "callback": callback,
            "log_interval": log_interval,
            "tb_log_name": tb_log_name,
            "reset_num_timesteps": reset_num_timesteps,
            "progress_bar": progress_bar,
        }
        checked = arguments.learn(given)
        self._progress_bar = progress_bar
        try:
            super().learn(**checked)
            self._log_workers()  # what came after the last line of the log
            return self
        except BaseException:
            # The environments may be a step ahead of what was kept of them, so this z could leak into a next episode.
            self._last_obs = None
            raise
        finally:
            if self._collection is not None:
                self._collection.close()
                self._collection = None

    def save(self, path: Any, exclude: Iterable[str] | None = None, include: Iterable[str] | None = None) -> None:
        """As in SB3.

        Raises:
            TrainingDiverged: a parameter is not finite.
        """
        check_parameters(self.policy)
        super().save(path, exclude, include)

    def export_skills(self, path: Path | str, *, critics: bool = False, force: bool = False) -> Path:
        """Write the trained skills to a file that can't run code; see `skill_agent.skills.export_skills`."""
        return export_skills(self.policy, path, critics=critics, force=force)

    @classmethod
    def load(cls, path: Any, *args: Any, trust: bool = False, **kwargs: Any) -> Self:
        """As in SB3, or from a safetensors file of exported skills, which can't run code.

        A zip of SB3's holds pickles, which run when they are loaded, whoever made them. Single settings of the method
        can't be changed on the way.

        Args:
            path: the zip; or a file that `export_skills` wrote, or its name as "hf:owner/name", of which critics that
                were not exported start afresh.
            *args: SB3's.
            trust: whether you made the zip yourself; without, a `PickleWarning` names the risk.
            **kwargs: SB3's; of a safetensors file, ``env`` and arguments of the constructor.

        Raises:
            IsADirectoryError: the path is a folder, such as a checkpoint.
            SkillsFileError: the safetensors file is damaged, or no file of skills.
            TypeError: a setting of the method; SB3 would take it and change nothing.
        """
        fixed = sorted({field.name for field in fields(SkillConfig)} & set(kwargs))
        if fixed:
            raise TypeError(f"load() can't change the settings {fixed}; give config=SkillConfig(...), with all of them")
        if isinstance(path, str | os.PathLike) and (str(path).endswith(SUFFIX) or hub.is_name(path)):
            return cls._from_skills(path, *args, **kwargs)
        if isinstance(path, str | os.PathLike) and os.path.isdir(path):
            raise IsADirectoryError(
                f"{path} is a folder; if it is a checkpoint, make a model with its arguments and use load_checkpoint"
            )
        warn_of_pickles(path, trust, "a file of export_skills, or a checkpoint by load_checkpoint")
        return super().load(path, *args, **kwargs)

    @classmethod
    def _from_skills(
        cls, path: Any, env: GymEnv | None = None, device: torch.device | str = "auto", **kwargs: Any
    ) -> Self:
        """A model with the networks of exported skills."""
        skills = load_skills(path)
        policy = "MultiInputPolicy" if isinstance(skills.observation_space, spaces.Dict) else "MlpPolicy"
        networks = {"net_arch": skills.net_arch, "activation_fn": skills.activation_fn}
        networks |= kwargs.pop("policy_kwargs", None) or {}
        arguments: dict[str, Any] = {"policy_kwargs": networks, "config": skills.config} | kwargs
        model = cls(policy, env, device=device, _init_setup_model=False, **arguments)
        for name in ("observation_space", "action_space"):
            expected = getattr(skills, name)
            found = expected if env is None else getattr(model, name)
            if found != expected:
                raise ValueError(f"the environment's {name} is {found}; the skills of {path} need {expected}")
            setattr(model, name, expected)
        if env is None:
            model.n_envs = 1  # until there is one
        model.origin = skills.origin
        model._setup_model()
        kept, made = skills.state_dict(), model.policy.state_dict()
        differing = [name for name, value in kept.items() if name not in made or made[name].shape != value.shape]
        missing = [name for name in made if name not in kept and not name.startswith("critics")]
        if differing or missing:
            raise ValueError(
                f"config and policy_kwargs describe other networks than those of {path}: "
                f"{sorted(differing + missing)} differ; leave them out, or choose what keeps the networks"
            )
        model.policy.load_state_dict(kept, strict=False)
        return model

    def load_replay_buffer(self, path: Any, truncate_last_traj: bool = True, *, trust: bool = False) -> None:
        """As in SB3; the file is a pickle.

        Raises:
            ValueError: the replay is of another number of environments.
        """
        warn_of_pickles(path, trust, "a checkpoint, by load_checkpoint")
        own = self.replay_buffer
        super().load_replay_buffer(path, truncate_last_traj)
        assert self.replay_buffer is not None
        count = self.replay_buffer.n_envs
        if count != self.n_envs * max(1, self.config.n_workers) or type(self.replay_buffer) is not type(own):
            self.replay_buffer = own
            raise ValueError(
                f"{path} is the replay of n_envs={count}; this model has n_envs={self.n_envs} and "
                f"n_workers={self.config.n_workers}"
            )
        # Its last steps are not the ones before the environments' next steps.
        self.replay_buffer.end_stretches()

    # Collection -------------------------------------------------------------------------------

    def _setup_learn(self, *args: Any, **kwargs: Any) -> Any:
        continuing = self._last_obs is not None
        result = super()._setup_learn(*args, **kwargs)
        if not continuing or self.num_timesteps == 0:  # the environments were reset, so z is drawn afresh
            self._skill = None
            self._episode_start = np.ones(self.n_envs, bool)
            assert self.replay_buffer is not None
            if self.replay_buffer.size():
                self.replay_buffer.end_stretches()  # what it holds last is not what comes before these
        check_observation("observation", self._last_obs)  # type: ignore[arg-type]
        if self.config.n_workers:
            assert self.env is not None and isinstance(self.train_freq, TrainFreq)
            seed = int(self._rng.integers(2**31))  # another one after each resume
            self._collection = Collection(self.env, self.policy, self.train_freq.frequency, seed, self.ray)
        # It may be another environment than the one before.
        self.origin = self.policy.origin = origin_of(self.env)
        return result

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> RolloutReturn:
        """As in SB3; where a callback stops it, the next call of `learn` starts new episodes."""
        if self._collection is not None:
            self.policy.set_training_mode(False)
            result = self._collection.rollout(self, kwargs["callback"], kwargs["log_interval"])
        else:
            result = super().collect_rollouts(*args, **kwargs)
        if not result.continue_training:
            self._last_obs = None  # SB3 did not keep the last step, so this z could leak into the next episode
        return result

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], Any]:
        """Act in every environment, and keep what Retrace needs to know of the behaviour."""
        drawn = self._compiled.get("behaviour", self.behaviour)
        action, self._skill, step = behave(
            self.policy, self._last_obs, self._skill, self._episode_start, self._generator, drawn
        )
        return action, step

    def behaviour(self, observation: Tensor, latent: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (n, A), log-probabilities (n,) for observations (n, S), latents (n, Z) and N(0, 1) noise (n, A)."""
        return act(self.policy, observation, latent, noise)

    def _store_transition(
        self, replay_buffer: Any, buffer_action: Any, new_obs: Any, reward: Any, dones: Any, infos: Any
    ) -> None:
        check_transition(new_obs, reward, dones, infos)
        if self._vec_normalize_env is not None:
            # Replay keeps what the environments gave; normalised and clipped, an infinite number looks finite.
            original_obs: Any = self._vec_normalize_env.get_original_obs()
            check_transition(original_obs, self._vec_normalize_env.get_original_reward(), dones, [{}] * len(dones))
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self._episode_start = np.asarray(dones, bool)

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: NDArray[np.bool_] | None = None) -> None:
        named = [task_logs.of_task(info) if "episode" in info else info for info in infos]
        super()._update_info_buffer(named, dones)

    def dump_logs(self) -> None:
        """As in SB3, with each task's mean return and share of successes, by its name."""
        names = self.origin.tasks if self.origin is not None else ()
        for key, value in task_logs.means(self.ep_info_buffer or (), names).items():
            self.logger.record(key, value)
        self._log_workers()
        super().dump_logs()

    def _log_workers(self) -> None:
        """Record what workers did since the last call."""
        if self._collection is not None:
            for key, value in self._collection.workers.log().items():
                self.logger.record(key, value)

    # Learning ---------------------------------------------------------------------------------

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Make ``gradient_steps`` updates of all networks on windows from replay."""
        assert self.replay_buffer is not None
        policy, config = self.policy, self.config
        policy.set_training_mode(True)
        self._update_learning_rate(policy.optimizer)
        policy.set_embedding_rate()
        self._versatility.fill_(config.versatility(self._versatility_progress()))
        # Skills that were loaded have their statistics: with others, they would see other states.
        unmeasured = bool((policy.state_mean == 0).all() and (policy.state_scale == 1).all())
        if config.normalize_observations and self._n_updates == 0 and unmeasured:
            policy.fit_normalisation(self.replay_buffer.stored_observations(self._vec_normalize_env))
        check_learning_rate(policy.optimizer)
        updates, terms = self._n_updates, {}
        try:
            with parameters_kept(policy):
                for _ in range(gradient_steps):
                    batch = self._sample(batch_size)
                    terms = self._update(batch)
        except TrainingDiverged:
            self._n_updates = updates  # what these updates did was undone
            raise
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        # These are the last update's: averaging over all of them costs more than it tells.
        for name, value in terms.items():
            mean = masked_mean(value, batch.mask) if value.ndim else value
            self.logger.record(name, mean.item())

    def _versatility_progress(self) -> float:
        """How far the warm-up of a1 and a2 is: as far as the training, or as its tasks let it be."""
        progress = min(1.0, max(0.0, 1.0 - self._current_progress_remaining))
        success = self.config.versatility_success
        if not success:
            return progress
        passed, seen = self.versatility_clock
        elapsed = max(0.0, progress - seen)  # another call of `learn` begins at 0 again
        moves_on = task_logs.all_succeed(self.ep_info_buffer or (), self.policy.n_tasks, success)
        passed = min(1.0, max(0.0, passed + (elapsed if moves_on else -elapsed)))
        self.versatility_clock = (passed, progress)
        self.logger.record("train/versatility", self.config.versatility(passed))
        return passed

    def _update(self, batch: TrajectoryBatch) -> dict[str, Tensor]:
        """Make one update; returns what is logged of it: scalars, or (B, L) for the mean over the batch's steps."""
        policy, config = self.policy, self.config
        gradients = self._compiled.get("gradients", self.gradients)
        terms: dict[str, Tensor]
        loss, terms, found = gradients(batch, objective.draw(policy, batch, self._generator))
        for parameter, gradient in zip(policy.trained_parameters, found, strict=True):
            parameter.grad = gradient
        terms["train/grad_norm"] = clip_gradients(policy, loss, terms, config.max_grad_norm)
        policy.optimizer.step()
        self._n_updates += 1
        if self._n_updates % config.target_period == 0:
            policy.critics_target.load_state_dict(policy.critics.state_dict())
        return terms

    def _sample(self, batch_size: int) -> TrajectoryBatch:
        """Windows from replay."""
        assert self.replay_buffer is not None
        window, segment = self.config.window, self.config.segment
        return self.replay_buffer.sample_windows(batch_size, window, segment, self._rng, self._vec_normalize_env)

    def features(self, batch: TrajectoryBatch) -> TrajectoryBatch:
        """The batch with states as the networks see them."""
        features = self.policy.features
        return batch._replace(observation=features(batch.observation), context=features(batch.context))

    def losses(self, batch: TrajectoryBatch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of all losses on a batch of features, and its terms; see `skill_agent.objective.losses`."""
        return objective.losses(self.policy, batch, draws, self.gamma, self._versatility)

    def gradients(self, batch: TrajectoryBatch, draws: Draws) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
        """The loss on a batch, its terms, and its gradient for every trained parameter: one graph to compile."""
        loss, terms = self.losses(self.features(batch), draws)
        found = torch.autograd.grad(loss, self.policy.trained_parameters)
        # Fused Adam takes a gradient to lie in memory as its parameter does.
        ordered = [gradient.contiguous() for gradient in found]
        return loss.detach(), {name: term.detach() for name, term in terms.items()}, ordered
