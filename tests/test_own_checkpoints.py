"""Checkpoints of trainings on anyone's tasks: exact where environments give and take their state, else with a word."""

import json

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack
from toy import Line, assert_equal, make_model

from skill_agent import CheckpointError, SkillSpaceVecEnv, load_checkpoint, make_task_vec_env, save_checkpoint
from skill_agent.snapshot import state

CORNER = "SkillEmbed/PointMassCorner-v0"


class Kept(Line):
    """Gives and takes its state."""

    def state(self):
        return {"x": np.array([self.x]), "steps": self.steps, "task": self.task}

    def set_state(self, state):
        self.x, self.steps, self.task = float(state["x"][0]), state["steps"], state["task"]


def limited():
    return gymnasium.wrappers.TimeLimit(Kept(length=100), 7)


def tasks(make=Kept):
    return make_task_vec_env({"a": make, "b": limited if make is Kept else make}, n_envs=3, seed=1)


def transfer_env():
    skills = make_model(tasks()).policy
    return SkillSpaceVecEnv(make_task_vec_env({"new": Kept}, n_envs=2, seed=0), skills, hold=3)


MAKERS = {
    "tasks": tasks,
    "single": limited,
    "transfer": transfer_env,
    "suite beside own": lambda: make_task_vec_env(
        {"a": gymnasium.make(CORNER), "b": "SkillEmbed/PointMassFourGoals-v0"},
        n_envs=2,
        seed=0,
    ),
}


@pytest.mark.parametrize("kind", list(MAKERS))
def test_a_resumed_training_is_the_same_bit_for_bit(kind, tmp_path):
    settings = {"embedding": "task_id"} if kind == "transfer" else {}
    whole, first, second = (make_model(MAKERS[kind](), **settings) for _ in range(3))
    whole.learn(62)
    whole.learn(60, reset_num_timesteps=False)
    first.learn(62)
    checkpoint = save_checkpoint(first, tmp_path)
    torch.rand(3), np.random.rand(3)
    load_checkpoint(second, checkpoint)
    second.learn(60, reset_num_timesteps=False)
    mine, theirs = state(second), state(whole)
    # When an episode ended, on the clock.
    for each in (mine, theirs):
        for episode in each["statistics"][0]:
            episode.pop("t")
    for name in ("counters", "skill", "policy", "replay", "envs", "random"):
        assert_equal(_arrays(mine[name]), _arrays(theirs[name]))
    assert mine["statistics"] == theirs["statistics"]


