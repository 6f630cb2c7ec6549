import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image
from toy import ROOT, read_video

from skill_agent import cli, filming, options
from skill_agent.commands import common
from skill_agent.experiments import EXPERIMENTS, folder, tables
from skill_agent.files import read_json
from skill_agent.terminal import with_paths


def test_the_demo_leaves_figure_video_record_and_model(tiny_figures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["skill-embed", "demo", "--out", str(tmp_path / "demo"), "--seed", "1"])
    cli.main()
    printed = capsys.readouterr().out
    for name in ("trajectories.png", "skills.mp4", "record.json", "model.zip", "progress.csv"):
        assert (tmp_path / "demo" / name).stat().st_size > 0
        assert name in printed
    frames = read_video(tmp_path / "demo/skills.mp4", 320, 640)
    assert frames.shape == (150, 320, 640, 3) and frames.std() > 10 and (frames[0] != frames[-1]).any()


def test_the_demo_says_first_what_it_will_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "skill_agent.experiments", None)  # nothing was imported yet
    monkeypatch.setattr(sys, "argv", ["skill-embed", "demo", "--out", str(tmp_path / "demo")])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out == (
        f"two skills of a point mass are learned (about a minute), drawn and filmed, in {tmp_path / 'demo'}\n"
    )


def test_the_demo_tries_to_draw_before_all_that_takes_time(tmp_path, monkeypatch, capsys):
    tried = []

    def check(env_id):
        tried.append(env_id)
        raise RuntimeError("there is no OpenGL here")

    monkeypatch.setitem(sys.modules, "skill_agent.experiments", None)  # nothing was imported yet
    monkeypatch.setattr(common, "check_drawing", check)
    assert "there is no OpenGL here" in refused(monkeypatch, "demo", "--out", str(tmp_path / "demo"))
    assert tried == [EXPERIMENTS["fig2"]["with"].env_id] and capsys.readouterr().out.startswith("two skills")


