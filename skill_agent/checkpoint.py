"""Checkpoints from which a training goes on bit-identically. They hold arrays and JSON, and no code."""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.numpy
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from skill_agent import arguments, manifest, snapshot, verify
from skill_agent.divergence import check_parameters
from skill_agent.files import sync_folder, write_synced
from skill_agent.formats import config_of, settings_of
from skill_agent.manifest import CheckpointError, NewerFormatError
from skill_envs import checks, saved

if TYPE_CHECKING:
    from skill_agent.agent import SkillEmbedding

_KEEP = arguments.optional(arguments.one_or_more)
_PREFIX, _TEMPORARY = "step-", ".tmp-"

__all__ = [
    "CheckpointError",
    "RunCheckpoint",
    "list_checkpoints",
    "load_checkpoint",
    "load_latest",
    "save_checkpoint",
]


# Folders ------------------------------------------------------------------------------------------


def save_checkpoint(
    model: SkillEmbedding, folder: Path | str, *, extra: dict[str, Any] | None = None, keep: int | None = None
) -> Path:
    """Write ``folder/step-<num_timesteps>``, complete or not at all.

    Exactness needs the state between two rounds of collection and updates: before or after
    ``learn``, or at the start of a rollout, as in `RunCheckpoint`.

    Args:
        model: what to save. Environments outside the suite are saved where they can give and take their state, see
            `skill_agent.env_states`; without, a training that is resumed begins new episodes.
        folder: folder of all checkpoints of a training.
        extra: anything JSON can hold; `load_checkpoint` returns it.
        keep: remove all but the last ``keep`` checkpoints once the new one is in place; None keeps all.

    Returns:
        The new checkpoint.

    Raises:
        FileExistsError: there is a good checkpoint of this step already.
        TrainingDiverged: a parameter is not finite.
        TypeError: ``extra`` is not JSON, or the environments' state can't be saved.
        ValueError: ``folder`` is no path, or ``keep`` is neither None nor an integer of at least one.
    """
    arguments.path("folder", folder)
    keep = _KEEP("keep", keep)
    check_parameters(model.policy)
    arrays: dict[str, NDArray[Any]] = {}
    state = snapshot.split(
        {"settings": snapshot.settings(model), "model": snapshot.state(model), "extra": extra}, "", arrays
    )
    files = {manifest.ARRAYS: safetensors.numpy.save(arrays), manifest.STATE: json.dumps(state).encode()}

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    target = folder / f"{_PREFIX}{model.num_timesteps:09d}"
    if target.exists():
        if _is_good(target):
            raise FileExistsError(f"{target} exists; choose another folder")
        _remove(target)
    temporary = folder / f"{_TEMPORARY}{target.name}"
    temporary.mkdir()
    for name, data in files.items():
        write_synced(temporary / name, data)
    write_synced(temporary / manifest.MANIFEST, json.dumps(manifest.describe(files)).encode())
    sync_folder(temporary)
    os.rename(temporary, target)
    sync_folder(folder)
    if keep is not None:
        for old in list_checkpoints(folder)[:-keep]:
            _remove(old)
    return target


def load_checkpoint(model: SkillEmbedding, checkpoint: Path | str) -> Any:
    """Put a freshly made model into the state that was saved; all is verified before anything is changed.

    Go on with ``model.learn(steps, reset_num_timesteps=False)``. The global random states of
    Python, NumPy and PyTorch are set as well.

    Args:
        model: made with the arguments of the saved one.
        checkpoint: a folder that `save_checkpoint` wrote.

    Returns:
        The ``extra`` of `save_checkpoint`.

    Raises:
        CheckpointError: a file is missing, truncated or altered, an entry does not fit the model, or the model has
            other settings. The message names the file and the entry; nothing has been changed.

    Warns:
        UserWarning: the model computes in another way, for example in bfloat16, or the environments' state was not
            saved, as of workers, so that new episodes begin; the rest is not bit-identical then.
    """
    arguments.path("checkpoint", checkpoint)
    return _apply(model, Path(checkpoint), manifest.read(Path(checkpoint)))


