"""What is particular to the manipulation tasks; the contract of all environments is in test_envs.py."""

import copy
import hashlib
import pickle
import shutil

import gymnasium
import mujoco
import numpy as np
import pytest

import skill_envs
from skill_envs import TASKS, SkillEnv, SkillVectorEnv, arm, scenes
from skill_envs.scenes import CENTRE

ARM_TASKS = list(arm.TASKS)
PRETRAIN = "SkillEmbed/PretrainAll-v0"

HAND_ASIDE = np.array([-1.2, -1.18, 0.0, 2.18, 0.0, 0.57, 3.32])


def make_id(task):
    return f"SkillEmbed/{task}-v0"


def box(observation):
    return observation["observation"] if isinstance(observation, dict) else observation


def actions(num_envs, steps, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, num_envs, 7))


def roll(env, steps=20, seed=0):
    return [box(env.step(a)[0]).copy() for a in actions(env.num_envs, steps, seed)]


@pytest.mark.parametrize("task", ARM_TASKS)
def test_model_elements_are_named_and_sizes_equal(task):
    model, reference = TASKS[task].compile(), TASKS["Push"].compile()
    assert (model.nq, model.nv, model.nu, model.ngeom, model.nbvh) == (
        reference.nq, reference.nv, reference.nu, reference.ngeom, reference.nbvh,
    )  # fmt: skip
    counts = {"BODY": model.nbody, "GEOM": model.ngeom, "JOINT": model.njnt, "SITE": model.nsite}
    counts |= {"CAMERA": model.ncam, "ACTUATOR": model.nu, "TENDON": model.ntendon, "EQUALITY": model.neq}
    for name, count in counts.items():
        kind = getattr(mujoco.mjtObj, f"mjOBJ_{name}")
        assert all(mujoco.mj_id2name(model, kind, i) for i in range(count))
    assert len(TASKS[task].observation) == 27


def test_all_tasks_run_in_one_batch():
    env = SkillVectorEnv(ARM_TASKS, 9)
    env.reset(seed=0, options={"task": np.arange(9)})
    together = roll(env)[-1]
    for k, task in enumerate(ARM_TASKS):
        alone = SkillVectorEnv([task], 1)
        alone.reset(seed=k)
        alone.physics.set_state({key: v[k : k + 1] for key, v in _start(env, k).items()} | {"model": np.zeros(1, int)})
        last = [alone.step(a[k : k + 1])[0] for a in actions(9, 20)][-1]
        np.testing.assert_array_equal(last[0], together[k])


def _start(env, k):
    env.reset(seed=0, options={"task": np.arange(env.num_envs)})
    return env.physics.state()


@pytest.mark.parametrize("task", ARM_TASKS)
def test_observations_vary_lie_in_bounds_and_share_no_memory(task):
    env = SkillVectorEnv([task], 8, max_episode_steps=100)
    start, _ = env.reset(seed=0)
    seen, kept = [start], start.copy()
    for a in actions(8, 60):
        observation = env.step(a)[0]
        assert env.observation_space.contains(observation)
        assert not any(np.shares_memory(observation, o) for o in seen[-2:])
        seen.append(observation)
    np.testing.assert_array_equal(start, kept)
    spread = np.ptp(np.concatenate(seen), axis=0)
    assert (spread[:24] > 0).all()
    goal = spread[24:]
    assert (goal == 0).all()


@pytest.mark.parametrize("task", ARM_TASKS)
def test_a_start_is_at_rest_and_not_a_success(task):
    env = SkillVectorEnv([task], 32)
    _, info = env.reset(seed=0)
    assert not info["is_success"].any()
    block = env.physics.qpos[:, 7:10].copy()
    for _ in range(10):
        env.step(np.zeros((32, 7)))
    moved = np.linalg.norm(env.physics.qpos[:, 7:10] - block, axis=1)
    assert moved.max() < 0.02, moved.max()
    assert np.abs(env.physics.qvel[:, :7]).max() < 0.3