def test_play_films_a_shipped_policy_where_there_is_no_display(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("skill_envs.opengl.has_display", lambda: False)
    for _ in range(2):  # its own film is replaced
        command(monkeypatch, "play", "pointmass")
        assert capsys.readouterr().out == "runs/play-pointmass.mp4\n"
    assert read_video(tmp_path / "runs/play-pointmass.mp4", 320, 320).shape == (25, 320, 320, 3)
    (tmp_path / "mine.gif").write_text("precious")
    assert "mine.gif exists" in refused(monkeypatch, "play", "pointmass", "--out", "mine.gif")
    assert (tmp_path / "mine.gif").read_text() == "precious"


def test_play_opens_a_window_where_there_is_a_display(tmp_path, monkeypatch):
    shown = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("skill_envs.opengl.has_display", lambda: True)
    monkeypatch.setattr("skill_envs.view.view", lambda env_id, policy, **options: shown.append((env_id, options)))
    command(monkeypatch, "play", "lwall", "--seed", "3")
    assert shown == [("SkillEmbed/LWall-v0", {"seed": 3, "task": None, "layout": 0})]
    assert os.listdir(tmp_path) == []


def test_play_names_the_policies_that_there_are(monkeypatch):
    line = refused(monkeypatch, "play", "lwal")
    assert "lwal is neither" in line and "'lwall'" in line and "'springwall'" in line


def test_outputs_are_never_overwritten_without_force(tiny_figures, tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("precious")
    for command in (["demo"], ["train", "SkillEmbed/PointMassTwoGoals-v0", "--timesteps", "200"]):
        monkeypatch.setattr(sys, "argv", ["skill-embed", *command, "--out", str(tmp_path / "kept")])
        with pytest.raises(SystemExit, match=r"kept exists.*--force"):
            cli.main()
    assert (tmp_path / "kept" / "file").read_text() == "precious"
    forced = ["skill-embed", "demo", "--out", str(tmp_path / "kept"), "--force"]
    monkeypatch.setattr(sys, "argv", forced)
    with pytest.raises(SystemExit, match=r"kept is not a run's folder"):
        cli.main()
    assert (tmp_path / "kept" / "file").read_text() == "precious"
    (tmp_path / "kept" / "run.json").write_text("{}")  # another tool's
    with pytest.raises(SystemExit, match=r"kept is not a run's folder"):
        cli.main()
    shutil.copy(ROOT / "tests/data/0.1.0/run/run.json", tmp_path / "kept")
    monkeypatch.setattr(
        sys, "argv", ["skill-embed", "train", "SkillEmbed/PointMassTwoGoals-v0", "--embedding-dim", "0", *forced[2:]]
    )
    with pytest.raises(SystemExit, match="embedding_dim=0 is not valid"):  # and nothing is removed for it
        cli.main()
    with FileLock(tmp_path / "kept/.lock"):
        monkeypatch.setattr(sys, "argv", forced)
        with pytest.raises(SystemExit, match="is in use"):
            cli.main()
    assert (tmp_path / "kept" / "file").read_text() == "precious"
    cli.main()
    assert (tmp_path / "kept" / "file").read_text() == "precious" and (tmp_path / "kept" / "model.zip").exists()
    video = tmp_path / "video.mp4"
    video.write_text("precious")
    model = str(tmp_path / "kept/model.zip")
    argv = ["skill-embed", "film", "SkillEmbed/PointMassTwoGoals-v0", "--model", model, "--out", str(video)]
    argv += ["--episodes", "1"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit, match=r"video\.mp4 exists.*--force"):
        cli.main()
    assert video.read_text() == "precious"
    monkeypatch.setattr(sys, "argv", [*argv[:4], f"{model}x", *argv[5:], "--force"])
    with pytest.raises(SystemExit):
        cli.main()
    assert video.read_text() == "precious"
    monkeypatch.setattr(sys, "argv", [*argv, "--force"])
    cli.main()
    assert len(read_video(video, 320, 640)) == 50


def test_unknown_options_and_ids_are_errors_without_traceback(tmp_path):
    command = shutil.which("skill-embed", path=Path(sys.executable).parent)
    base = [command] if command else [sys.executable, "-m", "skill_agent.cli"]

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*args):
        return subprocess.run([*base, *args], capture_output=True, text=True, cwd=tmp_path, env=environment)

    unknown = run("train", "SkillEmbed/Nowhere-v0")
    assert (
        unknown.returncode != 0 and "SkillEmbed/Nowhere-v0" in unknown.stderr and "PointMassTwoGoals" in unknown.stderr
    )
    assert "Traceback" not in unknown.stderr
    filmed = run("film", "SkillEmbed/Nowhere-v0", "--policy", "lwall")
    assert filmed.returncode != 0 and "env_id='SkillEmbed/Nowhere-v0'" in filmed.stderr
    assert "Traceback" not in filmed.stderr
    none = run("train", "SkillEmbed/PointMassTwoGoals-v0", "--timesteps", "0")
    assert none.returncode != 0 and "timesteps=0" in none.stderr and "Traceback" not in none.stderr
    option = run("demo", "--sed", "3")
    assert option.returncode != 0 and "--sed" in option.stderr and "--seed" in option.stderr
    kind = run("train", "SkillEmbed/PointMassTwoGoals-v0", "--embedding", "vmf")
    assert kind.returncode != 0 and "bernoulli" in kind.stderr
    assert list(tmp_path.iterdir()) == []


def test_training_by_hand_has_the_settings_of_the_experiments(monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(folder, "start", lambda run, seed, out, **_: started.append(run))
    monkeypatch.setattr(common, "success", lambda out: "")  # nothing was trained
    for name, *given in (["LWallPretrain"], ["Push"], ["PointMassFourGoals", "--inference-coef", "0.7"]):
        monkeypatch.setattr(sys, "argv", ["skill-embed", "train", f"SkillEmbed/{name}-v0", *given])
        cli.main()
    family, arm, point_mass = started
    assert family == EXPERIMENTS["pretrain"]["lwall"]
    assert arm.settings == tables.ARM and arm.learning_rate == 1e-3
    assert point_mass.settings == tables.POINT_MASS | tables.TWO_GOALS | {"inference_coef": 0.7}


TWO_GOALS, CORNER = "SkillEmbed/PointMassTwoGoals-v0", "SkillEmbed/PointMassCorner-v0"


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["skill-embed", *arguments])
    cli.main()


def refused(monkeypatch, *arguments):
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, *arguments)
    line = str(stopped.value)
    assert line.startswith("skill-embed: ") and "\n" not in line
    return line


