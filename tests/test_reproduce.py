import sys
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
from toy import InThisProcess

from skill_agent import cli, load_policy, rollouts
from skill_agent.experiments import claims, figures, folder, reproduce, train
from skill_agent.experiments.records import load_records, record_path
from skill_agent.experiments.tables import EXPERIMENTS
from skill_agent.files import read_json, write_json


def test_reproduce_keeps_what_is_done(tiny_figures, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "ProcessPoolExecutor", InThisProcess)
    for variant in ("without", "with"):
        write_json(record_path(tmp_path, "fig2", variant, 0), {"kept": True})
    done = list(reproduce.reproduce("fig2", seeds=2, jobs=1, records=tmp_path))
    assert {name for name, _, _ in done} == {"fig2 with seed 1", "fig2 without seed 1"}
    assert [(n, total) for _, n, total in done] == [(1, 2), (2, 2)]
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
    folder.start(replace(run, total_timesteps=800), 0, reproduce.RUNS / "pretrain/lwall-seed0")
    with pytest.raises(ValueError, match=r"lwall-seed0 is of other settings.*total_timesteps=1600.*move it away"):
        list(reproduce.reproduce("pretrain", 1, 1, tiny_arm, [name]))
    assert not (tiny_arm / "pretrain").exists()


def test_a_record_without_its_networks_is_not_done(tiny_arm):
    list(reproduce.reproduce("pretrain", 1, 1, tiny_arm, ["springwall"]))
    (tiny_arm / "pretrain/springwall-seed0.safetensors").unlink()
    assert len(list(reproduce.reproduce("pretrain", 1, 1, tiny_arm, ["springwall"]))) == 1
    assert (tiny_arm / "pretrain/springwall-seed0.safetensors").exists()


def test_figure_5_trains_the_skills_that_it_needs_then_transfers(tiny_arm):
    done = list(reproduce.reproduce("fig5", 1, 1, tiny_arm, ["lwall", "lwall-task-id", "lwall-scratch"]))
    names = [name for name, _, _ in done]
    assert set(names[:2]) == {"pretrain lwall seed 0", "pretrain lwall-task-id seed 0"}
    assert set(names[2:]) == {"fig5 lwall seed 0", "fig5 lwall-task-id seed 0", "fig5 lwall-scratch seed 0"}
    assert [(n, total) for _, n, total in done] == [(n, 5) for n in range(1, 6)]
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
    records = load_records(tiny_arm, "fig5")
    figures.save(figures.fig5(records), tiny_arm / "fig5.png")
    assert iio.imread(tiny_arm / "fig5.png").std() > 5


def test_reproduce_trains_as_many_seeds_as_the_figure_has(monkeypatch):
    asked = []
    monkeypatch.setattr(reproduce, "reproduce", lambda figure, seeds, *rest: asked.append((figure, seeds)) or iter(()))
    monkeypatch.setattr(figures, "save", lambda *_: None)
    for figure, *more in (["fig2"], ["fig5"], ["fig5", "--seeds", "7"]):
        monkeypatch.setattr(sys, "argv", ["skill-embed", "reproduce", figure, *more])
        cli.main()
    assert asked == [("fig2", 10), ("fig5", 3), ("fig5", 7)]


def test_figure_4_measures_coverage_of_both_sets_of_skills(tiny_arm):
    list(reproduce.reproduce("fig4", 1, 1, tiny_arm))
    records = load_records(tiny_arm, "fig4")
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
    (name,) = reproduce.films(tiny_arm)
    assert name == "RailPush"
    assert iio.imread("docs/figures/fig6.png").std() > 10
