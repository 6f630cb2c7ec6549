import errno
import os
import subprocess
import sys
import threading

import pytest

from skill_agent import files


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "file"
    files.write_whole(path, b"old")
    assert path.read_bytes() == b"old"
    for name in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, name, lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "disk full")))
            with pytest.raises(OSError, match="disk full"):
                files.write_whole(path, b"new")
        assert path.read_bytes() == b"old" and [p.name for p in path.parent.iterdir()] == ["file"]


def test_no_link_in_the_way_is_followed(tmp_path, monkeypatch):
    precious = tmp_path / "precious"
    precious.write_bytes(b"kept")
    folder = tmp_path / "strangers"
    folder.mkdir()
    for name in (".tmp-file", "file"):  # the temporary name of 0.1.0, and the target itself
        (folder / name).symlink_to(precious)
    files.write_whole(folder / "file", b"data")
    assert precious.read_bytes() == b"kept"
    assert (folder / "file").read_bytes() == b"data" and not (folder / "file").is_symlink()

    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "guessed")
    files.temporary_name(folder / "file").symlink_to(precious)
    with pytest.raises(FileExistsError):
        files.write_whole(folder / "file", b"more")
    assert files.temporary_name(folder / "file").is_symlink()  # it is somebody else's
    assert precious.read_bytes() == b"kept" and (folder / "file").read_bytes() == b"data"


def test_writers_of_one_file_never_tear_it(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([65 + i]) * 100_000 for i in range(4)]
    errors = []

    def write(data):
        try:
            for _ in range(20):
                files.write_whole(path, data)
        except OSError as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(data,)) for data in contents]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            seen.add(path.read_bytes())
    assert not errors and seen and seen <= set(contents)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["open", "fsync"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP])
def test_a_system_that_can_not_sync_folders_is_no_error(tmp_path, monkeypatch, name, number):
    def refuse(*_):
        raise OSError(number, "not here")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, name, refuse)
        files.sync_folder(tmp_path)


def test_an_error_of_the_disk_is_one(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="broken disk"):
        files.sync_folder(tmp_path)


@pytest.mark.parametrize("place", ["link", "deep/er/link"])
@pytest.mark.parametrize("target", ["file", "folder", "nowhere"])
def test_links_in_a_folder_are_refused_at_any_depth(tmp_path, place, target):
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "file").touch()
    folder = tmp_path / "inside"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "plain").touch()
    files.refuse_links(folder)
    os.symlink(outside / target, folder / place)
    with pytest.raises(ValueError, match=r"link is a symbolic link"):
        files.refuse_links(folder)


def test_pipes_and_folders_that_can_not_be_read_are_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe is a special file"):
        files.refuse_links(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.refuse_links(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["x" * 255, "x" * 240 + ".mp4", "é" * 127])
def test_the_longest_names_are_written(tmp_path, name):
    files.write_whole(tmp_path / name, b"data")
    assert (tmp_path / name).read_bytes() == b"data"
    assert files.temporary_name(tmp_path / name).suffix == (tmp_path / name).suffix


def test_what_a_killed_writer_left_begins_with_the_prefix(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import os, sys, runpy; files = runpy.run_path(sys.argv[1]); from pathlib import Path;"
        "os.replace = lambda *_: os._exit(9); files['write_whole'](Path(sys.argv[2]), b'new')"
    )
    killed = subprocess.run([sys.executable, "-c", code, files.__file__, str(path)], timeout=60)
    assert killed.returncode == 9 and path.read_bytes() == b"old"
    left = [p.name for p in tmp_path.iterdir() if p != path]
    assert len(left) == 1 and left[0].startswith(files.TEMPORARY)
    files.write_whole(path, b"newer")  # nothing is in its way
    assert path.read_bytes() == b"newer"
