"""What tests of shared files share: tiny agents and policies, and files whose sum is right and whose content is not."""

import json

from safetensors import safe_open

from skill_agent import (
    SkillEmbedding,
    SkillSpaceVecEnv,
    TransferredPolicy,
    export_policy,
    make_skill_vec_env,
    tensorfile,
)

FOUR_GOALS = "SkillEmbed/PointMassFourGoals-v0"
TWO_GOALS = "SkillEmbed/PointMassTwoGoals-v0"
TINY = {"batch_size": 8, "train_freq": 10, "gradient_steps": 2, "seed": 3, "learning_starts": 100}


def make_agent(env_id=TWO_GOALS, activation=None, **settings):
    policy = "MlpPolicy" if "FourGoals" in env_id else "MultiInputPolicy"
    kwargs = {"net_arch": {"pi": [16], "qf": [12, 12], "inference": [8]}}
    if activation is not None:
        kwargs["activation_fn"] = activation
    env = make_skill_vec_env(env_id, 4, seed=5)
    return SkillEmbedding(policy, env, policy_kwargs=kwargs, **{**TINY, **settings})


def forge(path, out, change_description=lambda d: None, change_arrays=lambda a: None):
    """A file whose digest is right and whose content is not."""
    with safe_open(path, framework="np") as file:
        text, arrays = file.metadata()["skill_embed"], {k: file.get_tensor(k) for k in file.keys()}
    description = json.loads(text)
    change_description(description)
    change_arrays(arrays)
    out.write_bytes(tensorfile.pack(description, arrays))


def make_policy(tmp_path):
    """A transferred policy's file."""
    skills = SkillEmbedding("MlpPolicy", make_skill_vec_env(FOUR_GOALS, 2, seed=0), policy_kwargs={"net_arch": [8, 8]})
    env = SkillSpaceVecEnv(make_skill_vec_env(FOUR_GOALS, 2, seed=0), skills.policy, 2)
    mapping = SkillEmbedding("MlpPolicy", env, embedding="task_id", policy_kwargs={"net_arch": [8, 8]})
    return export_policy(TransferredPolicy(skills.policy, mapping.policy, 2), tmp_path / "policy")