def _arrays(value):
    """Tensors as arrays."""
    if isinstance(value, dict):
        return {key: _arrays(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return {str(i): _arrays(part) for i, part in enumerate(value)}
    if value is None or isinstance(value, int):  # generators hold integers of 128 bits
        return str(value)
    return value.numpy() if isinstance(value, torch.Tensor) else value


def test_processes_give_and_take_their_states(tmp_path):
    envs = [make_task_vec_env({"a": CORNER, "b": Kept4}, 1, seed=0, vec_env_cls=SubprocVecEnv) for _ in range(2)]
    first, second = (make_model(env) for env in envs)
    checkpoint = save_checkpoint(first.learn(23), tmp_path)
    load_checkpoint(second, checkpoint)
    assert_equal(_arrays(state(first)["envs"]), _arrays(state(second)["envs"]))
    _alter(checkpoint, lambda kept: _item(kept["model"], "envs")[1]["dict"]["envs"][0]["dict"].update(task=9))
    with pytest.raises(CheckpointError, match="task=9"):
        load_checkpoint(second, checkpoint)
    for env in envs:
        env.close()


class Kept4(Kept):
    """With the shapes of a point mass."""

    def __init__(self):
        super().__init__(action_space=gymnasium.spaces.Box(-1, 1, (2,), np.float32))
        self.observation_space = gymnasium.make(CORNER).observation_space

    def observe(self):
        return np.clip([self.x - 100, self.steps, 0, 0], -1, 1).astype(np.float32)


INEXACT = {
    "tasks": lambda: tasks(Line),
    "one of two": lambda: make_task_vec_env({"a": Kept, "b": Line}, n_envs=2, seed=0),
    "gymnasium": lambda: SyncVectorEnv([Kept] * 2),
    "single": Line,
    "sb3": lambda: DummyVecEnv([Line] * 2),
}


@pytest.mark.parametrize("kind", list(INEXACT))
def test_without_a_state_new_episodes_begin_and_that_is_said(kind, tmp_path):
    first, second = (make_model(INEXACT[kind]()) for _ in range(2))
    first.learn(63)
    checkpoint = save_checkpoint(first, tmp_path)
    with pytest.warns(UserWarning, match="goes on with new episodes") as said:
        load_checkpoint(second, checkpoint)
    assert len(said) == 1
    assert second.num_timesteps == first.num_timesteps and second._last_obs is None
    for name, value in first.policy.state_dict().items():
        assert torch.equal(value, second.policy.state_dict()[name])
    second.learn(1, reset_num_timesteps=False)
    assert second._last_obs is not None
    # No window reaches from what was before into the new episodes.
    assert (second.replay_buffer._last_stretch > first.replay_buffer._last_stretch).all()


def test_new_episodes_are_others_than_those_of_the_beginning(tmp_path):
    first, second = (make_model(tasks(Line)) for _ in range(2))
    beginning = make_model(tasks(Line)).env.reset()
    checkpoint = save_checkpoint(first.learn(60), tmp_path)
    with pytest.warns(UserWarning, match="new episodes"):
        load_checkpoint(second, checkpoint)
    assert not np.array_equal(second.env.reset()["observation"], beginning["observation"])


def test_other_tasks_and_skills_are_named(tmp_path):
    checkpoint = save_checkpoint(make_model(tasks()).learn(30), tmp_path / "tasks")
    other = make_model(make_task_vec_env({"a": Kept, "c": Kept}, n_envs=3))
    with pytest.raises(CheckpointError, match=r"tasks are \['a', 'b'\]; this model's are \['a', 'c'\]"):
        load_checkpoint(other, checkpoint)
    checkpoint = save_checkpoint(make_model(transfer_env(), embedding="task_id").learn(30), tmp_path / "transfer")
    env = transfer_env()
    env.hold = 2
    with pytest.raises(CheckpointError, match=r"hold=3.*hold=2"):
        load_checkpoint(make_model(env, embedding="task_id"), checkpoint)


def test_what_no_checkpoint_can_keep_is_named(tmp_path):
    class Odd(Kept):
        def state(self):
            return {"deep": [object()]}

    model = make_model(make_task_vec_env({"a": Odd, "b": Odd}, 1)).learn(10)
    with pytest.raises(TypeError, match="deep/0 is a object; choose arrays"):
        save_checkpoint(model, tmp_path)


def test_a_wrapper_with_unknown_state_is_refused(tmp_path):
    model = make_model(VecFrameStack(make_task_vec_env({"a": Kept}, 2), 2))
    with pytest.raises(TypeError, match="VecFrameStack can't be saved"):
        save_checkpoint(model, tmp_path)


def _item(entry, name):
    return entry["dict"][name]


def _alter(checkpoint, change):
    """Change the JSON of a checkpoint, and give it the right checksums."""
    from skill_agent import manifest

    kept = json.loads((checkpoint / manifest.STATE).read_text())
    change(kept["dict"])
    (checkpoint / manifest.STATE).write_text(json.dumps(kept))
    files = {name: (checkpoint / name).read_bytes() for name in (manifest.ARRAYS, manifest.STATE)}
    (checkpoint / manifest.MANIFEST).write_text(json.dumps(manifest.describe(files)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda env: env.update(task=2), "task=2"),
        (lambda env: env.update(task="a"), "task='a'"),
        (lambda env: env.update(generator={"dict": {}}), "generator is"),
        (lambda env: env.update(seeds=[1]), "seeds is"),
        (lambda env: env.update(envs=[None, None]), "envs/0/"),
        (lambda env: env["envs"][1]["dict"].update(wrappers=[-1]), "envs/1/wrappers/0/elapsed=-1"),
        (lambda env: env["envs"][1]["dict"]["state"]["dict"].pop("steps"), "state is not taken"),
        (lambda env: env.pop("seeds"), "seeds is missing"),
    ],
)
def test_a_strangers_states_are_named(change, message, tmp_path):
    model = make_model(tasks())
    checkpoint = save_checkpoint(model.learn(30), tmp_path)
    _alter(checkpoint, lambda kept: change(_item(kept["model"], "envs")[1]["dict"]["envs"][0]["dict"]["state"]["dict"]))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(make_model(tasks()), checkpoint)
