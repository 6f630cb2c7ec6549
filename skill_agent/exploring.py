"""Frozen skills in several copies of one scene, each with a z of its own: what the explorer's page shows and moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from skill_agent import arguments
from skill_agent.observations import TaskSpace, example_tasks
from skill_agent.policy import SkillPolicy
from skill_agent.skill_space import act, check_shapes, skill_space
from skill_agent.tasks import TaskEnv, check_id
from skill_envs import ENVIRONMENTS, TASKS, checks
from skill_envs.single import SkillEnv

MOST_ARMS = 8  # side by side
_MOST_MEANS = 8  # of tasks with parameters, of which there is no end
_PERIOD = 0.05  # of a control step, where an environment doesn't say [s]

Float = NDArray[np.float64]


class Scene(NamedTuple):
    """What the skills are shown in: one task of an environment."""

    name: str
    env_id: str
    task: int = 0  #: index among the tasks of the environment


def scenes_of(env_ids: Sequence[str]) -> list[Scene]:
    """Every task of these environments.

    Raises:
        ValueError: an unknown id.
    """
    found: list[Scene] = []
    for env_id in env_ids:
        check_id(env_id)
        names = ENVIRONMENTS[env_id].tasks if env_id in ENVIRONMENTS else (env_id,)
        for k, name in enumerate(names):
            if name not in [scene.name for scene in found]:
                found.append(Scene(name, env_id, k))
    return found


def default_ids(skills: SkillPolicy) -> list[str]:
    """The environments that skills were trained on, as their file says.

    Raises:
        ValueError: it doesn't say.
    """
    origin = skills.origin
    if origin is not None and origin.environment in ENVIRONMENTS:
        return [origin.environment]
    ids = [name for name in origin.ids if name] if origin is not None else []
    # Arguments of `gymnasium.make` stand behind an id in parentheses, and can't be told from it again.
    if not ids or any("(" in name for name in ids):
        raise ValueError("these skills don't say which environment they are for; name one: --env ID")
    return ids


def means(skills: SkillPolicy) -> dict[str, NDArray[np.float32]]:
    """The mean code (Z,) of each task's p(z|t) by the task's name; of tasks with parameters, those of some."""
    tasks = example_tasks(skills.task_space, skills.device)[: _MOST_MEANS if _continuous(skills.task_space) else None]
    with torch.no_grad():
        codes = skills.embedding_distribution.mean_code(skills.embedding(tasks)).numpy(force=True)
    if _continuous(skills.task_space):
        names = [" ".join(f"{value:.2f}" for value in row) for row in tasks.tolist()]
    elif skills.origin is not None and len(skills.origin.tasks) == skills.n_tasks:
        names = list(skills.origin.tasks)
    else:
        names = [f"task {k}" for k in range(skills.n_tasks)]
    # Two tasks may have the same name.
    repeated = {name for name in names if names.count(name) > 1}
    shown = [f"{name} #{k + 1}" if name in repeated else name for k, name in enumerate(names)]
    return dict(zip(shown, codes, strict=True))


def _continuous(space: TaskSpace) -> bool:
    return isinstance(space, spaces.Box)


def spread(skills: SkillPolicy, count: int, seed: int = 0) -> NDArray[np.float32]:
    """Codes (count, Z) to begin with: evenly along the way through the tasks' means, or draws where there is one task.

    Args:
        skills: whose tasks they are.
        count: number of codes.
        seed: of the draws.
    """
    corners = np.stack(list(means(skills).values()))
    if len(corners) == 1 or count == 1:
        return np.stack([draw(skills, np.random.default_rng(seed + k)) for k in range(count)])
    places = np.linspace(0, len(corners) - 1, count)
    columns = [np.interp(places, np.arange(len(corners)), column) for column in corners.T]
    return np.stack(columns, axis=1).astype(np.float32)


def draw(skills: SkillPolicy, rng: np.random.Generator) -> NDArray[np.float32]:
    """A code (Z,) drawn of p(z|t), for a task that is drawn too."""
    tasks = example_tasks(skills.task_space, skills.device)
    task = tasks[int(rng.integers(len(tasks)))][None]
    generator = torch.Generator(skills.device).manual_seed(int(rng.integers(2**31)))
    with torch.no_grad():
        latent = skills.draw_latent(task, generator)
        code: NDArray[np.float32] = skills.embedding_distribution.code(latent)[0].numpy(force=True)
    return code


class Arms:
    """Copies of a scene that start alike, in which the same skills act with the mean action, each with its own z.

    Attributes:
        scene: the scene.
        code: (n, Z) z of each copy; may be set at any time.
        box: the box (Z,) of z, as of `skill_agent.skill_space.skill_space`.
        model: the scene's model.
        period: of a control step [s].
        paths: for each copy, where the block has been in this episode, (3,) each [m].
        success: for each copy, whether it is in the goal region now; None where the environment doesn't say.
        succeeded: (n,) episodes that ended in the goal region.
        finished: (n,) episodes that have ended.
        over: (n,) whose episode has ended.
    """

    def __init__(self, skills: SkillPolicy, scene: Scene, count: int = 3, seed: int = 0) -> None:
        """Make the copies and begin an episode.

        Args:
            skills: what acts.
            scene: one of `scenes_of`.
            count: number of copies, at most `MOST_ARMS`.
            seed: of the start state, which is the same for all.

        Raises:
            ValueError: an argument out of range; an environment without a model of MuJoCo, or with other observations
                or actions than the skills'.
        """
        checks.integer("arms", count, 1, MOST_ARMS)
        self.scene, self.box, self._skills = scene, skill_space(skills), skills
        self.seed = checks.integer("seed", seed, 0, arguments.SEEDS - 1)
        self.code = spread(skills, count, self.seed)
        self.succeeded, self.finished = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._envs = [_make(scene) for _ in range(count)]
        try:
            self._check()
            self.reset()
            self.model = _physics(self._envs[0])[0]
        except BaseException:
            self.close()
            raise
        rate = self._envs[0].unwrapped.metadata.get("render_fps")
        self.period = 1 / rate if rate else _PERIOD

    def _check(self) -> None:
        env = self._envs[0]
        box = env.observation_space
        if isinstance(box, spaces.Dict):  # the suite's, with a task
            box = box["observation"]
        check_shapes(
            self.scene.env_id,
            {"observations": box.shape, "actions": env.action_space.shape},
            {"observations": self._skills.box.shape, "actions": self._skills.action_space.shape},
        )

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode in every copy, from the same start.

        Args:
            seed: of the start state; by default the last one again.
        """
        self.seed = self.seed if seed is None else checks.integer("seed", seed, 0, arguments.SEEDS - 1)
        options = {"task": self.scene.task} if _choosable(self.scene) else {}
        self._observations = [_vector(env.reset(seed=self.seed, options=options)[0]) for env in self._envs]
        count = len(self._envs)
        self.over = np.zeros(count, np.bool_)
        self.success: list[bool | None] = [None] * count
        self.paths: list[list[Float]] = [[_position(self.scene, env)] for env in self._envs]

    def step(self) -> None:
        """One control step in every copy whose episode goes on."""
        code = torch.as_tensor(self.code, device=self._skills.device)
        actions = act(self._skills, np.stack(self._observations), code, deterministic=True)
        for i in np.flatnonzero(~self.over):
            env = self._envs[i]
            observation, _, terminated, truncated, info = env.step(actions[i])
            self._observations[i] = _vector(observation)
            self.paths[i].append(_position(self.scene, env))
            if "is_success" in info:
                self.success[i] = bool(info["is_success"])
            if terminated or truncated:
                self.over[i] = True
                self.finished[i] += 1
                self.succeeded[i] += bool(self.success[i])

    def forget(self, chosen: Sequence[int]) -> None:
        """Count the episodes of these copies anew, as their z has changed."""
        self.succeeded[list(chosen)] = self.finished[list(chosen)] = 0

    def data(self) -> list[mujoco.MjData]:
        """The state of each copy."""
        return [_physics(env)[1] for env in self._envs]

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            env.close()


