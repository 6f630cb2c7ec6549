"""What learns in a run of the benchmark: our learner of z or of torques, and SB3's SAC in the place of either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from stable_baselines3 import SAC
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from skill_agent.agent import SkillEmbedding
from skill_agent.experiments.tables import ARM
from skill_agent.policy import SkillPolicy
from skill_agent.skill_space import SkillSpaceVecEnv
from skill_agent.transferred import TransferredPolicy
from skill_agent.transferring import MAPPING

HOLD = 5  # steps for which a z is held

# As many updates over skills as `MAPPING` has. SAC's own gamma is for single steps.
SAC_OVER_SKILLS: dict[str, Any] = {"gamma": 0.95, "learning_starts": 1_280, "train_freq": 20, "gradient_steps": 40}
SAC_TORQUES: dict[str, Any] = {"learning_starts": 6_400, "train_freq": 20, "gradient_steps": 40}


class Algorithm(Protocol):
    """What learns; every algorithm of SB3 does."""

    def learn(self, total_timesteps: int, callback: Any = None) -> Any:
        """Learn for so many steps, and call SB3's callback after each."""


class Policy(Protocol):
    """What acts; every algorithm and every policy of SB3 does."""

    def predict(self, observation: Any, state: Any = None, *, deterministic: bool = False) -> tuple[Any, Any]:
        """Torques and a recurrent state for observations (n, S) and the last state, which is None at first."""


class Learner(NamedTuple):
    """A method that is ready to learn.

    Attributes:
        algorithm: what learns.
        policy: what is evaluated.
        hold: steps of the environment in one step of the algorithm.
        settings: those that its record keeps.
    """

    algorithm: Algorithm
    policy: Policy
    hold: int = 1
    settings: dict[str, Any] = {}  # noqa: RUF012  (it is never changed)


def _mapping(env: VecEnv, seed: int, skills: SkillPolicy | None) -> Learner:
    """Our learner chooses z."""
    assert skills is not None
    agent = SkillEmbedding("MlpPolicy", SkillSpaceVecEnv(env, skills, HOLD, seed), _schedule(), seed=seed, **MAPPING)
    return Learner(agent, TransferredPolicy(skills, agent.policy, HOLD), HOLD, MAPPING)


def _torques(env: VecEnv, seed: int, skills: SkillPolicy | None) -> Learner:
    """Our learner acts."""
    settings = ARM | {"embedding": "task_id"}
    agent = SkillEmbedding("MlpPolicy", env, _schedule(), seed=seed, **settings)
    return Learner(agent, agent.policy, settings=settings)


def _sac_over_skills(env: VecEnv, seed: int, skills: SkillPolicy | None) -> Learner:
    """SB3's SAC chooses z."""
    assert skills is not None
    model = SAC("MlpPolicy", SkillSpaceVecEnv(env, skills, HOLD, seed), seed=seed, device="cpu", **SAC_OVER_SKILLS)
    policy = TransferredPolicy(skills, model.policy, HOLD, model.env)
    return Learner(model, policy, HOLD, SAC_OVER_SKILLS)


def _sac(env: VecEnv, seed: int, skills: SkillPolicy | None) -> Learner:
    """SB3's SAC acts."""
    model = SAC("MlpPolicy", env, seed=seed, device="cpu", **SAC_TORQUES)
    return Learner(model, model, settings=SAC_TORQUES)


def _schedule() -> LinearSchedule:
    return LinearSchedule(1e-3, 1e-4, 1.0)


LEARNERS: dict[str, Callable[[VecEnv, int, SkillPolicy | None], Learner]] = {
    "mapping": _mapping,
    "torques": _torques,
    "sac-over-skills": _sac_over_skills,
    "sac": _sac,
}
