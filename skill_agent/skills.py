"""Trained skills as one safetensors file, which can't run code: arrays, and JSON in its header.

The header's metadata has two strings: "skill_embed", the JSON of what the networks are, and "sha256", of that JSON
and of all arrays. Print the JSON with ``safetensors.safe_open(path, "np").metadata()["skill_embed"]``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.utils import get_device
from torch import nn

import skill_envs
from skill_agent import arguments, hub, limits, origin, tensorfile
from skill_agent.config import SkillConfig
from skill_agent.divergence import check_parameters
from skill_agent.files import write_whole
from skill_agent.formats import FORMAT, check_format, config_of
from skill_agent.policy import NET_ARCH, SkillPolicy
from skill_agent.tensorfile import Arrays, SkillsFileError, brief
from skill_envs import checks

SUFFIX = ".safetensors"
TRAINED = Path(__file__).resolve().parent / "trained"
_SHIPPED_FOR = {
    "lwall-skills.safetensors": "SkillEmbed/LWallPretrain-v0",
    "pointmass-skills.safetensors": "SkillEmbed/PointMassDuplicate-v0",
    "railpush-skills.safetensors": "SkillEmbed/RailPushPretrain-v0",
    "springwall-skills.safetensors": "SkillEmbed/SpringWallPretrain-v0",
    "lwall-policy.safetensors": "SkillEmbed/LWall-v0",
    "pointmass-policy.safetensors": "SkillEmbed/PointMassCorner-v0",
    "railpush-policy.safetensors": "SkillEmbed/RailPush-v0",
    "springwall-policy.safetensors": "SkillEmbed/SpringWall-v0",
}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    cls.__name__: cls for cls in (nn.ELU, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.SiLU, nn.GELU, nn.Sigmoid)
}
_ACTING = ("state_", "embedding.", "actor.", "inference.", "transition.")
_BOUNDS = ("observation_low", "observation_high", "action_low", "action_high")
_TASK_BOUNDS = ("task_low", "task_high")  # where tasks have parameters
Remake = Callable[[dict[str, Any], Arrays], Any]  # makes networks of a description and its arrays
# What a wrong description leads to; `load_skills` and `load_policy` make one error of them.
WRONG = (KeyError, TypeError, ValueError, RuntimeError, OverflowError)


def export_skills(policy: SkillPolicy, path: Path | str, *, critics: bool = False, force: bool = False) -> Path:
    """Write embedding, policy and inference network to one file, for `load_skills`.

    Args:
        policy: trained networks.
        path: the file; ".safetensors" is added where it is missing.
        critics: write the critics too.
        force: replace the file if it exists.

    Returns:
        The file.

    Raises:
        FileExistsError: the file exists and ``force`` is not given.
        TrainingDiverged: a parameter is not finite.
        ValueError: an activation that a file can't name, or networks beyond the limits of a file.
    """
    description, arrays = describe(policy, critics)
    return write(Path(path), description, arrays, force, _skills_of)


def check_exportable(policy: SkillPolicy) -> None:
    """Check that `export_skills` can write these networks, before they are trained.

    Raises:
        TrainingDiverged: a parameter is not finite.
        ValueError: an activation that a file can't name, or networks beyond the limits of a file.
    """
    _pack(*describe(policy, critics=False), _skills_of)


def load_skills(path: Path | str, device: torch.device | str = "cpu") -> SkillPolicy:
    """The policy of a file written by `export_skills`, ready for ``predict``.

    It acts and infers; it has no optimiser, and critics only if they were exported.

    Args:
        path: the file; or the name of skills that come with the package, see `shipped`; or "hf:owner/name" or
            "hf:owner/name@revision", a repository of the Hugging Face Hub, which needs the extra ``hub``.
        device: where the networks go; "auto" as in SB3.

    Raises:
        FileNotFoundError: there is no such file.
        SkillsFileError: it is not a file of skills, or is damaged, of a newer format, or beyond the limits; the message
            says what is wrong.
        ValueError: no such device.
    """
    target = device_of(device)
    path = find(path, "skills")
    description, arrays = tensorfile.read(path)
    try:
        policy = _skills_of(description, arrays)
    except WRONG as error:
        raise SkillsFileError(f"{path} does not describe its skills rightly: {brief(error)}") from error
    policy.origin = policy.origin or shipped_origin(path)
    return policy.to(target)


def shipped(kind: str) -> list[str]:
    """Names of the "skills" or the transferred policies ("policy") that come with the package."""
    return sorted(path.name.removesuffix(f"-{kind}{SUFFIX}") for path in TRAINED.glob(f"*-{kind}{SUFFIX}"))


def shipped_origin(path: Path) -> origin.Origin | None:
    """The origin of a file that comes with the package; those of 0.1.0 don't say it themselves."""
    env_id = _SHIPPED_FOR.get(path.name) if path.parent == TRAINED else None
    return None if env_id is None else origin.origin_of(env_id)


