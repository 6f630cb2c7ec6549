"""Transfer (paper, section 6): the skills are frozen, and a new task is learned by choosing z = f(x)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from skill_agent import arguments
from skill_agent.observations import check_kind, example_tasks, split_observation_space
from skill_agent.policy import SkillPolicy
from skill_agent.vec import CopiedWrapper
from skill_envs import checks

_DRAWS = 4096  # of every task's z, from which the box of z is measured


def skill_space(skills: SkillPolicy, width: float = 2.0) -> spaces.Box:
    """The box (Z,) that z is chosen from: every task's mean code, and ``width`` standard deviations around it.

    It goes no further than the codes do that the tasks draw. Tasks with parameters are those of
    `skill_agent.observations.example_tasks`.
    """
    with torch.no_grad():
        params = skills.embedding(example_tasks(skills.task_space, skills.device))
        generator = torch.Generator(skills.device).manual_seed(0)
        noise = skills.embedding_distribution.noise((len(params), _DRAWS), generator, skills.device)
        latents = skills.embedding_distribution.sample(params[:, None].expand(-1, _DRAWS, -1), noise)
        draws = skills.embedding_distribution.code(latents)  # (T, draws, Z)
        mean, reach = draws.mean(1), width * draws.std(1)
        low = torch.maximum(mean - reach, draws.amin(1)).amin(0)  # a Bernoulli's codes end before that
        high = torch.minimum(mean + reach, draws.amax(1)).amax(0)
    return spaces.Box(low.numpy(force=True), high.numpy(force=True), dtype=np.float32)


class SkillSpaceVecEnv(CopiedWrapper):
    """A vector environment whose action is z, held for some steps while the frozen skills act.

    Any algorithm of SB3 can learn on it: ``SAC("MlpPolicy", SkillSpaceVecEnv(env, skills))``. A step's reward
    is the sum over the held steps. Where an episode ends within a hold, that hold ends too: what the next
    episode does until the other environments have finished theirs earns nothing.

    Where the environment's task has parameters, they are appended to its observations, for whoever chooses z. The
    skills don't see them.
    """

    def __init__(self, venv: VecEnv, skills: SkillPolicy, hold: int = 5, seed: int = 0) -> None:
        """Put the skills before an environment.

        Args:
            venv: vector environment of one task, with the skills' observations and actions, and perhaps parameters.
            skills: a trained policy; it is not changed.
            hold: steps for which a z is held.
            seed: of the skills' actions.

        Raises:
            ValueError: ``hold`` that is no integer from 1 to 10,000, an invalid ``seed``, or an environment whose
                spaces are not the skills'.
        """
        self.hold = arguments.one_or_more("hold", hold, arguments.LONGEST_HOLD)
        seed = checks.integer("seed", seed, 0, arguments.SEEDS - 1)
        if not isinstance(skills, SkillPolicy):
            raise ValueError(f"skills={skills!r} is not valid; choose a SkillPolicy")
        if not isinstance(venv, VecEnv):
            raise ValueError(f"venv={venv!r} is not valid; choose a vector environment of SB3")
        box = observed = venv.observation_space
        if isinstance(box, spaces.Dict):
            box, observed = _joined_space(box)
        _check_shapes(
            "the environment",
            {"observations": box.shape, "actions": venv.action_space.shape},
            {"observations": skills.box.shape, "actions": skills.action_space.shape},
        )
        super().__init__(venv, observation_space=observed, action_space=skill_space(skills))
        self.skills = skills
        self._n_parameters = 0 if box is observed else spaces.flatdim(observed) - spaces.flatdim(box)
        # SB3's video recorder takes a frame after each step of this environment, which is ``hold`` control steps.
        self._metadata: dict[str, Any] = dict(venv.get_attr("metadata")[0])
        if "render_fps" in self._metadata:
            self._metadata["render_fps"] = self._metadata["render_fps"] / hold
        self._generator = torch.Generator(skills.device).manual_seed(seed)

    @property
    def metadata(self) -> dict[str, Any]:
        """That of the wrapped environment, with the frames per second of held steps."""
        return self._metadata

    @metadata.setter
    def metadata(self, value: dict[str, Any]) -> None:
        """Nothing: SB3's video recorder sets the innermost environment's, whose rate is another.

        It sets them on what it is given, so that it has to be put directly over this.
        """

    def reset(self) -> Any:
        """Reset every environment."""
        self._observation: Any = _joined(self.venv.reset())
        return self._observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep z (n, Z) for `step_wait`.

        Raises:
            ValueError: z of another shape, or not finite.
        """
        shape = (self.num_envs, self.skills.embedding_distribution.dim)
        code = arguments.array("z", actions, shape).astype(np.float32)
        self._code = torch.as_tensor(code, device=self.skills.device)

    def step_wait(self) -> Any:
        """Run the skills for ``hold`` steps of every environment."""
        total, ended = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]  # of each environment's last step
        for _ in range(self.hold):
            state = _without_parameters(self._observation, self._n_parameters)
            action = act(self.skills, state, self._code, self._generator)
            observation, reward, done, step_infos = self.venv.step(action)
            self._observation = _joined(observation)
            total += np.where(ended, 0.0, reward)
            for i in np.flatnonzero(~ended):
                infos[i] = step_infos[i]
            ended |= done
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = _joined(info["terminal_observation"])
        return self._observation, total, ended, infos


