"""Real processes: what becomes of running trainings when `reproduce` is killed, terminated or interrupted."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from filelock import FileLock
from toy import ROOT

# A figure of two runs that would take hours, and one that takes a second. Workers import this file too.
SCRIPT = """
import os
from dataclasses import replace
from pathlib import Path

from skill_agent import cli
from skill_agent.experiments import FIGURES, Run, figures, work
from skill_agent.experiments.registry import Entry

settings = {"policy_kwargs": {"net_arch": [8, 8]}, "train_freq": 10, "gradient_steps": 1, "batch_size": 4}
run = Run("SkillEmbed/PointMassTwoGoals-v0", 100_000_000, settings, n_envs=8)

def noted(job):
    Path(f"pid-{job.variant}").write_text(str(os.getpid()))
    return work.arm(job)

FIGURES["endless"] = Entry({"a": run, "b": run}, 1, noted, figures.pretrain)
FIGURES["brief"] = Entry({"a": replace(run, total_timesteps=800)}, 2, work.short, figures.pretrain)
if __name__ == "__main__":
    cli.main()
"""
COMMAND = ["reproduce", "endless", "--jobs", "2"]


@pytest.fixture
def begin(tmp_path):
    """Start `reproduce` in an empty folder; returns the process and the file with what it says."""
    script = tmp_path / "endless.py"
    script.write_text(SCRIPT)
    started = []

    def begin():
        said = tmp_path / f"said-{len(started)}"
        with open(said, "wb") as file:
            process = subprocess.Popen(
                [sys.executable, str(script), *COMMAND],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=file,
                start_new_session=True,
                # A shell's background processes ignore it, and so would what they begin.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        started.append(process)
        wait_for(lambda: steps(said) > 0 or process.poll() is not None)
        assert process.poll() is None, said.read_text()
        return process, said

    yield begin
    for process in started:
        process.kill()
        process.wait()


def wait_for(condition, seconds=300):  # a loaded machine is slow
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.1)


def steps(said):
    """Steps of both runs that the bar shows: 3.2k, of 200M in all."""
    shown = re.findall(r"([\d.]+)([kM]?)/200M \[.*?<.*?step/s, 0 of 2 runs\]", said.read_text())
    return max((float(number) * {"": 1, "k": 1e3, "M": 1e6}[unit] for number, unit in shown), default=0)


def assert_runs_end(tmp_path):
    """A run's lock ends with its process."""
    for variant in "ab":
        with FileLock(tmp_path / f"runs/endless/{variant}-seed0/.lock", timeout=30):
            pass


def test_runs_end_with_a_killed_process_and_go_on_after_it(begin, tmp_path):
    process, said = begin()
    at_first = steps(said)
    wait_for(lambda: steps(said) > at_first)
    wait_for(lambda: all((tmp_path / f"runs/endless/{variant}-seed0/progress.csv").exists() for variant in "ab"))
    process.kill()
    process.wait()
    assert_runs_end(tmp_path)
    process, said = begin()
    process.terminate()
    assert process.wait(60) == 1
    assert (
        said.read_text()
        .splitlines()[-1]
        .endswith("interrupted; what is finished is kept. Go on with: skill-embed reproduce endless --jobs 2")
    )
    assert_runs_end(tmp_path)


def test_an_interrupt_by_the_keyboard_ends_all_without_a_traceback(begin, tmp_path):
    process, said = begin()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 1
    assert "Go on with: skill-embed reproduce endless" in said.read_text()
    assert "Traceback" not in said.read_text()
    assert_runs_end(tmp_path)


def test_a_killed_training_is_an_error_that_says_so(begin, tmp_path):
    process, said = begin()
    os.kill(int((tmp_path / "pid-a").read_text()), signal.SIGKILL)
    assert process.wait(60) == 1
    assert "a training was killed, or memory did not suffice" in said.read_text()
    assert_runs_end(tmp_path)


def test_finished_runs_leave_records_and_a_figure(tmp_path):
    script = tmp_path / "brief.py"
    script.write_text(SCRIPT)
    result = subprocess.run(
        [sys.executable, str(script), "reproduce", "brief"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert "1.60k/1.60k" in result.stderr and "2 of 2 runs" in result.stderr
    assert sorted(path.name for path in (tmp_path / "records/brief").glob("[!.]*")) == [
        "SHA256SUMS", "a-seed0.json", "a-seed1.json",
    ]  # fmt: skip
    assert "figure in docs/figures/brief.png" in result.stdout and (tmp_path / "docs/figures/brief.png").exists()
