"""Trained skills as one safetensors file, which can't run code: arrays, and JSON in its header.

The header's metadata has two strings: "skill_embed", the JSON of what the networks are, and "sha256", of that JSON
and of all arrays. Print the JSON with ``safetensors.safe_open(path, "np").metadata()["skill_embed"]``.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import get_device
from torch import nn

import skill_envs
from skill_agent import arguments, tensorfile
from skill_agent.divergence import check_parameters
from skill_agent.files import write_whole
from skill_agent.formats import FORMAT, check_format, config_of
from skill_agent.mappings import MlpMapping, describe_mlp, mlp_mapping, revive_mlp
from skill_agent.policy import NET_ARCH, SkillPolicy
from skill_agent.tensorfile import Arrays, SkillsFileError
from skill_agent.transfer import TransferredPolicy
from skill_envs import checks

SUFFIX = ".safetensors"
TRAINED = Path(__file__).resolve().parent / "trained"
ACTIVATIONS: dict[str, type[nn.Module]] = {
    cls.__name__: cls for cls in (nn.ELU, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.SiLU, nn.GELU, nn.Sigmoid)
}
# The largest networks that a file may describe: sizes are checked before anything is made of them.
MAX_TASKS, MAX_DIM, MAX_SEGMENT, MAX_CRITICS = 4096, 1024, 1024, 16
_ACTING = ("state_", "embedding.", "actor.", "inference.")
_PARTS = ("skills", "mapping")  # of a transferred policy
_BOUNDS = ("observation_low", "observation_high", "action_low", "action_high")


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
        ValueError: an activation that a file can't name.
    """
    return _write(Path(path), *_describe(policy, critics), force)


def export_policy(policy: TransferredPolicy, path: Path | str, *, force: bool = False) -> Path:
    """Write skills and the mapping learned on top of them to one file, for `load_policy`; as `export_skills`.

    The mapping may be a `SkillPolicy`, or the ``MlpPolicy`` of SB3's SAC, TD3, DDPG, PPO or A2C.

    Raises:
        FileExistsError: the file exists and ``force`` is not given.
        TrainingDiverged: a parameter is not finite.
        TypeError: a mapping of another class, or with parts that a file can't hold.
        ValueError: an activation that a file can't name.
    """
    description: dict[str, Any] = {"hold": policy.hold}
    arrays: Arrays = {}
    for name in _PARTS:
        description[name], found = _describe_part(getattr(policy, name))
        arrays |= {f"{name}/{key}": array for key, array in found.items()}
    return _write(Path(path), description, arrays, force)


def load_skills(path: Path | str, device: torch.device | str = "cpu") -> SkillPolicy:
    """The policy of a file written by `export_skills`, ready for ``predict``.

    It acts and infers; it has no optimiser, and critics only if they were exported.

    Args:
        path: the file, or the name of skills that come with the package; see `shipped`.
        device: where the networks go; "auto" as in SB3.

    Raises:
        FileNotFoundError: there is no such file.
        SkillsFileError: it is not a file of skills, or is damaged, of a newer format, or beyond the limits; the message
            says what is wrong.
        ValueError: no such device.
    """
    target = _device(device)
    path = _find(path, "skills")
    description, arrays = tensorfile.read(path)
    try:
        check_format(description.get("format"))
        policy = _revive(description, arrays)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SkillsFileError(f"{path} does not describe its skills rightly: {error!r}") from error
    return policy.to(target)


def load_policy(path: Path | str, device: torch.device | str = "cpu") -> TransferredPolicy:
    """The transferred policy of a file written by `export_policy`; arguments and errors as of `load_skills`."""
    target = _device(device)
    path = _find(path, "policy")
    description, arrays = tensorfile.read(path)
    try:
        check_format(description.get("format"))
        parts = {}
        for name in _PARTS:
            start = f"{name}/"
            found = {key.removeprefix(start): arrays.pop(key) for key in list(arrays) if key.startswith(start)}
            parts[name] = _revive_part(description[name], found)
        if arrays:
            raise ValueError(f"arrays {sorted(arrays)} are unknown")
        skills, mapping = (parts[name].to(target) for name in _PARTS)
        hold = checks.integer("hold", description["hold"], 1, arguments.LONGEST_HOLD)
        if not isinstance(skills, SkillPolicy):
            raise ValueError("the skills are no networks of skills")
        _check_fit(skills, mapping)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SkillsFileError(f"{path} does not describe a transferred policy rightly: {error!r}") from error
    return TransferredPolicy(skills, mapping, hold)


def shipped(kind: str) -> list[str]:
    """Names of the "skills" or the transferred policies ("policy") that come with the package."""
    return sorted(path.name.removesuffix(f"-{kind}{SUFFIX}") for path in TRAINED.glob(f"*-{kind}{SUFFIX}"))


def _device(device: torch.device | str) -> torch.device:
    """The device of a name, if this machine has it."""
    try:
        found = get_device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ValueError(f"device={device!r} is not valid here ({reason}); choose 'cpu' or 'auto'") from error
    return found


def _find(path: Path | str, kind: str) -> Path:
    """The file of a name or a path."""
    arguments.path("path", path)
    if isinstance(path, str) and path in shipped(kind):
        return TRAINED / f"{path}-{kind}{SUFFIX}"
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} is neither a file nor one of the names {shipped(kind)}")
    return Path(path)


def _describe_part(part: BasePolicy) -> tuple[dict[str, Any], Arrays]:
    """What the skills or the mapping of a transferred policy are, and their arrays."""
    if isinstance(part, SkillPolicy):
        return _describe(part, critics=False)
    mapping = mlp_mapping(part)
    check_parameters(mapping)
    return describe_mlp(mapping, ACTIVATIONS)


