"""Record scripted demonstrations to video: ``python -m skill_envs.film Push LWall --out videos``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import imageio.v2 as imageio

from skill_envs import arm
from skill_envs.demonstrate import demonstrate

_RATE = 20  # control steps, hence frames, per second


def record(task: str, path: Path, *, seed: int = 0, episodes: int = 1, width: int = 640, height: int = 480) -> None:
    """Write demonstrations of a task to a video; the suffix of ``path`` selects the format (.mp4, .gif).

    Raises:
        ValueError: the task has no demonstration.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    played = demonstrate(task, seed=seed, episodes=episodes, render=True, width=width, height=height)
    frames = [frame for episode in played if episode.frames is not None for frame in episode.frames]
    imageio.mimwrite(path, frames, fps=_RATE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Record from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(arm.TASKS), metavar="TASK", help=", ".join(arm.TASKS))
    parser.add_argument("--out", type=Path, default=Path("videos"), help="folder for the videos")
    parser.add_argument("--episodes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    for task in args.tasks:
        record(task, args.out / f"{task}.mp4", seed=args.seed, episodes=args.episodes)


if __name__ == "__main__":
    main()