def test_the_l_wall_stands_between_every_start_and_the_centre_and_touches_nothing():
    env = SkillVectorEnv(["LWall"], 200)
    env.reset(seed=0)
    x, y, _ = (env.physics.qpos[:, 7:10] - CENTRE).T
    angle = np.degrees(np.arctan2(y, x))
    assert np.hypot(x, y) == pytest.approx(0.2) and -15 <= angle.min() < -10 and 37 < angle.max() <= 40
    # Where the straight way crosses the far side (x = 0.095), there is a wall.
    far = 0.095 * y / x
    assert ((x > 0.095) & (np.abs(far) < 0.095)).all()
    model = env.physics.write_model(0)
    wall = {i for i in range(model.ngeom) if model.geom(i).name.startswith("l_wall/")}
    assert len(wall) == 2
    for i in range(env.num_envs):
        assert not wall & set(env.physics.write_data(i).contact.geom.ravel().tolist())
    ring = SkillVectorEnv(["Push"], 200)
    ring.reset(seed=0)
    assert np.ptp(np.arctan2(*(ring.physics.qpos[:, 7:9] - CENTRE[:2]).T)) > 6


@pytest.mark.parametrize("task", ["Spring", "SpringWall"])
def test_letting_go_of_the_spring_loses_the_goal(task):
    env = SkillVectorEnv([task], 1)
    env.reset(seed=0)
    env.physics.qpos[0, :7] = HAND_ASIDE
    env.physics.qpos[0, 7:10] = TASKS[task].goals[0] + np.array([0.06, 0.0, 0.0])
    assert env._episodes.outside()[0] == 0
    for _ in range(30):
        *_, info = env.step(np.zeros((1, 7)))
    assert not info["is_success"][0]


def test_the_rail_holds_the_block_until_table_height():
    env = SkillVectorEnv(["RailPush", "RailLift"], 2)
    env.reset(seed=0, options={"task": np.array([0, 1])})
    env.step(np.zeros((2, 7)))
    assert env.physics.eq_active.all()
    env.physics.qpos[:, :7] = HAND_ASIDE
    env.physics.qpos[:, 9], env.physics.qpos[:, 14] = 0.18, 0.14  # it falls a little in a step
    env.step(np.zeros((2, 7)))
    np.testing.assert_array_equal(env.physics.eq_active[:, 0], [0, 1])
    env.reset(options={"task": np.array([0, 1])})
    assert env.physics.eq_active.all()


def test_reward_types():
    for task in ARM_TASKS:
        paper, sparse, shaped = (SkillVectorEnv([task], 4, reward_type=r) for r in ("paper", "sparse", "shaped"))
        for env in (paper, sparse, shaped):
            env.reset(seed=0)
        played = actions(4, 5)
        p, s, h = (np.array([env.step(a)[1] for a in played]) for env in (paper, sparse, shaped))
        assert set(np.unique(s)) <= {0.0, 1.0}
        assert ((h > 0) & (h <= 1)).all()
        np.testing.assert_allclose(p, s + TASKS[task].light_shaping * h)
    assert [t for t in ARM_TASKS if TASKS[t].light_shaping] == ["RailPush"]


def test_reset_in_mid_episode_equals_a_fresh_one():
    env, fresh = SkillVectorEnv(["LWall"], 2), SkillVectorEnv(["LWall"], 2)
    env.reset(seed=1)
    roll(env, 7)
    a, _ = env.reset(seed=3)
    b, _ = fresh.reset(seed=3)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(roll(env), roll(fresh))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_go_on_bit_identically(duplicate):
    batch = gymnasium.make_vec(PRETRAIN, num_envs=3)
    batch.reset(seed=0)
    roll(batch, 95)
    twin = duplicate(batch)
    np.testing.assert_array_equal(roll(batch), roll(twin))  # across an autoreset
    single = gymnasium.make(make_id("RailPush"))
    single.reset(seed=0)
    single.step(np.ones(7))
    twin = duplicate(single)
    for a in actions(1, 10):
        np.testing.assert_array_equal(single.step(a[0])[0], twin.step(a[0])[0])
    np.testing.assert_array_equal(single.reset()[0], twin.reset()[0])


def test_model_and_data_are_current_copies():
    env = SkillEnv(["Lift"])
    observation, _ = env.reset(seed=0)
    np.testing.assert_allclose(env.data.body("block/block").xpos, observation[14:17], atol=1e-6)
    env.data.qpos[:] = 0
    env.model.opt.timestep = 1.0
    assert env.data.qpos.any()
    assert env.model.opt.timestep == 0.01


def test_stable_baselines_subprocesses():
    vec = pytest.importorskip("stable_baselines3.common.vec_env")
    env = vec.SubprocVecEnv([lambda: gymnasium.make(make_id("Push"))] * 2, start_method="spawn")
    env.seed(0)
    observation = env.reset()
    reference = SkillVectorEnv(["Push"], 2)
    np.testing.assert_array_equal(observation, reference.reset(seed=0)[0])
    env.step(np.zeros((2, 7)))
    env.close()


