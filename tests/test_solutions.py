from functools import partial

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from toy import ROOT

from skill_agent.experiments import claims, figures, reproduce, solutions, train
from skill_agent.experiments.records import check_record
from skill_agent.experiments.registry import records_of
from skill_agent.experiments.tables import SOLUTIONS, Run


def test_the_number_of_solutions_of_confusions_worked_out_by_hand():
    assert solutions.distinguishable(np.eye(5, dtype=int) * 7) == pytest.approx(5)
    assert solutions.distinguishable(np.full((4, 4), 3)) == pytest.approx(1)
    pairs = np.kron(np.eye(3, dtype=int), np.ones((2, 2), int))  # six z, two of each solution
    assert solutions.distinguishable(pairs) == pytest.approx(3)
    # Right in three of four cases, of two z: ln 2 - H(1/4).
    uncertain = -0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    assert solutions.distinguishable(np.array([[3, 1], [1, 3]])) == pytest.approx(2 * np.exp(-uncertain))


def test_paths_that_differ_by_z_are_recognised_and_noise_is_not():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(40, 6, 11, 3)).astype(np.float32)  # (M, K, T + 1, 3)
    far = np.arange(6)[:, None, None] * np.ones((11, 3), np.float32) * 5
    assert np.array_equal(solutions.guesses(noise + far), 40 * np.eye(6))
    # A path that was in its own centroid would be recognised nearly always.
    by_chance = solutions.guesses(noise)
    assert by_chance.sum() == 240 and np.trace(by_chance) < 240 / 3
    pairs = solutions.guesses(noise + far // 10)  # 0, 0.5, ...: z 0 and 1 are alike, and so are others
    assert (pairs.sum(1) == 40).all() and solutions.distinguishable(pairs) < 6


@pytest.fixture(scope="module")
def untrained():
    """The policy of an untrained agent, whose z act by their first weights."""
    torch.set_num_threads(1)
    nets = {"policy_kwargs": {"net_arch": [16, 16]}, "z_gain": 30.0}
    agent = train.build(Run("SkillEmbed/Lift-v0", 1, nets, n_envs=1), 0)
    agent.env.close()
    return agent.policy


def test_every_z_is_played_from_the_same_starts(untrained):
    latent, position, success = solutions.play(untrained, "SkillEmbed/Lift-v0", 3, 2, 4, seed=5)
    assert latent.shape == (3, 3) and position.shape == (2, 4, 3, 101, 3) and success.shape == (2, 4, 3)
    assert (position[:, :, :, 0] == position[:, :1, :1, 0]).all(), "z and actions alone part the paths"
    assert not (position[0, 0, 0, 0] == position[1, 0, 0, 0]).all()
    assert len(np.unique(position[0, :, :, -1].reshape(-1, 3), axis=0)) == 12, "actions are drawn"
    again = solutions.play(untrained, "SkillEmbed/Lift-v0", 3, 2, 4, seed=5)
    assert all(np.array_equal(a, b) for a, b in zip((latent, position, success), again, strict=True))
    other, *_ = solutions.play(untrained, "SkillEmbed/Lift-v0", 3, 1, 2, seed=6)
    assert not np.array_equal(other, latent)
    with pytest.raises(ValueError, match="LWallPretrain-v0 has 2 tasks; the policy has 1"):
        solutions.play(untrained, "SkillEmbed/LWallPretrain-v0", 3, 1, 2, seed=0)


def test_an_episode_plays_the_z_that_it_is_listed_under(untrained, monkeypatch):
    monkeypatch.setattr(solutions, "act", lambda *args: np.tile(torch.tanh(args[2]).numpy(), 3)[:, :7])
    _, position, _ = solutions.play(untrained, "SkillEmbed/Lift-v0", 4, 1, 3, seed=0)
    assert (position == position[:, :1]).all(), "the same z and start, without noise, take the same path"
    assert np.array_equal(sum(map(solutions.guesses, position)), 3 * np.eye(4))


def test_solutions_are_trained_measured_and_drawn(tiny_arm, monkeypatch):
    few = partial(solutions.measure, codes=3, starts=2, episodes=3)
    monkeypatch.setattr(solutions, "measure", few)
    list(reproduce.reproduce("solutions", 1, 1, tiny_arm))
    records = records_of("solutions", tiny_arm)
    for record in (*records["with"], *records["without"]):
        kept = record["solutions"]
        assert 1 <= kept["number"] <= 3 and kept["codes"] == len(kept["success"]) == len(kept["latent"]) == 3
        assert np.shape(kept["position"]) == (2, 3, 26, 3)
        assert 0 <= kept["told_apart"] <= 1 and kept["scatter"] > 0
    assert records["without"][0]["settings"]["inference_coef"] == 0
    assert records["with"][0]["settings"]["inference_coef"] > 0
    figures.save(figures.solutions(records), tiny_arm / "solutions.png")
    assert iio.imread(tiny_arm / "solutions.png").std() > 5
    broken = records["with"][0] | {"solutions": records["with"][0]["solutions"] | {"number": 0.5}}
    with pytest.raises(ValueError, match=r"solutions\.number is 0\.5"):
        check_record(broken)


def test_the_claim_is_more_solutions_and_that_they_are_solutions():
    def record(number, success=(1.0, 0.9), error=0.5):
        kept = {
            "codes": 2,
            "number": number,
            "number_by_end": 2.0,
            "success": list(success),
            "told_apart": 0.5,
            "spread": 0.1,
            "scatter": 0.02,
        }
        return {"env_id": "SkillEmbed/Lift-v0", "solutions": kept, "final": {"inference_error": [9.0, error]}}

    without = [record(3.0, error=0.8), record(5.0, error=0.7)]
    more, inferred = claims.solutions_claims({"with": [record(6.0), record(8.0)], "without": without})
    assert more.holds and "7.0 / 4.0; more in 4 of 4 pairings; worst success 0.95" in more.measured
    assert inferred.holds and "0.50 / 0.75" in inferred.measured
    assert "10.0, 10.0 / 10.0, 10.0 cm" in more.seeds
    for good in ([record(6.0), record(5.0)], [record(6.0), record(8.0, success=(0.8, 0.9))]):
        assert not claims.solutions_claims({"with": good, "without": without})[0].holds
    assert claims.solutions_claims({"with": [record(6.0)], "without": []}) == []


def test_both_variants_have_one_task_and_differ_in_the_inference_term_alone():
    ours, without = SOLUTIONS["with"], SOLUTIONS["without"]
    differing = {name for name in ours.settings if ours.settings[name] != without.settings[name]}
    assert differing == {"inference_coef", "inference_noise"} and set(ours.settings) == set(without.settings)
    assert (ours.env_id, ours.total_timesteps) == (without.env_id, without.total_timesteps)
    assert (ROOT / "docs/figures/solutions.png").exists()