def _revive_part(description: dict[str, Any], arrays: Arrays) -> SkillPolicy | MlpMapping:
    """The networks that `_describe_part` described; those that SB3's own algorithms learned say their kind."""
    if "kind" in description:
        _check_widths("net_arch", description["net_arch"])
        return revive_mlp(description, arrays, ACTIVATIONS)
    return _revive(description, arrays)


def _describe(policy: SkillPolicy, critics: bool) -> tuple[dict[str, Any], Arrays]:
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
    state = policy.state_dict()
    arrays = {name: v.numpy(force=True) for name, v in state.items() if critics or name.startswith(_ACTING)}
    box, action = policy.box, policy.action_space
    arrays.update(zip(_BOUNDS, (box.low, box.high, action.low, action.high), strict=True))
    return description, {name: array.copy(order="C") for name, array in arrays.items()}


def _write(path: Path, description: dict[str, Any], arrays: Arrays, force: bool) -> Path:
    path = path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; choose another path, or force=True to replace it")
    versions = {"skill-embed": skill_envs.__version__, "torch": torch.__version__}
    write_whole(path, tensorfile.pack({"format": FORMAT, "versions": versions, **description}, arrays))
    return path


# From a description that a stranger may have written ----------------------------------------------


def _revive(description: dict[str, Any], arrays: Arrays) -> SkillPolicy:
    """The networks that `_describe` described.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: what the description says can't be, or does not fit the arrays.
    """
    critics = checks.boolean("critics", description["critics"])
    policy = _build(description, _spaces(description, [arrays.pop(name) for name in _BOUNDS]))
    expected = {n: v.shape for n, v in policy.state_dict().items() if critics or n.startswith(_ACTING)}
    if arrays.keys() != expected.keys():
        missing, unknown = sorted(expected.keys() - arrays.keys()), sorted(arrays.keys() - expected.keys())
        raise ValueError(f"arrays {missing} are missing, {unknown} unknown")
    for name, array in arrays.items():
        if array.shape != tuple(expected[name]) or array.dtype != np.float32:
            raise ValueError(
                f"{name} is {array.shape} {array.dtype}; the networks need {tuple(expected[name])} float32"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has entries that are not finite")
    policy.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()}, strict=False, assign=True)
    del policy.optimizer
    if not critics:
        del policy.critics, policy.critics_target
    policy.set_training_mode(False)
    return policy


def _spaces(description: dict[str, Any], bounds: list[NDArray[Any]]) -> tuple[spaces.Space[Any], spaces.Box]:
    """The observation and action space of a description and its arrays of bounds."""
    boxes: list[Any] = []
    ends: tuple[tuple[str, NDArray[Any], NDArray[Any]], ...]
    ends = (("observation", bounds[0], bounds[1]), ("action", bounds[2], bounds[3]))
    for name, low, high in ends:
        if low.shape != high.shape or low.dtype != high.dtype or not low.size:
            raise ValueError(f"the bounds of the {name} are {low.shape} {low.dtype} and {high.shape} {high.dtype}")
        if not (low <= high).all():  # which NaN isn't
            raise ValueError(f"the lower bounds of the {name} are not below the upper ones")
        boxes.append(spaces.Box(low, high, dtype=low.dtype.type))
    box, action = boxes
    if not (np.isfinite(action.low).all() and np.isfinite(action.high).all()):
        raise ValueError("the bounds of the action are not finite")
    n_tasks = checks.integer("n_tasks", description["n_tasks"], 1, MAX_TASKS)
    if checks.boolean("task_in_observation", description["task_in_observation"]):
        return spaces.Dict(observation=box, task=spaces.Discrete(n_tasks)), action
    if n_tasks != 1:
        raise ValueError(f"n_tasks={n_tasks} is not valid without a task in the observation; choose 1")
    return box, action


def _build(description: dict[str, Any], of: tuple[spaces.Space[Any], spaces.Box]) -> SkillPolicy:
    """Networks without numbers: their shapes alone, which those of the file must have."""
    kept = description["config"]
    if not isinstance(kept, dict):
        raise ValueError(f"config={kept!r} is not valid; it holds the settings by name")
    config = config_of(kept)
    sizes = (("embedding_dim", MAX_DIM), ("segment", MAX_SEGMENT), ("n_critics", MAX_CRITICS))
    for name, most in sizes:
        checks.integer(name, getattr(config, name), 1, most)
    arch = description["net_arch"]
    if not isinstance(arch, dict) or arch.keys() != NET_ARCH.keys():
        raise ValueError(f"net_arch={arch!r} is not valid; its keys are {list(NET_ARCH)}")
    for name, widths in arch.items():
        _check_widths(f"net_arch of {name}", widths)
    activation = description["activation"]
    checks.one_of("activation", activation, list(ACTIVATIONS))
    with torch.device("meta"):
        return SkillPolicy(*of, lambda _: 0.0, config=config, net_arch=arch, activation_fn=ACTIVATIONS[activation])


def _check_widths(name: str, widths: Any) -> None:
    if not isinstance(widths, list) or len(widths) > arguments.DEEPEST:
        raise ValueError(f"{name} is not valid; choose at most {arguments.DEEPEST} layers")
    for width in widths:
        checks.integer(f"a width in {name}", width, 1, arguments.WIDEST)


def _check_fit(skills: SkillPolicy, mapping: SkillPolicy | MlpMapping) -> None:
    """A mapping must see what the skills see, and give their z."""
    if mapping.observation_space.shape != skills.box.shape:
        raise ValueError(f"the mapping sees {mapping.observation_space}, the skills {skills.box.shape}")
    if mapping.action_space.shape != (skills.embedding_distribution.dim,):
        raise ValueError(f"the mapping gives {mapping.action_space.shape}, z is ({skills.embedding_distribution.dim},)")
