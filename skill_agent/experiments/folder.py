"""A run's folder: its settings, logs and checkpoints, and at the end its model, skills and record."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from stable_baselines3.common.logger import Logger, make_output_format

from skill_agent.checkpoint import CheckpointError, RunCheckpoint, load_latest
from skill_agent.config import SkillConfig, make_config
from skill_agent.experiments import train
from skill_agent.experiments.tables import Run
from skill_agent.experiments.train import Evaluation
from skill_agent.files import read_json, write_json
from skill_agent.skills import check_exportable

SETTINGS, RECORD, CHECKPOINTS = "run.json", "record.json", "checkpoints"


def start(
    run: Run, seed: int, folder: Path, *, checkpoint_minutes: float = 2.0, keep: int = 3, force: bool = False
) -> None:
    """Train a run in an empty folder, with a progress bar.

    Args:
        run: what to train; its settings must be what JSON can hold.
        seed: seed of everything.
        folder: gets run.json, checkpoints, CSV and TensorBoard logs, model.zip, skills.safetensors and record.json.
        checkpoint_minutes: time between two checkpoints [min].
        keep: checkpoints kept.
        force: replace the folder if it is a run's.

    Raises:
        FileExistsError: the folder holds something already.
        RuntimeError: the folder's run is being trained.
        TrainingDiverged: a number was not finite.
        ValueError: an invalid setting.
    """
    if keep < 1 or checkpoint_minutes < 0:
        raise ValueError(f"keep={keep}, checkpoint_minutes={checkpoint_minutes} is not valid; choose at least 1 and 0")
    if run.total_timesteps < 1 or run.n_envs < 1:
        raise ValueError(f"timesteps={run.total_timesteps}, n_envs={run.n_envs} is not valid; choose at least 1")
    own = {field.name for field in fields(SkillConfig)}
    make_config({name: value for name, value in run.settings.items() if name in own})  # before anything is touched
    _claim(folder, force)
    settings = {"run": asdict(run), "seed": seed, "checkpoint_minutes": checkpoint_minutes, "keep": keep}
    write_json(folder / SETTINGS, {"settings": settings, "sha256": _digest(settings)})
    _train(folder)


def _claim(folder: Path, force: bool) -> None:
    """Make sure that nothing is lost by writing to ``folder``; with ``force``, remove the run that it holds."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    is_run = (folder / SETTINGS).exists()
    if not force:
        go_on = f", or go on with it by --resume {folder}" if is_run else ""
        raise FileExistsError(f"{folder} exists; choose another --out, or pass --force to replace a run{go_on}")
    if not is_run:
        raise FileExistsError(f"{folder} is not a run's folder (it has no {SETTINGS}); choose another --out")
    with _locked(folder):
        pass
    shutil.rmtree(folder)


def run_of(folder: Path) -> tuple[Run, int]:
    """The run and the seed that a folder is of.

    Raises:
        CheckpointError: run.json is damaged.
    """
    settings = _settings(folder)
    return _run(settings["run"]), settings["seed"]


def resume(folder: Path) -> bool:
    """Go on with a run that was stopped, from its newest good checkpoint, bit-identically.

    Returns:
        Whether there was anything left to do.

    Raises:
        CheckpointError: run.json or every checkpoint is damaged.
        FileNotFoundError: the folder is not a run's.
        RuntimeError: the run goes on in another process.
        TrainingDiverged: a number was not finite.
    """
    if not (folder / SETTINGS).exists():
        raise FileNotFoundError(f"{folder} is not a run's folder: it has no {SETTINGS}")
    if (folder / RECORD).exists():  # written last
        return False
    _train(folder)
    return True


def _train(folder: Path) -> None:
    """Train with the settings in the folder, from its newest good checkpoint or from the start."""
    with _locked(folder):
        settings = _settings(folder)
        run, seed = _run(settings["run"]), settings["seed"]
        torch.set_num_threads(1)  # more only get in each other's way in networks of this size
        agent, evaluation = train.build(run, seed), Evaluation.of(run)
        check_exportable(agent.policy)  # the training ends with an export
        if (found := load_latest(agent, folder / CHECKPOINTS)) is not None:
            checkpoint, extra = found
            evaluation.set_state(extra["evaluation"])
            print(f"going on from {checkpoint}, step {agent.num_timesteps:,} of {run.total_timesteps:,}")
        checkpoints = RunCheckpoint(
            folder / CHECKPOINTS,
            every_seconds=60 * settings["checkpoint_minutes"],
            keep=settings["keep"],
            extra=lambda: {"evaluation": evaluation.state()},
        )
        agent.set_logger(_logger(folder, agent.num_timesteps))
        agent, record = train.train(
            run, seed, progress_bar=True, agent=agent, evaluation=evaluation, checkpoints=checkpoints
        )
        agent.dump_logs()  # the last stretch, which is shorter than a logging interval
        agent.logger.close()
        agent.save(folder / "model.zip")
        agent.export_skills(folder / "skills.safetensors", force=True)
        write_json(folder / RECORD, record)


def _settings(folder: Path) -> dict[str, Any]:
    """The verified content of run.json.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / SETTINGS
    try:
        content = read_json(path)
        settings: dict[str, Any] = content["settings"]
        if content != {"settings": settings, "sha256": _digest(settings)}:
            raise ValueError("its SHA-256 does not match")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}") from error
    return settings


def _run(kept: dict[str, Any]) -> Run:
    """A run from its JSON, in which tuples have become lists; those of settings were tuples."""
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in kept["settings"].items()}
    return Run(**{**kept, "settings": settings})


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _logger(folder: Path, steps: int) -> Logger:
    """CSV and TensorBoard; a resumed training begins a CSV file of its own, as SB3 would empty the old one."""
    suffix = f"-from-{steps}" if steps else ""
    return Logger(str(folder), [make_output_format(kind, str(folder), suffix) for kind in ("csv", "tensorboard")])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of the folder; the lock ends with the process, however that ends."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise RuntimeError(f"{folder} is in use: another process trains this run") from None
