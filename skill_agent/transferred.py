"""Transferred policies: frozen skills with a mapping z = f(x) on top (paper, section 6), and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_wrapper

from skill_agent import arguments, limits, tensorfile
from skill_agent.formats import check_format
from skill_agent.mappings import MlpMapping, describe_mlp, mlp_mapping, revive_mlp
from skill_agent.observations import check_kind
from skill_agent.origin import Origin, of_file, origin_of
from skill_agent.policy import SkillPolicy
from skill_agent.skill_space import SkillSpaceVecEnv, act, check_shapes, joined, without_parameters
from skill_agent.skills import ACTIVATIONS, WRONG, describe, device_of, find, revive, shipped_origin, write
from skill_agent.tensorfile import Arrays, SkillsFileError, brief
from skill_envs import checks

_PARTS = ("skills", "mapping")


class TransferState(NamedTuple):
    """The recurrent state of `TransferredPolicy.predict`."""

    code: NDArray[np.float32]  # (n, Z) z in use
    age: NDArray[np.int64]  # (n,) steps since it was chosen


class TransferredPolicy:
    """Frozen skills and a mapping z = f(x), with SB3's ``predict``.

    Attributes:
        skills: what acts.
        mapping: what chooses z.
        hold: steps for which a z is held.
        origin: the environment that it is for; None if that is not known.
    """

    def __init__(
        self, skills: SkillPolicy, mapping: BasePolicy, hold: int, origin: Origin | VecEnv | None = None
    ) -> None:
        """Join a mapping to its skills.

        Args:
            skills: what acts.
            mapping: the ``policy`` of any algorithm of SB3 that was trained on a `SkillSpaceVecEnv`. It sees
                observations as they are; statistics of a VecNormalize are no part of it.
            hold: steps for which a z is held, as in training.
            origin: the environment that it was trained on, such as ``model.env``; None takes the mapping's, which
                policies of SB3's own algorithms don't have.

        Raises:
            TypeError: a mapping that is no policy, such as a whole algorithm; one of discrete actions, or of a memory.
            ValueError: ``hold`` that is no integer from 1 to 10,000, or a mapping whose spaces are not the skills'.
        """
        self.hold = arguments.one_or_more("hold", hold, arguments.LONGEST_HOLD)
        if not isinstance(mapping, BasePolicy):
            raise TypeError(f"a mapping of class {type(mapping).__name__} is not valid; choose a policy: model.policy")
        if not isinstance(mapping.action_space, spaces.Box):
            raise TypeError(
                f"a {type(mapping).__name__} with actions in {mapping.action_space} can't choose z, which is "
                "continuous; choose an algorithm for continuous actions, such as SAC, TD3 or PPO"
            )
        if hasattr(mapping, "lstm_actor"):
            raise TypeError(f"a {type(mapping).__name__} has a memory, which is not kept here; choose one without")
        z_dim = skills.embedding_distribution.dim
        found, needed = mapping.observation_space.shape, skills.box.shape
        # A longer vector has the task's parameters at its end.
        self._n_parameters = 0
        if found is not None and len(found) == len(needed) == 1:
            self._n_parameters = max(0, found[0] - needed[0])
        check_shapes(
            "the mapping",
            {"observations": found, "actions": mapping.action_space.shape},
            {"observations": (needed[0] + self._n_parameters,) if self._n_parameters else needed, "actions": (z_dim,)},
        )
        self.skills, self.mapping = skills, mapping
        if isinstance(origin, VecEnv):
            origin = origin_of(origin)
        self.origin: Origin | None = origin or getattr(mapping, "origin", None)

    def save(self, path: Path | str, *, force: bool = False) -> Path:
        """Write it to one safetensors file, for `load_policy`; see `export_policy`."""
        return export_policy(self, path, force=force)

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
            observation = joined(observation)
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
        state_now = without_parameters(batch, self._n_parameters)
        code_now = torch.as_tensor(code, device=self.skills.device)
        action = act(self.skills, state_now, code_now, deterministic=deterministic)
        return (action if array.ndim > 1 else action[0]), TransferState(code, age)


def transferred_of(model: BaseAlgorithm) -> TransferredPolicy:
    """The policy that any algorithm of SB3 has learned on a `SkillSpaceVecEnv`, with the skills of that environment.

    Raises:
        ValueError: it has no such environment, or sees what VecNormalize makes of observations.
    """
    space = None if model.env is None else unwrap_vec_wrapper(model.env, SkillSpaceVecEnv)
    if space is None:
        raise ValueError(
            f"this {type(model).__name__} has no SkillSpaceVecEnv, which says what its actions mean; "
            "give TransferredPolicy(skills, model.policy, hold)"
        )
    normalised = model.get_vec_normalize_env()
    if normalised is not None and normalised.norm_obs:
        raise ValueError(
            f"this {type(model).__name__} sees what VecNormalize makes of observations, which no policy keeps; train "
            "with norm_obs=False: the skills normalise observations by themselves"
        )
    return TransferredPolicy(space.skills, model.policy, space.hold, model.env)


def export_policy(policy: TransferredPolicy | BaseAlgorithm, path: Path | str, *, force: bool = False) -> Path:
    """Write skills and the mapping learned on top of them to one file, for `load_policy`; as `export_skills`.

    Args:
        policy: a transferred policy; or the algorithm itself that learned on a `SkillSpaceVecEnv`. The mapping may be
            a `SkillPolicy`, or the ``MlpPolicy`` of SB3's SAC, TD3, DDPG, PPO or A2C, or of sb3-contrib's TQC or TRPO.
        path: the file; ".safetensors" is added where it is missing.
        force: replace the file if it exists.

    Returns:
        The file.

    Raises:
        FileExistsError: the file exists and ``force`` is not given.
        TrainingDiverged: a parameter is not finite.
        TypeError: a mapping of another class, or with parts that a file can't hold.
        ValueError: an activation that a file can't name, networks beyond the limits of a file, or an algorithm on
            another environment.
    """
    if isinstance(policy, BaseAlgorithm):
        policy = transferred_of(policy)
    if not isinstance(policy, TransferredPolicy):
        raise TypeError(f"policy={policy!r:.200} is not valid; give a TransferredPolicy, or the algorithm that learned")
    description: dict[str, Any] = {"hold": policy.hold}
    if policy.origin is not None:
        description["environment"] = policy.origin.describe()
    arrays: Arrays = {}
    for name in _PARTS:
        description[name], found = _describe_part(getattr(policy, name))
        arrays |= {f"{name}/{key}": array for key, array in found.items()}
    return write(Path(path), description, arrays, force, _policy_of)


def load_policy(path: Path | str, device: torch.device | str = "cpu") -> TransferredPolicy:
    """The transferred policy of a file written by `export_policy`; arguments and errors as of `load_skills`."""
    target = device_of(device)
    path = find(path, "policy")
    description, arrays = tensorfile.read(path)
    try:
        policy = _policy_of(description, arrays)
    except WRONG as error:
        raise SkillsFileError(f"{path} does not describe a transferred policy rightly: {brief(error)}") from error
    found = policy.origin or shipped_origin(path)
    return TransferredPolicy(policy.skills.to(target), policy.mapping.to(target), policy.hold, found)


def _describe_part(part: BasePolicy) -> tuple[dict[str, Any], Arrays]:
    """What the skills or the mapping of a transferred policy are, and their arrays."""
    if isinstance(part, SkillPolicy):
        return describe(part, critics=False)
    return describe_mlp(mlp_mapping(part), ACTIVATIONS)


def _revive_part(description: dict[str, Any], arrays: Arrays) -> SkillPolicy | MlpMapping:
    """The networks that `_describe_part` described; those that SB3's own algorithms learned say their kind."""
    if "kind" in description:
        limits.check_widths("a mapping", description["net_arch"])
        return revive_mlp(description, arrays, ACTIVATIONS)
    return revive(description, arrays)


def _policy_of(description: dict[str, Any], arrays: Arrays) -> TransferredPolicy:
    """The transferred policy of a whole file."""
    check_format(description.get("format"))
    hold = checks.integer("hold", description["hold"], 1, arguments.LONGEST_HOLD)
    parts = {}
    for name in _PARTS:
        start = f"{name}/"
        found = {key.removeprefix(start): arrays.pop(key) for key in list(arrays) if key.startswith(start)}
        parts[name] = _revive_part(description[name], found)
    if arrays:
        raise ValueError(f"arrays {sorted(arrays)} are unknown")
    skills, mapping = (parts[name] for name in _PARTS)
    if not isinstance(skills, SkillPolicy):
        raise ValueError("the skills are no networks of skills")
    # It checks that the mapping sees what the skills see, and gives their z.
    return TransferredPolicy(skills, mapping, hold, of_file(description.get("environment"), n_tasks=1))
