"""K perceptrons at once: values and hand-written gradients are those of plain torch."""

import pytest
import torch

from skill_agent import perceptrons
from skill_agent.perceptrons import Perceptrons

NORMS = ("none", "layer", "rms")

torch.manual_seed(0)


def plain_norm(x, norm):
    """Of torch itself, without gain and shift."""
    if norm == "layer":
        return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=1e-5)
    return torch.nn.functional.rms_norm(x, x.shape[-1:], eps=1e-5) if norm == "rms" else x


def plain_perceptrons(net, x, activation):
    """As equations have it, with gradients by autograd."""
    h = x.expand(len(net.weights[0]), *x.shape)
    for weight, bias in zip(net.weights[:-1], net.biases[:-1], strict=True):
        h = activation(plain_norm(torch.bmm(h, weight), net.norm) + bias)
    return torch.baddbmm(net.biases[-1], h, net.weights[-1])


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-5), (True, 3e-2)])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("norm", NORMS)
def test_hand_written_gradients_are_those_of_autograd(bf16, tolerance, frozen, norm, monkeypatch):
    monkeypatch.setattr(perceptrons, "BFLOAT16", True)  # emulated where the CPU has no instructions for it
    net = Perceptrons(2, [5, 16, 16, 3], bf16=bf16, norm=norm)
    x = (5 * torch.randn(40, 5)).requires_grad_()
    y = x.detach().clone().requires_grad_()
    target = torch.randn(2, 40, 3)
    fast, exact = net(x, frozen=frozen), plain_perceptrons(net, y, torch.nn.functional.elu)
    torch.testing.assert_close(fast, exact, atol=tolerance, rtol=tolerance)
    parameters = [] if frozen else list(net.parameters())
    got = torch.autograd.grad((fast * target).mean(), [x, *parameters])
    want = torch.autograd.grad((exact * target).mean(), [y, *parameters])
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, atol=tolerance * w.abs().max().item(), rtol=tolerance)


def test_bfloat16_is_left_to_processors_that_have_it(monkeypatch):
    net, x = Perceptrons(2, [5, 16, 3], bf16=True), torch.randn(40, 5)
    exact = plain_perceptrons(net, x, torch.nn.functional.elu)
    errors = []
    for native in (True, False):
        monkeypatch.setattr(perceptrons, "BFLOAT16", native)
        traced = net(x)  # with what its gradients need
        with torch.no_grad():
            errors += [(net(x) - exact).abs().max().item(), (traced - exact).abs().max().item()]
    assert min(errors[:2]) > 1e-4 and max(errors[2:]) < 1e-5


@pytest.mark.parametrize("norm", NORMS)
def test_perceptrons_of_another_activation_and_the_first_few(norm):
    net = Perceptrons(3, [4, 8, 2], torch.nn.Tanh, norm=norm)
    x = torch.randn(6, 4)
    torch.testing.assert_close(net(x), plain_perceptrons(net, x, torch.tanh))
    torch.testing.assert_close(net(x, count=1), net(x)[:1])


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_through_a_norm_are_those_of_differences(norm, frozen):
    net = Perceptrons(3, [4, 6, 5, 2], norm=norm).double()
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: net(x, frozen), (x, *([] if frozen else net.parameters())))
    assert torch.autograd.gradcheck(lambda x: net(x, frozen, 2), (x,))


def test_a_norm_by_hand():
    x = torch.tensor([[1.0, 3.0], [-3.0, 4.0]])
    # Mean 2 and standard deviation 1; mean 1/2 and 7/2.
    unit, scale = perceptrons.normalised(x, "layer")
    torch.testing.assert_close(unit, torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]))
    torch.testing.assert_close(scale, torch.tensor([[1.0], [2 / 7]]))
    # Mean squares 5 and 25/2.
    unit, scale = perceptrons.normalised(x, "rms")
    torch.testing.assert_close(unit, x / torch.tensor([[5.0], [12.5]]).sqrt())


def test_a_norm_takes_no_notice_of_scale():
    for norm in ("layer", "rms"):
        net, x = Perceptrons(2, [4, 64, 1], norm=norm), torch.randn(6, 4)
        torch.testing.assert_close(net(100 * x), net(x), atol=1e-3, rtol=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from torch.compile itself
@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_and_its_gradient_are_traced(norm):
    net, x = Perceptrons(2, [4, 8, 8, 3], norm=norm), torch.randn(6, 4, requires_grad=True)

    def gradients(x):
        return torch.autograd.grad(net(x).square().sum(), [x, *net.parameters()])

    traced = torch.compile(gradients, backend="aot_eager", dynamic=False)
    torch.testing.assert_close(traced(x), gradients(x))
