"""Settings of the method: one frozen dataclass, validated once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

EMBEDDINGS = ("gaussian", "bernoulli", "task_id")


@dataclass(frozen=True)
class SkillConfig:
    """What is specific to skill embeddings; the rest are arguments of `SkillEmbedding`.

    The coefficients are those of equation 3 of the paper. With rewards of at most 1 per step,
    ``embedding_entropy_coef`` should be about ``inference_coef / (1 - gamma)``: the embedding's
    entropy stands outside the discounted sum.

    Attributes:
        embedding: "gaussian", "bernoulli" (Concrete relaxation) or "task_id" (one-hot baseline).
        embedding_dim: size of z; the number of tasks for "task_id".
        embedding_entropy_coef: a1, weight of the entropy of p(z|t).
        inference_coef: a2, weight of log q(z|a, s^H) in the reward; 0 trains q in isolation.
        policy_entropy_coef: a3, weight of the entropy of pi(a|s,z) in the reward.
        versatility_warmup: share of the training over which a1 and a2 go from ``versatility_start`` times their values
            to their values; 0 has them in force from the start.
        versatility_start: below 1 each task is learned before its skills are drawn out; above 1 skills part first, and
            look for rewards then.
        versatility_power: of the progress in between; 1 is linear.
        embedding_log_std: bounds of the embedding's log standard deviation (Gaussian).
        embedding_init_std: spread of the tasks' means (Gaussian) or logits (Bernoulli) at the start. With 0 all tasks
            begin with the same z, and the policy can't tell them apart until their rewards have drawn them apart.
        embedding_mean_bound: bound of the embedding's mean (Gaussian) or logit (Bernoulli).
        temperature: temperature of the Concrete relaxation (Bernoulli).
        inference_log_std: bounds of the inference network's log standard deviation (Gaussian).
        inference_clip: log q is clipped to plus or minus this in the reward.
        policy_log_std: bounds of the policy's log standard deviation; it starts in the middle.
        saturation_coef: weight of the squared mean before its tanh in the policy's loss: it keeps means off the flat
            ends of tanh, from which no gradient leads back.
        segment: H, number of states that the inference network sees.
        inference_channels: entries of these states that it sees, and no action, so that z has to show in them;
            None for all of (a, s^H), as in the paper.
        inference_noise: standard deviation of the noise added to these states, in the networks' units: z has to show
            in differences larger than this.
        window: N, number of steps of a Retrace target.
        retrace_lambda: factor of the trace coefficients c.
        trace_embedding_ratio: whether c contains p(z|t) / b(z|t), as printed in equation 5.
        n_critics: critics whose minimum forms targets and policy gradient.
        target_period: updates between two copies of the critic to the target network.
        z_gain: factor of the policy's first weights on z, so that different z act differently from the start.
        z_period: steps after which z is redrawn within an episode; None never redraws.
        normalize_observations: give the networks observations of mean 0 and standard deviation 1, as
            measured at the first update.
        bf16: multiply in bfloat16 (all layers but each network's last): faster on CPUs that have it, from about 100
            units a layer on.
        compile: compile the losses and their gradients, with a C++ compiler: faster updates, after a start of up to a
            minute (seconds where the results of an earlier run are cached). Numbers agree up to rounding.
        max_grad_norm: the global gradient norm is clipped to this.
    """

    embedding: str = "gaussian"
    embedding_dim: int = 3
    embedding_entropy_coef: float = 0.1
    inference_coef: float = 0.003
    policy_entropy_coef: float = 0.001
    versatility_warmup: float = 0.0
    versatility_start: float = 0.0
    versatility_power: float = 4.0
    embedding_log_std: tuple[float, float] = (-2.5, -0.5)
    embedding_init_std: float = 0.0
    embedding_mean_bound: float = 3.0
    temperature: float = 0.67
    inference_log_std: tuple[float, float] = (-3.0, 1.0)
    inference_clip: float = 10.0
    policy_log_std: tuple[float, float] = (-2.5, -0.3)
    saturation_coef: float = 0.01
    segment: int = 5
    inference_channels: tuple[int, ...] | None = None
    inference_noise: float = 0.0
    window: int = 10
    retrace_lambda: float = 1.0
    trace_embedding_ratio: bool = False
    n_critics: int = 2
    target_period: int = 50
    z_gain: float = 3.0
    z_period: int | None = None
    normalize_observations: bool = True
    bf16: bool = False
    compile: bool = False
    max_grad_norm: float = 10.0

    def __post_init__(self) -> None:
        """Validate.

        Raises:
            ValueError: an invalid value; the message names it and what is valid.
        """
        at_least_one = ("embedding_dim", "segment", "window", "n_critics", "target_period")
        positive = (
            "temperature",
            "versatility_power",
            "embedding_mean_bound",
            "inference_clip",
            "z_gain",
            "max_grad_norm",
        )
        bounds = ("embedding_log_std", "inference_log_std", "policy_log_std")
        self._check(("embedding",), lambda kind: kind in EMBEDDINGS, f"choose from {list(EMBEDDINGS)}")
        self._check(at_least_one, lambda value: value >= 1, "choose at least 1")
        self._check(positive, lambda value: value > 0, "choose a positive number")
        self._check(bounds, lambda value: value[0] < value[1], "the first must be below the second")
        self._check(
            ("versatility_start", "embedding_init_std", "inference_noise"),
            lambda value: value >= 0,
            "choose at least 0",
        )
        self._check(("versatility_warmup",), lambda value: 0 <= value <= 1, "choose from 0 to 1")
        self._check(("z_period",), lambda value: value is None or value >= 1, "choose None or at least 1")
        self._check(
            ("inference_channels",), lambda value: value != (), "choose None or at least one entry of the state"
        )

    def versatility(self, progress: float) -> float:
        """The factor of a1 and a2 in force when a share ``progress`` of the training is done."""
        if not self.versatility_warmup:
            return 1.0
        grown: float = min(1.0, progress / self.versatility_warmup) ** self.versatility_power
        return self.versatility_start + (1.0 - self.versatility_start) * grown

    def _check(self, names: tuple[str, ...], valid: Callable[[Any], bool], choice: str) -> None:
        for name in names:
            if not valid(value := getattr(self, name)):
                raise ValueError(f"{name}={value!r} is not valid; {choice}")


def make_config(settings: dict[str, Any]) -> SkillConfig:
    """Build a config from keyword arguments.

    Raises:
        TypeError: an unknown setting; the message lists the valid ones.
        ValueError: an invalid value.
    """
    valid = [field.name for field in fields(SkillConfig)]
    if unknown := sorted(set(settings) - set(valid)):
        raise TypeError(f"unknown settings {unknown}; valid ones are {valid}, and the arguments of SkillEmbedding")
    return SkillConfig(**settings)
