import sys
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
import safetensors
from toy import InThisProcess

from skill_agent import cli, load_policy, rollouts
from skill_agent.experiments import EXPERIMENTS, claims, figures, folder, reproduce, train, work
from skill_agent.experiments.measure import films
from skill_agent.experiments.records import record_path
from skill_agent.experiments.registry import records_of
from skill_agent.experiments.sums import write_listed
from skill_agent.files import read_json


def test_reproduce_keeps_what_is_done(tiny_figures, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "ProcessPoolExecutor", InThisProcess)
    for variant in ("without", "with"):
        write_listed(record_path(tmp_path, "fig2", variant, 0), b'{"kept": true}')
    done = list(reproduce.reproduce("fig2", seeds=2, jobs=1, records=tmp_path))
    assert {progress.finished for progress in done} == {"fig2 with seed 1", "fig2 without seed 1"}
    assert [progress[1:] for progress in done] == [(1, 2, 800, 1600), (2, 2, 1600, 1600)]
    assert read_json(tmp_path / "fig2/with-seed0.json") == {"kept": True}
    record = read_json(tmp_path / "fig2/with-seed1.json")
    assert record["variant"] == "with" and record["seed"] == 1 and record["total_timesteps"] >= 800
    assert list(reproduce.reproduce("fig2", seeds=2, jobs=1, records=tmp_path)) == []
    with pytest.raises(ValueError, match=r"figure='fig9'.*'fig2', 'fig3'"):
        list(reproduce.reproduce("fig9", 1, 1, tmp_path))


def test_after_a_failed_run_no_other_begins(tiny_figures, tmp_path, monkeypatch):
    begun = []

    def fail(run, seed):
        begun.append(seed)
        raise RuntimeError("broken")

    monkeypatch.setattr(reproduce, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(train, "train", fail)
    with pytest.raises(RuntimeError, match="broken"):
        list(reproduce.reproduce("fig2", seeds=3, jobs=1, records=tmp_path))
    assert begun == [0]


def test_a_run_folder_of_other_settings_is_no_result_of_this_run(tiny_arm):
    (name, run) = "lwall", EXPERIMENTS["pretrain"]["lwall"]
    folder.start(replace(run, total_timesteps=800), 0, work.RUNS / "pretrain/lwall-seed0")
    with pytest.raises(ValueError, match=r"lwall-seed0 is of other settings.*total_timesteps=1600.*move it away"):
        list(reproduce.reproduce("pretrain", 1, 1, tiny_arm, [name]))
    assert not (tiny_arm / "pretrain").exists()


def test_a_damaged_record_of_a_run_is_named(tiny_arm):
    run = EXPERIMENTS["pretrain"]["lwall"]
    path = work.RUNS / "pretrain/lwall-seed0/record.json"
    folder.start(run, 0, path.parent)
    record = path.read_bytes()
    for damaged in (record[:-10], b"\xff" + record, record.replace(b'"train_seconds": ', b'"train_seconds": -')):
        path.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=r"record\.json is damaged|lwall-seed0\.json would not .*train_seconds is -"
        ):
            list(reproduce.reproduce("pretrain", 1, 1, tiny_arm, ["lwall"]))
    assert not list(tiny_arm.glob("*/*.json"))


def digest(record):
    """The SHA-256 that the networks beside a record have in their header."""
    with safetensors.safe_open(record.with_suffix(".safetensors"), "np") as file:
        return file.metadata()["sha256"]


def test_networks_that_are_not_kept_are_trained_again_where_they_are_needed_alone(tiny_arm):
    def finished(figure, variant):
        return [progress.finished for progress in reproduce.reproduce(figure, 1, 1, tiny_arm, [variant])]

    def take_networks_away():
        for path in tiny_arm.glob("*/*.safetensors"):
            path.unlink()

    assert finished("fig5", "springwall") == ["pretrain springwall seed 0", "fig5 springwall seed 0"]
    paths = [tiny_arm / figure / "springwall-seed0.json" for figure in ("pretrain", "fig5")]
    before = [path.read_bytes() for path in paths]
    networks = [digest(path) for path in paths]
    take_networks_away()
    assert finished("fig5", "springwall") == finished("pretrain", "springwall") == []
    # Another transfer of the same family needs other skills, figure 6 the policy and thus the skills.
    assert finished("fig5", "springwall-scratch") == ["fig5 springwall-scratch seed 0"]
    assert finished("fig6", "springwall") == ["pretrain springwall seed 0", "fig5 springwall seed 0"]
    assert [path.read_bytes() for path in paths] == before
    assert [digest(path) for path in paths] == networks


