"""Workers as actors of Ray, on a cluster of this machine alone."""

import importlib.util
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from crew import suite_model
from stable_baselines3.common.callbacks import BaseCallback
from suite import equal
from test_processes import Fails, Hangs
from toy import make_line, make_model, tiny

from skill_agent import SkillEmbedding, TrainingDiverged, cli, make_task_vec_env, ray_cluster
from skill_agent.collector import Collector, Recipe, weights_of
from skill_agent.commands import common
from skill_agent.experiments import EXPERIMENTS, FIGURES, folder, progress, reproduce, tables, work
from skill_agent.files import read_json

POINT_MASS = "SkillEmbed/PointMassTwoGoals-v0"
needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed: the extra [ray]")


@pytest.fixture(scope="module")
def cluster():
    """One for all tests, which takes seconds to start."""
    ray, started = ray_cluster.connect("local", n_cpus=2)
    yield ray
    if started:
        ray.shutdown()


class Act(BaseCallback):
    """Calls a function with the workers at the start of one rollout."""

    def __init__(self, rollout, act):
        super().__init__()
        self.rollout, self.act, self.count = rollout, act, 0

    def _on_step(self):
        return True

    def _on_rollout_start(self):
        self.count += 1
        if self.count == self.rollout:
            self.workers = self.model._collection.workers
            self.act(self.workers._crew)


def test_without_ray_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(ImportError, match=r"Ray is not installed .*pip install 'skill-embed\[ray\]'"):
        suite_model(1, ray="local").learn(10)


def test_ray_needs_workers():
    with pytest.raises(ValueError, match="ray='local' is not valid with n_workers=0"):
        suite_model(0, ray="local")
    with pytest.raises(ValueError, match="ray=3 is not valid"):
        suite_model(1, ray=3)


@needs_ray
def test_only_this_machine_reaches_the_cluster_and_only_with_its_token(cluster):
    assert [node["NodeManagerAddress"] for node in cluster.nodes()] == ["127.0.0.1"]
    assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) == 64
    raylet = cluster.nodes()[0]
    port = f"{raylet['NodeManagerPort']:04X}"
    text = "".join(Path(f"/proc/net/{table}").read_text() for table in ("tcp", "tcp6"))
    (address,) = {line.split()[1].split(":")[0] for line in text.splitlines() if f":{port} " in line and " 0A " in line}
    assert address.endswith("0100007F"), "127.0.0.1 alone"


@needs_ray
def test_an_actor_collects_what_a_collector_with_its_seed_does(cluster):
    from skill_agent.ray_workers import RayActors

    model = suite_model(0)
    recipe, weights = Recipe.of(model.env, model.policy), weights_of(model.policy, None)
    crew = RayActors(recipe, 30, "local")
    try:
        crew.begin(0, (3, 0, 1))
        crew.publish(4, weights, 0)
        found = []
        for _ in range(2):
            crew.request(0, 4, 6)
        while len(found) < 2:
            found += [report.segment for report in crew.wait(1)]
    finally:
        crew.close()
    collector = Collector(recipe, (3, 0, 1))
    for segment in found:
        expected = collector.collect(weights, 4, 6)
        assert equal(segment.steps.observation, expected.steps.observation)
        assert all(equal(a, b) for a, b in zip(segment.steps.behaviour, expected.steps.behaviour, strict=True))
        assert segment.infos == expected.infos and segment.version == 4


@needs_ray
def test_a_killed_and_a_stopped_actor_are_replaced(cluster):
    pids = []

    def look(crew):
        for actor in crew._actors.values():
            pids.append(cluster.get(actor.__ray_call__.remote(lambda _: os.getpid())))

    model = suite_model(2, train_freq=20, worker_timeout=2.0, ray="local")
    acts = [Act(3, look)]
    acts += [Act(4, lambda _: os.kill(pids[0], signal.SIGKILL)), Act(9, lambda _: os.kill(pids[1], signal.SIGSTOP))]
    model.learn(1600, callback=acts)
    assert model.num_timesteps == 1600 and model._n_updates == 2 * 20
    assert len(acts[0].workers.lost) == 2 and acts[0].workers.lost[1] == "it took no step for 2 s"
    assert max(acts[0].workers._incarnations) >= 1
    assert cluster.is_initialized()  # it was there before


@needs_ray
def test_a_hanging_actor_is_noticed_within_its_time(cluster, tmp_path):
    env = make_task_vec_env({"a": lambda: Hangs(str(tmp_path / "hung"))}, 1, seed=0)
    model = make_model(env, n_workers=1, worker_timeout=2.0, learning_starts=10, ray="local")
    act = Act(1, lambda crew: None)
    model.learn(60, callback=act)
    assert (tmp_path / "hung").exists() and act.workers.lost == ["it took no step for 2 s"]


@needs_ray
@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [(None, RuntimeError, "worker 0: OSError: the robot"), (float("nan"), TrainingDiverged, "observation")],
)
def test_an_error_of_an_environment_is_the_learners(cluster, value, kind, words):
    model = make_model(make_task_vec_env(lambda: Fails(value), 1, seed=0), n_workers=1, ray="local")
    with pytest.raises(kind, match=words):
        model.learn(100)


