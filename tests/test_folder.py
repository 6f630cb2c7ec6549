"""Run folders: started, killed, resumed, replaced; all by the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from malice import flip, rewrite
from toy import ROOT

from skill_agent import CheckpointError, checkpoint, cli, formats
from skill_agent.experiments import folder as run_folder
from skill_agent.experiments import replace, runfile
from skill_agent.experiments.tables import Run

OLD = ROOT / "tests/data/0.1.0"
TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def train(monkeypatch):
    def main(*arguments):
        monkeypatch.setattr(sys, "argv", ["skill-embed", "train", *map(str, arguments)])
        cli.main()

    return main


def test_a_killed_run_goes_on_by_the_command_line(tmp_path, train, capsys):
    arguments = [TWO_GOALS, "--timesteps", "6400", "--n-envs", "8", "--checkpoint-minutes", "0", "--out"]
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "skill_agent.cli", "train", *arguments, str(killed)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(checkpoint.list_checkpoints(killed / "checkpoints")) < 3:
        assert process.poll() is None
    process.kill()
    process.wait()
    assert not (killed / "record.json").exists()
    damaged = checkpoint.list_checkpoints(killed / "checkpoints")[-1]
    flip(damaged / "arrays.safetensors", 100_000)
    with pytest.warns(UserWarning, match=f"{damaged.name}/arrays.safetensors is damaged"):
        train("--resume", killed)
    assert "going on from" in capsys.readouterr().out

    train(*arguments, alone)
    records = [json.loads((folder / "record.json").read_text()) for folder in (alone, killed)]
    for record in records:
        del record["train_seconds"]
        for point in record["curve"]:
            del point["seconds"]
    assert records[0] == records[1] and len(records[0]["curve"]) >= 10
    ends = [checkpoint.list_checkpoints(folder / "checkpoints") for folder in (alone, killed)]
    assert [p.name for p in ends[0]] == [p.name for p in ends[1]] and len(ends[0]) == 3
    arrays = [(paths[-1] / "arrays.safetensors").read_bytes() for paths in ends]
    assert arrays[0] == arrays[1]
    assert list(killed.glob("progress-from-*.csv"))


@pytest.fixture
def run(tmp_path):
    """A run that version 0.1.0 trained to its end, and was killed before it wrote the record."""
    return Path(shutil.copytree(OLD / "run", tmp_path / "run"))


def test_a_run_of_0_1_0_is_finished_by_resume(run, train, capsys):
    train("--resume", run)
    assert "going on from" in capsys.readouterr().out
    record = json.loads((run / "record.json").read_text())
    assert record["total_timesteps"] == 200 and record["settings"]["z_period"] == 20
    assert (run / "skills.safetensors").exists() and (run / "model.zip").exists()
    train("--resume", run)
    assert f"{run} is finished" in capsys.readouterr().out


def test_a_run_is_not_overwritten(run, train):
    with pytest.raises(SystemExit, match=rf"{run} exists.*--force.*--resume {run}"):
        train(TWO_GOALS, "--out", run)


@pytest.mark.parametrize(
    "content", ["{}", "[]", "7", "[" * 100_000, '{"settings": {"seed": 1}, "sha256": "0"}', "\xff"]
)
def test_another_tools_run_json_makes_no_run(tmp_path, train, content):
    (tmp_path / "run.json").write_text(content, encoding="latin-1")
    (tmp_path / "record.json").write_text("{}")
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SystemExit, match=r"run\.json is damaged"):
        train("--resume", tmp_path)
    with pytest.raises(SystemExit, match=r"is not a run's folder .*run\.json is damaged"):
        train(TWO_GOALS, "--out", tmp_path, "--force")
    (tmp_path / ".lock").unlink(missing_ok=True)
    assert {p.name for p in tmp_path.iterdir()} == {"run.json", "record.json", "thesis.tex"}


def test_force_replaces_no_folder_without_a_run(tmp_path, train):
    (tmp_path / "model.zip").write_text("of another tool")
    with pytest.raises(SystemExit, match=r"is not a run's folder .*run\.json is missing"):
        train(TWO_GOALS, "--out", tmp_path, "--force")
    assert (tmp_path / "model.zip").read_text() == "of another tool"
    with pytest.raises(CheckpointError, match=r"run\.json is missing"):
        run_folder.run_of(tmp_path)


def test_every_single_bit_of_run_json_matters(run):
    path = run / "run.json"
    for data in (path.read_bytes(), json.dumps(runfile.content_of(runfile.read(run))).encode()):
        path.write_bytes(data)
        runfile.read(run)
        for bit in range(0, 8 * len(data), 11):
            flip(path, bit)
            with pytest.raises(CheckpointError, match=r"run\.json"):
                runfile.read(run)
            path.write_bytes(data)


def test_two_processes_never_train_the_same_run(run, train):
    with FileLock(run / ".lock"), pytest.raises(SystemExit, match="in use: another process trains this run"):
        train("--resume", run)
    with FileLock(run / ".lock"), pytest.raises(SystemExit, match="in use: another process trains this run"):
        train(TWO_GOALS, "--timesteps", 200, "--out", run, "--force")


def test_resume_errors(tmp_path, train):
    with pytest.raises(SystemExit, match=r"has no run\.json"):
        train("--resume", tmp_path)
    with pytest.raises(SystemExit, match=r"leave out \['env_ids', 'seed'\]"):
        train(TWO_GOALS, "--resume", tmp_path, "--seed", 3)


# Settings of older files --------------------------------------------------------------------------


def test_a_renamed_setting_of_an_old_run_is_read(run, monkeypatch):
    assert runfile.read(run).run.settings["z_period"] == 20
    content = json.loads((run / "run.json").read_text())
    settings = content["settings"]["run"]["settings"]
    settings["stretch"] = settings.pop("z_period")
    content["sha256"] = runfile.digest(content["settings"])
    (run / "run.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"run\.json can't be used: .*unknown settings \['stretch'\]"):
        runfile.read(run)
    monkeypatch.setitem(formats.RENAMED, "stretch", "z_period")
    assert runfile.read(run).run.settings["z_period"] == 20


def test_an_old_run_does_what_was_done_before_a_setting_existed(run, monkeypatch):
    assert "temperature" not in runfile.read(run).run.settings
    monkeypatch.setattr(formats, "FORMAT", 2)
    monkeypatch.setitem(formats.BEFORE, "temperature", 0.25)
    old = runfile.read(run)
    assert old.run.settings["temperature"] == 0.25
    # A new run that does not name the setting has today's default.
    new = old._replace(run=Run(TWO_GOALS, 200))
    (run / "run.json").write_text(json.dumps(runfile.content_of(new)))
    assert runfile.read(run) == new
    monkeypatch.setattr(formats, "FORMAT", 1)
    with pytest.raises(CheckpointError, match=r"run\.json is of another version: format=2 is not valid"):
        runfile.read(run)


# A new run in the place of an old one --------------------------------------------------------------

NOTES = {
    "notes.txt": "mine",
    "sub/data": "mine too",
    "progress-mine.csv": "1",
    "step-000000200/arrays.safetensors": "2",
}


@pytest.fixture
def noted(run):
    """The run with the user's own notes."""
    for name, text in NOTES.items():
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text(text)
    (run / "progress.csv").write_text("old")
    return run


