"""What Gymnasium and SB3 ask of vector environments, compared with their own."""

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as vector_wrappers
from toy import assert_equal

from skill_envs import SkillVectorEnv

TWO_GOALS, PUSH = "SkillEmbed/PointMassTwoGoals-v0", "SkillEmbed/Push-v0"


def actions(env, count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


# Autoreset ----------------------------------------------------------------------------------------


def pair(env_id, mode, n=3, **kwargs):
    """The batch, and Gymnasium's own batch of single environments."""
    kwargs = {"reward_type": "shaped", "max_episode_steps": 7, **kwargs}
    ours = gymnasium.make_vec(env_id, num_envs=n, autoreset_mode=mode, **kwargs)
    theirs = SyncVectorEnv([lambda: gymnasium.make(env_id, **kwargs)] * n, autoreset_mode=mode)
    return ours, theirs


def both(ours, theirs, call):
    """The outputs of a call on either, which must be equal in all bits, infos and masks too."""
    mine, expected = call(ours), call(theirs)
    for a, b in zip(mine, expected, strict=True):
        assert_equal(a, b)
    return mine


def spoil(env, i):
    """Make the physics of an environment diverge in the next step."""
    if isinstance(env, SyncVectorEnv):
        env.envs[i].unwrapped.batch.physics.qvel[0] = np.nan
    else:
        env.physics.qvel[i] = np.nan


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("env_id", [TWO_GOALS, PUSH, "SkillEmbed/RailPush-v0", "SkillEmbed/RailPushPretrain-v0"])
def test_autoreset_is_that_of_gymnasium_bit_for_bit(env_id, mode):
    ours, theirs = pair(env_id, mode)
    assert ours.metadata["autoreset_mode"] is mode
    both(ours, theirs, lambda env: env.reset(seed=4))
    for step, action in enumerate(actions(ours, 24)):
        # Divergences make the ends of episodes differ; one of them comes in a step that resets another environment.
        if step in (3, 11):
            for env in (ours, theirs):
                spoil(env, 1)
        both(ours, theirs, lambda env, action=action: env.step(action))


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("env_id", [TWO_GOALS, PUSH])
def test_a_masked_reset_is_that_of_gymnasium_bit_for_bit(env_id, mode):
    ours, theirs = pair(env_id, mode)
    # A task that was fixed holds through our autoreset, and Gymnasium's own autoreset gives no options.
    fix = env_id == TWO_GOALS and mode is AutoresetMode.DISABLED
    both(ours, theirs, lambda env: env.reset(seed=4, options={"task": 0} if fix else None))
    rng = np.random.default_rng(0)
    for step, action in enumerate(actions(ours, 40)):
        *_, truncated, _ = both(ours, theirs, lambda env, action=action: env.step(action))
        mask = rng.random(3) < 0.3
        if mode is AutoresetMode.DISABLED:
            mask |= truncated  # or Gymnasium's own would not step on
        if mask.any():
            # Seeds and tasks reach only what is reset; the others go on with theirs.
            seed = [None, step, None] if step % 3 == 0 else None
            options = {"task": int(step % 2)} if step % 4 == 0 and fix else {}
            both(
                ours,
                theirs,
                lambda env, seed=seed, kept={**options, "reset_mask": mask}: env.reset(seed=seed, options=dict(kept)),
            )


def test_next_step_resets_after_a_divergence_and_a_masked_reset():
    env = gymnasium.make_vec(TWO_GOALS, num_envs=3, autoreset_mode="NextStep", max_episode_steps=5)
    env.reset(seed=0)
    env.physics.qvel[1] = np.nan
    *_, truncated, info = env.step(actions(env, 1)[0])
    assert truncated.tolist() == info["physics_error"].tolist() == [False, True, False]
    observation, reward, _, truncated, info = env.step(actions(env, 1)[0])
    assert not truncated.any() and reward[1] == 0 and "physics_error" not in info
    assert np.abs(observation["observation"][1, 2:]).max() == 0  # at rest, where an episode starts
    for action in actions(env, 3):
        *_, truncated, _ = env.step(action)
    assert truncated.tolist() == [True, False, True]
    env.reset(options={"reset_mask": np.array([True, False, False])})  # 2 is reset by the next step
    ends = [env.step(action)[3].tolist() for action in actions(env, 6)]
    assert [row.index(True) if any(row) else None for row in ends] == [None, 1, None, None, 0, 2]


WRAPPERS = {
    "flatten": vector_wrappers.FlattenObservation,
    "transform": lambda env: vector_wrappers.TransformObservation(env, lambda obs: 2 * obs, env.observation_space),
    "rescale": lambda env: vector_wrappers.RescaleObservation(env, -1.0, 1.0),
    "dtype": lambda env: vector_wrappers.DtypeObservation(env, np.float64),
    "normalise": vector_wrappers.NormalizeObservation,
    "reward": vector_wrappers.NormalizeReward,
    "clip": lambda env: vector_wrappers.ClipReward(env, -1, 1),
    "statistics": vector_wrappers.RecordEpisodeStatistics,
    "action": lambda env: vector_wrappers.RescaleAction(env, -2.0, 2.0),
}


@pytest.mark.parametrize(
    ("env_id", "wrapper"), [*((PUSH, name) for name in WRAPPERS), (TWO_GOALS, "flatten"), (TWO_GOALS, "statistics")]
)
@pytest.mark.filterwarnings("ignore")  # of the wrappers about the precision of bounds
def test_wrappers_of_gymnasium_give_with_the_batch_what_they_give_with_its_own(env_id, wrapper):
    ours, theirs = (WRAPPERS[wrapper](env) for env in pair(env_id, AutoresetMode.NEXT_STEP))
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    assert_equal(ours.reset(seed=4)[0], theirs.reset(seed=4)[0])
    for action in actions(ours, 24):
        (*mine, my_info), (*expected, info) = ours.step(action), theirs.step(action)
        for a, b in zip(mine, expected, strict=True):
            assert_equal(a, b)
        assert my_info.keys() == info.keys()


def test_a_copy_goes_on_in_the_middle_of_an_autoreset():
    env = gymnasium.make_vec(TWO_GOALS, num_envs=2, autoreset_mode=AutoresetMode.NEXT_STEP, max_episode_steps=3)
    env.reset(seed=0)
    for action in actions(env, 3):
        env.step(action)  # both have just ended
    twin = pickle.loads(pickle.dumps(env.unwrapped))
    for action in actions(env, 6, seed=1):
        assert_equal(twin.step(action)[0], env.step(action)[0])


# Order of calls, seeds and masks ------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [lambda: gymnasium.make(PUSH).unwrapped, lambda: gymnasium.make_vec(PUSH, 2).unwrapped]
)
def test_step_needs_a_reset_and_an_open_environment(make):
    env = make()
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step(np.zeros(env.action_space.shape))
    env.reset(seed=0)
    env.step(np.zeros(env.action_space.shape))
    env.close()
    with pytest.raises(gymnasium.error.ClosedEnvironmentError, match="close"):
        env.step(np.zeros(env.action_space.shape))
    env.reset()  # it is open again
    env.step(np.zeros(env.action_space.shape))


