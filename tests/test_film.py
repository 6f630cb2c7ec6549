"""Videos: whole or not at all, and nothing else is touched."""

import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from toy import ROOT, read_video

from skill_envs import demonstrate, film
from skill_envs.single import SkillEnv


def frames(n=12, width=64, height=48):
    """Frames whose brightness grows, with some noise that makes files large."""
    noise = np.random.default_rng(0).integers(0, 60, (n, height, width, 3))
    return (noise + np.linspace(0, 190, n).astype(int)[:, None, None, None]).astype(np.uint8)


def write(path, shown, **kwargs):
    with film.video(path, 10, len(shown), **kwargs) as add:
        for frame in shown:
            add(frame)


def brightness(path):
    """Mean of every frame of a video."""
    if path.suffix.lower() in (".gif", ".webp"):
        with Image.open(path) as image:
            means = []
            for i in range(image.n_frames):
                image.seek(i)
                means.append(np.asarray(image.convert("RGB")).mean())
            return means
    return list(read_video(path, *frames().shape[1:3]).mean(axis=(1, 2, 3)))


@pytest.mark.parametrize("name", [f"video{suffix}" for suffix in (*film.FORMATS, ".MP4", ".Gif")])
def test_every_format_has_every_frame(tmp_path, name):
    path = tmp_path / "new folder" / name
    shown = frames()
    write(path, shown)
    assert brightness(path) == pytest.approx(list(shown.mean(axis=(1, 2, 3))), abs=6)
    assert os.listdir(path.parent) == [name]
    others = stat.S_IMODE(path.parent.stat().st_mode) & 0o044
    assert stat.S_IMODE(path.stat().st_mode) & 0o044 == others  # as readable as any new file


@pytest.mark.parametrize("name", ["video", "video.xyz", "video.mp3", ".mp4", "video.png"])
def test_an_unknown_format_is_an_error_before_anything_is_done(tmp_path, name):
    with pytest.raises(ValueError, match=r"suffix '.*', which is not valid; .*\.mp4.*\.gif"):
        write(tmp_path / "new" / name, frames())
    assert not (tmp_path / "new").exists()


def test_hidden_files_beside_the_video_are_nobodys_to_take(tmp_path):
    for name in (".v.mp4", ".film-", ".tmp-v.mp4"):
        (tmp_path / name).write_text("precious")
    before = sorted(os.listdir(tmp_path))
    write(tmp_path / "v.mp4", frames())
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "v.mp4"])
    assert {(tmp_path / name).read_text() for name in before} == {"precious"}


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_on_the_way_leaves_the_old_video_alone(tmp_path, suffix, error):
    path = tmp_path / f"v{suffix}"
    path.write_text("precious")
    with pytest.raises(error), film.video(path, 10, 12) as add:
        add(frames()[0])
        raise error
    assert os.listdir(tmp_path) == [path.name] and path.read_text() == "precious"


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(tmp_path):
    path = tmp_path / "v.mp4"
    with pytest.raises(FileExistsError, match="--force"), film.video(path, 10, 1, force=False) as add:
        add(frames()[0])
        path.write_text("precious")
    assert os.listdir(tmp_path) == [path.name] and path.read_text() == "precious"


@pytest.mark.parametrize("size", [(65, 48), (64, 47), (16_386, 2)])
def test_sizes_that_ffmpeg_lacks_are_errors_and_not_scaled(tmp_path, size):
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]} pixels are not valid for .mp4"):
        write(tmp_path / "v.mp4", frames(1, *size))
    assert os.listdir(tmp_path) == []
    write(tmp_path / "v.gif", frames(2, *size))
    with Image.open(tmp_path / "v.gif") as image:
        assert image.size == size


@pytest.mark.skipif(os.name == "nt", reason="the wrapper is a script of the shell")
@pytest.mark.parametrize("kept", [0, 3000, 100_000])
def test_a_video_that_ffmpeg_cut_is_an_error(tmp_path, monkeypatch, kept):
    """On a full disk ffmpeg writes what there is place for, and its failure reaches nobody."""
    wrapper = tmp_path / "ffmpeg"
    real = imageio_ffmpeg.get_ffmpeg_exe()
    wrapper.write_text(
        f'#!/bin/sh\n"{real}" "$@"\nfor last; do :; done\ncase "$last" in *.mkv) truncate -s {kept} "$last";; esac\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(wrapper))
    path = tmp_path / "out" / "v.mkv"
    with pytest.raises(OSError, match=r"v\.mkv could not be written whole; .*out has [\d,.]+ MB free"):
        write(path, frames(40, 320, 240))
    assert os.listdir(path.parent) == []


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_film
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    test_film.write(Path(sys.argv[1]), test_film.frames(40, 320, 240))
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit of a file's size")
@pytest.mark.parametrize("name", ["v.mp4", "v.gif"])
def test_a_file_that_can_not_grow_is_an_error(tmp_path, name):
    code = LIMITED.format(tests=str(Path(__file__).parent))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out" / name)], capture_output=True, text=True, env=environment
    )
    assert f"{name} could not be written whole" in done.stdout and "\n" not in done.stdout.strip(), done.stderr
    assert os.listdir(tmp_path / "out") == []


@pytest.fixture
def sketched(monkeypatch):
    """Environments draw their state as numbers, at once."""

    def sketch(self):
        numbers = np.concatenate((self.batch.physics.qpos[0], self.batch.physics.qvel[0]))
        return np.frombuffer(numbers.tobytes()[: 3 * 16], np.uint8).reshape(4, 4, 3).copy()

    monkeypatch.setattr(SkillEnv, "render", sketch)


def test_a_film_shows_the_demonstration(sketched, monkeypatch, tmp_path):
    shown, arguments = [], []

    @contextmanager
    def collect(path, fps, total):
        arguments.append((path, fps, total))
        yield shown.append

    monkeypatch.setattr(film, "video", collect)
    path = tmp_path / "v.gif"
    film.film("Lift", path, seed=3, episodes=2)
    played = demonstrate("Lift", seed=3, episodes=2, render=True)
    expected = np.concatenate([episode.frames for episode in played])
    assert np.array_equal(shown, expected)
    assert arguments == [(path, 20, len(expected))]


def test_the_command_films_into_the_home_folder_and_says_where(sketched, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    film.main(["Push", "--out=~/films", "--format", ".gif"])
    path = tmp_path / "films/Push.gif"
    printed = capsys.readouterr()
    assert printed.out.strip() == str(path) and path.stat().st_size > 0
    assert "101/101" in printed.err  # the progress bar


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Push", "pull-the-wall"], "task='pull-the-wall' is not valid; choose from .*'Push'"),
        (["lwall"], "Did you mean 'LWall'"),
        (["PointMassLeft"], "task='PointMassLeft' is not valid"),
        (["Push", "--episodes", "0"], "episodes=0 is not valid"),
        (["Push", "--seed", "-1"], "seed=-1 is not valid"),
        (["Push", "--width", "4098"], "width=4098 is not valid; choose an integer from 1 to 4,096"),
        (["Push", "--height", "333"], "640 x 333 pixels are not valid for .mp4"),
    ],
)
def test_wrong_arguments_are_one_line_before_anything_is_filmed(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message) as stopped:
        film.main(arguments)
    assert "\n" not in str(stopped.value)
    assert os.listdir(tmp_path) == []
