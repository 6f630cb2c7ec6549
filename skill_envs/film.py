"""Film scripted demonstrations: ``python -m skill_envs.film Push LWall --out videos``.

`video` writes any frames, whole or not at all.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import imageio.v2 as imageio
import imageio_ffmpeg  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from skill_envs import arguments, checks
from skill_envs.demonstrate import ROUTES, demonstrate
from skill_envs.tasks import TASKS

Frame = NDArray[np.uint8]  # (height, width, 3)

_BY_FFMPEG, _BY_PILLOW = (".mp4", ".mov", ".mkv", ".avi"), (".gif", ".webp")
FORMATS = _BY_FFMPEG + _BY_PILLOW
_MOST = 16_384  # of ffmpeg's H.264, along a side [pixel]


def check_video(path: Path, *, force: bool = True) -> None:
    """Raise unless a video can be written to ``path``, as far as can be told beforehand.

    Raises:
        FileExistsError: the file exists, and ``force`` is False; or it is a folder.
        RuntimeError: there is no ffmpeg.
        ValueError: the suffix is not one of `FORMATS`.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        meant = checks.did_you_mean(suffix, FORMATS)
        raise ValueError(f"{path} has suffix {path.suffix!r}, which is not valid; choose from {list(FORMATS)}{meant}")
    if path.is_dir() or (path.exists() and not force):
        raise FileExistsError(f"{path} exists; choose another --out, or pass --force to replace a video")
    if suffix in _BY_FFMPEG:
        imageio_ffmpeg.get_ffmpeg_exe()


def check_size(path: Path, width: int, height: int) -> None:
    """Raise a ValueError unless the format of ``path`` has frames of this size [pixel]."""
    right = height % 2 == 0 and width % 2 == 0 and max(height, width) <= _MOST
    if path.suffix.lower() in _BY_FFMPEG and not right:
        raise ValueError(
            f"frames of {width} x {height} pixels are not valid for {path.suffix}; "
            f"choose even numbers of at most {_MOST:,}, or a .gif"
        )


@contextmanager
def video(path: Path, fps: float, total: int | None, *, force: bool = True) -> Iterator[Callable[[Frame], None]]:
    """A function that adds a frame to a video, with a progress bar; the suffix of ``path`` selects the format.

    The video is written in a hidden folder beside it and takes its name when it is whole. If the block ends by an
    error, nothing is left.

    Args:
        path: the video; its folder is made.
        fps: frames per second.
        total: number of frames, for the bar; None if it is not known.
        force: replace the file if it exists.

    Raises:
        FileExistsError: the file exists, and ``force`` is False; or it is a folder.
        OSError: the video could not be written whole, for example since the disk is full.
        RuntimeError: there is no ffmpeg.
        ValueError: the suffix is not one of `FORMATS`, or its format has no frames of this size.
    """
    check_video(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".film-", dir=path.parent) as folder:
        part = Path(folder) / f"film{path.suffix.lower()}"
        write = _by_ffmpeg if part.suffix in _BY_FFMPEG else _by_pillow
        with tqdm(total=total, desc=path.name, unit="frame") as bar, write(part, path, fps) as add:

            def add_and_count(frame: Frame) -> None:
                add(frame)
                bar.update()

            yield add_and_count
        check_video(path, force=force)  # the name may have been taken meanwhile
        os.replace(part, path)


