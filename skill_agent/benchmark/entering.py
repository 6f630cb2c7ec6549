"""How a stranger's method enters the benchmark: the same runs, the same records, a row beside ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from skill_agent.benchmark import protocol, runs
from skill_agent.benchmark.learners import Learner
from skill_agent.benchmark.protocol import METHODS
from skill_agent.benchmark.records import RECORDS, Record, check_method, load_records, write_record
from skill_envs import checks, layouts


def run(
    factory: Callable[[VecEnv, int], Any],
    family: str,
    *,
    method: str,
    seeds: int = 3,
    layouts: Sequence[int] = layouts.TEST,
    skills: str = "",
    steps: int = protocol.STEPS,
    n_envs: int = protocol.N_ENVS,
    records: Path | str = RECORDS,
) -> list[Record]:
    """Run a method by the protocol, on every layout with every seed, and keep the records; what is kept is not rerun.

    Args:
        factory: makes what learns, of a vector environment of SB3 and a seed. It is an algorithm of SB3, or anything
            with its ``learn(total_timesteps, callback)`` and ``predict``, which gives torques. Where these are two
            things, or a z is held, it is a `skill_agent.benchmark.Learner`.
        family: "springwall", "lwall" or "railpush".
        method: its name; not one of the protocol's own.
        seeds: seeds 0 to ``seeds - 1``.
        layouts: of the family's transfer task.
        skills: a name of what the runs of one seed share, such as trained skills; empty if they share nothing.
        steps: budget of a run; the protocol has 256,000.
        n_envs: environments stepped together.
        records: folder of the records.

    Returns:
        The records of these seeds and layouts. `skill_agent.benchmark.table` shows them beside the others.

    Raises:
        ValueError: an invalid value, or the method learned in fewer steps than the budget.
    """
    check_method(method)
    if method in METHODS:
        raise ValueError(f"method={method!r} is one of the protocol's own; choose another name than {list(METHODS)}")
    checks.integer("seeds", seeds, 1, 100)
    checks.integer("steps", steps, protocol.POINTS - 1, 10**9)
    chosen = protocol.layouts_of(tuple(str(layout) for layout in layouts))
    folder = Path(records)
    found = {(kept["seed"], kept["layout"]): kept for kept in load_records(folder, family).get(method, [])}
    for seed in range(seeds):
        for layout in chosen:
            if (seed, layout) not in found:
                record = runs.work(
                    lambda env, own: _learner(factory(env, own)),
                    family,
                    method,
                    seed,
                    layout,
                    budget=steps,
                    n_envs=n_envs,
                    skills=skills,
                )
                write_record(folder, record)
                found[seed, layout] = record
    return [found[seed, layout] for seed in range(seeds) for layout in chosen]


def _learner(made: Any) -> Learner:
    """What a factory made as a learner.

    Raises:
        ValueError: it can't learn or act.
    """
    learner = made if isinstance(made, Learner) else Learner(made, made)
    if not callable(getattr(learner.algorithm, "learn", None)) or not callable(
        getattr(learner.policy, "predict", None)
    ):
        raise ValueError(f"the factory made {made!r:.80}; let it make what has learn and predict, or a Learner of both")
    return learner
