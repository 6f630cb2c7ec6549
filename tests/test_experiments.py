import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import torch
from filelock import FileLock

from skill_agent import (
    SkillConfig,
    TransferredPolicy,
    cli,
    evaluate,
    experiments,
    load_policy,
    load_skills,
    plots,
    report,
    results,
    runner,
    runs,
    statistics,
    training,
)
from skill_agent.experiments import EXPERIMENTS, FIGURES, Run
from skill_envs import ENVIRONMENTS, TASKS, SkillVectorEnv

ROOT = Path(__file__).parent.parent
TINY = {"policy_kwargs": {"net_arch": [8, 8]}, "train_freq": 10, "gradient_steps": 1, "batch_size": 4}


def tiny(run):
    settings = {**run.settings, **TINY, "learning_starts": 100}
    return Run(run.env_id, 800, settings, n_envs=8)


@pytest.fixture
def tiny_figures(monkeypatch):
    """The real table with budgets of a second."""
    torch.set_num_threads(1)
    figures = {figure: {name: tiny(run) for name, run in variants.items()} for figure, variants in FIGURES.items()}
    monkeypatch.setattr(experiments, "FIGURES", figures)
    monkeypatch.setattr(runner, "EXPERIMENTS", figures)
    return figures


@pytest.fixture(scope="module")
def tiny_records(tmp_path_factory):
    """Records of every variant; the second seed repeats the first one's numbers."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("records")
    for figure, variants in FIGURES.items():
        for name, run in variants.items():
            _, record = training.train(tiny(run), 0)
            for seed in range(2):
                runner.write_json(runner.record_path(folder, figure, name, seed), {**record, "seed": seed})
    return folder


def test_a_rollout_is_what_the_environment_says():
    agent = training.build(Run("SkillEmbed/PointMassTwoGoals-v0", 100, TINY, n_envs=2), seed=0)
    first, second = (evaluate.rollout(agent.policy, "SkillEmbed/PointMassTwoGoals-v0", 3, seed=1) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert first.state.shape == (6, 51, 4) and first.task.tolist() == [0, 0, 0, 1, 1, 1]
    for k, name in enumerate(ENVIRONMENTS["SkillEmbed/PointMassTwoGoals-v0"].tasks):
        inside = np.linalg.norm(first.state[first.task == k, 1:, :2] - TASKS[name].goals[0], axis=-1)
        assert ((inside <= TASKS[name].goal_radius) == first.success[first.task == k]).all()
    rates = evaluate.success_rate(first._replace(success=np.array([[0, 1]] * 3 + [[1, 0]] * 3, bool)), 2)
    assert rates == [1.0, 0.0]
    with pytest.raises(ValueError, match="has 4 tasks; the policy has 2"):
        evaluate.rollout(agent.policy, "SkillEmbed/PointMassDuplicate-v0", 3, seed=1)


def test_what_follows_a_divergence_earns_nothing(monkeypatch):
    agent = training.build(Run("SkillEmbed/PointMassTwoGoals-v0", 100, TINY, n_envs=2), seed=0)
    step, count = SkillVectorEnv.step, iter(range(10_000))

    def diverging(self, actions):
        observation, _, terminated, truncated, info = step(self, actions)
        truncated[0] |= next(count) % 50 == 9  # the tenth step of the first episode
        info["is_success"][:] = True
        return observation, np.ones(len(truncated)), terminated, truncated, info

    monkeypatch.setattr(SkillVectorEnv, "step", diverging)
    found = evaluate.rollout(agent.policy, "SkillEmbed/PointMassTwoGoals-v0", 1, seed=0)
    assert found.reward.sum(1).tolist() == [10, 50] and found.success.sum(1).tolist() == [10, 50]
    transferred = TransferredPolicy(load_skills("pointmass"), load_policy("pointmass").mapping, 2)
    reward, success = evaluate.episodes(transferred, "SkillEmbed/PointMassCorner-v0", 2, seed=0)
    assert reward.sum(1).tolist() == success.sum(1).tolist() == [10, 50]


def test_a_film_is_that_of_its_seed():
    policy, before = load_policy("pointmass"), torch.get_rng_state()
    first, again, other = (evaluate.film(policy, "SkillEmbed/PointMassCorner-v0", 1, seed)[0][-1] for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_inference_error_is_zero_for_a_network_that_knows_z():
    agent = training.build(Run("SkillEmbed/PointMassTwoGoals-v0", 100, TINY, n_envs=2), seed=0)
    rollouts = evaluate.rollout(agent.policy, "SkillEmbed/PointMassTwoGoals-v0", 2, seed=1)
    constant = rollouts._replace(latent=np.tile(np.float32([0.5, -0.5, 0.25]), (4, 1)))
    with torch.no_grad():  # the last layer answers (0.5, -0.5, 0.25) whatever it sees
        net = agent.policy.inference
        net.weights[-1].zero_()
        bound = 2 * agent.config.embedding_mean_bound
        net.biases[-1][..., :3] = bound * torch.atanh(torch.tensor([0.5, -0.5, 0.25]) / bound)
    assert evaluate.inference_error(agent.policy, constant) == pytest.approx(0, abs=1e-6)
    shifted = constant._replace(latent=constant.latent + np.float32(0.3))
    assert evaluate.inference_error(agent.policy, shifted) == pytest.approx(0.3, abs=1e-5)


def test_goals_reached_counts_each_goal():
    state = np.zeros((5, 2, 4), np.float32)
    state[0, -1, :2], state[1, -1, :2], state[2, -1, :2] = (-1, 0.1), (1, 0), (1.2, 0.1)
    rollouts = evaluate.Rollouts(state, *[np.zeros(0)] * 5)
    assert evaluate.goals_reached(rollouts, "SkillEmbed/PointMassFourGoals-v0") == [0.2, 0.4, 0.0, 0.0]


def test_reproduce_keeps_what_is_done(tiny_figures, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "ProcessPoolExecutor", _InThisProcess)
    for variant in ("without", "with"):
        runner.write_json(runner.record_path(tmp_path, "fig2", variant, 0), {"kept": True})
    done = list(runner.reproduce("fig2", seeds=2, jobs=1, records=tmp_path))
    assert {name for name, _, _ in done} == {"fig2 with seed 1", "fig2 without seed 1"}
    assert [(n, total) for _, n, total in done] == [(1, 2), (2, 2)]
    assert runner.read_json(tmp_path / "fig2/with-seed0.json") == {"kept": True}
    record = runner.read_json(tmp_path / "fig2/with-seed1.json")
    assert record["variant"] == "with" and record["seed"] == 1 and record["total_timesteps"] >= 800
    assert list(runner.reproduce("fig2", seeds=2, jobs=1, records=tmp_path)) == []
    with pytest.raises(ValueError, match=r"figure='fig9'.*'fig2', 'fig3'"):
        list(runner.reproduce("fig9", 1, 1, tmp_path))


def test_after_a_failed_run_no_other_begins(tiny_figures, tmp_path, monkeypatch):
    begun = []

    def fail(run, seed):
        begun.append(seed)
        raise RuntimeError("broken")

    monkeypatch.setattr(runner, "ProcessPoolExecutor", _InThisProcess)
    monkeypatch.setattr(training, "train", fail)
    with pytest.raises(RuntimeError, match="broken"):
        list(runner.reproduce("fig2", seeds=3, jobs=1, records=tmp_path))
    assert begun == [0]


def test_a_run_folder_of_other_settings_is_no_result_of_this_run(tiny_arm):
    (name, run) = "lwall", EXPERIMENTS["pretrain"]["lwall"]
    runs.start(replace(run, total_timesteps=800), 0, runner.RUNS / "pretrain/lwall-seed0")
    with pytest.raises(ValueError, match=r"lwall-seed0 is of other settings.*total_timesteps=1600.*move it away"):
        list(runner.reproduce("pretrain", 1, 1, tiny_arm, [name]))
    assert not (tiny_arm / "pretrain").exists()


def test_a_record_without_its_networks_is_not_done(tiny_arm):
    list(runner.reproduce("pretrain", 1, 1, tiny_arm, ["springwall"]))
    (tiny_arm / "pretrain/springwall-seed0.safetensors").unlink()
    assert len(list(runner.reproduce("pretrain", 1, 1, tiny_arm, ["springwall"]))) == 1
    assert (tiny_arm / "pretrain/springwall-seed0.safetensors").exists()


def test_a_figure_without_its_records_is_left_as_it_is(tiny_arm, tmp_path, monkeypatch, capsys):
    path = tmp_path / "figures/fig5.png"
    path.parent.mkdir()
    path.write_text("precious")
    argv = ["skill-embed", "reproduce", "fig5", "--variants", "lwall-scratch", "--seeds", "1", "--figures", "figures"]
    monkeypatch.setattr(sys, "argv", argv)
    cli.main()
    assert path.read_text() == "precious"
    assert "not drawn: there are no records of ['springwall', 'lwall', 'railpush']" in capsys.readouterr().out


class _InThisProcess:
    """A pool that runs in this process, so that the tiny table is seen by the workers."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def submit(self, function, *args):
        from concurrent.futures import Future

        future = Future()
        future.set_result(function(*args))
        return future