def test_generators_and_seeds_are_tuples_as_gymnasiums():
    ours, theirs = gymnasium.make_vec(PUSH, 3), SyncVectorEnv([lambda: gymnasium.make(PUSH)] * 3)
    for seed in (5, [7, 2, 9]):
        ours.reset(seed=seed)
        theirs.reset(seed=seed)
        assert ours.np_random_seed == theirs.np_random_seed and isinstance(ours.np_random, tuple)
        for mine, other in zip(ours.np_random, theirs.np_random, strict=True):
            assert mine.bit_generator.state == other.bit_generator.state
    drawn = gymnasium.make_vec(PUSH, 2)
    first, _ = drawn.reset()
    again = gymnasium.make_vec(PUSH, 2)
    assert_equal(again.reset(seed=list(drawn.np_random_seed))[0], first)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True, float("nan"), [1], [1, -1], [1, 2.5], "ab", {1: 2, 3: 4}])
def test_a_seed_that_is_none_is_named_and_changes_nothing(seed):
    env = gymnasium.make_vec(PUSH, 2)
    env.reset(seed=0)
    before = env.np_random_seed
    with pytest.raises(ValueError, match=r"seed(\[\d\])?="):
        env.reset(seed=seed)
    assert env.np_random_seed == before


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros(3, bool), np.ones(2, bool), np.ones((3, 1), bool), np.ones(3), np.ones(3, int), [True, False, True],
        True, None, "yes",
    ],
)  # fmt: skip
def test_a_wrong_mask_raises_as_gymnasiums_own(mask):
    theirs = SyncVectorEnv([lambda: gymnasium.make(TWO_GOALS)] * 3, autoreset_mode=AutoresetMode.DISABLED)
    ours = gymnasium.make_vec(TWO_GOALS, 3, autoreset_mode=AutoresetMode.DISABLED)
    errors = []
    for env in (theirs, ours):
        env.reset(seed=0)
        with pytest.raises((TypeError, ValueError)) as error:
            env.reset(options={"reset_mask": mask})
        errors.append(error.type)
    assert errors[0] is errors[1] and "reset_mask" in str(error.value)


