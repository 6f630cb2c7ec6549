"""Layouts of the transfer tasks: what every one of them promises, and that all that names a task names its layout."""

import copy
import hashlib
import json
import pickle
import re
import sys
import warnings

import gymnasium
import mujoco
import numpy as np
import pytest
from suite import actions_for, equal, rollout
from toy import ROOT

from skill_agent import (
    CheckpointError,
    SkillEmbedding,
    cli,
    filming,
    load_checkpoint,
    load_policy,
    make_skill_vec_env,
    make_task_vec_env,
    rollouts,
    save_checkpoint,
    transfer,
)
from skill_agent.experiments.benchmarks import read_benchmark
from skill_agent.origin import id_and_layout, of_suite, origin_of
from skill_agent.playing import evaluate
from skill_envs import TASKS, SkillEnv, SkillVectorEnv, arm, demonstrate, scenes
from skill_envs.layouts import DEVELOPMENT, LAYOUTS, TEST, named_layouts

FROZEN = "032e1c91f0cdaee58f39efb776c25aa53dab57ace25aaa370e9aabf38ea0344c"  # SHA-256 of the table
FAMILIES = [name for name in LAYOUTS if len(LAYOUTS[name]) > 1]
EVERY = [(name, k) for name in FAMILIES for k in range(len(LAYOUTS[name]))]
every_layout = pytest.mark.parametrize(("task", "layout"), EVERY)
L_WALL = "SkillEmbed/LWall-v0"


def saved(model):
    """All that a model is, in bytes."""
    buffer = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


# What every layout promises ---------------------------------------------------------------------


@pytest.mark.parametrize("task", list(LAYOUTS))
def test_layout_0_is_what_the_assets_say_to_the_bit(task, monkeypatch):
    model = TASKS[task].compile()
    monkeypatch.setattr(scenes, "_place", lambda body, board: None)
    assert saved(TASKS[task].layout(0).compile()) == saved(model)


@every_layout
def test_every_layout_compiles_to_the_sizes_of_all_tasks(task, layout):
    model, reference = TASKS[task].layout(layout).compile(), TASKS["Push"].compile()
    sizes = ("nq", "nv", "nu", "ngeom", "nbvh", "nbody", "neq", "ntendon", "nsite", "nbuffer")
    assert [getattr(model, name) for name in sizes] == [getattr(reference, name) for name in sizes]


def test_no_two_layouts_are_the_same_and_the_table_is_whole():
    for name in FAMILIES:
        models = [saved(TASKS[name].layout(k).compile()) for k in range(len(LAYOUTS[name]))]
        assert len(set(models)) == len(models)
        assert (0, *DEVELOPMENT, *TEST) == tuple(range(len(LAYOUTS[name])))


def test_the_table_is_as_it_was_when_runs_began():
    digest = hashlib.sha256(repr([LAYOUTS[name] for name in FAMILIES]).encode()).hexdigest()
    assert digest == FROZEN, "no layout is moved after its first run: give a changed task another version"


def test_the_pages_show_every_layout():
    for name in FAMILIES:
        page = (ROOT / "docs/envs" / f"{name}-v0.md").read_text(encoding="utf-8")
        assert f"({name}-v0-layouts.png)" in page
        rows = re.findall(r"^\| (\d+) \| (the paper's|development|test) \|", page, flags=re.MULTILINE)
        assert rows == [(str(k), "the paper's" if k == 0 else "development" if k < 9 else "test") for k in range(17)]
        assert (ROOT / "docs/envs" / f"{name}-v0-layouts.png").stat().st_size > 10_000


def test_benchmarks_say_what_every_layout_promises():
    scripted, random = (read_benchmark(ROOT / "benchmarks", name) for name in ("demonstrations", "random_success"))
    for name in named_layouts(FAMILIES):
        assert scripted["tasks"][name]["successes"] == scripted["resets"] == 20
        assert random["tasks"][name]["last_step"] < 0.02
    screened = read_benchmark(ROOT / "benchmarks", "layouts")["tasks"]
    for name in FAMILIES:
        shares = [row[f"{name.lower()}-seed0"]["any_step"] for row in screened[name]]
        assert len(shares) == 17 and all(0 < share < 0.5 for share in shares[1:])