def device_of(device: torch.device | str) -> torch.device:
    """The device of a name, if this machine has it."""
    try:
        # SB3's get_device would take "cuda" and give the CPU where there is none.
        found = get_device("auto") if device == "auto" else torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ValueError(f"device={device!r} is not valid here ({reason}); choose 'cpu' or 'auto'") from error
    if found.type == "meta":
        raise ValueError(f"device={device!r} is not valid: it holds no numbers; choose 'cpu' or 'auto'")
    return found


def find(path: Path | str, kind: str) -> Path:
    """The file of a name, of a name on the Hub, or of a path."""
    arguments.path("path", path)
    if hub.is_name(path):
        return hub.download(str(path), kind)
    if isinstance(path, str) and path in shipped(kind):
        return TRAINED / f"{path}-{kind}{SUFFIX}"
    if not Path(path).exists():
        names = shipped(kind)
        meant = checks.did_you_mean(str(path), names)
        raise FileNotFoundError(f"{path} is neither a file nor one of the names {names}{meant}")
    return Path(path)


def describe(policy: SkillPolicy, critics: bool) -> tuple[dict[str, Any], Arrays]:
    """What the networks are, and their arrays."""
    check_parameters(policy)
    activation = policy.activation_fn.__name__
    if ACTIVATIONS.get(activation) is not policy.activation_fn:
        raise ValueError(f"activation_fn={activation} can't be exported; choose from {list(ACTIVATIONS)}")
    description = {
        "config": asdict(policy.config),
        "net_arch": policy.net_arch,
        "activation": activation,
        "n_tasks": policy.n_tasks,
        "task_in_observation": isinstance(policy.observation_space, spaces.Dict),
        "critics": critics,
    }
    if policy.origin is not None:
        description["environment"] = policy.origin.describe()
    state = policy.state_dict()
    arrays = {name: v.numpy(force=True) for name, v in state.items() if critics or name.startswith(_ACTING)}
    box, action = policy.box, policy.action_space
    arrays.update(zip(_BOUNDS, (box.low, box.high, action.low, action.high), strict=True))
    if isinstance(policy.task_space, spaces.Box):
        description["task_parameters"] = True  # files of other skills are as they were
        arrays.update(zip(_TASK_BOUNDS, (policy.task_space.low, policy.task_space.high), strict=True))
    return description, {name: array.copy(order="C") for name, array in arrays.items()}


def write(path: Path, description: dict[str, Any], arrays: Arrays, force: bool, remake: Remake) -> Path:
    """Write a file that can be loaded, by ``remake``; see `export_skills`."""
    path = path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
    # Links that lead nowhere are somebody's as well.
    if os.path.lexists(path) and not force:
        raise FileExistsError(f"{path} exists; choose another path, or force=True to replace it")
    write_whole(path, _pack(description, arrays, remake))
    return path


