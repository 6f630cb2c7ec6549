"""Values as classes: shares, expectations and cross-entropies against numbers by hand, and as the critics' loss."""

import math

import pytest
import torch
from torch.distributions import Normal

from skill_agent import objective
from skill_agent.value_bins import SIGMA_RATIO, ValueBins

BINS = ValueBins(-1.0, 3.0, 4)  # centres -0.5, 0.5, 1.5, 2.5


def test_edges_and_centres():
    like = torch.zeros(())
    assert BINS.width == 1.0 and BINS.edges(like).tolist() == [-1, 0, 1, 2, 3]
    assert BINS.centres(like).tolist() == [-0.5, 0.5, 1.5, 2.5]


def test_shares_by_hand():
    # A Gaussian of standard deviation 0.75 around 1, an edge: Phi(4/3) = 0.908789, Phi(8/3) = 0.996170. The inner bins
    # have Phi(4/3) - 1/2 each, the outer ones Phi(8/3) - Phi(4/3), over 2 Phi(8/3) - 1 in all.
    inner, outer, whole = 0.408789, 0.087381, 0.992339
    expected = torch.tensor([outer, inner, inner, outer]) / whole
    torch.testing.assert_close(BINS.shares(torch.tensor(1.0)), expected, atol=2e-6, rtol=0)


def test_shares_are_those_of_a_normal_distribution_cut_off_at_the_ends():
    bins, value = ValueBins(-5.0, 25.0, 60), torch.tensor([[-4.9, 0.0, 7.3], [12.0, 20.1, 24.0]], dtype=torch.float64)
    normal = Normal(value[..., None], SIGMA_RATIO * bins.width)
    below = normal.cdf(bins.edges(value))
    expected = below.diff(dim=-1) / (below[..., -1:] - below[..., :1])
    torch.testing.assert_close(bins.shares(value), expected)
    torch.testing.assert_close(bins.shares(value).sum(-1), torch.ones(2, 3, dtype=torch.float64))


def test_a_value_comes_back_from_its_shares_and_is_clipped_to_the_ends():
    bins, value = ValueBins(-10.0, 40.0, 100), torch.linspace(-8, 38, 47, dtype=torch.float64)
    torch.testing.assert_close(bins.expectation(bins.shares(value).log()), value, atol=2e-3, rtol=0)
    beyond = torch.tensor([-10.5, -10.0, 40.0, 1e6], dtype=torch.float64)
    shares = bins.shares(beyond)
    assert torch.equal(shares[0], shares[1]) and torch.equal(shares[2], shares[3])
    assert bins.outside(beyond).tolist() == [1, 0, 0, 1]
    assert shares.isfinite().all()


def test_expectation_by_hand():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, math.log(3), -200.0, -200.0]])
    torch.testing.assert_close(BINS.expectation(logits), torch.tensor([1.0, (-0.5 + 3 * 0.5) / 4]))
    torch.testing.assert_close(BINS.expectation(logits + 70), BINS.expectation(logits))


def test_cross_entropy_by_hand_and_its_gradient():
    value, logits = torch.tensor([1.0, -0.2]), torch.zeros(3, 2, 4, requires_grad=True)  # three critics
    found = BINS.cross_entropy(logits, value)
    torch.testing.assert_close(found, torch.full((3, 2), math.log(4)))
    found.sum().backward()
    torch.testing.assert_close(logits.grad, (0.25 - BINS.shares(value)).expand(3, 2, 4))


def test_logits_of_a_value_stand_for_it():
    bins = ValueBins(-20.0, 120.0, 101)
    for value in (0.0, 33.0):
        logits = bins.logits_of(torch.tensor(value))
        assert logits.min() >= -10 and bins.expectation(logits).item() == pytest.approx(value, abs=0.3)


def test_the_wrong_number_of_logits_is_named():
    for call in (BINS.expectation, lambda logits: BINS.cross_entropy(logits, torch.zeros(2))):
        with pytest.raises(ValueError, match=r"\(2, 5\); the last axis has to be 4"):
            call(torch.zeros(2, 5))
    target = torch.zeros(3, 6)
    with pytest.raises(ValueError, match=r"\(2, 3, 6, 4\).*\(3, 6, 1\)"):
        objective.critic_errors(torch.zeros(2, 3, 6, 4), target, None)
    with pytest.raises(ValueError, match=r"\(2, 3, 5, 4\).*\(3, 6, 4\)"):
        objective.critic_errors(torch.zeros(2, 3, 5, 4), target, BINS)


def test_errors_of_critics_by_hand():
    target = torch.tensor([[1.0, 2.0]])
    outputs = torch.tensor([[[[1.0], [5.0]]], [[[-1.0], [2.5]]]])  # two critics
    assert objective.critic_errors(outputs, target, None).tolist() == [[[0.0, 9.0]], [[4.0, 0.25]]]
    logits = torch.randn(2, 1, 2, 4)
    expected = -(BINS.shares(target) * torch.log_softmax(logits, -1)).sum(-1)
    torch.testing.assert_close(objective.critic_errors(logits, target, BINS), expected)