@every_layout
def test_nothing_touches_a_fixture_at_any_start(task, layout):
    env = SkillVectorEnv([task], 200, layout=layout)
    env.reset(seed=0)
    model = env.physics.write_model(0)
    fixed = {i for i in range(model.ngeom) if model.geom(i).name.split("/")[0] in scenes.PARTS}
    for i in range(env.num_envs):
        pairs = env.physics.write_data(i).contact.geom
        assert not fixed & set(pairs.ravel().tolist()), [[model.geom(k).name for k in pair] for pair in pairs]


@every_layout
def test_every_layout_is_solved_by_its_demonstration(task, layout):
    for demonstration in demonstrate(task, seed=0, episodes=2, layout=layout):
        assert demonstration.successes[-5:].all()


@pytest.mark.parametrize("task", FAMILIES)
def test_random_actions_do_not_solve_a_layout(task):
    n = len(LAYOUTS[task])
    env = SkillVectorEnv([task], 8 * n, layout=np.arange(n).repeat(8), autoreset_mode="Disabled")
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(100):
        *_, info = env.step(rng.uniform(-1, 1, (8 * n, 7)))
    assert info["is_success"].mean() < 0.02


# One batch --------------------------------------------------------------------------------------


def test_a_batch_of_several_layouts_is_their_single_environments():
    batch = gymnasium.make_vec(L_WALL, num_envs=4, layout=[2, 0, 1, 2])
    actions = np.random.default_rng(0).uniform(-1, 1, (110, 4, 7)).astype(np.float32)  # beyond an episode's end
    together = rollout(batch, actions, seed=5)
    for i, layout in enumerate([2, 0, 1, 2]):
        single = gymnasium.make_vec(L_WALL, num_envs=1, layout=layout)
        alone = rollout(single, actions[:, i : i + 1], seed=5 + i)
        assert all(equal(a[i : i + 1], b) for a, b in zip(together, alone, strict=True))
    assert batch.unwrapped.layout.tolist() == [2, 0, 1, 2]


def test_a_batch_draws_each_environment_in_its_layout():
    drawn = {"render_mode": "rgb_array", "width": 64, "height": 64}
    batch = gymnasium.make_vec(L_WALL, num_envs=3, layout=[7, 0, 16], **drawn)
    batch.reset(seed=0)
    frames = batch.render()
    batch.close()
    for i, layout in enumerate([7, 0, 16]):
        single = gymnasium.make(L_WALL, layout=layout, **drawn)
        single.reset(seed=i)
        np.testing.assert_array_equal(single.render(), frames[i])
        single.close()


def test_a_layout_without_another_number_is_the_task_as_it_was():
    without, with_0 = gymnasium.make_vec(L_WALL, num_envs=4), gymnasium.make_vec(L_WALL, num_envs=4, layout=[0] * 4)
    actions = actions_for(without, 8)
    assert all(equal(a, b) for a, b in zip(rollout(without, actions), rollout(with_0, actions), strict=True))
    assert without.unwrapped.state().keys() == with_0.unwrapped.state().keys()
    assert "layout" not in with_0.unwrapped.state()["settings"]  # states of before there were layouts go on


def test_several_tasks_share_the_layouts_that_all_have():
    env = SkillVectorEnv(["LWall", "RailPush"], 4, layout=[0, 1, 2, 1])
    env.reset(seed=0, options={"task": np.array([0, 1, 1, 0])})
    names = [env.physics.write_model(i).geom_pos.tobytes() for i in range(4)]
    expected = [TASKS[name].layout(k) for name, k in [("LWall", 0), ("RailPush", 1), ("RailPush", 2), ("LWall", 1)]]
    assert names == [task.compile().geom_pos.tobytes() for task in expected]
    observation, *_ = env.step(np.zeros((4, 7)))
    assert observation["task"].tolist() == [0, 1, 1, 0]
    np.testing.assert_allclose(observation["observation"][:, -3:], [task.goals[0] for task in expected], rtol=1e-6)