def test_figures_and_table_come_from_records_alone(tiny_records, tmp_path):
    readme = tmp_path / "README.md"
    markers = {
        readme: ("speed", "sac", "results", "cost"),
        tmp_path / "benchmarks.md": ("environments", "learner", "physics"),
        tmp_path / "results.md": ("seeds",),
    }
    for page, names in markers.items():
        sections = "".join(f"<!-- {name} -->\nstale words\n<!-- /{name} -->\n" for name in names)
        page.write_text(f"before\n{sections}after\n", encoding="utf-8")
    written = report.write_report(tiny_records, readme, tmp_path, ROOT / "benchmarks")
    assert written[:3] == list(markers)
    for page in written[:3]:
        text = page.read_text(encoding="utf-8")
        assert "\n|" in text and "stale words" not in text
        assert text.startswith("before\n") and text.endswith("after\n")
    text = readme.read_text(encoding="utf-8")
    assert text.count("\n|") >= 7 and "of 2 seeds" in text
    for path in written[3:]:
        image = iio.imread(path)
        assert image.std() > 5, path


def test_ratio_interval_by_hand():
    ratio, low, high = results.ratio_interval([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (ratio, low, high) == pytest.approx((2, 2, 2))
    ratio, low, high = results.ratio_interval([3.0, 1.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0])
    assert ratio == 2 and 1 <= low < 2 < high <= 3
    ratio, low, high = results.ratio_interval([2.0], [1.0])
    assert ratio == 2 and np.isnan([low, high]).all()


def test_claims_fail_when_the_records_say_so(tiny_records):
    records = runner.load_records(tiny_records, "fig2")
    for record in records["with"]:
        record["final"]["success"] = [1.0, 0.9]
        record["train_seconds"] = 61
        record["final"]["inference_error"] = [1.0] * 50
    assert [claim.holds for claim in results.fig2_claims(records)] == [False, False, False]
    for record in records["with"]:
        record["final"]["success"] = [1.0, 0.95]
        record["train_seconds"] = 60
        record["final"]["inference_error"] = [1.0] * 25 + [0.1] * 25
    for record in records["without"]:
        record["final"]["inference_error"] = [0.0] * 25 + [0.3] * 25
    assert [claim.holds for claim in results.fig2_claims(records)] == [True, True, True]
    records = runner.load_records(tiny_records, "fig3")
    for variant in ("bernoulli", "gaussian"):
        for record in records[variant]:
            for key in ("goals_reached", "goals_reached_discrete"):
                record["final"][key] = [0.3, 0.2, 0.05, 0.04]
    for record in records["duplicate"]:
        record["final"]["kl"], record["final"]["success"] = [[0.0, 2.0, 0.05, 3.0]], [1.0, 0.9, 1.0, 1.0]
    assert [claim.holds for claim in results.fig3_claims(records)] == [False, True, True, True]
    records["duplicate"][0]["final"]["kl"] = [[0.0, 0.9, 0.05, 3.0]]
    assert results.fig3_claims(records)[2].holds is False
    records["duplicate"][0]["final"]["success"] = [1.0, 0.89, 1.0, 1.0]
    assert results.fig3_claims(records)[3].holds is False


@pytest.mark.parametrize("figure", list(FIGURES))
def test_kept_records_are_of_the_present_settings(figure):
    for variant, run in FIGURES[figure].items():
        records = runner.load_records(ROOT / "records", figure)[variant]
        assert [record["seed"] for record in records] == list(range(10))
        for record in records:
            assert record["settings"] == json.loads(json.dumps(run.settings)), (variant, record["seed"])
            assert record["env_id"] == run.env_id and record["learning_rate"] == run.learning_rate
            assert run.total_timesteps <= record["total_timesteps"] < run.total_timesteps * 1.05


def effective(settings):
    """Settings as JSON has them, defaults written out, without those that can't change what is learned."""
    found = json.loads(json.dumps(vars(SkillConfig()) | settings))
    del found["compile"]  # it changes speed, and numbers up to rounding alone
    if found["embedding"] == "task_id":  # no inference network, and no entropy of z
        found = {k: v for k, v in found.items() if not k.startswith(("inference_", "embedding_", "versatility_"))}
    return found


@pytest.mark.parametrize("figure", ["pretrain", "fig5"])
def test_kept_arm_records_are_of_the_present_settings_and_what_they_trained_is_there(figure):
    for variant, found in runner.load_records(ROOT / "records", figure).items():
        run = EXPERIMENTS[figure][variant]
        for record in found:
            assert effective(record["settings"]) == effective(run.settings), (variant, record["seed"])
            assert (record["env_id"], record["skills"] if run.skills else "") == (run.env_id, run.skills)
            assert run.total_timesteps <= record["total_timesteps"] < run.total_timesteps * 1.05
            assert all(record[name] == getattr(run, name) for name in ("learning_rate", "n_envs"))
            path = runner.record_path(ROOT / "records", figure, variant, record["seed"]).with_suffix(".safetensors")
            if not run.skills:
                assert effective(vars(load_skills(path).config)) == configured(run.settings), path
                continue
            policy, skills = load_policy(path), runner.skills_of(ROOT / "records", run, record["seed"])
            assert (record["hold"], policy.hold) == (run.hold, run.hold)
            assert effective(vars(policy.mapping.config)) == configured(run.settings)
            assert policy.skills.config == skills.config
            for name, value in skills.state_dict().items():
                assert torch.equal(value, policy.skills.state_dict()[name]), "the transfer is of other skills"


def configured(settings):
    """What of the settings is in the config that goes with the networks."""
    return effective({name: value for name, value in settings.items() if name in vars(SkillConfig())})


def test_kept_records_of_figure_4_are_of_the_present_table():
    for variant, found in runner.load_records(ROOT / "records", "fig4").items():
        run = EXPERIMENTS["fig4"][variant]
        for record in found:
            assert (record["env_id"], record["skills"], record["hold"]) == (run.env_id, run.skills, run.hold)
            assert record["starts"] * record["paths"] * record["hold"] * len(record["coverage"]) == run.total_timesteps


@pytest.fixture
def tiny_arm(monkeypatch, tmp_path):
    """The real table of the arm with budgets of a second, in an empty folder; returns a folder of records."""
    torch.set_num_threads(1)
    tiny_nets = {"policy_kwargs": {"net_arch": [16, 16]}, "learning_starts": 64, "bf16": False, "compile": False}
    for figure in ("pretrain", "fig5"):
        for variant, run in EXPERIMENTS[figure].items():
            small = replace(run, total_timesteps=1_600, n_envs=8, settings=run.settings | tiny_nets)
            monkeypatch.setitem(EXPERIMENTS[figure], variant, small)
    for variant, run in EXPERIMENTS["fig4"].items():
        monkeypatch.setitem(EXPERIMENTS["fig4"], variant, replace(run, total_timesteps=8 * 40 * 3 * 50))
    for name in ("rollout", "episodes"):
        monkeypatch.setattr(evaluate, name, _few(getattr(evaluate, name)))
    monkeypatch.setattr(runner, "ProcessPoolExecutor", _InThisProcess)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "records"


def _few(evaluation):
    """The same evaluation, on at most four episodes."""
    return lambda policy, env_id, n, *args, **kwargs: evaluation(policy, env_id, min(n, 4), *args, **kwargs)


def test_figure_5_trains_the_skills_that_it_needs_then_transfers(tiny_arm):
    done = list(runner.reproduce("fig5", 1, 1, tiny_arm, ["lwall", "lwall-task-id", "lwall-scratch"]))
    names = [name for name, _, _ in done]
    assert set(names[:2]) == {"pretrain lwall seed 0", "pretrain lwall-task-id seed 0"}
    assert set(names[2:]) == {"fig5 lwall seed 0", "fig5 lwall-task-id seed 0", "fig5 lwall-scratch seed 0"}
    assert [(n, total) for _, n, total in done] == [(n, 5) for n in range(1, 6)]
    assert list(runner.reproduce("fig5", 1, 1, tiny_arm, ["lwall", "lwall-task-id", "lwall-scratch"])) == []
    for variant, skills in (("lwall", "lwall"), ("lwall-task-id", "lwall-task-id"), ("lwall-scratch", "")):
        record = runner.read_json(tiny_arm / f"fig5/{variant}-seed0.json")
        assert record.get("skills", "") == skills and 0 <= record["final"]["success"][0] <= 1
        assert record["curve"][-1]["steps"] == record["total_timesteps"] >= 1_600
        assert {"return", "seconds", "success"} <= set(record["curve"][0])
    policy = load_policy(tiny_arm / "fig5/lwall-seed0.safetensors")
    reward, success = evaluate.episodes(policy, "SkillEmbed/LWall-v0", 2, seed=0)
    assert reward.shape == success.shape == (2, 100) and np.array_equal(reward > 0, success)
    task_id = load_policy(tiny_arm / "fig5/lwall-task-id-seed0.safetensors")
    code = task_id.predict_skill(np.zeros(27, np.float32))
    assert code.shape == (2,) and (0 <= code).all() and (code <= 1).all()
    with pytest.raises(ValueError, match=r"variants=\['nothing'\] are not valid; choose from"):
        list(runner.reproduce("fig5", 1, 1, tiny_arm, ["nothing"]))
    records = runner.load_records(tiny_arm, "fig5")
    plots.save(plots.fig5(records), tiny_arm / "fig5.png")
    assert iio.imread(tiny_arm / "fig5.png").std() > 5


def test_reproduce_trains_as_many_seeds_as_the_figure_has(monkeypatch):
    asked = []
    monkeypatch.setattr(runner, "reproduce", lambda figure, seeds, *rest: asked.append((figure, seeds)) or iter(()))
    monkeypatch.setattr(plots, "save", lambda *_: None)
    for figure, *more in (["fig2"], ["fig5"], ["fig5", "--seeds", "7"]):
        monkeypatch.setattr(sys, "argv", ["skill-embed", "reproduce", figure, *more])
        cli.main()
    assert asked == [("fig2", 10), ("fig5", 3), ("fig5", 7)]


def test_figure_4_measures_coverage_of_both_sets_of_skills(tiny_arm):
    list(runner.reproduce("fig4", 1, 1, tiny_arm))
    records = runner.load_records(tiny_arm, "fig4")
    assert [r["skills"] for r in records["without"]] == ["lwall-no-inference"]
    for record in (*records["with"], *records["without"]):
        path = np.array(record["position"])
        assert path.shape == (8, 151, 3) and (path[:, 0] == path[0, 0]).all() and not (path[:, -1] == path[0, -1]).all()
        one_z = np.array(record["position_of_one_z"])
        assert one_z.shape == (40, 51, 3) and np.array_equal(one_z[:8], path[:, :51])
        assert len(record["coverage"]) == 3 and 0 < record["coverage"][0]
        assert record["coverage"] == sorted(record["coverage"]) and 0 <= record["lifted"] <= 1
    plots.save(plots.fig4(records), tiny_arm / "fig4.png")
    assert iio.imread(tiny_arm / "fig4.png").std() > 5
    for record in records["with"]:
        record["coverage"] = [0.1, 0.16, 0.3]
    for record in records["without"]:
        record["coverage"] = [0.1, 0.1, 0.15]
    claims = results.fig4_claims(records)
    assert [claim.holds for claim in claims] == [False, True, True]
    for claim, about, ratio in zip(
        claims, ("one z", "2 z in turn", "3 z in turn"), ("1.00", "1.60", "2.00"), strict=True
    ):
        assert about in claim.claim and claim.measured.startswith(ratio)


def test_figure_6_shows_the_policies_of_figure_5(tiny_arm, monkeypatch):
    list(runner.reproduce("fig5", 1, 1, tiny_arm, ["railpush"]))
    monkeypatch.setattr(sys, "argv", ["skill-embed", "reproduce", "fig6", "--variants", "railpush", "--seeds", "1"])
    cli.main()
    (name,) = runner.films(tiny_arm)
    assert name == "RailPush"
    assert iio.imread("docs/figures/fig6.png").std() > 10


def test_without_a_compiler_runs_go_on_uncompiled(monkeypatch):
    monkeypatch.setattr(training.shutil, "which", lambda _: None)
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler"):
        agent = training.build(Run("SkillEmbed/PointMassTwoGoals-v0", 100, TINY | {"compile": True}, n_envs=2), seed=0)
    assert not agent.config.compile


def test_coverage_and_lifts_by_hand():
    path = np.zeros((2, 3, 3), np.float32)
    path[0, :, 0] = 0.01, 0.03, 0.05  # three cells of 2 cm
    path[1, :, 0] = 0.01, 0.015, 0.03  # none that is new
    path[1, :, 2] = 0.04, 0.05, 0.07
    assert evaluate.coverage(path + np.float32([0, 0.01, 0])) == pytest.approx(3 * 0.02**2)
    assert evaluate.lifted(path).tolist() == [[False] * 3, [False, False, True]]


def test_marginal_paths_draw_z_anew_and_only_so_often(monkeypatch):
    agent = training.build(Run("SkillEmbed/LWallPretrain-v0", 100, n_envs=2), seed=0)
    codes = []
    monkeypatch.setattr(evaluate, "act", lambda skills, obs, code, generator: codes.append(code) or np.zeros((3, 7)))
    path = evaluate.marginal_paths(agent.policy, "SkillEmbed/Push-v0", hold=40, draws=3, starts=[0, 1, 0], seed=0)
    assert path.shape == (3, 121, 3)
    changes = [t for t in range(1, 120) if not torch.equal(codes[t], codes[t - 1])]
    assert changes == [40, 80]
    assert np.array_equal(path[0, 0], path[2, 0]) and not np.array_equal(path[0, 0], path[1, 0])


def test_claims_of_pre_training_ask_four_of_five_seeds_in_time():
    def record(*success, seconds=600, env="LWallPretrain"):
        return {"env_id": f"SkillEmbed/{env}-v0", "final": {"success": success}, "train_seconds": seconds}

    good, bad, slow = record(0.9, 1.0), record(1.0, 0.89), record(1.0, 1.0, seconds=1801)
    claim = results.pretrain_claims({"lwall": [good, good, good, good, bad]})[0]
    assert claim.holds and claim.measured == "4 of 5 seeds; 10 min on one thread of torch"
    assert claim.seeds.startswith("Push 0.90, 0.90, 0.90, 0.90, 1.00; Lift 1.00, ")
    six = [record(*[1.0] * 5, 0.8, env="PretrainAll")]
    for found in ({"lwall": [good, good, bad]}, {"lwall": [good, slow]}, {"all": six}):
        assert [claim.holds for claim in results.pretrain_claims(found)] == [False]


def _curve(final, area, steps=512_000):
    points = ((0, area), (steps // 2, area), (steps, final))
    curve = [{"steps": s, "success": [v], "return": 50 * v} for s, v in points]
    return {
        "total_timesteps": steps, "train_seconds": 60, "final": {"success": [final], "return": 60 * final},
        "curve": curve,
    }  # fmt: skip


def test_claims_of_figure_5_compare_at_the_same_budget():
    long = _curve(0.9, 0.3, 1_024_000)
    records = {"lwall": [_curve(0.85, 0.5), _curve(0.8, 0.5), _curve(0.9, 0.5)], "lwall-scratch": [long]}
    ours, returns, scratch = results.fig5_claims(records)
    assert ours.holds and scratch.holds  # 0.3 after 512,000 steps
    assert returns.holds and returns.measured == "51.0 against 15.0; higher in 3 of 3 pairings"
    assert returns.seeds == "51.0, 48.0, 54.0 against 15.0"
    assert scratch.measured == "0.85 against 0.30; higher in 3 of 3 pairings" and scratch.seeds.endswith("as well 0.90")
    assert results.steps_to(long, 0.9) == 1_024_000 and results.steps_to(long, 0.91) is None
    assert "million steps, never, never, 0.51 against 1.02;" in scratch.seeds
    records["lwall-all"] = [_curve(0.1, 0.1), _curve(0.8, 0.1)]
    assert [claim.holds for claim in results.fig5_claims(records)] == [True, False, False, True, True]
    records["lwall-all"][1]["final"]["return"] = 47.9  # though success is as high
    assert [claim.holds for claim in results.fig5_claims(records)] == [True, True, False, True, True]
    records["lwall"][1] = _curve(0.79, 0.5)
    assert not results.fig5_claims(records)[0].holds
    early = {"springwall": [_curve(1.0, 0.9)], "springwall-no-inference": [_curve(1.0, 0.8)]}
    assert results.fig5_claims(early)[1].holds
    for tie in (0.95, 0.899, 0.893):
        early["springwall-no-inference"] = [_curve(1.0, tie)]
        assert not results.fig5_claims(early)[1].holds


def test_iqm_is_that_of_rliable_and_its_interval_holds_it():
    from rliable import metrics

    scores = np.random.default_rng(0).random((8, 3))
    middle, low, high = statistics.iqm_interval(scores)
    assert middle == pytest.approx([metrics.aggregate_iqm(scores[:, None, i]) for i in range(3)])
    assert (low < middle).all() and (middle < high).all()


def test_readme_and_docs_have_the_tables_of_the_records():
    for (page, marker), content in report.tables(ROOT / "records", ROOT / "benchmarks").items():
        text = (ROOT / page if page == "README.md" else ROOT / "docs" / page).read_text(encoding="utf-8")
        assert text == report.fill(text, marker, content), f"{page} is out of date; run `make results`"


# Command line --------------------------------------------------------------------------------------


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
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(read[1])
    return np.stack(frames)


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
    (tmp_path / "kept" / "run.json").write_text("{}")
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
    assert not (tmp_path / "kept" / "file").exists() and (tmp_path / "kept" / "model.zip").exists()
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
    monkeypatch.setattr(runs, "start", lambda run, seed, folder, **_: started.append(run))
    for name, *given in (["LWallPretrain"], ["Push"], ["PointMassFourGoals", "--inference-coef", "0.7"]):
        monkeypatch.setattr(sys, "argv", ["skill-embed", "train", f"SkillEmbed/{name}-v0", *given])
        cli.main()
    family, arm, point_mass = started
    assert family == EXPERIMENTS["pretrain"]["lwall"]
    assert arm.settings == experiments.ARM and arm.learning_rate == 1e-3
    assert point_mass.settings == experiments.POINT_MASS | experiments.TWO_GOALS | {"inference_coef": 0.7}


def test_plots_draw_every_variant(tiny_records):
    for figure in FIGURES:
        records = runner.load_records(tiny_records, figure)
        for draw in (plots.FIGURES[figure], plots.pretrain):
            drawn = draw(records)
            assert drawn.axes and all(ax.lines for ax in drawn.axes)
    assert plots.FIGURES.keys() == EXPERIMENTS.keys()
