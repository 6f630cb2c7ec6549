"""What a worker does, wherever it runs: collect a segment of steps with the weights that it is given."""

from __future__ import annotations

import inspect
import pickle
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize, unwrap_vec_normalize

from skill_agent.behaviour import act, behave
from skill_agent.divergence import check_observation, check_transition
from skill_agent.lanes import Stretch
from skill_agent.policy import SkillPolicy, SkillState
from skill_agent.replay import BehaviourStep
from skill_agent.skill_space import SkillSpaceVecEnv
from skill_agent.vectors import moments

_LEARN_ONLY = ("critics.", "critics_target.", "inference.")  # networks that no behaviour needs


class Weights(NamedTuple):
    """What a worker acts with.

    Attributes:
        networks: tensors of the policy by name, those of embedding, policy, transition and statistics.
        moments: of a `VecNormalize` by name: mean, variance and count; empty where there is none.
    """

    networks: dict[str, NDArray[Any]]
    moments: dict[str, dict[str, Any]]


class Segment(NamedTuple):
    """Consecutive steps of one worker's environments, and with which weights they were taken.

    Attributes:
        version: of the weights.
        steps: what replay keeps, with observations and rewards as the environments gave them.
        action: (steps, n, ...), as the environments took them.
        infos: of each step and environment.
        seconds: time that the collection took [s].
    """

    version: int
    steps: Stretch
    action: NDArray[Any]
    infos: list[list[dict[str, Any]]]
    seconds: float


class Recipe(NamedTuple):
    """What a collector is made of, in bytes that any process can read."""

    env: bytes
    policy: bytes

    @classmethod
    def of(cls, env: VecEnv, policy: SkillPolicy) -> Recipe:
        """The recipe of a learner's environments and policy.

        Raises:
            ValueError: the environments, or the policy, can't be sent to another process.
        """
        made_of = type(policy), policy._get_constructor_parameters()
        return cls(_bytes("environment", _taken_apart(env)), _bytes("policy", made_of))

    def make_env(self) -> VecEnv:
        """A copy of the environments."""
        env, wrappers = pickle.loads(self.env)
        for kind, kept in reversed(wrappers):
            wrapper = kind.__new__(kind)
            vars(wrapper).update(kept, venv=env, class_attributes=dict(inspect.getmembers(kind)))
            env = wrapper
        return env  # type: ignore[no-any-return]

    def make_policy(self) -> SkillPolicy:
        """A policy of the same sizes."""
        kind, arguments = pickle.loads(self.policy)
        policy: SkillPolicy = kind(**arguments)
        policy.set_training_mode(False)
        return policy


def _bytes(what: str, value: Any) -> bytes:
    try:
        made = cloudpickle.dumps(value)
        pickle.loads(made)
    except Exception as error:
        raise ValueError(
            f"this {what} can't be sent to a worker ({type(error).__name__}: {error}); give one of make_skill_vec_env, "
            "or of make_task_vec_env with ids or callables, in no processes of its own, or choose n_workers=0"
        ) from error
    return bytes(made)


def _taken_apart(env: VecEnv) -> tuple[VecEnv, list[tuple[type, dict[str, Any]]]]:
    """An environment and its wrappers, from the outside in; SB3's wrappers can't be pickled as they are."""
    wrappers = []
    while isinstance(env, VecEnvWrapper):
        kept = {name: value for name, value in vars(env).items() if name not in ("venv", "class_attributes")}
        wrappers.append((type(env), kept))
        env = env.venv
    return env, wrappers


def _layers(env: VecEnv) -> list[VecEnv]:
    """A vector environment and what it wraps."""
    found = [env]
    while isinstance(env, VecEnvWrapper):
        env = env.venv
        found.append(env)
    return found


def weights_of(policy: SkillPolicy, env: VecNormalize | None) -> Weights:
    """A copy of what acts now, and of what normalises its observations."""
    networks = {
        name: value.numpy(force=True).copy()
        for name, value in policy.state_dict().items()
        if not name.startswith(_LEARN_ONLY)
    }
    measured = {} if env is None else moments(env)
    return Weights(networks, {name: dict(vars(rms)) for name, rms in measured.items()})


def seed_process(seed: Sequence[int]) -> None:
    """Seed the global generators of a worker's process, for environments that draw from these."""
    set_random_seed(int(np.random.SeedSequence(list(seed)).generate_state(4)[3]))


