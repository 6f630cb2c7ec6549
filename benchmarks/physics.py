"""What a physics step of the arm costs under other settings of MuJoCo: prints a table, writes physics.json.

Times are ratios to the scene as it is, taken in turn in one run on one thread. Errors are of accelerations in states
along episodes of random actions, against a solver run to convergence on the same problem; what changes the problem has
none.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np
from mujoco.batch import Batch

import skill_envs

TASK, SIMS, STEPS = skill_envs.TASKS["LWall"], 64, 100
Change = Callable[[mujoco.MjModel], None]


def options(**values: float) -> Change:
    """Set fields of ``model.opt``."""

    def change(model: mujoco.MjModel) -> None:
        for name, value in values.items():
            setattr(model.opt, name, value)

    return change


def no_midphase(model: mujoco.MjModel) -> None:
    """Test every pair of geoms of two bodies that are close."""
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)


def tips_only(model: mujoco.MjModel) -> None:
    """Fingers whose tips alone touch anything."""
    for i in range(model.ngeom):
        if "finger" in model.geom(i).name:
            model.geom_conaffinity[i] = 0


CG, PYRAMIDAL, EULER, SPARSE = (
    int(mujoco.mjtSolver.mjSOL_CG),
    int(mujoco.mjtCone.mjCONE_PYRAMIDAL),
    int(mujoco.mjtIntegrator.mjINT_EULER),
    int(mujoco.mjtJacobian.mjJAC_SPARSE),
)
# Name, change of the model, substeps a control step, and whether the constraints to solve stay the same.
VARIANTS: dict[str, tuple[Change, int, bool]] = {
    "as it is: Newton, at most 10 iterations, elliptic cones, 5 steps of 10 ms": (options(), 5, True),
    "Newton, at most 3 iterations": (options(iterations=3), 5, True),
    "Newton, tolerance 1e-5": (options(tolerance=1e-5), 5, True),
    "conjugate gradients, at most 10 iterations": (options(solver=CG), 5, True),
    "conjugate gradients, at most 100 iterations": (options(solver=CG, iterations=100), 5, True),
    "explicit Euler, implicit in damping": (options(integrator=EULER), 5, True),
    "sparse Jacobians": (options(jacobian=SPARSE), 5, True),
    "no midphase": (no_midphase, 5, True),
    "pyramidal cones": (options(cone=PYRAMIDAL), 5, False),
    "fingers that touch with their tips alone": (tips_only, 5, False),
    "4 steps of 12.5 ms": (options(timestep=0.0125), 4, False),
}


def changed(change: Change) -> mujoco.MjModel:
    """The task's model with a change."""
    model = TASK.compile()
    change(model)
    return model


def run(batch: Batch, substeps: int) -> float:
    """Time of an episode of random actions in every simulation [s]."""
    qpos, qvel, ctrl = (batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
    batch.reset(np.arange(SIMS), stage=int(mujoco.mjtStage.mjSTAGE_NONE))
    for i in range(SIMS):
        qpos[i], qvel[i] = TASK.start(np.random.default_rng(i))
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, SIMS, 7))
    start = time.perf_counter()
    for action in actions:
        ctrl[:] = action
        batch.step(nstep=substeps)
    return time.perf_counter() - start


def acceleration_errors(models: list[mujoco.MjModel], episodes: int = 12) -> list[float]:
    """90th percentile over states of the largest error of an acceleration, relative to the largest acceleration."""
    exact = changed(options(iterations=200, tolerance=1e-14, ls_iterations=100, ls_tolerance=1e-6))
    path, model, errors = mujoco.MjData(exact), changed(options()), []
    for episode in range(episodes):
        rng = np.random.default_rng(episode)
        mujoco.mj_resetData(model, path)
        path.qpos[:], path.qvel[:] = TASK.start(rng)
        for step in range(STEPS):
            path.ctrl[:] = rng.uniform(-1, 1, 7)
            mujoco.mj_step(model, path, nstep=TASK.substeps)
            if step % 4 == 0:
                expected, *found = (acceleration(m, path) for m in (exact, *models))
                scale = 1 + np.abs(expected).max()
                errors.append([np.abs(one - expected).max() / scale for one in found])
    return [float(np.quantile(column, 0.9)) for column in np.array(errors).T]


def acceleration(model: mujoco.MjModel, state: mujoco.MjData) -> np.ndarray:
    """Accelerations (nv,) in a state, from its warm start."""
    data = mujoco.MjData(model)
    for name in ("qpos", "qvel", "qacc_warmstart", "ctrl", "eq_active"):
        getattr(data, name)[:] = getattr(state, name)
    mujoco.mj_forward(model, data)
    return data.qacc.copy()


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="taken in turn; the median of their ratios counts")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    models = [changed(change) for change, _, _ in VARIANTS.values()]
    batches = [Batch(model, SIMS, 1) for model in models]
    times = np.array(
        [[run(b, v[1]) for b, v in zip(batches, VARIANTS.values(), strict=True)] for _ in range(args.rounds)]
    )
    ratios = np.median(times / times[:, :1], axis=0)
    same = [model for model, v in zip(models, VARIANTS.values(), strict=True) if v[2]]
    errors = iter(acceleration_errors(same))
    rows = [
        {"variant": name, "time": round(float(ratio), 3), "error": float(f"{next(errors):.1g}") if v[2] else None}
        for (name, v), ratio in zip(VARIANTS.items(), ratios, strict=True)
    ]
    microseconds = 1e6 * float(np.median(times[:, 0])) / (SIMS * STEPS * TASK.substeps)
    for row in rows:
        print(f"{row['time']:6.3f}  {row['error'] if row['error'] is not None else '':>8}  {row['variant']}")
    record = {"microseconds_per_substep": round(microseconds, 2), "rounds": args.rounds, "variants": rows}
    from skill_agent.experiments.sums import write_listed  # torch comes with it, after all is measured

    write_listed(args.out, (json.dumps(record, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
