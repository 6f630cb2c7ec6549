"""Transfer: frozen skills before an environment, and a mapping z = f(x) learned on top."""

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC

from skill_agent import (
    SkillEmbedding,
    SkillSpaceVecEnv,
    TransferredPolicy,
    export_policy,
    load_policy,
    load_skills,
    make_skill_vec_env,
)
from skill_agent.skill_space import act, skill_space

HOLD = 5
TINY = {"policy_kwargs": {"net_arch": [16, 16]}, "learning_starts": 20, "train_freq": 5, "gradient_steps": 1}


@pytest.fixture(scope="module")
def skills():
    env = make_skill_vec_env("SkillEmbed/PointMassTwoGoals-v0", 4, seed=0)
    return SkillEmbedding("MultiInputPolicy", env, seed=0, device="cpu", **TINY).learn(200).policy


def make_env(skills, n_envs=4, hold=HOLD, seed=0):
    return SkillSpaceVecEnv(make_skill_vec_env("SkillEmbed/PointMassFourGoals-v0", n_envs, seed=seed), skills, hold)


def test_the_skill_space_holds_the_draws_of_every_task(skills):
    space = skill_space(skills, width=4.0)
    draws = skills.draw_latent(torch.arange(2).repeat(500), torch.Generator().manual_seed(0)).detach().numpy()
    assert space.shape == (3,) and ((draws >= space.low) & (draws <= space.high)).mean() > 0.99
    assert (skill_space(skills, width=1.0).high < space.high).all()


def test_the_skill_space_ends_where_bernoulli_codes_do():
    env = make_skill_vec_env("SkillEmbed/PointMassTwoGoals-v0", 4, seed=0)
    space = skill_space(SkillEmbedding("MultiInputPolicy", env, embedding="bernoulli", seed=0, device="cpu").policy)
    assert (-1 <= space.low).all() and (space.low < -0.9).all() and (0.9 < space.high).all() and (space.high <= 1).all()


def test_a_step_is_the_skill_held(skills):
    held, plain = make_env(skills), make_skill_vec_env("SkillEmbed/PointMassFourGoals-v0", 4, seed=0)
    observation, same = held.reset(), plain.reset()
    z = np.full((4, 3), 0.3, np.float32)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        rewards = np.zeros(4)
        observation, reward, done, infos = held.step(z)
        for _ in range(HOLD):
            same, once, ended, _ = plain.step(act(skills, same, torch.as_tensor(z), generator))
            rewards += once
        assert np.array_equal(observation, same) and np.allclose(reward, rewards) and np.array_equal(done, ended)
    assert done.all() and all("terminal_observation" in info and "episode" in info for info in infos)


def test_an_episode_that_ends_within_a_hold_earns_nothing_more(skills):
    env = make_env(skills, n_envs=2)
    env.reset()
    steps = enumerate([[False, True], [False, False], [False, False], [False, False], [True, False]])

    def step(action):
        k, ends = next(steps)
        return np.zeros((2, 4), np.float32), np.ones(2), np.array(ends), [{"step": k}, {"step": k}]

    env.venv.step = step
    _, reward, done, infos = env.step(np.zeros((2, 3)))
    assert reward.tolist() == [5.0, 1.0] and done.tolist() == [True, True]
    assert [info["step"] for info in infos] == [4, 0]  # that of the step at which each ended


def test_sac_and_the_same_learner_drive_the_skills(skills):
    before = {name: value.clone() for name, value in skills.state_dict().items()}
    SAC("MlpPolicy", make_env(skills), learning_starts=8, policy_kwargs={"net_arch": [8]}, device="cpu").learn(40)
    learner = SkillEmbedding("MlpPolicy", make_env(skills), embedding="task_id", seed=0, device="cpu", **TINY)
    start = [weight.clone() for weight in learner.policy.actor.weights]
    learner.learn(100)
    assert any(not torch.equal(a, b) for a, b in zip(start, learner.policy.actor.weights, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in skills.state_dict().items()), "skills are frozen"


def test_a_transferred_policy_holds_z_and_gives_torques(skills):
    env = make_env(skills)
    learner = SkillEmbedding("MlpPolicy", env, embedding="task_id", seed=0, device="cpu", **TINY)
    policy = TransferredPolicy(skills, learner.policy, HOLD)
    observation, state = env.reset(), None
    codes = []
    for _ in range(2 * HOLD - 2):
        action, state = policy.predict(observation, state, deterministic=True)
        assert action.shape == (4, 2) and env.venv.action_space.contains(action[0])
        observation, *_ = env.venv.step(action)
        codes.append(state[0])
    assert all(np.array_equal(code, codes[0]) for code in codes[:HOLD])
    assert not np.array_equal(codes[HOLD], codes[0])
    assert policy.predict_skill(observation, deterministic=True).shape == (4, 3)
    one, _ = policy.predict(observation[0], deterministic=True)
    assert one.shape == (2,)
    restarted = policy.predict(observation, state, np.array([True, False, False, False]), deterministic=True)[1]
    following = policy.predict(observation, state, deterministic=True)[1]
    assert restarted[1][0] == 0 and restarted[1][1:].tolist() == following[1][1:].tolist()


@pytest.mark.parametrize(("hold", "env_id"), [(0, "PointMassFourGoals"), (5, "LWall")])
def test_what_does_not_fit_is_an_error(skills, hold, env_id):
    env = make_skill_vec_env(f"SkillEmbed/{env_id}-v0", 2)
    with pytest.raises(ValueError, match=r"hold=0 is not valid|observations have shape .27,.; the skills need .4,."):
        SkillSpaceVecEnv(env, skills, hold)


def test_a_transferred_policy_is_one_file_that_acts_the_same(skills, tmp_path):
    env = make_env(skills)
    learner = SkillEmbedding("MlpPolicy", env, embedding="task_id", seed=0, device="cpu", **TINY).learn(40)
    policy = TransferredPolicy(skills, learner.policy, HOLD)
    path = export_policy(policy, tmp_path / "policy")
    with pytest.raises(FileExistsError, match="force=True"):
        export_policy(policy, path)
    loaded, observation = load_policy(path), env.reset()
    states = [None, None]
    for _ in range(HOLD + 1):
        (first, states[0]), (second, states[1]) = (
            p.predict(observation, state, deterministic=True) for p, state in zip((policy, loaded), states, strict=True)
        )
        assert np.array_equal(first, second) and np.array_equal(states[0][0], states[1][0])
        observation, *_ = env.venv.step(first)
    with pytest.raises(ValueError, match="does not describe its skills rightly"):
        load_skills(path)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(path.read_bytes()[:-3] + b"abc")
    with pytest.raises(ValueError, match="is damaged: its SHA-256"):
        load_policy(damaged)
    with pytest.raises(FileNotFoundError, match="nothing is neither a file nor one of the names"):
        load_policy("nothing")
