"""The benchmark's runs and records: seeds, evaluations, resume, and a stranger's method."""

import itertools
import json
import re
import sys

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC
from toy import InThisProcess

from skill_agent import TrainingDiverged, benchmark, cli
from skill_agent.benchmark import learners, protocol, records, rows, runner, runs, scores
from skill_agent.experiments import reproduce, sums, tables
from skill_agent.experiments.tables import FAMILIES
from skill_envs.layouts import TEST

METHODS = protocol.METHODS


# The protocol -----------------------------------------------------------------------------------


def seeded():
    """Every block of seeds that the protocol has for one family and method: first seed to number of environments."""
    for s in range(10):
        yield protocol.pretraining_seed(s), protocol.N_ENVS
        for layout in range(17):
            yield protocol.run_seed(s, layout), protocol.N_ENVS
            yield protocol.last_seed(s, layout), protocol.LAST_EPISODES
            for j in range(protocol.POINTS):
                yield protocol.evaluation_seed(s, layout, j), protocol.EPISODES


def test_no_two_numbers_share_a_seed():
    blocks = sorted(seeded())
    for (first, count), (following, _) in itertools.pairwise(blocks):
        assert first + count <= following


def test_the_seeds_are_those_of_the_page():
    assert protocol.pretraining_seed(3) == 10_300_000
    assert protocol.run_seed(3, 9) == 310_000
    assert protocol.evaluation_seed(3, 9, 20) == 23_184_000
    assert protocol.last_seed(3, 9) == 23_190_000


def test_the_methods_are_those_of_the_page():
    ten = ["ours", "no-inference", "task-id", "sac-over-skills"]
    assert {name: about.n_seeds("lwall") for name, about in METHODS.items()} == {
        **dict.fromkeys(ten, 10), "all": 5, "scratch": 3, "scratch-long": 3, "sac": 3
    }  # fmt: skip
    assert {about.n_seeds("railpush") for name, about in METHODS.items() if name in ten} == {5}
    assert {name: about.variant("lwall") for name, about in METHODS.items() if about.skills is not None} == {
        "ours": "lwall",
        "no-inference": "lwall-no-inference",
        "task-id": "lwall-task-id",
        "all": "all",
        "sac-over-skills": "lwall",
    }
    assert {about.variant(family) for about in METHODS.values() for family in FAMILIES} <= {"", *tables.pretrain_runs()}
    assert METHODS["scratch-long"].budget("springwall") == 256_000 + 1_024_000
    assert {about.budget("lwall") for name, about in METHODS.items() if name != "scratch-long"} == {256_000}
    assert [name for name, about in METHODS.items() if about.layouts == (9, 13)] == ["scratch-long", "sac"]
    assert len({about.colour for about in METHODS.values()}) == len(METHODS)


def test_the_evaluations_are_21_every_12_800_steps():
    assert protocol.curve_steps(256_000) == list(range(0, 256_001, 12_800))


def test_layouts_by_name_and_number():
    assert protocol.layouts_of(("test",)) == TEST
    assert protocol.layouts_of(("12", "0")) == (12, 0)
    for wrong in ((), ("test", "9"), ("17",), ("tets",)):
        with pytest.raises(ValueError, match="layouts="):
            protocol.layouts_of(wrong)


# Records ----------------------------------------------------------------------------------------