# One environment -----------------------------------------------------------------------------------


def _make(scene: Scene) -> gymnasium.Env[Any, Any]:
    if scene.env_id in ENVIRONMENTS:
        return gymnasium.make(scene.env_id, disable_env_checker=True)
    return TaskEnv({scene.name: scene.env_id})


def _choosable(scene: Scene) -> bool:
    """Whether a reset takes the task's index: parameters are drawn."""
    return scene.env_id in ENVIRONMENTS and TASKS[scene.name].parameters is None


def _vector(observation: Any) -> NDArray[np.float32]:
    vector: NDArray[np.float32] = observation["observation"] if isinstance(observation, dict) else observation
    return vector


def _physics(env: gymnasium.Env[Any, Any]) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Model and data of an environment: of the suite, of Gymnasium's kind, or of dm_control.

    Raises:
        ValueError: it has none.
    """
    inner: Any = env.unwrapped
    if isinstance(inner, TaskEnv):
        inner = inner.present.unwrapped
    model, data = getattr(inner, "model", None), getattr(inner, "data", None)
    physics = getattr(getattr(inner, "_env", None), "physics", None)  # of Shimmy's environments of dm_control
    if physics is not None:
        model, data = physics.model.ptr, physics.data.ptr
    if not isinstance(model, mujoco.MjModel) or not isinstance(data, mujoco.MjData):
        raise ValueError(
            f"{type(inner).__name__} has no model of MuJoCo to show: its attributes `model` and `data` are "
            f"{type(model).__name__} and {type(data).__name__}; film the skills in place of that: skill-embed film"
        )
    return model, data


def _position(scene: Scene, env: gymnasium.Env[Any, Any]) -> Float:
    """Where the block or the mass is (3,), or the centre of mass of all that moves [m]."""
    if not isinstance(env.unwrapped, SkillEnv):
        centre: Float = _physics(env)[1].subtree_com[0].copy()
        return centre
    place = TASKS[scene.name].position(env.unwrapped.batch.physics.qpos)[0]
    return np.append(place, np.zeros(3 - len(place)))