def load_latest(model: SkillEmbedding, folder: Path | str) -> tuple[Path, Any] | None:
    """Load the newest good checkpoint of a folder, and warn of every damaged one that is newer.

    Returns:
        The checkpoint and its ``extra``; None if the folder has no checkpoints at all.

    Raises:
        CheckpointError: there are checkpoints, but no good one; or the newest good one does not fit the model, or is
            of a later version; see `load_checkpoint`.
    """
    arguments.path("folder", folder)
    checkpoints = list_checkpoints(Path(folder))
    errors = []
    for checkpoint in reversed(checkpoints):
        try:
            state = manifest.read(checkpoint)
        except NewerFormatError:
            # Going on from the one before it would train again what is there.
            raise
        except CheckpointError as error:
            warnings.warn(f"{error}; trying the checkpoint before it", stacklevel=2)
            errors.append(str(error))
        else:
            return checkpoint, _apply(model, checkpoint, state)
    if errors:
        raise CheckpointError(f"{folder} has no good checkpoint: {'; '.join(errors)}")
    return None


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first; whether they are good is not checked."""
    found = [p for p in folder.glob(f"{_PREFIX}*") if p.name.removeprefix(_PREFIX).isdigit()]
    return sorted(found, key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(_PREFIX))


def _apply(model: SkillEmbedding, checkpoint: Path, state: dict[str, Any]) -> Any:
    """Check all of a state against the model, and only then let the model have it."""
    present = json.loads(json.dumps(snapshot.settings(model)))  # tuples to lists
    try:
        kept = _settings(state["settings"])
    except ValueError as error:
        raise CheckpointError(f"{checkpoint / manifest.STATE}: settings/{error}") from error
    present["config"] = settings_of(present["config"])
    differing = _differences(kept, present)
    others = {path: pair for path, pair in differing.items() if path not in snapshot.HOW}
    if others:
        raise CheckpointError(f"{checkpoint / manifest.STATE} is of a model with other settings: {_pairs(others)}")
    other_device = "device" in differing
    try:
        with saved.within("model"):
            verify.check(model, state["model"], other_device)
    except saved.ArrayError as error:
        raise CheckpointError(f"{checkpoint / manifest.ARRAYS} does not fit this model: {error}") from error
    except ValueError as error:
        raise CheckpointError(f"{checkpoint / manifest.STATE} does not fit this model: {error}") from error
    if differing:
        warnings.warn(
            f"{checkpoint} was computed in another way ({_pairs(differing)}); "
            "the training goes on, and is no longer bit-identical",
            stacklevel=3,
        )
    try:
        goes_on = snapshot.set_state(model, state["model"], other_device)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint} does not fit this model's environments: {error}") from error
    if model.config.n_workers:
        warnings.warn(
            f"{checkpoint} has no state of the workers' environments; the training goes on with new episodes, and is "
            "not bit-identical",
            stacklevel=3,
        )
    elif not goes_on:
        warnings.warn(
            f"{checkpoint} has no state of the environments, which have no state() and set_state(); the training goes "
            "on with new episodes, and is not bit-identical",
            stacklevel=3,
        )
    return state["extra"]


def _settings(kept: Any) -> dict[str, Any]:
    """A checkpoint's settings by today's names.

    Raises:
        ValueError: it has none, or unknown or invalid ones.
    """
    if not isinstance(kept, dict) or not isinstance(kept.get("config"), dict):
        raise ValueError(f"config is not in {kept!r:.80}")
    config_of(kept["config"])
    if not isinstance(kept.get("device", ""), str):
        raise ValueError(f"device is {kept['device']!r:.80}; it has to be a name")
    checks.integer("torch_threads", kept.get("torch_threads", 1), 1)
    return {**kept, "config": settings_of(kept["config"])}


def _differences(kept: dict[str, Any], present: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """What differs, by its path such as config.window: the saved and the present value."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted({*kept, *present}):
        path, old, new = f"{prefix}{name}", kept.get(name), present.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found |= _differences(old, new, f"{path}.")
        elif old != new and (name in kept or path not in snapshot.HOW):
            found[path] = (old, new)
    return found


def _pairs(differing: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{path}: {old!r:.80} saved, {new!r:.80} here" for path, (old, new) in differing.items())


def _is_good(checkpoint: Path) -> bool:
    """Whether a checkpoint is whole; this version need not be able to read it."""
    try:
        manifest.read(checkpoint)
    except NewerFormatError:
        return True
    except CheckpointError:
        return False
    return True


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint; killed on the way, it leaves a leftover and never half a checkpoint."""
    temporary = checkpoint.with_name(f"{_TEMPORARY}old-{checkpoint.name}")
    os.rename(checkpoint, temporary)
    shutil.rmtree(temporary)


def _remove_leftovers(folder: Path) -> None:
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(leftover)


class RunCheckpoint(BaseCallback):
    """Saves a checkpoint now and then while a model learns, and when it has learned.

    It saves between the updates and the next collection, where a resumed training goes on
    bit-identically. Give it to ``learn`` before callbacks that act at the end of training and
    whose state is in ``extra``.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        every_seconds: float | None = None,
        every_steps: int | None = None,
        keep: int | None = 3,
        extra: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        """Save into ``folder``.

        Args:
            folder: folder of this training's checkpoints.
            every_seconds: the least time between two of them [s]; give this or ``every_steps``.
            every_steps: the least number of steps, over all environments, between two of them.
            keep: how many are kept; None for all.
            extra: gives what is saved along; see `save_checkpoint`.

        Raises:
            ValueError: none or both of ``every_seconds`` and ``every_steps`` are given, or an invalid value.
        """
        super().__init__()
        arguments.path("folder", folder)
        keep = _KEEP("keep", keep)
        if every_seconds is not None:
            every_seconds = checks.number("every_seconds", every_seconds, 0)
        if every_steps is not None:
            every_steps = checks.integer("every_steps", every_steps, 1, arguments.MOST_STEPS)
        if extra is not None:
            arguments.function("extra", extra)
        if (every_seconds is None) == (every_steps is None):
            raise ValueError(f"every_seconds={every_seconds}, every_steps={every_steps} is not valid; give one of them")
        self.folder, self.keep = Path(folder), keep
        self._every_seconds, self._every_steps, self._extra = every_seconds, every_steps, extra

    def _on_training_start(self) -> None:
        _remove_leftovers(self.folder)
        for checkpoint in list_checkpoints(self.folder):
            if _step(checkpoint) > self.model.num_timesteps:
                if _is_good(checkpoint):
                    raise FileExistsError(
                        f"{checkpoint} is of a later step than the model's {self.model.num_timesteps}; "
                        "load the latest checkpoint, or choose another folder"
                    )
                _remove(checkpoint)  # the training makes it again
        self._saved_step, self._saved_time = self.model.num_timesteps, time.monotonic()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self._every_steps is not None:
            due = self.model.num_timesteps - self._saved_step >= self._every_steps
        else:
            due = time.monotonic() - self._saved_time >= (self._every_seconds or 0.0)
        if due:
            self._save()

    def _on_training_end(self) -> None:
        self._save()

    def _save(self) -> None:
        if self.model.num_timesteps > self._saved_step:
            extra = None if self._extra is None else self._extra()
            save_checkpoint(self.model, self.folder, extra=extra, keep=self.keep)  # type: ignore[arg-type]
            self._saved_step, self._saved_time = self.model.num_timesteps, time.monotonic()