def made(method="ours", seed=0, layout=9, family="lwall", height=0.5, skills="lwall"):
    """A record, whose success is everywhere the same."""
    measured = {"success": height, "success_at_any_step": height, "return": 1.0}
    return {
        "family": family,
        "method": method,
        "seed": seed,
        "layout": layout,
        "env_id": protocol.env_id(family),
        "reward_type": "sparse",
        "skills": skills,
        "settings": {},
        "hold": 5,
        "total_timesteps": 256_000,
        "n_envs": 64,
        "train_seconds": 1.0,
        "cpu_seconds": 1.0,
        "torch_threads": 1,
        "cpus": 2,
        "versions": {},
        "diverged": False,
        "curve": [{"steps": steps, "episodes": 64, **measured} for steps in protocol.curve_steps(256_000)],
        "final": {"episodes": 128, **measured},
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "lwal"}, "family='lwal' is not valid"),
        ({"method": "../../ours"}, "method='../../ours' is not valid"),
        ({"method": "a" * 41}, "choose up to 40"),
        ({"env_id": "SkillEmbed/RailPush-v0"}, "env_id='SkillEmbed/RailPush-v0' is not valid"),
        ({"reward_type": "paper"}, "reward_type='paper' is not valid"),
        ({"layout": 17}, "layout=17 is not valid"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True"),
        ({"curve": []}, "curve is"),
        ({"curve": made()["curve"][:20]}, "choose 21 that rise from 0"),
        ({"curve": made()["curve"][::-1]}, "choose 21 that rise from 0"),
        ({"total_timesteps": 512_000}, "curve ends at step 256000; choose total_timesteps, 512000"),
        ({"final": made()["final"] | {"success": float("nan")}}, "final.success is nan"),
        ({"final": made()["final"] | {"success": 1.5}}, "final.success is 1.5"),
        ({"more": 1}, "unknown keys ['more']"),
    ],
)
def test_a_record_that_is_none_is_refused_by_name(change, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        records.write_record(tmp_path, made() | change)
    assert not list(tmp_path.iterdir())


def test_records_are_kept_once_and_read_in_order(tmp_path):
    for seed, layout in ((1, 9), (0, 10), (0, 9)):
        records.write_record(tmp_path, made(seed=seed, layout=layout))
    records.write_record(tmp_path, made(height=0.9))  # the first one stays
    kept = records.load_records(tmp_path, "lwall")
    assert [(record["seed"], record["layout"]) for record in kept["ours"]] == [(0, 9), (0, 10), (1, 9)]
    assert kept["ours"][0] == made()
    assert records.load_records(tmp_path, "railpush") == {}


def test_a_record_under_another_name_or_lost_is_refused(tmp_path):
    path = records.record_path(tmp_path, "lwall", "ours", 0, 10)
    sums.write_listed(path, json.dumps(made()).encode())
    with pytest.raises(ValueError, match=r"ours-seed0-layout10\.json is of lwall, ours, seed 0, layout 9"):
        records.load_records(tmp_path, "lwall")
    path.unlink()
    with pytest.raises(ValueError, match=r"ours-seed0-layout10\.json is missing"):
        records.load_records(tmp_path, "lwall")


def test_a_table_has_whole_seeds_alone():
    kept = [made(seed=0, layout=9, height=0.1), made(seed=0, layout=10, height=0.2), made(seed=1, layout=9)]
    table = scores.table(kept, scores.success, (9, 10))
    assert table.shared and table.scores.tolist() == [[0.1, 0.2]]
    assert not scores.table([made(skills="")], scores.auc, (9,)).shared
    assert scores.layouts_with(kept) == (9, 10)
    with pytest.raises(ValueError, match=r"no seed has records of all the layouts \[9, 11\]"):
        scores.table(kept, scores.success, (9, 11))


def test_the_values_are_those_of_the_curve():
    record = made()
    for j, point in enumerate(record["curve"]):
        point["success"] = j / 20
    record["final"] = {"episodes": 128, "success": 0.7, "success_at_any_step": 0.8, "return": 0.0}
    found = {name: value(record) for name, value in scores.VALUES.items()}
    assert found == {"success": 0.7, "at any step": 0.8, "after 64,000": 0.25, "after 128,000": 0.5, "AUC": 0.5}


def test_the_rows_of_a_family(tmp_path):
    for layout in TEST:
        for seed in range(2):
            records.write_record(tmp_path, made(seed=seed, layout=layout, height=0.6))
            records.write_record(tmp_path, made("scratch", seed, layout, height=0.2, skills=""))
        records.write_record(tmp_path, made("mine", 0, layout, height=1.0, skills=""))
    ours, scratch, mine = rows.table("lwall", tmp_path)
    assert ours == ("ours", "2", "8", *["0.60 (0.60 to 0.60)"] * 5, "0.50 (0.50 to 0.50)")
    assert scratch[0] == "from scratch" and scratch[-1] == "-"
    assert mine[:3] == ("mine", "1", "8") and mine[-1] == "1.00 (1.00 to 1.00)"


# Runs -------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The protocol with runs of a second; returns the folder of the records, in an empty folder."""
    torch.set_num_threads(1)
    for name, value in {"STEPS": 800, "EPISODES": 3, "LAST_EPISODES": 4, "N_ENVS": 4}.items():
        monkeypatch.setattr(protocol, name, value)
    few = {"learning_starts": 40, "train_freq": 20, "gradient_steps": 1, "batch_size": 4}
    few |= {"policy_kwargs": {"net_arch": [8, 8]}}
    for name in ("SAC_OVER_SKILLS", "SAC_TORQUES", "MAPPING", "ARM"):
        own = {"bf16": False, "compile": False} if name in ("MAPPING", "ARM") else {}
        monkeypatch.setattr(learners, name, getattr(learners, name) | few | own)
    monkeypatch.setattr(reproduce, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "records"


@pytest.mark.parametrize("method", ["ours", "sac-over-skills", "scratch", "sac"])
def test_every_learner_leaves_a_record_by_the_protocol(method, small, monkeypatch):
    asked = []
    episodes = runs.rollouts.episodes

    def heard(policy, env_id, n, seed, **kwargs):
        asked.append((env_id, n, seed, kwargs))
        return episodes(policy, env_id, n, seed, **kwargs)

    monkeypatch.setattr(runs.rollouts, "episodes", heard)
    monkeypatch.setattr(runner, "skills_path", lambda records, variant, s: "lwall")
    runner.Runs("lwall", method, 2, (9,), small).do()
    (record,) = records.load_records(small, "lwall")[method]
    assert [point["steps"] for point in record["curve"]] == list(range(0, 801, 40))
    assert record["skills"] == ("lwall" if method in ("ours", "sac-over-skills") else "")
    where = ("SkillEmbed/LWall-v0", {"layout": 9, "reward_type": "sparse"})
    seeds = [protocol.evaluation_seed(2, 9, j) for j in range(21)]
    expected = [(where[0], 3, seed, where[1]) for seed in seeds]
    assert asked == [*expected, (where[0], 4, protocol.last_seed(2, 9), where[1])]


def test_a_run_that_diverges_counts_with_success_0_from_then_on(small, monkeypatch):
    class Diverges:
        def learn(self, total_timesteps, callback):
            callback.init_callback(model)
            for _ in range(3):
                callback.env.step(np.zeros((4, 7), np.float32))
            callback.add(12)
            raise TrainingDiverged("no number")

    def factory(env, seed):
        nonlocal model
        model = SAC("MlpPolicy", env, device="cpu", policy_kwargs={"net_arch": [4]})
        env.reset()
        return learners.Learner(Diverges(), model)

    model = None
    monkeypatch.setattr(runs.rollouts, "episodes", lambda *args, **kwargs: (np.ones((4, 9)), np.ones((4, 9), bool)))
    record = runs.work(factory, "lwall", "mine", 0, 9, budget=800, n_envs=4)
    assert record["diverged"] and record["final"]["success"] == 0
    assert [point["success"] for point in record["curve"]] == [1.0, 1.0, *[0.0] * 19]
    assert [point["steps"] for point in record["curve"]] == [0, 12, *range(80, 801, 40)]
    records.check_record(record)


def test_the_benchmark_goes_on_where_it_was_stopped(small, monkeypatch):
    monkeypatch.setattr(runner, "skills_path", lambda records, variant, s: "lwall")
    begun = []

    def stopped(factory, family, method, seed, layout, **options):
        begun.append((method, seed, layout))
        if len(begun) == 4:
            raise KeyboardInterrupt
        return made(method, seed, layout, family, skills=options["skills"])

    monkeypatch.setattr(runs, "work", stopped)
    monkeypatch.setattr(runner, "_pretrainings", lambda wanted: [])
    wanted = (("lwall",), ("ours", "scratch"), 2, ("9", "10"), 1, small)
    with pytest.raises(KeyboardInterrupt):
        list(runner.benchmark(*wanted))
    assert len(sums.read_sums(small / "lwall")) == 3
    progress = list(runner.benchmark(*wanted))
    every = [(method, seed, layout) for method in ("ours", "scratch") for seed in range(2) for layout in (9, 10)]
    assert begun == [*every[:4], *every[3:]]
    assert progress[0].steps == 5 * 800 and progress[-1].steps_done == 5 * 800
    assert list(runner.benchmark(*wanted)) == []


def test_pretrainings_that_are_missing_come_first(small):
    wanted = runner._wanted(("lwall", "railpush"), ("ours", "all", "sac-over-skills", "scratch"), 2, (9,), small)
    jobs = runner._pretrainings(wanted)
    assert [(job.variant, job.seed) for job in jobs] == [
        (variant, seed) for seed in (10_000_000, 10_100_000) for variant in ("all", "lwall", "railpush")
    ]
    assert runner.skills_path(small, "all", 1) == jobs[3].networks
    assert jobs[1].run == tables.PRETRAIN["lwall"]


def test_methods_of_two_layouts_run_on_these_alone(small):
    wanted = runner._wanted(("lwall",), ("sac", "scratch"), None, TEST, small)
    assert [(job.method, job.seed, job.layouts) for job in wanted] == [
        *(("sac", seed, (9, 13)) for seed in range(3)), *(("scratch", seed, TEST) for seed in range(3))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lwal"], "family='lwal' is not valid"),
        (["lwall", "--methods", "our"], "method='our' is not valid"),
        (["lwall", "--layouts", "17"], "layouts='17' is not valid"),
        (["lwall", "--seeds", "0"], "choose at least 1"),
    ],
)
def test_the_command_refuses_what_is_not_there(arguments, message, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["skill-embed", "benchmark", *arguments, "--records", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert message in str(stopped.value)


def test_the_command_runs_and_shows(small, monkeypatch, capsys):
    argv = ["benchmark", "lwall", "--methods", "sac", "--seeds", "1", "--layouts", "9", "--records", str(small)]
    monkeypatch.setattr(sys, "argv", ["skill-embed", *argv])
    cli.main()
    printed = capsys.readouterr()
    assert "finished: lwall sac seed 0" in printed.err
    assert f"records in {small}" in printed.out and "SAC" in printed.out
    assert len(records.load_records(small, "lwall")["sac"]) == 1


# A stranger's method ----------------------------------------------------------------------------


def sac(env, seed):
    return SAC("MlpPolicy", env, seed=seed, learning_starts=400, policy_kwargs={"net_arch": [8]}, device="cpu")


def test_a_stranger_has_the_same_records_and_a_row(small):
    options = {"method": "my-sac", "seeds": 1, "layouts": (9, 13), "steps": 480, "n_envs": 4, "records": small}
    found = benchmark.run(sac, "lwall", **options)
    assert found == records.load_records(small, "lwall")["my-sac"]
    assert [record["layout"] for record in found] == [9, 13]
    assert benchmark.run(None, "lwall", **options) == found  # nothing is run again
    ((label, seeds, layouts, *cells),) = benchmark.table("lwall", small)
    assert (label, seeds, layouts, len(cells)) == ("my-sac", "1", "2", len(benchmark.HEADS) - 2)


@pytest.mark.parametrize(
    ("factory", "change", "message"),
    [
        (sac, {"method": "ours"}, "method='ours' is one of the protocol's own"),
        (sac, {"method": "My SAC"}, "method='My SAC' is not valid"),
        (sac, {"layouts": (17,)}, "layouts='17' is not valid"),
        (sac, {"seeds": 0}, "seeds=0 is not valid"),
        (sac, {"steps": 5}, "steps=5 is not valid"),
        (lambda env, seed: env, {}, "let it make what has learn and predict"),
        (lambda env, seed: benchmark.Learner(sac(env, seed), sac(env, seed), hold=5), {}, "it learned for 96 of 480"),
    ],
)
def test_a_stranger_that_can_not_be_measured_is_refused(factory, change, message, small):
    options = {"method": "mine", "seeds": 1, "layouts": (9,), "steps": 480, "n_envs": 4, "records": small}
    with pytest.raises(ValueError, match=re.escape(message)):
        benchmark.run(factory, "lwall", **{**options, **change})
    assert records.load_records(small, "lwall") == {}