def _pack(description: dict[str, Any], arrays: Arrays, remake: Remake) -> bytes:
    """The bytes of a file that can be loaded."""
    versions = {"skill-embed": skill_envs.__version__, "torch": torch.__version__}
    data = tensorfile.pack({"format": FORMAT, "versions": versions, **description}, arrays)
    # Otherwise it would be found out when the networks are gone.
    try:
        remake(*tensorfile.unpack(data))
    except WRONG as error:
        raise ValueError(f"these networks can't be exported: {brief(error)}") from error
    return data


# From a description that a stranger may have written ----------------------------------------------
# These raise any of WRONG.


def _skills_of(description: dict[str, Any], arrays: Arrays) -> SkillPolicy:
    """The skills of a whole file."""
    check_format(description.get("format"))
    return revive(description, arrays)


def revive(description: dict[str, Any], arrays: Arrays) -> SkillPolicy:
    """The networks that `describe` described."""
    critics = checks.boolean("critics", description["critics"])
    names: tuple[str, ...] = _BOUNDS
    if checks.boolean("task_parameters", description.get("task_parameters", False)):
        names += _TASK_BOUNDS
    policy = _build(description, [arrays.pop(name) for name in names])
    expected = {n: v.shape for n, v in policy.state_dict().items() if critics or n.startswith(_ACTING)}
    limits.check_arrays(arrays, expected)
    policy.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()}, strict=False, assign=True)
    del policy.optimizer
    if not critics:
        del policy.critics, policy.critics_target
    policy.set_training_mode(False)
    policy.origin = origin.of_file(description.get("environment"), policy.n_tasks)
    return policy


def _build(description: dict[str, Any], bounds: list[Any]) -> SkillPolicy:
    """Networks without numbers: their shapes alone, which those of the file must have."""
    kept = description["config"]
    if not isinstance(kept, dict):
        raise ValueError(f"config={kept!r} is not valid; it holds the settings by name")
    config = config_of(kept)
    limits.check_settings(config)
    arch = description["net_arch"]
    if not isinstance(arch, dict) or arch.keys() != NET_ARCH.keys():
        raise ValueError(f"net_arch={arch!r} is not valid; its keys are {list(NET_ARCH)}")
    for name, widths in arch.items():
        limits.check_widths(name, widths)
    activation = description["activation"]
    checks.one_of("activation", activation, list(ACTIVATIONS))
    observations, actions = _spaces(description, config, bounds)
    with torch.device("meta"):
        policy = SkillPolicy(
            observations,
            actions,
            lambda _: 0.0,
            config=config,
            net_arch=arch,
            activation_fn=ACTIVATIONS[activation],
        )
    # Critics count although the file may have none: a model that learns on from the skills makes them.
    total = sum(value.numel() for value in policy.state_dict().values())
    if total > limits.MAX_PARAMETERS:
        raise ValueError(f"its networks have {total:,} parameters; at most {limits.MAX_PARAMETERS:,} are read")
    return policy


def _spaces(
    description: dict[str, Any], config: SkillConfig, bounds: list[Any]
) -> tuple[spaces.Space[Any], spaces.Box]:
    """The observation and action space of a description and its arrays of bounds, those of parameters last."""
    box = limits.box_of("observation", bounds[0], bounds[1], limits.MAX_STATE)
    action = limits.box_of("action", bounds[2], bounds[3], limits.MAX_ACTION)
    limits.check_actions(action)
    n_tasks = limits.check_tasks(description["n_tasks"], config)
    if len(bounds) > len(_BOUNDS):
        task = limits.box_of("task", bounds[4], bounds[5], limits.MAX_PARAMETERS_OF_A_TASK)
        return spaces.Dict(observation=box, task=task), action
    if checks.boolean("task_in_observation", description["task_in_observation"]):
        return spaces.Dict(observation=box, task=spaces.Discrete(n_tasks)), action
    if n_tasks != 1:
        raise ValueError(f"n_tasks={n_tasks} is not valid without a task in the observation; choose 1")
    return box, action
