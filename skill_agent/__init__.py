"""Off-policy learning of an embedding space of transferable skills (Hausman et al., ICLR 2018)."""

from skill_agent.agent import SkillEmbedding
from skill_agent.config import SkillConfig
from skill_agent.policy import SkillPolicy
from skill_agent.vec import make_skill_vec_env

__all__ = ["SkillConfig", "SkillEmbedding", "SkillPolicy", "make_skill_vec_env"]
