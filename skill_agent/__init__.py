"""Off-policy learning of an embedding space of transferable skills (Hausman et al., ICLR 2018).

A name is imported when it is first used, so that the command line can answer before PyTorch is there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import skill_envs as _skill_envs  # noqa: F401  (it chooses OpenGL before MuJoCo is imported)

if TYPE_CHECKING:
    from skill_agent.agent import SkillEmbedding
    from skill_agent.checkpoint import CheckpointError, RunCheckpoint, load_checkpoint, load_latest, save_checkpoint
    from skill_agent.config import SkillConfig
    from skill_agent.divergence import TrainingDiverged
    from skill_agent.policy import SkillPolicy
    from skill_agent.publishing import push_to_hub
    from skill_agent.skill_space import SkillSpaceVecEnv
    from skill_agent.skills import export_skills, load_skills
    from skill_agent.tasks import make_task_vec_env
    from skill_agent.tensorfile import SkillsFileError
    from skill_agent.transferred import TransferredPolicy, export_policy, load_policy
    from skill_agent.transferring import transfer
    from skill_agent.trust import PickleWarning
    from skill_agent.vec import make_skill_vec_env

__all__ = [
    "CheckpointError",
    "PickleWarning",
    "RunCheckpoint",
    "SkillConfig",
    "SkillEmbedding",
    "SkillPolicy",
    "SkillSpaceVecEnv",
    "SkillsFileError",
    "TrainingDiverged",
    "TransferredPolicy",
    "export_policy",
    "export_skills",
    "load_checkpoint",
    "load_latest",
    "load_policy",
    "load_skills",
    "make_skill_vec_env",
    "make_task_vec_env",
    "push_to_hub",
    "save_checkpoint",
    "transfer",
]

_MODULES = {  # of each name
    "CheckpointError": "checkpoint",
    "PickleWarning": "trust",
    "RunCheckpoint": "checkpoint",
    "SkillConfig": "config",
    "SkillEmbedding": "agent",
    "SkillPolicy": "policy",
    "SkillSpaceVecEnv": "skill_space",
    "SkillsFileError": "tensorfile",
    "TrainingDiverged": "divergence",
    "TransferredPolicy": "transferred",
    "export_policy": "transferred",
    "export_skills": "skills",
    "load_checkpoint": "checkpoint",
    "load_latest": "checkpoint",
    "load_policy": "transferred",
    "load_skills": "skills",
    "make_skill_vec_env": "vec",
    "make_task_vec_env": "tasks",
    "push_to_hub": "publishing",
    "save_checkpoint": "checkpoint",
    "transfer": "transferring",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'skill_agent' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"skill_agent.{_MODULES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