def test_the_older_word_for_film_still_works_and_says_the_new_one(monkeypatch, tmp_path, capsys):
    path = tmp_path / "video.gif"
    film = [CORNER, "--policy", "pointmass", "--out", str(path), "--episodes", "1", "--width", "48", "--height", "31"]
    command(monkeypatch, "record", *film)
    printed = capsys.readouterr()
    assert printed.err.splitlines()[0] == "skill-embed: record is called film now"
    assert printed.out.strip() == str(path)
    with Image.open(path) as image:
        assert image.size == (48, 31)
    path.unlink()
    command(monkeypatch, "film", *film)
    printed = capsys.readouterr()
    assert "record" not in printed.err and "50/50" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "video.xyz"], "suffix '.xyz'"),
        (["--out", "video"], "suffix ''"),
        (["--episodes", "0"], "episodes=0 is not valid"),
        (["--seed", "-1"], "seed=-1 is not valid"),
        (["--width", "5000"], "width=5000 is not valid; choose an integer from 1 to 4,096"),
        (["--height", "0"], "height=0 is not valid"),
        (["--height", "33"], "320 x 33 pixels are not valid for .mp4"),
    ],
)
def test_a_film_that_can_not_be_is_refused_before_it_is_filmed(monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(filming, "show_film", None)
    assert message in refused(monkeypatch, "film", CORNER, "--policy", "pointmass", *arguments)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["train", "film"])
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("SkillEmbed/Lwall-v0", "LWall"),
        ("pointmasstwogoal", "PointMassTwoGoals"),
        ("SkillEmbed/PretrainAl-v0", "PretrainAll"),
    ],
)
def test_a_wrong_id_is_answered_by_the_nearest(monkeypatch, name, given, meant):
    line = refused(monkeypatch, name, given)
    assert f"env_id='{given}' is not valid; choose from" in line
    assert line.endswith(f"Did you mean 'SkillEmbed/{meant}-v0'?")
    assert "Did you mean" not in refused(monkeypatch, name, "Xylophone-v1")


