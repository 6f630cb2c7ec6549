"""A run's folder: its settings, logs and checkpoints, and at the end its model, skills and record."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.logger import Logger, make_output_format

from skill_agent.agent import SkillEmbedding
from skill_agent.checkpoint import CheckpointError, RunCheckpoint, load_latest
from skill_agent.experiments import replace, runfile, train
from skill_agent.experiments.runfile import Plan
from skill_agent.experiments.sums import alone_in
from skill_agent.experiments.tables import Run
from skill_agent.experiments.train import Evaluation
from skill_agent.files import refuse_links, write_json, write_whole
from skill_agent.manifest import STATE
from skill_agent.skills import check_exportable
from skill_envs import checks, saved

SETTINGS, RECORD, CHECKPOINTS = runfile.SETTINGS, "record.json", replace.CHECKPOINTS


def start(
    run: Run,
    seed: int,
    folder: Path,
    *,
    checkpoint_minutes: float = 2.0,
    keep: int = 3,
    force: bool = False,
    ray: str | None = None,
) -> None:
    """Train a run in an empty folder, with a progress bar.

    Args:
        run: what to train; its settings must be what JSON can hold.
        seed: seed of everything.
        folder: gets run.json, checkpoints, CSV and TensorBoard logs, model.zip, skills.safetensors and record.json.
        checkpoint_minutes: time between two checkpoints [min].
        keep: checkpoints kept.
        force: replace the run that the folder holds. Only files that a run writes are replaced, after the new settings
            were found right and the new agent was built; the old run stays until the new one stands.
        ray: where workers are actors of Ray, which is not kept; see `SkillEmbedding`.

    Raises:
        FileExistsError: the folder holds something already.
        RuntimeError: the folder's run is being trained.
        TrainingDiverged: a number was not finite.
        TypeError: a setting is nothing that JSON can hold.
        ValueError: an invalid setting, or the folder holds a link.
    """
    plan = Plan(run, seed, checkpoint_minutes, keep)
    content = runfile.content_of(plan)
    # All that can be refused is, before anything in the folder is touched: first what takes no time.
    replace.check(folder, force)
    agent = build(plan, ray)
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder, "trains this run"):
        replace.recover(folder)
        replace.replace(folder, replace.check(folder, force), content)
        _train(folder, plan, agent)


def run_of(folder: Path) -> tuple[Run, int]:
    """The run and the seed that a folder is of.

    Raises:
        CheckpointError: run.json is damaged.
    """
    plan = runfile.read(folder)
    return plan.run, plan.seed


def resume(folder: Path, ray: str | None = None) -> bool:
    """Go on with a run that was stopped, from its newest good checkpoint, bit-identically unless it has workers.

    Args:
        folder: the run's.
        ray: where workers are actors of Ray, which is not kept; see `SkillEmbedding`.

    Returns:
        Whether there was anything left to do.

    Raises:
        CheckpointError: run.json or every checkpoint is damaged.
        FileNotFoundError: the folder is not a run's.
        RuntimeError: the run goes on in another process.
        TrainingDiverged: a number was not finite.
        ValueError: the folder holds a link.
    """
    refuse_links(folder)
    if not (folder / SETTINGS).exists():
        raise FileNotFoundError(f"{folder} is not a run's folder: it has no {SETTINGS}")
    with alone_in(folder, "trains this run"):
        replace.recover(folder)
        plan = runfile.read(folder)
        if (folder / RECORD).exists():  # written last
            return False
        _train(folder, plan, build(plan, ray))
        return True


def build(plan: Plan, ray: str | None = None) -> SkillEmbedding:
    """The untrained agent of a run; ``ray`` is as of `resume`.

    Raises:
        ValueError: its settings are not valid, or too large for this machine.
    """
    torch.set_num_threads(1)  # more only get in each other's way in networks of this size
    with _size(plan):
        agent = train.build(plan.run, plan.seed, ray=ray)
    check_exportable(agent.policy)  # the training ends with an export
    return agent


@contextmanager
def _size(plan: Plan) -> Iterator[None]:
    """Name the settings where numbers among them are too large for this machine."""
    try:
        yield
    except (MemoryError, OverflowError) as error:
        settings = {"n_envs": plan.run.n_envs, **plan.run.settings}
        raise ValueError(f"the run's settings are too large ({error}): {settings!r:.1000}") from error


def _train(folder: Path, plan: Plan, agent: SkillEmbedding) -> None:
    """Train an agent from the folder's newest good checkpoint, or from the start."""
    run, seed = plan.run, plan.seed
    evaluation = Evaluation.of(run)
    found = load_latest(agent, folder / CHECKPOINTS)
    if found is not None:
        checkpoint, extra = found
        evaluation.set_state(_evaluation(checkpoint, extra))
        print(f"going on from {checkpoint}, step {agent.num_timesteps:,} of {run.total_timesteps:,}")
    checkpoints = RunCheckpoint(
        folder / CHECKPOINTS,
        every_seconds=60 * plan.checkpoint_minutes,
        keep=plan.keep,
        extra=lambda: {"evaluation": evaluation.state()},
    )
    agent.set_logger(_logger(folder, agent.num_timesteps))
    try:
        with _size(plan):
            agent, record = train.train(
                run, seed, progress_bar=True, agent=agent, evaluation=evaluation, checkpoints=checkpoints
            )
        agent.dump_logs()  # the last stretch, which is shorter than a logging interval
    finally:
        agent.logger.close()
    model = io.BytesIO()
    agent.save(model)
    write_whole(folder / "model.zip", model.getvalue())
    agent.export_skills(folder / "skills.safetensors", force=True)
    write_json(folder / RECORD, record)


def _evaluation(checkpoint: Path, extra: Any) -> dict[str, Any]:
    """The state of the evaluation in a checkpoint.

    Raises:
        CheckpointError: it is not one.
    """
    try:
        saved.entries(extra, ("evaluation",))
        kept: dict[str, Any] = extra["evaluation"]
        with saved.within("evaluation"):
            saved.entries(kept, ("curve", "due", "seconds"))
            checks.integer("due", kept["due"], 0, saved.MOST)
            checks.number("seconds", kept["seconds"], 0, saved.MOST)
            points = kept["curve"]
            if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
                raise ValueError(f"curve is {points!r:.80}; it has to be a list of points")
            for i, point in enumerate(points):
                for name, value in point.items():
                    _check_numbers(f"curve/{i}/{name}", value)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint / STATE}: extra/{error}") from error
    return kept


def _check_numbers(name: str, value: Any) -> None:
    """Check that a measured value is a number, or lists of numbers."""
    if isinstance(value, list):
        for i, part in enumerate(value):
            _check_numbers(f"{name}/{i}", part)
    elif not isinstance(value, int | float):
        raise ValueError(f"{name} is {value!r:.80}; it has to be a number")


def _logger(folder: Path, steps: int) -> Logger:
    """CSV and TensorBoard; a resumed training begins a CSV file of its own, as SB3 would empty the old one."""
    suffix = f"-from-{steps}" if steps else ""
    # SB3 would write into an old file of this name, and so into whatever else is linked to it.
    (folder / f"progress{suffix}.csv").unlink(missing_ok=True)
    return Logger(str(folder), [make_output_format(kind, str(folder), suffix) for kind in ("csv", "tensorboard")])
