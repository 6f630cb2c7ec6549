"""Mappings z = f(x) that SB3's own algorithms have learned: their actors as one kind of network, for files and acting.

An actor of SAC, TD3, DDPG, PPO, A2C, TQC or TRPO is a perceptron with a head for the mean of z. What differs is the
spread of its draws (a layer, a constant or none) and how a draw comes into the bounds (a tanh, or clipping).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN
from stable_baselines3.sac.policies import Actor as SACActor
from stable_baselines3.td3.policies import Actor as TD3Actor
from torch import Tensor, nn

from skill_agent.densities import gaussian_sample
from skill_agent.divergence import check_parameters
from skill_envs import checks

Activations = Mapping[str, type[nn.Module]]  # by name
SPREADS = ("layer", "constant", "none")
_TQC_ACTOR = "sb3_contrib.tqc.policies.Actor"  # it is built as SAC's


class MlpMapping(BasePolicy):
    """A perceptron that predicts z as the actor did which it was made of; it learns nothing more.

    Attributes:
        net_arch: hidden layers.
        activation_fn: after every hidden layer.
        spread: where the log standard deviation of a draw comes from: a "layer" as in SAC, a "constant" as in PPO, or
            "none" as in TD3, which draws nothing.
    """

    action_space: spaces.Box

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        net_arch: list[int],
        activation_fn: type[nn.Module],
        spread: str,
        squash: bool,
    ) -> None:
        """Build the layers.

        Args:
            observation_space: of x.
            action_space: of z.
            net_arch: hidden layers.
            activation_fn: after every hidden layer.
            spread: one of `SPREADS`.
            squash: whether a tanh brings draws into the bounds; else they are clipped.

        Raises:
            ValueError: an invalid value.
        """
        checks.one_of("spread", spread, SPREADS)
        super().__init__(observation_space, action_space, squash_output=checks.boolean("squash", squash))
        self.net_arch = [checks.integer("net_arch", size, least=1) for size in net_arch]
        self.activation_fn, self.spread = activation_fn, spread
        layers: list[nn.Module] = []
        size, z_dim = spaces.flatdim(observation_space), spaces.flatdim(action_space)
        for width in self.net_arch:
            layers += [nn.Linear(size, width), activation_fn()]
            size = width
        self.hidden = nn.Sequential(*layers)
        self.mean = nn.Linear(size, z_dim)
        self.log_std: nn.Linear | nn.Parameter | None = None
        if spread == "layer":
            self.log_std = nn.Linear(size, z_dim)
        if spread == "constant":
            self.log_std = nn.Parameter(torch.zeros(z_dim))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Z before its bounds are applied, which SB3's ``predict`` does."""
        assert isinstance(observation, Tensor)
        features = self.hidden(observation.float().flatten(1))
        drawn: Tensor = self.mean(features)
        if self.log_std is not None and not deterministic:
            if isinstance(self.log_std, nn.Linear):
                log_std: Tensor = self.log_std(features).clamp(LOG_STD_MIN, LOG_STD_MAX)  # as SAC does
            else:
                log_std = self.log_std
            drawn = gaussian_sample(drawn, log_std, torch.randn_like(drawn))
        return torch.tanh(drawn) if self.squash_output else drawn

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "net_arch": self.net_arch,
            "activation_fn": self.activation_fn,
            "spread": self.spread,
            "squash": self.squash_output,
        }


class _Actor(NamedTuple):
    """The parts of an actor of SB3."""

    hidden: nn.Sequential
    mean: nn.Module
    log_std: nn.Module | nn.Parameter | None
    squash: bool
    extractor: nn.Module
    use_sde: bool