def test_the_home_folder_is_meant_by_a_tilde_in_every_path(monkeypatch, tmp_path, tiny_figures, capsys):
    """The shell leaves it in --out=~/run."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(tmp_path)
    command(monkeypatch, "train", TWO_GOALS, "--timesteps", "200", "--n-envs", "4", "--out=~/run")
    assert (home / "run/record.json").exists()
    command(monkeypatch, "train", "--resume=~/run")
    assert f"{home / 'run'} is finished" in capsys.readouterr().out
    for kind, file in (("skills", "skills.safetensors"), ("model", "model.zip")):
        command(monkeypatch, "film", TWO_GOALS, f"--{kind}=~/run/{file}", f"--out=~/{kind}.mp4", "--episodes", "1")
        assert (home / f"{kind}.mp4").exists()
    given = options.Reproduce("fig2", records=Path("~/records"), figures=Path("~/figures"))
    assert with_paths(given) == options.Reproduce("fig2", records=home / "records", figures=home / "figures")
    given = options.Report(records=Path("~/r"), readme=Path("~/README.md"), docs=Path("~"))
    assert with_paths(given) == options.Report(records=home / "r", readme=home / "README.md", docs=home)
    assert os.listdir(tmp_path) == ["home"]


def test_a_training_ends_with_the_success_that_it_reached(monkeypatch, tmp_path, capsys):
    out = str(tmp_path / "run")
    command(monkeypatch, "train", TWO_GOALS, "--timesteps", "200", "--n-envs", "4", "--out", out)
    final = read_json(tmp_path / "run/record.json")["final"]["success"]
    said = f"success: PointMassLeft {final[0]:.0%}, PointMassRight {final[1]:.0%}, after "
    assert said in capsys.readouterr().out
    command(monkeypatch, "train", "--resume", out)
    assert said in capsys.readouterr().out


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_an_interrupted_training_names_the_way_to_go_on(monkeypatch, tmp_path, tiny_figures):
    out = str(tmp_path / "my run")
    arguments = ("train", TWO_GOALS, "--timesteps", "200", "--n-envs", "4", "--out", out)
    way = f"skill-embed: interrupted; go on with: skill-embed train --resume '{out}'"
    with monkeypatch.context() as patched:
        patched.setattr(folder.train, "build", interrupt)  # there is no run yet
        assert refused(monkeypatch, *arguments) == "skill-embed: interrupted"
    with monkeypatch.context() as patched:
        patched.setattr(folder, "_train", interrupt)
        assert refused(monkeypatch, *arguments) == way
        assert refused(monkeypatch, "train", "--resume", out) == way
        # Another run, which was interrupted before it took the folder.
        patched.setattr(folder.train, "build", interrupt)
        assert refused(monkeypatch, *arguments, "--force", "--seed", "1") == "skill-embed: interrupted"
    command(monkeypatch, "train", "--resume", out)
    assert (tmp_path / "my run/record.json").exists()
    with monkeypatch.context() as patched:
        patched.setattr(folder, "_train", interrupt)
        demo = str(tmp_path / "demo")
        assert refused(monkeypatch, "demo", "--out", demo).endswith(f"skill-embed train --resume {demo}")


def test_what_can_not_be_drawn_or_filmed_is_known_before_the_training(monkeypatch, tmp_path):
    def no_opengl(*_, **__):
        raise RuntimeError("no OpenGL here")

    monkeypatch.setattr(folder, "start", None)
    out = tmp_path / "demo"
    with monkeypatch.context() as patched:
        patched.setattr("skill_envs.opengl.open_context", no_opengl)
        assert refused(monkeypatch, "demo", "--out", str(out)) == "skill-embed: no OpenGL here"
        patched.setattr("skill_agent.experiments.reproduce.reproduce", None)
        records = str(tmp_path / "records")
        assert refused(monkeypatch, "reproduce", "fig6", "--records", records) == "skill-embed: no OpenGL here"
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", no_opengl)
    assert "no OpenGL here" in refused(monkeypatch, "demo", "--out", str(out))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("n_envs", ["0", "-5", "10001", "1000000"])
def test_more_environments_than_fit_are_refused_at_once(monkeypatch, tmp_path, n_envs):
    out = tmp_path / "run"
    line = refused(monkeypatch, "train", TWO_GOALS, "--n-envs", n_envs, "--out", str(out))
    assert f"n_envs={n_envs} is not valid; choose an integer from 1 to 10,000" in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ModuleNotFoundError("No module named 'tqdm'", name="tqdm"),
            "needs the package tqdm, which is not installed: pip install tqdm",
        ),
        (ModuleNotFoundError("no", name="stable_baselines3.common"), "pip install stable-baselines3"),
        (
            ModuleNotFoundError("no", name="seaborn.axes"),
            "needs the package seaborn, which is not installed: pip install 'skill-embed[pictures]'",
        ),
        (
            ModuleNotFoundError("No module named 'skill_agent.nowhere'", name="skill_agent.nowhere"),
            "No module named 'skill_agent.nowhere'",
        ),
        (ImportError("You must install tqdm\nand rich"), "You must install tqdm and rich"),
        (MemoryError(), "out of memory"),
        (RuntimeError("first\n  second"), "first second"),
        (NotADirectoryError(20, "Not a directory", "x/y"), "[Errno 20] Not a directory: 'x/y'"),
        (KeyError("qpos"), "KeyError: 'qpos' (set SKILL_EMBED_TRACEBACK=1 to see where)"),
        (AssertionError(), "AssertionError:  (set SKILL_EMBED_TRACEBACK=1 to see where)"),
        (IndexError("index 7"), "IndexError: index 7 (set SKILL_EMBED_TRACEBACK=1 to see where)"),
    ],
)
def test_every_error_is_one_line(monkeypatch, error, line):
    def fail(args):
        raise error

    extras = ["numpy>=1", "Seaborn>=0.1; extra == 'pictures'", 'pytest ; extra == "dev"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: extras)
    monkeypatch.setitem(cli.COMMANDS, "report", cli.Command(options.Report, fail))
    assert refused(monkeypatch, "report").endswith(line)
    monkeypatch.setenv("SKILL_EMBED_TRACEBACK", "1")
    with pytest.raises(type(error)):
        command(monkeypatch, "report")


def test_a_missing_package_is_named_by_the_command_that_needs_it(tmp_path):
    """By a real import that fails, not by a mock of it."""
    code = (
        "import sys\n"
        "sys.modules['matplotlib'] = None\n"
        "sys.argv = ['skill-embed', 'demo']\n"
        "from skill_agent import cli\n"
        "cli.main()\n"
    )
    done = _python(["-c", code], tmp_path)
    assert "needs the package matplotlib, which is not installed" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.returncode == 1
    assert os.listdir(tmp_path) == []


def _python(arguments, cwd, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run([sys.executable, *arguments], capture_output=True, cwd=cwd, env=environment, text=True)


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_help_needs_no_unicode(tmp_path, variables):
    for arguments in (["--help"], ["train", "--help"]):
        done = _python(["-m", "skill_agent.cli", *arguments], tmp_path, **variables)
        assert done.returncode == 0 and done.stderr == "" and "skill-embed" in done.stdout


def test_folders_with_any_letters(monkeypatch, tmp_path):
    """A terminal without the letters writes escapes; a system without them says so before anything is done."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    out = tmp_path / "größe"
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        command(patched, "train", TWO_GOALS, "--timesteps", "200", "--n-envs", "4", "--out", str(out))
    assert (out / "record.json").exists()
    assert stream.buffer.getvalue().endswith(b"gr\\xf6\\xdfe\n")
    assert "choose ASCII letters" in refused(monkeypatch, "train", TWO_GOALS, "--out", str(tmp_path / "gr\udcf6"))
    # Under an encoding that has the letters, libraries would still write to another folder than Python.
    monkeypatch.setattr(os, "fsencode", lambda path: str(path).encode("latin-1"))
    assert "set PYTHONUTF8=1" in refused(monkeypatch, "train", TWO_GOALS, "--out", str(tmp_path / "größer"))
    assert os.listdir(tmp_path) == ["größe"]