def test_figure_5_trains_the_skills_that_it_needs_then_transfers(tiny_arm):
    done = list(reproduce.reproduce("fig5", 1, 1, tiny_arm, ["lwall", "lwall-task-id", "lwall-scratch"]))
    names = [progress.finished for progress in done]
    assert set(names[:2]) == {"pretrain lwall seed 0", "pretrain lwall-task-id seed 0"}
    assert set(names[2:]) == {"fig5 lwall seed 0", "fig5 lwall-task-id seed 0", "fig5 lwall-scratch seed 0"}
    assert [(progress.done, progress.runs) for progress in done] == [(n, 5) for n in range(1, 6)]
    assert list(reproduce.reproduce("fig5", 1, 1, tiny_arm, ["lwall", "lwall-task-id", "lwall-scratch"])) == []
    for variant, skills in (("lwall", "lwall"), ("lwall-task-id", "lwall-task-id"), ("lwall-scratch", "")):
        record = read_json(tiny_arm / f"fig5/{variant}-seed0.json")
        assert record.get("skills", "") == skills and 0 <= record["final"]["success"][0] <= 1
        assert record["curve"][-1]["steps"] == record["total_timesteps"] >= 1_600
        assert {"return", "seconds", "success"} <= set(record["curve"][0])
    policy = load_policy(tiny_arm / "fig5/lwall-seed0.safetensors")
    reward, success = rollouts.episodes(policy, "SkillEmbed/LWall-v0", 2, seed=0)
    assert reward.shape == success.shape == (2, 100) and np.array_equal(reward > 0, success)
    task_id = load_policy(tiny_arm / "fig5/lwall-task-id-seed0.safetensors")
    code = task_id.predict_skill(np.zeros(27, np.float32))
    assert code.shape == (2,) and (0 <= code).all() and (code <= 1).all()
    with pytest.raises(ValueError, match=r"variants=\['nothing'\] are not valid; choose from"):
        list(reproduce.reproduce("fig5", 1, 1, tiny_arm, ["nothing"]))
    records = records_of("fig5", tiny_arm)
    figures.save(figures.fig5(records), tiny_arm / "fig5.png")
    assert iio.imread(tiny_arm / "fig5.png").std() > 5


def test_reproduce_trains_as_many_seeds_as_the_figure_has(monkeypatch):
    asked = []

    def none(figure, seeds, *rest):
        asked.append((figure, seeds))
        yield from ()

    monkeypatch.setattr(reproduce, "reproduce", none)
    monkeypatch.setattr(figures, "save", lambda *_: None)
    for figure, *more in (["fig2"], ["fig5"], ["fig5", "--seeds", "7"]):
        monkeypatch.setattr(sys, "argv", ["skill-embed", "reproduce", figure, *more])
        cli.main()
    assert asked == [("fig2", 10), ("fig5", 3), ("fig5", 7)]


def test_figure_4_measures_coverage_of_both_sets_of_skills(tiny_arm):
    list(reproduce.reproduce("fig4", 1, 1, tiny_arm))
    records = records_of("fig4", tiny_arm)
    assert [r["skills"] for r in records["without"]] == ["lwall-no-inference"]
    for record in (*records["with"], *records["without"]):
        path = np.array(record["position"])
        assert path.shape == (8, 151, 3) and (path[:, 0] == path[0, 0]).all() and not (path[:, -1] == path[0, -1]).all()
        one_z = np.array(record["position_of_one_z"])
        assert one_z.shape == (40, 51, 3) and np.array_equal(one_z[:8], path[:, :51])
        assert len(record["coverage"]) == 3 and 0 < record["coverage"][0]
        assert record["coverage"] == sorted(record["coverage"]) and 0 <= record["lifted"] <= 1
    figures.save(figures.fig4(records), tiny_arm / "fig4.png")
    assert iio.imread(tiny_arm / "fig4.png").std() > 5
    for record in records["with"]:
        record["coverage"] = [0.1, 0.16, 0.3]
    for record in records["without"]:
        record["coverage"] = [0.1, 0.1, 0.15]
    found = claims.fig4_claims(records)
    assert [claim.holds for claim in found] == [False, True, True]
    for claim, about, ratio in zip(
        found, ("one z", "2 z in turn", "3 z in turn"), ("1.00", "1.60", "2.00"), strict=True
    ):
        assert about in claim.claim and claim.measured.startswith(ratio)


def test_figure_6_shows_the_policies_of_figure_5(tiny_arm, monkeypatch):
    list(reproduce.reproduce("fig5", 1, 1, tiny_arm, ["railpush"]))
    monkeypatch.setattr(sys, "argv", ["skill-embed", "reproduce", "fig6", "--variants", "railpush", "--seeds", "1"])
    cli.main()
    (name,) = films(tiny_arm)
    assert name == "RailPush"
    assert iio.imread("docs/figures/fig6.png").std() > 10