def mlp_mapping(policy: BasePolicy) -> MlpMapping:
    """A policy of SB3 as an `MlpMapping` with a copy of its layers; deterministic predictions are the same to the bit.

    Raises:
        TrainingDiverged: a parameter is not finite.
        TypeError: its class or one of its parts is of another kind; the message names it and what is possible.
    """
    if isinstance(policy, MlpMapping):
        return policy
    actor = _actor(policy)
    if actor.use_sde:
        raise TypeError(f"a {_name(policy)} with use_sde=True can't be exported; train with use_sde=False")
    observation_space, action_space = policy.observation_space, policy.action_space
    # Images are scaled before they are flattened, and other extractors are networks of their own.
    if type(actor.extractor) is not FlattenExtractor or is_image_space(observation_space):
        raise TypeError(
            f"a {_name(policy)} with a {_name(actor.extractor)} of {observation_space} can't be exported; "
            "choose flat observations and a FlattenExtractor"
        )
    assert isinstance(observation_space, spaces.Box)
    assert isinstance(action_space, spaces.Box)
    net_arch, activation_fn = _hidden_layers(actor.hidden, policy)
    state = {f"hidden.{name}": value for name, value in actor.hidden.state_dict().items()}
    state |= {f"mean.{name}": value for name, value in actor.mean.state_dict().items()}
    spread = "none"
    if isinstance(actor.log_std, nn.Parameter):
        spread, state["log_std"] = "constant", actor.log_std.detach()
    elif actor.log_std is not None:
        spread = "layer"
        state |= {f"log_std.{name}": value for name, value in actor.log_std.state_dict().items()}
    copied = {name: value.clone() for name, value in state.items()}
    try:
        made = assemble(observation_space, action_space, net_arch, activation_fn, spread, actor.squash, copied)
    except RuntimeError as error:  # layers of other sizes, since something stands between them
        raise _not_its_layers(policy) from error
    check_parameters(made)
    _check_alike(policy, made)
    return made


