import math

import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Independent, Normal, kl_divergence
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli

from skill_agent import densities, returns
from skill_agent.distributions import Bernoulli, Gaussian

torch.manual_seed(0)


def explicit_retrace(q, v_tp1, reward, discount, trace):
    """The sum of Munos et al. (2016), equation 3, with V in place of the expectation of Q."""
    batch, steps = q.shape
    targets = torch.zeros_like(q)
    for b in range(batch):
        for i in range(steps):
            total, weight = q[b, i], torch.tensor(1.0)
            for j in range(i, steps):
                if j > i:
                    weight = weight * discount[b, j - 1] * trace[b, j]
                total = total + weight * (reward[b, j] + discount[b, j] * v_tp1[b, j] - q[b, j])
            targets[b, i] = total
    return targets


def random_inputs(batch=5, steps=7):
    q, v, reward = torch.randn(3, batch, steps, dtype=torch.float64)
    discount = 0.9 * (torch.rand(batch, steps) > 0.2).double()
    trace = torch.rand(batch, steps, dtype=torch.float64)
    return q, v, reward, discount, trace


def test_retrace_equals_the_explicit_sum():
    inputs = random_inputs()
    torch.testing.assert_close(returns.retrace_targets(*inputs), explicit_retrace(*inputs))


def test_retrace_by_hand():
    # Two steps, gamma 1/2, c_1 = 1/4:
    #   target_1 = 2 + 1/2 * 4 = 4;   target_0 = 1 + 1/2 * (6 + 1/4 * (4 - 8)) = 3.5
    q = torch.tensor([[9.0, 8.0]])
    v_tp1 = torch.tensor([[6.0, 4.0]])
    reward = torch.tensor([[1.0, 2.0]])
    discount = torch.full((1, 2), 0.5)
    trace = torch.tensor([[0.0, 0.25]])
    assert returns.retrace_targets(q, v_tp1, reward, discount, trace).tolist() == [[3.5, 4.0]]


def test_retrace_on_policy_with_lambda_one_is_the_n_step_return():
    q, _, reward, _, _ = random_inputs()
    gamma, steps = 0.9, q.shape[1]
    bootstrap = torch.randn(len(q), dtype=torch.float64)
    # V(s_t+1) = Q(s_t+1, a_t+1) for a deterministic policy that took the actions itself.
    v_tp1 = torch.cat((q[:, 1:], bootstrap[:, None]), dim=1)
    trace = returns.trace_coefficients(torch.zeros_like(q), torch.zeros_like(q), retrace_lambda=1.0)
    targets = returns.retrace_targets(q, v_tp1, reward, torch.full_like(q, gamma), trace)
    for t in range(steps):
        powers = gamma ** torch.arange(steps - t, dtype=torch.float64)
        expected = (powers * reward[:, t:]).sum(1) + gamma ** (steps - t) * bootstrap
        torch.testing.assert_close(targets[:, t], expected)


def test_retrace_stops_at_a_terminal_step_and_at_a_cut_trace():
    q, v, reward, discount, trace = random_inputs()
    discount[:, 2], trace[:, 5] = 0.0, 0.0
    targets = returns.retrace_targets(q, v, reward, discount, trace)
    torch.testing.assert_close(targets[:, 2], reward[:, 2])
    torch.testing.assert_close(targets[:, 4], reward[:, 4] + discount[:, 4] * v[:, 4])


def test_retrace_names_the_argument_of_the_wrong_shape():
    q, v, reward, discount, trace = random_inputs()
    with pytest.raises(ValueError, match=r"reward_t has shape \(5, 6\)"):
        returns.retrace_targets(q, v, reward[:, 1:], discount, trace)


def test_trace_coefficients_are_capped_and_may_carry_the_embedding_ratio():
    log_prob, behaviour = torch.tensor([[0.0, -1.0]]), torch.tensor([[-2.0, 0.0]])
    plain = returns.trace_coefficients(log_prob, behaviour, 0.9)
    torch.testing.assert_close(plain, torch.tensor([[0.9, 0.9 * math.exp(-1)]]))
    with_ratio = returns.trace_coefficients(log_prob, behaviour, 0.9, torch.tensor([-3.0]))
    torch.testing.assert_close(with_ratio, 0.9 * torch.exp(torch.tensor([[-1.0, -4.0]])))


def test_gaussian_terms_agree_with_torch():
    mean_p, log_std_p, mean_q, log_std_q, x = torch.randn(5, 4, 3, dtype=torch.float64)
    p, q = (Independent(Normal(m, s.exp()), 1) for m, s in ((mean_p, log_std_p), (mean_q, log_std_q)))
    torch.testing.assert_close(densities.gaussian_log_prob(x, mean_p, log_std_p), p.log_prob(x))
    torch.testing.assert_close(densities.gaussian_entropy(log_std_p), p.entropy())
    torch.testing.assert_close(densities.gaussian_kl(mean_p, log_std_p, mean_q, log_std_q), kl_divergence(p, q))


def test_concrete_terms_agree_with_torch():
    logits, x = torch.randn(2, 6, 3, dtype=torch.float64)
    temperature = torch.tensor(0.6, dtype=torch.float64)
    reference = LogitRelaxedBernoulli(temperature, logits=logits).log_prob(x).sum(-1)
    torch.testing.assert_close(densities.concrete_log_prob(x, logits, 0.6), reference)
    torch.testing.assert_close(densities.bernoulli_entropy(logits), TorchBernoulli(logits=logits).entropy().sum(-1))
    family, other = Bernoulli(3, 0.6, logit_bound=1e6), torch.randn(6, 3, dtype=torch.float64)
    expected = kl_divergence(TorchBernoulli(logits=logits), TorchBernoulli(logits=other)).sum(-1)
    torch.testing.assert_close(family.kl(logits, other), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("extreme", [-300.0, -40.0, 40.0, 300.0])
@pytest.mark.parametrize("logit", [-50.0, 0.0, 50.0])
def test_concrete_log_prob_and_its_gradients_are_finite_at_extreme_logits(extreme, logit):
    x = torch.full((1, 2), extreme, requires_grad=True)
    logits = torch.full((1, 2), logit, requires_grad=True)
    value = densities.concrete_log_prob(x, logits, 0.5)
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(x.grad).all() and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("family", [Gaussian(3, (-2.0, 0.0), 3.0), Bernoulli(3, 0.5, 3.0)])
def test_families_sample_what_their_density_says(family):
    params = torch.randn(family.n_params).expand(200_000, -1)
    noise = family.noise((len(params),), torch.Generator().manual_seed(0), torch.device("cpu"))
    latent = family.sample(params, noise)
    # E[exp(log p' - log p)] = 1 for any other member p' of the family (importance weights).
    other = params + 0.1
    weights = torch.exp(family.log_prob(other, latent) - family.log_prob(params, latent))
    assert weights.mean().item() == pytest.approx(1.0, abs=0.02)
    assert -family.log_prob(params, latent).mean().item() <= family.max_entropy + 0.02
    assert family.code(latent).mean(0).tolist() == pytest.approx(family.mean_code(params)[0].tolist(), abs=0.15)
