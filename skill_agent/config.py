"""Settings of the method: one frozen dataclass, whose fields say in one place what they mean and what is valid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from functools import partial
from typing import Any, NamedTuple, get_type_hints

from skill_envs import checks

EMBEDDINGS = ("gaussian", "bernoulli", "task_id")
TRANSITIONS = ("none", "redraw", "learned")
NORMS = ("none", "layer", "rms")
CRITIC_LOSSES = ("mse", "hl_gauss")

# Networks compute in float32, where products of numbers beyond these would be infinite or zero.
_LARGEST, _SMALLEST = 10**9, 1e-9
_LARGEST_LOG_STD = 20
_LARGEST_VALUE = 10**6
DEEPEST, WIDEST = 16, 4096  # of hidden layers
MOST_BINS = 1_024


class Valid(NamedTuple):
    """What is valid for a setting."""

    words: str
    check: Callable[[str, Any], Any]  # of name and value; the value as it is kept, or a ValueError that names both
    choices: tuple[str, ...] = ()  # all valid values, where they are few


def _integer(least: int, most: int) -> Valid:
    return Valid(f"an integer from {least} to {most:,}", partial(checks.integer, least=least, most=most))


def _number(least: float, most: float = _LARGEST) -> Valid:
    return Valid(f"a number from {least:g} to {most:,}", partial(checks.number, least=least, most=most))


def _check_bounds(name: str, value: Any, most: float) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{name}={value!r} is not valid; choose two numbers, the first below the second")
    low = checks.number(f"{name}[0]", value[0], -most, most)
    high = checks.number(f"{name}[1]", value[1], -most, most)
    if low >= high:
        raise ValueError(f"{name}={value!r} is not valid; the first must be below the second")
    return low, high


def _bounds(most: int) -> Valid:
    words = f"two numbers from {-most:,} to {most:,}, the first below the second"
    return Valid(words, partial(_check_bounds, most=most))


def _check_layers(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or len(value) > DEEPEST:
        raise ValueError(f"{name}={value!r} is not valid; choose at most {DEEPEST} widths")
    return tuple(checks.integer(f"{name}[{i}]", width, 1, WIDEST) for i, width in enumerate(value))


def _check_channels(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{name}={value!r} is not valid; choose None or at least one entry of the state")
    channels = tuple(checks.integer(f"{name}[{i}]", channel, least=0) for i, channel in enumerate(value))
    if len(set(channels)) < len(channels):
        raise ValueError(f"{name}={value!r} is not valid; choose no entry of the state twice")
    return channels


_POSITIVE = _number(_SMALLEST)
_BOOLEAN = Valid("True or False", checks.boolean)
_BOUNDS = _bounds(_LARGEST_LOG_STD)
_LAYERS = Valid(f"at most {DEEPEST} widths of at most {WIDEST:,}", _check_layers)
_CHANNELS = Valid("entries of the state, none twice", _check_channels)


def _one_of(choices: Sequence[str]) -> Valid:
    def check(name: str, value: Any) -> Any:
        checks.one_of(name, value, choices)
        return value

    return Valid(f"one of {', '.join(choices)}", check, tuple(choices))


def _optional(valid: Valid) -> Valid:
    def check(name: str, value: Any) -> Any:
        return None if value is None else valid.check(name, value)

    return Valid(f"None or {valid.words}", check)


def _setting(default: Any, valid: Valid, words: str, *, group: str | None = None) -> Any:
    """A field of `SkillConfig`.

    Args:
        default: its value where none is given.
        valid: what is valid.
        words: what it means.
        group: of this field and those after it; None goes on with the group of the field before.
    """
    return field(default=default, metadata={"valid": valid, "words": words, "group": group})


@dataclass(frozen=True, kw_only=True)
class SkillConfig:
    """What is specific to skill embeddings; the rest are arguments of `SkillEmbedding`.

    The coefficients are those of equation 3 of the paper. With rewards of at most 1 per step,
    ``embedding_entropy_coef`` should be about ``inference_coef / (1 - gamma)``: the embedding's
    entropy stands outside the discounted sum.

    Raises:
        ValueError: an invalid value; the message names it and what is valid.
    """

    # The embedding p(z|t)
    embedding: str = _setting(
        "gaussian",
        _one_of(EMBEDDINGS),
        "kind of p(z|t): Gaussian, Bernoulli by the Concrete relaxation, or the one-hot task id (continuous parameters "
        "themselves) as a baseline",
        group="embedding",
    )
    embedding_dim: int = _setting(
        3, _integer(1, 1_024), "size of z; with task_id z has the number of tasks (or parameters) as its size"
    )
    embedding_log_std: tuple[float, float] = _setting(
        (-2.5, -0.5), _BOUNDS, "bounds of the embedding's log standard deviation (Gaussian)"
    )
    embedding_init_std: float = _setting(
        0.0,
        _number(0),
        "spread of the tasks' means (Gaussian) or logits (Bernoulli) at the start; with 0 the policy can't tell tasks "
        "apart until their rewards have drawn them apart",
    )
    embedding_mean_bound: float = _setting(
        3.0, _POSITIVE, "bound of the embedding's mean (Gaussian) or logit (Bernoulli)"
    )
    embedding_net_arch: tuple[int, ...] = _setting(
        (64, 64),
        _LAYERS,
        "hidden layers of p(z|c), where tasks have continuous parameters c in place of an index; none make it linear",
    )
    embedding_rate: float = _setting(
        1.0,
        _POSITIVE,
        "factor of the learning rate of p(z|t) and a learned p(z' | z, t); below 1 the policy learns faster than z",
    )
    temperature: float = _setting(0.67, _POSITIVE, "temperature of the Concrete relaxation (Bernoulli)")
    z_period: int | None = _setting(
        None, _optional(_integer(1, 10**9)), "steps after which z is redrawn within an episode; None never redraws it"
    )
    embedding_transition: str = _setting(
        "none",
        _one_of(TRANSITIONS),
        "what follows a z after z_period steps, by equation 13: a z' of p(z|t) again (redraw), or of a learned "
        "p(z' | z, t); with none z is redrawn just the same, while the critic takes every z to last",
    )

    transition_init_std: float = _setting(
        0.0,
        _number(0),
        "spread, over z, of the means (or logits) of a learned p(z' | z, t) at the start; with 0 it starts as p(z|t)",
    )

    # The coefficients of equation 3
    embedding_entropy_coef: float = _setting(
        0.1, _number(0), "a1 of equation 3, weight of the entropy of p(z|t)", group="coefficients"
    )
    inference_coef: float = _setting(
        0.003,
        _number(0),
        "a2 of equation 3, weight of log q(z|a, s^H) in the reward; with 0, q is trained and the policy ignores it",
    )
    policy_entropy_coef: float = _setting(
        0.001, _number(0), "a3 of equation 3, weight of the entropy of pi(a|s,z) in the reward"
    )

    # How a1 and a2 move to their values
    versatility_warmup: float = _setting(
        0.0,
        _number(0, 1),
        "share of the training over which a1 and a2 move to their values; 0 for none",
        group="versatility",
    )
    versatility_start: float = _setting(
        0.0,
        _number(0),
        "factor of a1 and a2 at the start of the warm-up; below 1 tasks are learned first, above 1 skills part first",
    )
    versatility_power: float = _setting(4.0, _POSITIVE, "power of the warm-up's progress; 1 is linear")
    versatility_success: float = _setting(
        0.0,
        _number(0, 1),
        "above 0, the warm-up moves on only while every task's recent success is at least this, and back otherwise; "
        "with 0 it moves on with the training",
    )

    # The inference network q(z|a, s^H)
    segment: int = _setting(
        5, _integer(1, 1_024), "H, number of states that the inference network sees", group="inference"
    )
    inference_log_std: tuple[float, float] = _setting(
        (-3.0, 1.0), _BOUNDS, "bounds of the inference network's log standard deviation (Gaussian)"
    )
    inference_clip: float = _setting(10.0, _POSITIVE, "log q is clipped to plus or minus this in the reward")
    inference_channels: tuple[int, ...] | None = _setting(
        None,
        _optional(_CHANNELS),
        "entries of the states that the inference network sees, without the action, so that z has to show in them; "
        "None for all of (a, s^H), as in the paper",
    )
    inference_noise: float = _setting(
        0.0,
        _number(0),
        "standard deviation of the noise on the states that the inference network sees, in the networks' units; z has "
        "to show in differences larger than this",
    )

    # The policy pi(a|s,z)
    policy_log_std: tuple[float, float] = _setting(
        (-2.5, -0.3),
        _BOUNDS,
        "bounds of the policy's log standard deviation; it starts in the middle",
        group="policy",
    )
    z_gain: float = _setting(
        3.0, _POSITIVE, "factor of the policy's first weights on z, so that different z act differently from the start"
    )
    saturation_coef: float = _setting(
        0.01,
        _number(0),
        "weight of the squared mean before its tanh in the policy's loss, which keeps means off the flat ends of tanh",
    )

    # The critic and its Retrace targets on windows of replay
    n_critics: int = _setting(
        2,
        _integer(1, 16),
        "number of critics; the smallest of their values forms the targets, the first gives the policy's gradient",
        group="critic",
    )
    target_period: int = _setting(
        50, _integer(1, 10**9), "updates between two copies of the critic to the target network"
    )
    window: int = _setting(10, _integer(1, 10_000), "N, number of steps of a window and its Retrace targets")
    retrace_lambda: float = _setting(1.0, _number(0, 1), "factor of the trace coefficients c")
    trace_embedding_ratio: bool = _setting(
        False, _BOOLEAN, "whether c contains p(z|t) / b(z|t), as printed in equation 5"
    )

    critic_norm: str = _setting(
        "none",
        _one_of(NORMS),
        "norm of the critics' hidden layers, before bias and activation: layer norm, RMS norm or none",
    )
    critic_loss: str = _setting(
        "mse",
        _one_of(CRITIC_LOSSES),
        "what the critics minimise: the squared distance from the targets, or a cross-entropy of bins of values, over "
        "which each target is spread by a Gaussian (HL-Gauss)",
    )
    critic_bins: int = _setting(101, _integer(2, MOST_BINS), "number of bins of values (hl_gauss)")
    critic_support: tuple[float, float] = _setting(
        (-20.0, 120.0),
        _bounds(_LARGEST_VALUE),
        "the least and the largest value of the bins, which targets are clipped to (hl_gauss); it has to hold "
        "discounted sums of the reward with the terms of a2 and a3, and a few bins more",
    )

    # How it is computed
    normalize_observations: bool = _setting(
        True,
        _BOOLEAN,
        "whether the networks see observations of mean 0 and standard deviation 1, as measured at the first update",
        group="computation",
    )
    max_grad_norm: float = _setting(10.0, _POSITIVE, "the global norm that gradients are clipped to")
    bf16: bool = _setting(
        False,
        _BOOLEAN,
        "whether to multiply in bfloat16, all layers but each network's last; faster on CPUs that have it, from about "
        "100 units a layer on",
    )
    compile: bool = _setting(
        False,
        _BOOLEAN,
        "whether to compile the losses and their gradients with a C++ compiler: faster updates after a start of up to "
        "a minute (seconds where an earlier run's results are cached); numbers agree up to rounding",
    )

    # Who collects
    n_workers: int = _setting(
        0,
        _integer(0, 1_024),
        "processes that collect while the learner updates, each in environments of its own; with 0 collection and "
        "updates take turns, bit for bit the same each time",
        group="workers",
    )
    worker_lag: int | None = _setting(
        None,
        _optional(_integer(1, 10**6)),
        "rounds of updates that a worker's weights may be behind when its steps are taken into replay, at least "
        "n_workers; None for twice n_workers",
    )
    worker_timeout: float = _setting(
        5.0,
        _number(0.1, 86_400),
        "time without a step of its environments after which a worker is taken to hang, and replaced [s]",
    )

    def __post_init__(self) -> None:
        """Check every field, and keep it as its check gives it."""
        for setting in fields(self):
            checked = setting.metadata["valid"].check(setting.name, getattr(self, setting.name))
            object.__setattr__(self, setting.name, checked)  # the dataclass is frozen for everybody else
        if self.embedding_transition != "none":
            self._check_transition()
        if self.worker_lag is not None and self.worker_lag < self.n_workers:
            raise ValueError(
                f"worker_lag={self.worker_lag} is not valid with n_workers={self.n_workers}; choose at least as many"
            )

    def _check_transition(self) -> None:
        """Check what a transition needs of other settings."""
        given = f"embedding_transition={self.embedding_transition!r} is not valid with"
        if self.z_period is None:
            raise ValueError(f"{given} z_period=None; choose the steps that a z is held for")
        if self.embedding == "task_id":
            raise ValueError(f"{given} embedding='task_id', whose z is the task; choose an embedding that is drawn")
        if self.embedding_transition == "learned" and self.trace_embedding_ratio:
            raise ValueError(f"{given} trace_embedding_ratio=True, which knows p(z|t) alone; choose False")

    def versatility(self, progress: float) -> float:
        """The factor of a1 and a2 in force when a share ``progress`` of the training is done."""
        if not self.versatility_warmup:
            return 1.0
        grown: float = min(1.0, progress / self.versatility_warmup) ** self.versatility_power
        return self.versatility_start + (1.0 - self.versatility_start) * grown


def groups() -> dict[str, list[Field[Any]]]:
    """The settings by group, for command lines and documentation."""
    found: dict[str, list[Field[Any]]] = {}
    group = ""
    for setting in fields(SkillConfig):
        group = setting.metadata["group"] or group
        found.setdefault(group, []).append(setting)
    return found


def words(setting: Field[Any]) -> str:
    """What a setting means and what is valid, in a line."""
    return f"{setting.metadata['words']} ({setting.metadata['valid'].words})"


def types() -> dict[str, Any]:
    """Name of a setting to its type."""
    hints = get_type_hints(SkillConfig)
    return {setting.name: hints[setting.name] for setting in fields(SkillConfig)}


def make_config(settings: dict[str, Any]) -> SkillConfig:
    """Build a config from keyword arguments.

    Raises:
        TypeError: an unknown setting; the message lists the valid ones.
        ValueError: an invalid value.
    """
    valid = [setting.name for setting in fields(SkillConfig)]
    unknown = sorted(set(settings) - set(valid))
    if unknown:
        meant = checks.did_you_mean(unknown, valid)
        raise TypeError(
            f"unknown settings {unknown}; valid ones are {valid}, and the arguments of SkillEmbedding{meant}"
        )
    return SkillConfig(**settings)


def _document() -> str:
    """The fields of `SkillConfig` for its docstring."""
    lines = ["", "    Attributes:"]
    for setting in fields(SkillConfig):
        lines.append(f"        {setting.name}: {words(setting)}. By default {setting.default!r}.")
    return "\n".join(lines) + "\n    "


SkillConfig.__doc__ = (SkillConfig.__doc__ or "").rstrip() + "\n" + _document()
