import numpy as np
import pytest

from skill_agent.experiments import claims, statistics
from skill_agent.experiments.registry import records_of


def test_ratio_interval_by_hand():
    ratio, low, high = statistics.ratio_interval([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (ratio, low, high) == pytest.approx((2, 2, 2))
    ratio, low, high = statistics.ratio_interval([3.0, 1.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0])
    assert ratio == 2 and 1 <= low < 2 < high <= 3
    ratio, low, high = statistics.ratio_interval([2.0], [1.0])
    assert ratio == 2 and np.isnan([low, high]).all()


def test_claims_fail_when_the_records_say_so(tiny_records):
    records = records_of("fig2", tiny_records)
    for record in records["with"]:
        record["final"]["success"] = [1.0, 0.9]
        record["train_seconds"] = 61
        record["final"]["inference_error"] = [1.0] * 50
    assert [claim.holds for claim in claims.fig2_claims(records)] == [False, False, False]
    for record in records["with"]:
        record["final"]["success"] = [1.0, 0.95]
        record["train_seconds"] = 60
        record["final"]["inference_error"] = [1.0] * 25 + [0.1] * 25
    for record in records["without"]:
        record["final"]["inference_error"] = [0.0] * 25 + [0.3] * 25
    assert [claim.holds for claim in claims.fig2_claims(records)] == [True, True, True]
    records = records_of("fig3", tiny_records)
    for variant in ("bernoulli", "gaussian"):
        for record in records[variant]:
            for key in ("goals_reached", "goals_reached_discrete"):
                record["final"][key] = [0.3, 0.2, 0.05, 0.04]
    for record in records["duplicate"]:
        record["final"]["kl"], record["final"]["success"] = [[0.0, 2.0, 0.05, 3.0]], [1.0, 0.9, 1.0, 1.0]
    assert [claim.holds for claim in claims.fig3_claims(records)] == [False, True, True, True]
    records["duplicate"][0]["final"]["kl"] = [[0.0, 0.9, 0.05, 3.0]]
    assert claims.fig3_claims(records)[2].holds is False
    records["duplicate"][0]["final"]["success"] = [1.0, 0.89, 1.0, 1.0]
    assert claims.fig3_claims(records)[3].holds is False


def test_claims_of_pre_training_ask_four_of_five_seeds_in_time():
    def record(*success, seconds=600, env="LWallPretrain"):
        return {"env_id": f"SkillEmbed/{env}-v0", "final": {"success": success}, "train_seconds": seconds}

    good, bad, slow = record(0.9, 1.0), record(1.0, 0.89), record(1.0, 1.0, seconds=1801)
    claim = claims.pretrain_claims({"lwall": [good, good, good, good, bad]})[0]
    assert claim.holds and claim.measured == "4 of 5 seeds; 10 min on one thread of torch"
    assert claim.seeds.startswith("Push 0.90, 0.90, 0.90, 0.90, 1.00; Lift 1.00, ")
    six = [record(*[1.0] * 5, 0.8, env="PretrainAll")]
    for found in ({"lwall": [good, good, bad]}, {"lwall": [good, slow]}, {"all": six}):
        assert [claim.holds for claim in claims.pretrain_claims(found)] == [False]


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
    ours, returns, scratch = claims.fig5_claims(records)
    assert ours.holds and scratch.holds  # 0.3 after 512,000 steps
    assert returns.holds and returns.measured == "51.0 against 15.0; higher in 3 of 3 pairings"
    assert returns.seeds == "51.0, 48.0, 54.0 against 15.0"
    assert scratch.measured == "0.85 against 0.30; higher in 3 of 3 pairings" and scratch.seeds.endswith("as well 0.90")
    assert claims.steps_to(long, 0.9) == 1_024_000 and claims.steps_to(long, 0.91) is None
    assert "million steps, never, never, 0.51 against 1.02;" in scratch.seeds
    records["lwall-all"] = [_curve(0.1, 0.1), _curve(0.8, 0.1)]
    assert [claim.holds for claim in claims.fig5_claims(records)] == [True, False, False, True, True]
    records["lwall-all"][1]["final"]["return"] = 47.9  # though success is as high
    assert [claim.holds for claim in claims.fig5_claims(records)] == [True, True, False, True, True]
    records["lwall"][1] = _curve(0.79, 0.5)
    assert not claims.fig5_claims(records)[0].holds
    early = {"springwall": [_curve(1.0, 0.9)], "springwall-no-inference": [_curve(1.0, 0.8)]}
    assert claims.fig5_claims(early)[1].holds
    for tie in (0.95, 0.899, 0.893):
        early["springwall-no-inference"] = [_curve(1.0, tie)]
        assert not claims.fig5_claims(early)[1].holds


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end():
    scores = np.array([[8.0, 0], [1, 0], [2, 0], [100, 0], [3, 1], [-50, 1], [4, 1], [5, 1]])  # (seeds, points)
    assert statistics.iqm(scores).tolist() == [(2 + 3 + 4 + 5) / 4, 0.5]
    assert statistics.iqm(scores[:5]).tolist() == [(2 + 3 + 8) / 3, 0.0]  # a quarter of five is one
    assert statistics.iqm(scores[:3]).tolist() == pytest.approx([11 / 3, 0])  # of three none


def test_the_interval_of_the_interquartile_mean_draws_whole_seeds_and_is_the_same_at_every_call():
    scores = np.random.default_rng(0).random((8, 3))
    scores = np.concatenate((scores, scores[:, :1]), axis=1)  # the last point repeats the first
    middle, low, high = statistics.iqm_interval(scores)
    np.random.default_rng().random(), np.random.seed(5)
    assert np.array_equal((middle, low, high), statistics.iqm_interval(scores))
    assert (low < middle).all() and (middle < high).all()
    assert low[0] == low[3] and high[0] == high[3]
    # By hand: quantiles of the interquartile means of many draws of eight seeds.
    draws = np.random.default_rng(1).integers(8, size=(20_000, 8))
    means = np.sort(scores[draws], axis=1)[:, 2:6].mean(1)
    assert np.allclose(low, np.quantile(means, 0.025, axis=0), atol=0.02)
    assert np.allclose(high, np.quantile(means, 0.975, axis=0), atol=0.02)
    one = statistics.iqm_interval(scores[:1])
    assert all(np.array_equal(part, scores[0]) for part in one)
