"""Off-policy learning of an embedding space of transferable skills (Hausman et al., ICLR 2018)."""

from skill_agent.agent import SkillEmbedding
from skill_agent.checkpoint import CheckpointError, RunCheckpoint, load_checkpoint, load_latest, save_checkpoint
from skill_agent.config import SkillConfig
from skill_agent.divergence import TrainingDiverged
from skill_agent.policy import SkillPolicy
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
    "save_checkpoint",
    "transfer",
]