@contextmanager
def _by_ffmpeg(part: Path, path: Path, fps: float) -> Iterator[Callable[[Frame], None]]:
    writer, count = imageio.get_writer(part, fps=fps, macro_block_size=1, ffmpeg_log_level="quiet"), 0

    def add(frame: Frame) -> None:
        nonlocal count
        check_size(path, frame.shape[1], frame.shape[0])
        try:
            writer.append_data(frame)
        except OSError as error:
            raise _not_whole(path) from error
        count += 1

    try:
        yield add
    finally:
        writer.close()
    # ffmpeg's failures, such as a full disk, do not get through to here: the video is read again.
    try:
        found, _ = imageio_ffmpeg.count_frames_and_secs(part)
    except (RuntimeError, ValueError) as error:  # of ffmpeg, or of what it says of a broken video
        raise _not_whole(path) from error
    if found != count:
        raise _not_whole(path)
    with open(part, "rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _by_pillow(part: Path, path: Path, fps: float) -> Iterator[Callable[[Frame], None]]:
    frames: list[Frame] = []
    yield frames.append
    whole = io.BytesIO()
    imageio.mimwrite(whole, frames, format=part.suffix, duration=1000 / fps)  # type: ignore[arg-type]
    try:
        with open(part, "wb") as file:
            file.write(whole.getvalue())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _not_whole(path) from error


def _not_whole(path: Path) -> OSError:
    free = shutil.disk_usage(path.parent).free / 1e6
    return OSError(f"{path} could not be written whole; {path.parent} has {free:,.1f} MB free")


def film(
    task: str, path: Path, *, seed: int = 0, episodes: int = 1, width: int = 640, height: int = 480, layout: int = 0
) -> None:
    """Film demonstrations of a task; the suffix of ``path`` selects the format.

    Args:
        task: a manipulation task, such as "Push".
        path: the video; an old one is replaced.
        seed: of the first episode; the later ones go on from it.
        episodes: number of episodes, one after the other.
        width: width of a frame [pixel].
        height: height of a frame [pixel].
        layout: of the task.

    Raises:
        OSError: the video could not be written whole.
        RuntimeError: no OpenGL backend, or no ffmpeg, is available.
        ValueError: the task has no demonstration, or an argument is out of range.
    """
    checks.one_of("task", task, list(ROUTES))
    checks.integer("episodes", episodes, least=1)
    checks.integer("seed", seed, least=0)
    arguments.layouts(layout, (task,), 1)
    check_video(path)
    check_size(path, width, height)
    # What was demonstrated is played again, so that no more than one frame is kept in memory.
    env: gymnasium.Env[Any, Any] = gymnasium.make(
        f"SkillEmbed/{task}-v0", render_mode="rgb_array", width=width, height=height, layout=layout
    )
    total = episodes * (TASKS[task].horizon + 1)
    try:
        with video(path, env.unwrapped.metadata["render_fps"], total) as add:
            for episode, played in enumerate(demonstrate(task, seed=seed, episodes=episodes, layout=layout)):
                env.reset(seed=seed if episode == 0 else None)
                add(env.render())  # type: ignore[arg-type]
                for action in played.actions:
                    env.step(action)
                    add(env.render())  # type: ignore[arg-type]
    finally:
        env.close()


def main(argv: Sequence[str] | None = None) -> None:
    """Film from the command line."""
    parser = argparse.ArgumentParser("python -m skill_envs.film", description="Film scripted demonstrations.")
    parser.add_argument("tasks", nargs="*", default=list(ROUTES), metavar="TASK", help=", ".join(ROUTES))
    parser.add_argument("--out", default="videos", help="folder for the videos")
    parser.add_argument("--format", default=".mp4", choices=FORMATS)
    parser.add_argument("--episodes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layout", type=int, default=0, help="where the tasks' fixtures are")
    parser.add_argument("--width", type=int, default=640, help="of a frame [pixel]")
    parser.add_argument("--height", type=int, default=480, help="of a frame [pixel]")
    args = parser.parse_args(argv)
    try:
        for task in args.tasks:  # all of them, before the first film
            checks.one_of("task", task, list(ROUTES))
            arguments.layouts(args.layout, (task,), 1)
        options = {name: getattr(args, name) for name in ("seed", "episodes", "width", "height", "layout")}
        of_layout = f"-layout{args.layout}" if args.layout else ""
        for task in args.tasks:
            path = Path(os.path.expanduser(args.out)) / f"{task}{of_layout}{args.format}"
            film(task, path, **options)
            print(path)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{parser.prog}: interrupted")


if __name__ == "__main__":
    main()