@pytest.mark.parametrize(
    "layout",
    [
        17,
        -1,
        1.0,
        True,
        "1",
        None,
        [0, 1],
        [0, 1, 2, 17],
        [[0], [1, 2]],
        [0, 1, 2, 1.5],
        [[0, 1, 2, 3]],
        np.zeros(4),
        {},
        [],
        [[0], [1, 2]],
    ],
)
def test_a_wrong_layout_is_named_with_the_choices(layout):
    with pytest.raises(ValueError, match=r"(?s)layout=.* is not valid; choose from \[0, 1, 2.*16\], or num_envs=4"):
        gymnasium.make_vec(L_WALL, num_envs=4, layout=layout)


@pytest.mark.parametrize("env_id", ["SkillEmbed/Push-v0", "SkillEmbed/PointMassRing-v0", "SkillEmbed/PretrainAll-v0"])
def test_other_tasks_have_layout_0_alone_and_say_which_have_more(env_id):
    gymnasium.make(env_id, layout=0)
    for make in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(ValueError, match=r"layout=1 is not valid; choose from \[0\].*'SpringWall', 'LWall', 'Rail"):
            make(env_id, layout=1)


# States and copies ------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_and_states_go_on_bit_identically(duplicate):
    env = SkillVectorEnv(["RailPush"], 3, layout=[1, 0, 2], max_episode_steps=5)
    rollout(env, actions_for(env, 3))
    kept, twin = env.state(), duplicate(env)
    other = SkillVectorEnv(["RailPush"], 3, layout=np.array([1, 0, 2]), max_episode_steps=5)
    other.set_state(kept)
    actions = np.random.default_rng(1).uniform(-1, 1, (8, 3, 7))  # across an autoreset
    for action in actions:
        first = env.step(action)[:2]
        assert all(equal(a, b) for a, b in zip(first, twin.step(action)[:2], strict=True))
        assert all(equal(a, b) for a, b in zip(first, other.step(action)[:2], strict=True))


def test_a_state_of_another_layout_is_refused():
    env, other = SkillVectorEnv(["LWall"], 2, layout=1), SkillVectorEnv(["LWall"], 2, layout=[1, 2])
    env.reset(seed=0)
    kept = env.state()
    assert json.loads(json.dumps(kept["settings"])) == kept["settings"]
    for wrong in (other, SkillVectorEnv(["LWall"], 2)):
        with pytest.raises(ValueError, match=r"settings: .*'layout': \[1, 1\].*valid"):
            wrong.set_state(kept)


def test_a_training_goes_on_exactly_from_a_checkpoint(tmp_path):
    def model(env=None):
        env = env or make_skill_vec_env(L_WALL, 3, seed=0, layout=[1, 2, 1])
        small = {"policy_kwargs": {"net_arch": [8]}, "learning_starts": 30, "batch_size": 4, "window": 3}
        return SkillEmbedding("MlpPolicy", env, seed=0, device="cpu", train_freq=10, gradient_steps=1, **small)

    whole = model().learn(90)
    half = model().learn(60)
    path = save_checkpoint(half, tmp_path)
    rest = model()
    load_checkpoint(rest, path)
    rest.learn(30, reset_num_timesteps=False)
    for a, b in zip(whole.policy.parameters(), rest.policy.parameters(), strict=True):
        assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()
    with pytest.raises(CheckpointError, match="layout"):
        load_checkpoint(model(make_skill_vec_env(L_WALL, 3, seed=0)), path)


# What names a task names its layout -------------------------------------------------------------


def test_an_environment_is_known_by_its_layout_however_it_is_made():
    usual = origin_of(gymnasium.make(L_WALL, layout=2))
    assert usual.environment == "SkillEmbed/LWall-v0(layout=2)" and usual.ids == (usual.environment,)
    assert str(usual) == "'SkillEmbed/LWall-v0(layout=2)' ('LWall(layout=2)')"
    for env in (
        gymnasium.make_vec(L_WALL, num_envs=2, layout=np.int64(2)),
        make_skill_vec_env(L_WALL, 2, layout=[2, 2]),
        make_task_vec_env(L_WALL, 2, layout=2),
        gymnasium.make_vec(L_WALL, num_envs=2, layout=2, vectorization_mode="sync"),
    ):
        assert origin_of(env) == usual
    assert origin_of(make_task_vec_env(lambda: gymnasium.make(L_WALL, layout=2))).ids == usual.ids
    assert origin_of(gymnasium.make(L_WALL, layout=0)) == origin_of(L_WALL)
    assert origin_of(make_task_vec_env(lambda: gymnasium.make(L_WALL, layout=0))).ids == origin_of(L_WALL).ids
    assert origin_of(make_skill_vec_env(L_WALL, 3, layout=[2, 1, 2])).tasks == ("LWall(layout=[1, 2])",)
    assert id_and_layout(usual.environment) == (L_WALL, 2) and id_and_layout(L_WALL) == (L_WALL, 0)
    assert SkillEnv(["LWall"], layout=2).layout == 2
    assert make_skill_vec_env(L_WALL, 2, layout=[2, 1]).get_attr("layout") == [2, 1]