def _joined_space(space: spaces.Dict) -> tuple[spaces.Box, spaces.Box]:
    """The Box of an observation, and the Box of the same with a task's parameters behind it.

    Raises:
        ValueError: there are several tasks, or the observation is no vector.
    """
    box, task = split_observation_space(space)
    if not isinstance(task, spaces.Box) or len(box.shape) != 1:
        raise ValueError(f"{space} is not valid; skills are transferred to one task, whose observation is a vector")
    low, high = np.concatenate((box.low, task.low)), np.concatenate((box.high, task.high))
    return box, spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)


def _joined(observation: Any) -> Any:
    """Observations (..., S) and parameters (..., C) of a dict as one array (..., S + C); an array as it is."""
    if not isinstance(observation, dict):
        return observation
    parts = [np.asarray(observation[key], np.float32) for key in ("observation", "task")]
    return np.concatenate(parts, axis=-1)


def _without_parameters(joined: NDArray[Any], n_parameters: int) -> NDArray[Any]:
    """What the skills see of observations with the task's parameters behind them."""
    return joined[:, :-n_parameters] if n_parameters else joined


def _check_shapes(whose: str, found: dict[str, Any], needed: dict[str, Any]) -> None:
    for name, shape in found.items():
        if shape != needed[name]:
            raise ValueError(f"{whose}'s {name} have shape {shape}; the skills need {needed[name]}")


@torch.no_grad()
def act(
    skills: SkillPolicy,
    observation: NDArray[Any],
    code: torch.Tensor,
    generator: torch.Generator | None = None,
    deterministic: bool = False,
) -> NDArray[Any]:
    """Actions (n, A) of the skills for observations (n, S) and codes of z (n, Z), by a generator or torch's own."""
    state = torch.as_tensor(observation, device=skills.device).float()
    action, _ = skills.act(state, code, skills.action_noise(len(state), generator, deterministic))
    return skills.env_action(action)


class TransferState(NamedTuple):
    """The recurrent state of `TransferredPolicy.predict`."""

    code: NDArray[np.float32]  # (n, Z) z in use
    age: NDArray[np.int64]  # (n,) steps since it was chosen


class TransferredPolicy:
    """Frozen skills and a mapping z = f(x), with SB3's ``predict``; `skill_agent.skills.export_policy` writes it.

    Attributes:
        skills: what acts.
        mapping: what chooses z.
        hold: steps for which a z is held.
    """

    def __init__(self, skills: SkillPolicy, mapping: BasePolicy, hold: int) -> None:
        """Join a mapping to its skills.

        Args:
            skills: what acts.
            mapping: the ``policy`` of any algorithm of SB3 that was trained on a `SkillSpaceVecEnv`. It sees
                observations as they are; statistics of a VecNormalize are no part of it.
            hold: steps for which a z is held, as in training.

        Raises:
            TypeError: a mapping that is no policy, such as a whole algorithm.
            ValueError: ``hold`` that is no integer from 1 to 10,000, or a mapping whose spaces are not the skills'.
        """
        self.hold = arguments.one_or_more("hold", hold, arguments.LONGEST_HOLD)
        if not isinstance(mapping, BasePolicy):
            raise TypeError(f"a mapping of class {type(mapping).__name__} is not valid; choose a policy: model.policy")
        z_dim = skills.embedding_distribution.dim
        found, needed = mapping.observation_space.shape, skills.box.shape
        # A longer vector has the task's parameters at its end.
        self._n_parameters = 0
        if found is not None and len(found) == len(needed) == 1:
            self._n_parameters = max(0, found[0] - needed[0])
        _check_shapes(
            "the mapping",
            {"observations": found, "actions": mapping.action_space.shape},
            {"observations": (needed[0] + self._n_parameters,) if self._n_parameters else needed, "actions": (z_dim,)},
        )
        self.skills, self.mapping = skills, mapping

    def predict_skill(self, observation: NDArray[Any], deterministic: bool = False) -> NDArray[np.float32]:
        """Z (n, Z) for observations (n, S), or (Z,) for one; the task's parameters are appended to them."""
        code, _ = self.mapping.predict(observation, deterministic=deterministic)
        return code

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Torques for observations; pass the returned state back in, so that z is held.

        Args:
            observation: one observation or a batch; where the task has parameters, a dict of both as the environment
                gives it.
            state: the `TransferState` returned by the last call; None chooses z afresh.
            episode_start: (n,) bool, where z is chosen afresh.
            deterministic: mean z and mean action, in place of draws.

        Returns:
            Actions within the bounds of the action space, and the new state.

        Raises:
            ValueError: observations or a state that are not finite or have another shape.
        """
        if self._n_parameters and isinstance(observation, dict):
            observation = _joined(observation)
        check_kind(observation, self.skills.box)
        array = np.asarray(observation)
        batch = np.atleast_2d(array)
        count, dim = len(batch), self.skills.embedding_distribution.dim
        arguments.array("observation", batch, (count, self.skills.state_dim + self._n_parameters))
        code, age = np.zeros((count, dim), np.float32), np.zeros(count, np.int64)
        if state is not None:
            kept_code, kept_age = arguments.pair("state", state)
            code = arguments.array("state's z", kept_code, (count, dim)).astype(np.float32)
            age = (arguments.whole_numbers("state's age", kept_age, (count,)) + 1) % self.hold
        if episode_start is not None:
            starts = arguments.booleans("episode_start", episode_start)
            age = np.where(arguments.array("episode_start", starts, (count,)), 0, age)
        fresh = age == 0
        if fresh.any():
            code = np.where(fresh[:, None], self.predict_skill(batch, deterministic), code)
        state_now = _without_parameters(batch, self._n_parameters)
        code_now = torch.as_tensor(code, device=self.skills.device)
        action = act(self.skills, state_now, code_now, deterministic=deterministic)
        return (action if array.ndim > 1 else action[0]), TransferState(code, age)