def test_unknown_fixtures_are_errors():
    with pytest.raises(ValueError, match="valid names"):
        skill_envs.scenes.manipulation(("ramp",), (0, 0, 0), (0, 0, 0), (1, 1), arm._FRONT)


@pytest.mark.parametrize("fixtures", [(), ("ramp",)])
def test_a_fixture_of_the_list_without_its_asset_is_an_error(monkeypatch, fixtures):
    monkeypatch.setattr(scenes, "PARTS", (*scenes.PARTS, "ramp"))
    monkeypatch.setattr(scenes, "FIXTURES", (*scenes.FIXTURES, "ramp"))
    with pytest.raises(FileNotFoundError, match=r"no asset 'ramp'.*'wall'"):
        scenes.manipulation(fixtures, (0.6, 0, 0.04), (0.6, 0, 0), (0.1, 0.001), scenes.Camera((1, 0, 1), (0, 0, 0)))


def test_a_fixture_of_the_list_is_in_the_scene_and_off_where_a_task_does_not_name_it(monkeypatch, tmp_path):
    for asset in scenes.ASSETS.glob("*.xml"):
        shutil.copy(asset, tmp_path)
    (tmp_path / "ramp.xml").write_text((tmp_path / "wall.xml").read_text().replace("wall", "ramp"))
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in tmp_path.glob("*.xml")]
    (tmp_path / "SHA256SUMS").write_text("".join(sums))
    monkeypatch.setattr(scenes, "ASSETS", tmp_path)
    monkeypatch.setattr(scenes, "PARTS", (*scenes.PARTS, "ramp"))
    monkeypatch.setattr(scenes, "FIXTURES", (*scenes.FIXTURES, "ramp"))
    place = ((0.6, 0, 0.04), (0.6, 0, 0), (0.1, 0.001), scenes.Camera((1, 0, 1), (0, 0, 0)))
    off, on = (scenes.manipulation(fixtures, *place).compile().geom("ramp/ramp") for fixtures in ((), ("ramp",)))
    assert on.contype == 1 and off.contype != 1
    assert on.rgba[3] == 1 and off.rgba[3] == 0


def test_the_layout_is_that_of_the_channels():
    parts = [arm.OBSERVATION[where] for where in arm.ENTRIES.values()]
    assert sum(parts, ()) == arm.OBSERVATION
    assert arm.ENTRIES["block position"] == slice(14, 17) == TASKS["Push"].observed_position
    assert {channel.meaning[2:] for channel in arm.OBSERVATION[14:17]} == {"position of the block"}


def test_the_hashes_of_the_assets_are_current():
    for path in scenes.ASSETS.glob("*.xml"):
        scenes.load(path.stem)
    assert scenes._hashes().keys() == {path.name for path in scenes.ASSETS.glob("*.xml")}


def test_an_asset_with_a_flipped_bit_is_named(monkeypatch, tmp_path):
    for path in scenes.ASSETS.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    monkeypatch.setattr(scenes, "ASSETS", tmp_path)
    data = (tmp_path / "block.xml").read_bytes()
    rng = np.random.default_rng(0)
    for bit in rng.integers(8 * len(data), size=100):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / "block.xml").write_bytes(flipped)
        with pytest.raises(ValueError, match=r"block\.xml is damaged, or was changed.*sha256sum \*\.xml > SHA256SUMS"):
            scenes.load("block")
    scenes.load("arm")
    (tmp_path / "SHA256SUMS").write_bytes(b"\xff\xff")
    with pytest.raises(ValueError, match="SHA256SUMS is missing or damaged"):
        scenes.load("arm")


def test_an_asset_that_is_no_mjcf_is_named(monkeypatch, tmp_path):
    (tmp_path / "broken.xml").write_text("<mujoco><nonsense/></mujoco>")
    digest = hashlib.sha256((tmp_path / "broken.xml").read_bytes()).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  broken.xml\n")
    monkeypatch.setattr(scenes, "ASSETS", tmp_path)
    with pytest.raises(ValueError, match=r"broken\.xml is no valid MJCF"):
        scenes.load("broken")


@pytest.mark.parametrize("task", ["LWall", "RailPush", "SpringWall"])
def test_a_scene_written_as_xml_is_the_scene(task):
    model = TASKS[task].compile()
    again = mujoco.MjModel.from_xml_string(TASKS[task].scene().to_xml())
    for name in ("geom_pos", "geom_size", "geom_friction", "body_mass", "eq_data", "tendon_stiffness"):
        np.testing.assert_allclose(getattr(again, name), getattr(model, name), atol=1e-6)