def test_a_policy_is_warned_of_another_layout_and_not_of_its_own(tmp_path):
    policy = transfer("lwall", L_WALL, 640, n_envs=8, hold=5, layout=2, policy_kwargs={"net_arch": [8]})
    policy = load_policy(policy.save(tmp_path / "policy"))
    assert policy.origin.environment == "SkillEmbed/LWall-v0(layout=2)"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rollouts.episodes(policy, L_WALL, 1, seed=0, layout=2)
        (result,) = evaluate(policy, L_WALL, 2, layout=2)
    assert result.task == "LWall(layout=2)"
    with pytest.warns(
        UserWarning, match=r"trained on 'SkillEmbed/LWall-v0\(layout=2\)'.* play on 'SkillEmbed/LWall-v0' "
    ):
        evaluate(policy, L_WALL, 1)
    with pytest.warns(UserWarning, match=r"trained on 'SkillEmbed/LWall-v0' .* play on .*v0\(layout=1\)'"):
        evaluate(load_policy("lwall"), L_WALL, 1, layout=1)


@pytest.mark.parametrize("tasks", ["Pendulum-v1", lambda: gymnasium.make(L_WALL)])
def test_a_layout_of_what_has_none_is_named(tasks):
    with pytest.raises(ValueError, match=r"layout=1 is not valid with .*; choose 0, or ids of the suite"):
        evaluate(load_policy("lwall"), tasks, 1, layout=1)
    with pytest.raises(ValueError, match="layout=99 is not valid; choose from"):
        evaluate(load_policy("lwall"), L_WALL, 1, layout=99)


def command(monkeypatch, *given):
    monkeypatch.setattr(sys, "argv", ["skill-embed", *given])
    cli.main()


def test_the_command_line_evaluates_and_films_a_layout(tmp_path, capsys, monkeypatch):
    common = ["--policy", "lwall", "--episodes", "1", "--layout", "1"]
    with pytest.warns(UserWarning, match="layout=1"):
        command(monkeypatch, "evaluate", L_WALL, *common, "--json", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["layout"] == 1 and found["tasks"][0]["task"] == "LWall(layout=1)"
    assert "LWall(layout=1)" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="layout=1"):
        small = ("--width", "32", "--height", "32", "--out", str(tmp_path / "film.gif"))
        command(monkeypatch, "film", L_WALL, *common, *small)
    assert (tmp_path / "film.gif").stat().st_size > 100


def test_play_shows_a_policy_in_its_own_layout(tmp_path, monkeypatch):
    policy = load_policy("lwall")
    policy.origin = of_suite(["LWall"], 3)
    path = policy.save(tmp_path / "policy")
    shown = []

    def show_film(add, policy, env_id, *rest, layout, **options):
        shown.append((env_id, layout))
        add(np.zeros((16, 16, 3), np.uint8))

    monkeypatch.setattr(filming, "show_film", show_film)
    command(monkeypatch, "play", str(path), "--out", str(tmp_path / "played.gif"))
    assert shown == [(L_WALL, 3)]


def test_dm_control_has_layouts():
    dm = pytest.importorskip("skill_envs.dm")
    ours, env = dm.load("LWall", seed=3, layout=2), gymnasium.make(L_WALL, layout=2)
    assert equal(ours.reset().observation, env.reset(seed=3)[0])
    with pytest.raises(ValueError, match="layout=1 is not valid"):
        dm.load("Push", layout=1)


def test_a_wrong_layout_of_a_demonstration_is_named():
    with pytest.raises(ValueError, match="layout=40 is not valid; choose from"):
        next(demonstrate("LWall", layout=40))
    assert set(arm.TASKS) >= set(LAYOUTS)
