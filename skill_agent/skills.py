"""Trained skills as one safetensors file, which can't run code: arrays, and JSON in its header.

The header's metadata has two strings: "skill_embed", the JSON of what the networks are, and "sha256", of that JSON
and of all arrays. Print the JSON with ``safetensors.safe_open(path, "np").metadata()["skill_embed"]``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from safetensors import SafetensorError
from stable_baselines3.common.policies import BasePolicy
from torch import nn

import skill_envs
from skill_agent.config import SkillConfig
from skill_agent.divergence import check_parameters
from skill_agent.files import write_whole
from skill_agent.mappings import MlpMapping, describe_mlp, mlp_mapping, revive_mlp
from skill_agent.policy import SkillPolicy
from skill_agent.transfer import TransferredPolicy

FORMAT = 1
SUFFIX = ".safetensors"
TRAINED = Path(__file__).resolve().parent / "trained"
ACTIVATIONS: dict[str, type[nn.Module]] = {
    cls.__name__: cls for cls in (nn.ELU, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.SiLU, nn.GELU, nn.Sigmoid)
}
_ACTING = ("state_", "embedding.", "actor.", "inference.")
_PARTS = ("skills", "mapping")  # of a transferred policy
_WRONG = (KeyError, TypeError, AttributeError, ValueError, RuntimeError)  # what a wrong description can lead to
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
    parts = {name: _describe_part(getattr(policy, name)) for name in _PARTS}
    description = {"hold": policy.hold, **{name: described for name, (described, _) in parts.items()}}
    arrays = {f"{name}/{key}": array for name, (_, found) in parts.items() for key, array in found.items()}
    return _write(Path(path), description, arrays, force)


def load_skills(path: Path | str, device: torch.device | str = "cpu") -> SkillPolicy:
    """The policy of a file written by `export_skills`, ready for ``predict``.

    It acts and infers; it has no optimiser, and critics only if they were exported.

    Args:
        path: the file, or the name of skills that come with the package; see `shipped`.
        device: where the networks go.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a file of skills, or is damaged, or of a newer format; the message says what is wrong.
    """
    path = _find(path, "skills")
    description, arrays = _read(path)
    try:
        return _revive(description, arrays).to(device)
    except _WRONG as error:
        raise ValueError(f"{path} does not describe its skills rightly: {error!r}") from error


def load_policy(path: Path | str, device: torch.device | str = "cpu") -> TransferredPolicy:
    """The transferred policy of a file written by `export_policy`; arguments and errors as of `load_skills`."""
    path = _find(path, "policy")
    description, arrays = _read(path)
    try:
        skills, mapping = (
            _revive_part(
                description[name],
                {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")},
            ).to(device)
            for name in _PARTS
        )
        return TransferredPolicy(skills, mapping, description["hold"])  # type: ignore[arg-type]
    except _WRONG as error:
        raise ValueError(f"{path} does not describe a transferred policy rightly: {error!r}") from error


def shipped(kind: str) -> list[str]:
    """Names of the "skills" or the transferred policies ("policy") that come with the package."""
    return sorted(path.name.removesuffix(f"-{kind}{SUFFIX}") for path in TRAINED.glob(f"*-{kind}{SUFFIX}"))


def _find(path: Path | str, kind: str) -> Path:
    """The file of a name or a path."""
    if isinstance(path, str) and path in shipped(kind):
        return TRAINED / f"{path}-{kind}{SUFFIX}"
    if not Path(path).exists():
        raise FileNotFoundError(f"{path} is neither a file nor one of the names {shipped(kind)}")
    return Path(path)


def _describe_part(part: BasePolicy) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What the skills or the mapping of a transferred policy are, and their arrays."""
    if isinstance(part, SkillPolicy):
        return _describe(part, critics=False)
    mapping = mlp_mapping(part)
    check_parameters(mapping)
    return describe_mlp(mapping, ACTIVATIONS)


def _revive_part(description: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> SkillPolicy | MlpMapping:
    """The networks that `_describe_part` described; those that SB3's own algorithms learned say their kind."""
    if "kind" in description:
        return revive_mlp(description, arrays, ACTIVATIONS)
    return _revive(description, arrays)


def _describe(policy: SkillPolicy, critics: bool) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
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


def _write(path: Path, description: dict[str, Any], arrays: dict[str, NDArray[Any]], force: bool) -> Path:
    path = path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; choose another path, or force=True to replace it")
    versions = {"skill-embed": skill_envs.__version__, "torch": torch.__version__}
    text = json.dumps({"format": FORMAT, "versions": versions, **description})
    metadata = {"skill_embed": text, "sha256": _digest(text, arrays)}
    write_whole(path, safetensors.numpy.save(arrays, metadata))
    return path


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The verified content of a file."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    if set(metadata) != {"skill_embed", "sha256"}:
        raise ValueError(f"{path} has no skills: its metadata are {sorted(metadata)}, not ['sha256', 'skill_embed']")
    text = metadata["skill_embed"]
    if (digest := _digest(text, arrays)) != metadata["sha256"]:
        raise ValueError(f"{path} is damaged: its SHA-256 is {digest}, its header says {metadata['sha256']}")
    try:
        description: dict[str, Any] = json.loads(text)
        if description["format"] != FORMAT:
            raise ValueError(f"format={description['format']!r} is not valid; this version reads {FORMAT}")
    except _WRONG as error:
        raise ValueError(f"{path} does not describe its skills rightly: {error!r}") from error
    return description, arrays


def _revive(description: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> SkillPolicy:
    """The networks that `_describe` described."""
    policy = _build(description, [arrays.pop(name) for name in _BOUNDS])
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    missing, unexpected = policy.load_state_dict(state, strict=False, assign=True)
    missing = [name for name in missing if description["critics"] or name.startswith(_ACTING)]
    if missing or unexpected:
        raise ValueError(f"arrays {missing} are missing, {unexpected} unknown")
    del policy.optimizer
    if not description["critics"]:
        del policy.critics, policy.critics_target
    policy.set_training_mode(False)
    return policy


def _build(description: dict[str, Any], bounds: list[NDArray[Any]]) -> SkillPolicy:
    name = description["activation"]
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name!r} is not valid; choose from {list(ACTIVATIONS)}")
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in description["config"].items()}
    box, action = (spaces.Box(low, high, dtype=low.dtype.type) for low, high in (bounds[:2], bounds[2:]))
    space: spaces.Space[Any] = box
    if description["task_in_observation"]:
        space = spaces.Dict(observation=box, task=spaces.Discrete(description["n_tasks"]))
    with torch.device("meta"):  # shapes alone: the file's arrays take the place of these, and must have these shapes
        return SkillPolicy(
            space,
            action,
            lambda _: 0.0,
            config=SkillConfig(**settings),
            net_arch=description["net_arch"],
            activation_fn=ACTIVATIONS[name],
        )


def _digest(text: str, arrays: dict[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