def files(folder):
    """Every file's bytes, by its path in the folder, without the lock."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    found.pop(".lock", None)
    return found


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--seed", "-1"), "seed=-1 is not valid"),
        (("--seed", 2**32), "seed=4294967296 is not valid"),
        (("--n-envs", 10_000_000), "n_envs=10000000 is not valid; choose an integer from 1 to 10,000"),
        (("--n-envs", 0), "n_envs=0 is not valid"),
        (("--timesteps", 0), "total_timesteps=0 is not valid"),
        (("--checkpoint-minutes", "nan"), "checkpoint_minutes=nan is not valid"),
        (("--keep", 0), "keep=0 is not valid"),
        (("--embedding-dim", 0), "embedding_dim=0 is not valid"),
        (("--inference-channels", 99), "inference_channels"),  # found when the agent is built
    ],
)
def test_a_run_that_can_not_be_trained_replaces_nothing(noted, train, arguments, named):
    before = files(noted)
    with pytest.raises(SystemExit, match=f"^skill-embed: .*{named}"):
        train(TWO_GOALS, "--out", noted, "--force", *arguments)
    assert files(noted) == before
    with pytest.raises(SystemExit, match=named):
        train(TWO_GOALS, "--out", noted.parent / "new", *arguments)
    assert not (noted.parent / "new").exists()


def test_force_replaces_the_run_and_keeps_what_is_the_users(noted, train):
    train(TWO_GOALS, "--timesteps", 128, "--seed", 5, "--out", noted, "--force")
    after = files(noted)
    assert {name: after[name].decode() for name in NOTES} == NOTES
    assert json.loads(after["record.json"])["seed"] == 5 and after["progress.csv"] != b"old"
    assert not any(name.startswith("checkpoints/step-000000200") for name in after)
    own = {"run.json", "record.json", "model.zip", "skills.safetensors", "progress.csv"}
    rest = {n for n in after if not n.startswith(("checkpoints/step-000003200/", "events.out.tfevents."))}
    assert rest == own | set(NOTES)


def test_force_refuses_where_notes_lie_among_the_checkpoints(noted, train):
    (noted / "checkpoints/step-000000200/why.txt").write_text("the best one")
    before = files(noted)
    with pytest.raises(SystemExit, match=r"checkpoints/step-000000200/why\.txt is not a run's"):
        train(TWO_GOALS, "--out", noted, "--force")
    assert files(noted) == before


def killed_at_line(count, action):
    """Do ``action`` in a process that dies before line ``count`` of the code that changes files; whether it died."""
    child = os.fork()
    if child == 0:
        left = count

        def trace(frame, event, argument):
            nonlocal left
            if not frame.f_code.co_filename.endswith(("replace.py", "files.py", "shutil.py")):
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os._exit(9)
            return trace

        try:
            sys.settrace(trace)
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("same", [False, True])
def test_killed_at_any_line_of_a_replacement_one_whole_run_is_left(noted, tmp_path, same):
    plan = runfile.read(noted)
    content = runfile.content_of(plan if same else plan._replace(seed=5))
    if same:
        run_folder.write_json(noted / "run.json", content)
    old, copy, ends = files(noted), tmp_path / "copy", set()
    new = {**{name: text.encode() for name, text in NOTES.items()}, "run.json": (json.dumps(content) + "\n").encode()}
    count = 1
    while True:
        shutil.copytree(noted, copy)
        died = killed_at_line(count, lambda: replace.replace(copy, replace.check(copy, True), content))
        assert (copy / "run.json").exists(), count
        killed_at_line(count % 7 + 1, lambda: replace.recover(copy))  # a kill on the way back as well
        replace.recover(copy)
        assert files(copy) in (old, new), count
        ends.add(files(copy) == new)
        shutil.rmtree(copy)
        if not died:
            break
        count += 13
    assert ends == {False, True} and count > 100


def test_killed_at_any_line_of_a_start_the_folder_is_free_or_a_run(run, tmp_path):
    content, folder, free = runfile.content_of(runfile.read(run)), tmp_path / "new", set()
    count = 1
    while True:
        folder.mkdir()
        (folder / ".lock").touch()
        died = killed_at_line(count, lambda: replace.replace(folder, replace.check(folder, False), content))
        free.add(not (folder / "run.json").exists())
        if (folder / "run.json").exists():
            assert runfile.read(folder) == runfile.read(run)
        else:
            assert replace.check(folder, False) == replace.check(folder, True) == []
            replace.recover(folder)
            assert files(folder) == {}
        shutil.rmtree(folder)
        if not died:
            break
        count += 1
    assert free == {False, True}


def test_an_error_while_replacing_puts_the_old_run_back(noted, train, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = files(noted)
    monkeypatch.setattr(replace, "write_json", full)
    with pytest.raises(SystemExit, match="No space left"):
        train(TWO_GOALS, "--timesteps", 128, "--out", noted, "--force")
    assert files(noted) == before


def test_what_a_killed_replacement_left_is_put_back_by_resume(noted, train):
    own = replace.check(noted, True)
    before = files(noted)
    replace._move_aside(noted, own)
    assert not (noted / "checkpoints").exists()
    train("--resume", noted)
    assert json.loads((noted / "record.json").read_text())["total_timesteps"] == 200
    assert before.items() <= files(noted).items()


# Links --------------------------------------------------------------------------------------------

LINKED = (
    *("run.json", "record.json", ".lock", ".tmp-record.json", ".tmp-run.json", "model.zip", "skills.safetensors"),
    *("progress-from-200.csv", "events.out.tfevents.1", "checkpoints", "checkpoints/.tmp-step-000000400"),
    *("checkpoints/step-000000200/state.json", "checkpoints/step-000000300", "notes/deep/link"),
)


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_links_and_pipes_in_a_run_folder_are_refused(run, train, tmp_path, name, kind):
    path = run / name
    outside = tmp_path / "outside"
    if path.exists():
        shutil.move(path, outside)
    elif kind == "link":
        outside.write_text("not the run's")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside) if kind != "pipe" else os.mkfifo(path)
    if kind == "dangling link" and outside.exists():
        shutil.move(outside, tmp_path / "elsewhere")
    before = files(outside) if outside.is_dir() else outside.read_bytes() if outside.exists() else None
    for arguments in (("--resume", run), (TWO_GOALS, "--out", run, "--force")):
        with pytest.raises(SystemExit, match=rf"{path} is a (symbolic link|special file), which could lead anywhere"):
            train(*arguments)
    assert before == (files(outside) if outside.is_dir() else outside.read_bytes() if outside.exists() else None)


@pytest.mark.parametrize("name", [".lock", ".tmp-record.json", ".tmp-skills.safetensors", "progress-from-200.csv"])
def test_a_second_name_of_a_file_elsewhere_is_not_written_through(run, train, tmp_path, name):
    (tmp_path / "profile").write_text("mine")
    (run / name).hardlink_to(tmp_path / "profile")
    train("--resume", run)
    assert (tmp_path / "profile").read_text() == "mine"
    assert (run / "record.json").exists()


# Settings of a stranger ---------------------------------------------------------------------------


def write_settings(run, change):
    """Alter what run.json says, and write it with a right checksum."""
    content = json.loads((run / "run.json").read_text())
    change(content["settings"])
    content["sha256"] = runfile.digest(content["settings"])
    (run / "run.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("tensorboard_log", "/tmp/elsewhere"), ("device", "meta"), ("verbose", 2), ("policy", "/tmp"), ("seed", 1)],
        *[("_init_setup_model", False), ("config", {}), ("env", "CartPole-v1"), ("learning_rate", 1)],
        *[("policy_kwargs", {"net_arch": [8], "activation_fn": "x"}), ("policy_kwargs", {"optimizer_kwargs": {}})],
        *[("policy_kwargs", {"net_arch": [0]}), ("policy_kwargs", {"net_arch": [10**9]}), ("policy_kwargs", 3)],
        *[("policy_kwargs", {"net_arch": {"pi": [8]}}), ("policy_kwargs", {"net_arch": [8] * 1000})],
        *[("buffer_size", 1), ("buffer_size", -200), ("gamma", 2), ("gamma", None), ("train_freq", [1, "year"])],
        *[("train_freq", 0), ("window", 2.5), ("window", "4"), ("embedding", ["gaussian"]), ("segment", True)],
    ],
)
def test_settings_of_a_stranger_are_named_in_one_line(run, train, name, value):
    write_settings(run, lambda settings: settings["run"]["settings"].update({name: value}))
    with pytest.raises(SystemExit, match=rf"^skill-embed: {run}/run\.json can't be used: settings/run/.*"):
        train("--resume", run)
    assert not (run / "record.json").exists()


@pytest.mark.parametrize("where", ["seed", "keep", "checkpoint_minutes"])
@pytest.mark.parametrize("value", [-1, 1e400, None, "1", [], {}, True, 2**64])
def test_other_entries_of_a_stranger_are_named(run, where, value):
    write_settings(run, lambda settings: settings.update({where: value}))
    with pytest.raises(CheckpointError, match=rf"run\.json can't be used: settings/{where}="):
        runfile.read(run)


@pytest.mark.parametrize("entry", ["curve", "due", "seconds"])
@pytest.mark.parametrize("value", [None, "x", -1, {}, [1], [{"steps": "far"}], [{"kl": [[None]]}]])
def test_a_strangers_curve_is_named(run, train, entry, value):
    def change(state, arrays):
        state["dict"]["extra"]["dict"]["evaluation"]["dict"][entry] = as_kept(value)

    rewrite(run / "checkpoints/step-000000200", change)
    with pytest.raises(SystemExit, match=rf"state\.json: extra/evaluation/{entry}"):
        train("--resume", run)


def as_kept(value):
    """JSON as `snapshot.split` writes it."""
    if isinstance(value, dict):
        return {"dict": {name: as_kept(part) for name, part in value.items()}}
    return [as_kept(part) for part in value] if isinstance(value, list) else value
