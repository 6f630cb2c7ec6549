"""Skills as an environment (paper, section 6): frozen, they act, and the action is z."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from skill_agent import arguments, generators
from skill_agent.observations import example_tasks, split_observation_space
from skill_agent.origin import origin_of
from skill_agent.policy import SkillPolicy
from skill_agent.vec import CopiedWrapper
from skill_agent.vectors import as_vec_env
from skill_envs import checks, saved

_DRAWS = 4096  # of every task's z, from which the box of z is measured
_FOLLOWING = 15  # z that follow the first, where the transition is learned


def skill_space(skills: SkillPolicy, width: float = 2.0) -> spaces.Box:
    """The box (Z,) that z is chosen from: every task's mean code, and ``width`` standard deviations around it.

    It goes no further than the codes do that the tasks draw. Tasks with parameters are those of
    `skill_agent.observations.example_tasks`. Of a learned transition, the z that follow one another are taken in, each
    draw for itself.
    """
    family = skills.embedding_distribution
    with torch.no_grad():
        tasks = example_tasks(skills.task_space, skills.device)
        params = skills.embedding(tasks)
        generator = torch.Generator(skills.device).manual_seed(0)
        noise = family.noise((len(params), _DRAWS), generator, skills.device)
        latents = family.sample(params[:, None].expand(-1, _DRAWS, -1), noise)
        in_turn = [latents]
        if skills.transition is not None:
            task = tasks.repeat_interleave(_DRAWS, dim=0)
            for _ in range(_FOLLOWING):
                params = skills.following(in_turn[-1].flatten(0, 1), task)
                noise = family.noise((len(task),), generator, skills.device)
                in_turn.append(family.sample(params, noise).view_as(latents))
        draws = family.code(torch.cat(in_turn))  # (T, draws, Z); the z in turn as if they were of more tasks
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

    def __init__(
        self, venv: VecEnv | VectorEnv[Any, Any, Any], skills: SkillPolicy, hold: int = 5, seed: int = 0
    ) -> None:
        """Put the skills before an environment.

        Args:
            venv: vector environment of SB3 or of Gymnasium, of one task, with the skills' observations and actions, and
                perhaps parameters.
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
        if not isinstance(venv, VecEnv | VectorEnv):
            raise ValueError(f"venv={venv!r} is not valid; choose a vector environment of SB3 or of Gymnasium")
        venv = as_vec_env(venv)
        box = observed = venv.observation_space
        if isinstance(box, spaces.Dict):
            box, observed = _joined_space(box)
        _check_environment(venv, box, skills)
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
        self._observation: Any = joined(self.venv.reset())
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
            state = without_parameters(self._observation, self._n_parameters)
            action = act(self.skills, state, self._code, self._generator)
            observation, reward, done, step_infos = self.venv.step(action)
            self._observation = joined(observation)
            total += np.where(ended, 0.0, reward)
            for i in np.flatnonzero(~ended):
                infos[i] = step_infos[i]
            ended |= done
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = joined(info["terminal_observation"])
        return self._observation, total, ended, infos

    def state(self) -> dict[str, Any]:
        """What changes from step to step, and a fingerprint of what acts; what is wrapped has a state of its own."""
        observation = getattr(self, "_observation", None)
        return {"observation": observation, "generator": self._generator.get_state(), "acts": self._acts()}

    def _acts(self) -> str:
        return f"{hashlib.sha256(self.skills.parameters_to_vector().tobytes()).hexdigest()}, hold={self.hold}"

    def check_state(self, state: Any, running: bool) -> None:
        """Check that a state, with arrays for tensors, is one of `state` of the same skills.

        Args:
            state: it may come from a stranger.
            running: whether episodes had begun.

        Raises:
            ValueError: an entry is not; the message begins with its name.
        """
        saved.entries(state, ("observation", "generator", "acts"))
        if state["acts"] != self._acts():
            raise ValueError(f"acts is {state['acts']!r:.100}; these skills are {self._acts()}")
        generators.check_torch("generator", state["generator"], self._generator.device)
        if running or state["observation"] is not None:
            space = self.observation_space
            saved.array("observation", state["observation"], (self.num_envs, *(space.shape or ())), space.dtype)

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state that `check_state` found right."""
        self._observation = state["observation"]
        self._generator.set_state(torch.from_numpy(state["generator"]))


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


def joined(observation: Any) -> Any:
    """Observations (..., S) and parameters (..., C) of a dict as one array (..., S + C); an array as it is."""
    if not isinstance(observation, dict):
        return observation
    parts = [np.asarray(observation[key], np.float32) for key in ("observation", "task")]
    return np.concatenate(parts, axis=-1)


def without_parameters(together: NDArray[Any], n_parameters: int) -> NDArray[Any]:
    """What the skills see of observations with the task's parameters behind them."""
    return together[:, :-n_parameters] if n_parameters else together


def _check_environment(venv: VecEnv, box: spaces.Space[Any], skills: SkillPolicy) -> None:
    """Check that frozen skills can act in an environment, whose observations without parameters are in ``box``.

    Raises:
        ValueError: it has other shapes, narrower bounds of actions, or another order of observations.
    """
    check_shapes(
        "the environment",
        {"observations": box.shape, "actions": venv.action_space.shape},
        {"observations": skills.box.shape, "actions": skills.action_space.shape},
    )
    theirs, ours = venv.action_space, skills.action_space
    assert isinstance(theirs, spaces.Box)
    if (ours.low < theirs.low).any() or (ours.high > theirs.high).any():
        raise ValueError(f"the environment's actions are {theirs}; the skills act in {ours}, which goes beyond")
    found = origin_of(venv)
    needed = skills.origin.observation_keys if skills.origin is not None else ()
    keys = found.observation_keys if found is not None else ()
    if needed and keys and keys != needed:
        raise ValueError(f"the environment's observations are in the order {keys}; the skills need {needed}")


def check_shapes(whose: str, found: dict[str, Any], needed: dict[str, Any]) -> None:
    """Check that shapes are those that the skills need, by name.

    Raises:
        ValueError: one is not.
    """
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