def test_render_needs_a_reset_too():
    for env in (gymnasium.make(PUSH, render_mode="rgb_array").unwrapped, SkillVectorEnv(["Push"], 2)):
        with pytest.raises(gymnasium.error.ResetNeeded, match=r"render\(\) before the first reset"):
            env.render()
        env.reset(seed=0)
        env.close()
        with pytest.raises(gymnasium.error.ClosedEnvironmentError, match=r"render\(\) after close"):
            env.render()


def test_the_first_reset_is_of_all_environments():
    env = SkillVectorEnv(["Push"], 2)
    with pytest.raises(gymnasium.error.ResetNeeded, match="of all environments"):
        env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros((2, 7)))
    env.reset(options={"reset_mask": np.array([True, True])})
    env.step(np.zeros((2, 7)))


def test_generators_are_there_before_the_first_reset_which_goes_on_with_them():
    env, twin = SkillVectorEnv(["Push"], 2), SkillVectorEnv(["Push"], 2)
    generators, seeds = env.np_random, env.np_random_seed
    assert len(generators) == len(seeds) == 2
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros((2, 7)))
    assert_equal(env.reset()[0], twin.reset(seed=list(seeds))[0])
    assert all(a is b for a, b in zip(generators, env.np_random, strict=True))


def test_a_seed_of_none_in_a_list_goes_on_with_the_generator():
    env, twin = SkillVectorEnv(["Push"], 2), SkillVectorEnv(["Push"], 2)
    env.reset(seed=3)
    twin.reset(seed=3)
    mixed, on = env.reset(seed=[None, 8])[0], twin.reset()[0]
    np.testing.assert_array_equal(mixed[0], on[0])
    assert env.np_random_seed == (3, 8) and (mixed[1] != on[1]).any()


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True, float("nan"), [1]])
def test_a_wrong_seed_of_a_single_environment_is_named_and_changes_nothing(seed):
    env = gymnasium.make(TWO_GOALS)
    env.reset(seed=3)
    with pytest.raises(ValueError, match="seed="):
        env.reset(seed=seed)
    with pytest.raises(KeyError, match="goal"):
        env.reset(seed=9, options={"goal": 1})
    assert env.unwrapped.np_random_seed == 3


# Single environments -------------------------------------------------------------------------------


def test_wrappers_of_single_environments_still_work():
    env = wrappers.FlattenObservation(gymnasium.make(TWO_GOALS))
    assert env.reset(seed=0)[0].shape == (6,)