class Collector:
    """Collects segments, each of which begins where the last one ended."""

    def __init__(self, recipe: Recipe, seed: Sequence[int]) -> None:
        """Make environments and policy.

        Args:
            recipe: of both.
            seed: numbers that no other collector of the training has; they seed episodes, z and actions.
        """
        for_env, for_skills, own = np.random.SeedSequence(list(seed)).generate_state(3)
        self.env, self.policy = recipe.make_env(), recipe.make_policy()
        self._normalize = unwrap_vec_normalize(self.env)
        for layer in _layers(self.env):
            if isinstance(layer, SkillSpaceVecEnv):
                layer._generator.manual_seed(int(for_skills))
            if isinstance(layer, VecNormalize):
                layer.training = False  # the learner measures, over all workers
        self.env.seed(int(for_env) // 2)  # environment i gets i more, and no seed is above 2^32
        self._generator = torch.Generator().manual_seed(int(own))
        self._observation: Any = None
        self._state: SkillState | None = None
        self._starts = np.ones(self.env.num_envs, bool)

    def collect(
        self, weights: Weights, version: int, steps: int, on_step: Callable[[], None] = lambda: None
    ) -> Segment:
        """Take steps in every environment.

        Args:
            weights: to act with.
            version: their number, which the segment gets.
            steps: of every environment.
            on_step: called after each.

        Raises:
            TrainingDiverged: a number is not finite.
        """
        began = time.perf_counter()
        self._take(weights)
        if self._observation is None:
            self._observation = self.env.reset()
            check_observation("observation", self._observation)
        before, after, behaviours, rewards, dones, infos, actions = ([] for _ in range(7))
        for _ in range(steps):
            before.append(_features(self._original(self._observation)))
            action, step = self._act()
            observation, reward, done, step_infos = self.env.step(action)
            check_transition(observation, reward, done, step_infos)  # type: ignore[arg-type]
            original: Any = self._original(observation)
            if self._normalize is not None:
                # Normalised and clipped, an infinite number looks finite.
                reward = self._normalize.get_original_reward()
                check_transition(original, reward, done, [{}] * len(done))
            after.append(self._successors(original, done, step_infos))
            self._observation, self._starts = observation, np.asarray(done, np.bool_)
            behaviours.append(step)
            rewards.append(reward)
            dones.append(done)
            infos.append(list(step_infos))
            actions.append(action)
            on_step()
        timeouts = [[bool(info.get("TimeLimit.truncated", False)) for info in of_step] for of_step in infos]
        stretch = Stretch(
            np.stack(before),
            np.stack(after),
            BehaviourStep(*(np.stack(values) for values in zip(*behaviours, strict=True))),
            np.asarray(rewards, np.float32),
            np.asarray(dones, np.bool_),
            np.asarray(timeouts, np.bool_),
        )
        return Segment(version, stretch, np.stack(actions), infos, time.perf_counter() - began)

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    def _take(self, weights: Weights) -> None:
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in weights.networks.items()}
        self.policy.load_state_dict(tensors, strict=False)
        if self._normalize is not None:
            for name, measured in moments(self._normalize).items():
                vars(measured).update(weights.moments[name])

    def _act(self) -> tuple[NDArray[Any], BehaviourStep]:
        action, self._state, step = behave(
            self.policy, self._observation, self._state, self._starts, self._generator, partial(act, self.policy)
        )
        return action, step

    def _original(self, observation: Any) -> Any:
        """What the environments gave, without normalisation."""
        return observation if self._normalize is None else self._normalize.get_original_obs()

    def _successors(self, original: Any, done: NDArray[Any], infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        """Observations (n, S) after a step, the last one of an episode where it has ended."""
        found = np.array(_features(original))
        for i in np.flatnonzero(done):
            last = infos[i].get("terminal_observation")
            if last is not None:
                if self._normalize is not None:
                    last = self._normalize.unnormalize_obs(last)
                found[i] = np.ravel(last["observation"] if isinstance(last, dict) else last)
        return found


def _features(observation: Any) -> NDArray[np.float32]:
    """Observations (n, S) without the task."""
    features = observation["observation"] if isinstance(observation, dict) else observation
    return np.reshape(features, (len(features), -1)).astype(np.float32)
