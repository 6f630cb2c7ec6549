import os
import shutil
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from filelock import FileLock
from toy import ROOT

from skill_agent import cli
from skill_agent.experiments import EXPERIMENTS, folder, tables


def test_the_demo_leaves_figure_video_record_and_model(tiny_figures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["skill-embed", "demo", "--out", str(tmp_path / "demo"), "--seed", "1"])
    cli.main()
    printed = capsys.readouterr().out
    for name in ("trajectories.png", "skills.mp4", "record.json", "model.zip", "progress.csv"):
        assert (tmp_path / "demo" / name).stat().st_size > 0
        assert name in printed
    frames = _read(tmp_path / "demo/skills.mp4")
    assert frames.shape == (150, 320, 640, 3) and frames.std() > 10 and (frames[0] != frames[-1]).any()


def _read(path):
    """Frames of a video of two tasks side by side, by the ffmpeg that imageio brings."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(output, np.uint8).reshape(-1, 320, 640, 3)


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
    argv = ["skill-embed", "record", "SkillEmbed/PointMassTwoGoals-v0", "--model", model, "--out", str(video)]
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
    assert len(_read(video)) == 50


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
    filmed = run("record", "SkillEmbed/Nowhere-v0", "--policy", "lwall")
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
    for name, *given in (["LWallPretrain"], ["Push"], ["PointMassFourGoals", "--inference-coef", "0.7"]):
        monkeypatch.setattr(sys, "argv", ["skill-embed", "train", f"SkillEmbed/{name}-v0", *given])
        cli.main()
    family, arm, point_mass = started
    assert family == EXPERIMENTS["pretrain"]["lwall"]
    assert arm.settings == tables.ARM and arm.learning_rate == 1e-3
    assert point_mass.settings == tables.POINT_MASS | tables.TWO_GOALS | {"inference_coef": 0.7}