@needs_ray
def test_sixteen_actors_keep_the_ratio_and_the_bound(cluster):
    model = suite_model(16, n_envs=2, train_freq=5, learning_starts=20, ray="local", buffer_size=3200)
    act = Act(1, lambda crew: None)
    model.learn(600, callback=act)
    assert model.num_timesteps == 600 and model._n_updates == 2 * (60 - 2)
    assert (model.replay_buffer._filled() > 0).all()  # everybody's steps are there
    assert act.workers.log().get("workers/most_lag", 0) <= 32 and not act.workers.lost


@needs_ray
def test_an_address_is_not_kept_in_a_file(tmp_path):
    model = suite_model(1, ray="local")
    model.save(tmp_path / "model.zip")
    assert SkillEmbedding.load(tmp_path / "model.zip", device="cpu").ray is None


@needs_ray
def test_a_cluster_that_is_not_there_is_an_error(monkeypatch):
    def nobody(**kwargs):
        raise ConnectionError("nobody listens")

    ray = ray_cluster.load_ray()
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", nobody)
    with pytest.raises(ConnectionError, match=r"no Ray cluster can be joined at '10.0.0.1:6379': nobody listens"):
        make_model(make_line(), n_workers=1, ray="10.0.0.1:6379").learn(10)


# The command line ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"), [([], None), (["--ray"], "local"), (["--ray", "10.0.0.1:6379"], "10.0.0.1:6379")]
)
def test_train_has_options_for_workers_and_their_cluster(monkeypatch, given, expected):
    started = []
    monkeypatch.setattr(
        folder, "start", lambda run, *_, **options: started.append((run.settings["n_workers"], options["ray"]))
    )
    monkeypatch.setattr(common, "success", lambda _: "")
    monkeypatch.setattr(sys, "argv", ["skill-embed", "train", POINT_MASS, "--workers", "16", *given])
    cli.main()
    assert started == [(16, expected)]
    monkeypatch.setattr(folder, "resume", lambda out, ray: started.append(ray) or True)
    monkeypatch.setattr(sys, "argv", ["skill-embed", "train", "--resume", "runs/x", *given])
    cli.main()
    assert started[1] == expected


def test_two_addresses_are_an_error(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["skill-embed", "reproduce", "fig2", "--ray", "a:1", "b:2"])
    with pytest.raises(SystemExit, match=r"ray=\['a:1', 'b:2'\] is not valid; give one address, or none"):
        cli.main()


@needs_ray
def test_train_leaves_a_whole_run(cluster, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tables, "default_run", lambda _: tiny(EXPERIMENTS["fig2"]["with"]))
    out = tmp_path / "run"
    monkeypatch.setattr(sys, "argv", ["skill-embed", "train", POINT_MASS, "--workers", "2", "--ray", "--out", str(out)])
    cli.main()
    record = read_json(out / "record.json")
    assert record["total_timesteps"] == 800 and record["settings"]["n_workers"] == 2
    assert "model, skills, record and logs" in capsys.readouterr().out
    assert "workers/learner_waits" in (out / "progress.csv").read_text()


# Runs as tasks ------------------------------------------------------------------------------------


def dies_on_the_way(job):
    """Its process is killed in the first try, behind a checkpoint."""
    run = work.RUNS / job.figure / f"{job.variant}-seed{job.seed}"
    if run.exists():
        return work.arm(job)

    def kill(steps):
        if steps >= 480:
            os.kill(os.getpid(), signal.SIGKILL)

    with progress.reported_to(kill):
        folder.start(job.run, job.seed, run, checkpoint_minutes=0)


def fails(job):
    raise ValueError("the run's settings are wrong")


@needs_ray
def test_reproduce_works_its_runs_as_tasks_and_goes_on_where_one_was_lost(cluster, tiny_figures, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    entry = replace(FIGURES["fig2"], work=dies_on_the_way)
    monkeypatch.setitem(FIGURES, "fig2", entry)
    done = list(reproduce.reproduce("fig2", 1, 1, Path("records"), ["with"], ray="local"))
    assert {p.finished for p in done} - {""} == {"fig2 with seed 0"} and done[-1][1:] == (1, 1, 800, 800)
    assert read_json(tmp_path / "records/fig2/with-seed0.json")["total_timesteps"] == 800
    resumed = list((tmp_path / "runs/fig2/with-seed0").glob("progress-from-*.csv"))
    assert len(resumed) == 1 and not resumed[0].name.endswith("-from-0.csv")
    assert list(reproduce.reproduce("fig2", 1, 1, Path("records"), ["with"], ray="local")) == []


@needs_ray
def test_an_error_of_a_task_is_the_commands(cluster, tiny_figures, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(FIGURES, "fig2", replace(FIGURES["fig2"], work=fails))
    monkeypatch.setattr(sys, "argv", ["skill-embed", "reproduce", "fig2", "--seeds", "1", "--ray"])
    with pytest.raises(SystemExit, match="skill-embed: the run's settings are wrong"):
        cli.main()