def _check_alike(policy: BasePolicy, made: MlpMapping) -> None:
    """Check that a mapping predicts what the policy does that it was made of: a class may do more than its layers say.

    Raises:
        TypeError: it does not.
    """
    space = policy.observation_space
    assert isinstance(space, spaces.Box)
    drawn = np.random.default_rng(0).normal(size=(8, *space.shape))
    observation = np.clip(drawn, space.low, space.high).astype(space.dtype)
    theirs, _ = policy.predict(observation, deterministic=True)
    ours, _ = made.predict(observation, deterministic=True)
    if not np.allclose(theirs, ours, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise _not_its_layers(policy)


def _not_its_layers(policy: BasePolicy) -> TypeError:
    return TypeError(f"a {_name(policy)} can't be exported: it predicts otherwise than the layers of its actor alone")


def assemble(
    observation_space: spaces.Box,
    action_space: spaces.Box,
    net_arch: list[int],
    activation_fn: type[nn.Module],
    spread: str,
    squash: bool,
    state: dict[str, Tensor],
) -> MlpMapping:
    """An `MlpMapping` that uses the tensors of ``state`` themselves; the other arguments are those of its class.

    Raises:
        RuntimeError: a tensor is missing, unknown or of another shape.
        ValueError: an invalid argument.
    """
    with torch.device("meta"):  # shapes alone: nothing is drawn from the global generator
        mapping = MlpMapping(observation_space, action_space, net_arch, activation_fn, spread, squash)
    mapping.load_state_dict(state, assign=True)
    mapping.set_training_mode(False)
    return mapping


def describe_mlp(mapping: MlpMapping, activations: Activations) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What a file says of a mapping, and its arrays.

    Args:
        mapping: from `mlp_mapping`.
        activations: those that a file can name.

    Raises:
        ValueError: an activation that a file can't name.
    """
    activation = mapping.activation_fn.__name__
    if activations.get(activation) is not mapping.activation_fn:
        raise ValueError(f"activation_fn={activation} can't be exported; choose from {list(activations)}")
    description = {
        "kind": "mlp",
        "net_arch": mapping.net_arch,
        "activation": activation,
        "spread": mapping.spread,
        "squash": mapping.squash_output,
    }
    arrays = {name: value.numpy(force=True) for name, value in mapping.state_dict().items()}
    for name, space in (("observation", mapping.observation_space), ("action", mapping.action_space)):
        assert isinstance(space, spaces.Box)
        arrays |= {f"{name}_low": space.low, f"{name}_high": space.high}
    return description, {name: array.copy(order="C") for name, array in arrays.items()}


def revive_mlp(description: dict[str, Any], arrays: dict[str, NDArray[Any]], activations: Activations) -> MlpMapping:
    """The mapping that `describe_mlp` described; a stranger may have written both arguments.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: what the description says can't be, or does not fit the arrays.
    """
    checks.one_of("kind", description["kind"], ["mlp"])
    checks.one_of("activation", description["activation"], list(activations))
    observation_space, action_space = (_take_box(name, arrays) for name in ("observation", "action"))
    if not action_space.is_bounded():
        raise ValueError("the bounds of z are not finite")
    if len(description["net_arch"]) > len(arrays):
        raise ValueError(f"net_arch has {len(description['net_arch'])} layers; there are {len(arrays)} arrays")
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError(f"{name} of {array.dtype} is not valid; choose finite numbers of float32")
    return assemble(
        observation_space,
        action_space,
        description["net_arch"],
        activations[description["activation"]],
        description["spread"],
        description["squash"],
        {name: torch.from_numpy(array) for name, array in arrays.items()},
    )


def _take_box(name: str, arrays: dict[str, NDArray[Any]]) -> spaces.Box:
    """Remove the bounds of a space from the arrays of a file, and make it."""
    low, high = arrays.pop(f"{name}_low"), arrays.pop(f"{name}_high")
    alike = low.shape == high.shape and low.dtype == high.dtype and low.dtype.kind == "f"
    if not alike or not low.size or not (low <= high).all():  # NaN is not
        raise ValueError(f"the bounds of the {name} are not valid: {low} to {high}")
    return spaces.Box(low, high, dtype=low.dtype.type)


def _actor(policy: BasePolicy) -> _Actor:
    """The parts of the actor.

    Raises:
        TypeError: a policy of another class.
    """
    actor: Any = getattr(policy, "actor", None)
    if type(actor) is SACActor or _full_name(actor) == _TQC_ACTOR:
        return _Actor(actor.latent_pi, actor.mu, actor.log_std, True, actor.features_extractor, actor.use_sde)
    if type(actor) is TD3Actor:
        # Its last two layers are the mean and a tanh.
        layers: Any = actor.mu
        return _Actor(layers[:-2], layers[-2], None, True, actor.features_extractor, False)
    if isinstance(policy, ActorCriticPolicy) and isinstance(policy.action_space, spaces.Box):
        hidden: Any = policy.mlp_extractor.policy_net
        extractor: Any = policy.pi_features_extractor
        use_sde = not isinstance(policy.action_dist, DiagGaussianDistribution)
        return _Actor(hidden, policy.action_net, policy.log_std, False, extractor, use_sde)
    raise TypeError(
        f"a mapping of class {_name(policy)} can't be exported; choose the policy of a SkillEmbedding, or the "
        "MlpPolicy of SB3's SAC, TD3, DDPG, PPO or A2C, or of sb3-contrib's TQC or TRPO"
    )


def _hidden_layers(hidden: nn.Sequential, policy: BasePolicy) -> tuple[list[int], type[nn.Module]]:
    """The sizes of the hidden layers, and the activation that follows each of them.

    Raises:
        TypeError: there is anything else.
    """
    layers = list(hidden)
    linear, between = layers[0::2], layers[1::2]
    activation_fn = type(between[0]) if between else nn.ReLU
    # An activation with settings of its own would be another one once it is made anew.
    alike = all(repr(layer) == repr(activation_fn()) for layer in between)
    plain = all(type(layer) is nn.Linear and layer.bias is not None for layer in linear)
    if not alike or not plain or len(linear) != len(between):
        raise TypeError(
            f"a {_name(policy)} with the layers {layers} can't be exported; choose linear layers with a bias, "
            "each followed by the same activation"
        )
    return [layer.out_features for layer in linear if isinstance(layer, nn.Linear)], activation_fn


def _full_name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _name(thing: object) -> str:
    return type(thing).__name__
