"""Write the pages and pictures in docs/envs from the tables that define the environments.

Nothing about an environment is typed here: what a page says is read from ENVIRONMENTS, TASKS, the
compiled models, the signature and docstring of the environment class, and the records of benchmarks.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Sequence
from pathlib import Path

import gymnasium
import imageio.v3 as iio
import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from skill_agent.experiments.benchmarks import read_benchmark
from skill_envs import ENVIRONMENTS, TASKS, SkillEnv, SkillVectorEnv, Task, rewards
from skill_envs.layouts import DEVELOPMENT, LAYOUTS, TEST
from skill_envs.scenes import CENTRE

FOLDER = Path(__file__).with_name("envs")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FRAME = 320  # [pixel]
GAP = 8  # between the frames of a picture [pixel]
COLUMNS = 4  # of a picture; more tasks than that fill two rows
SMALL, LAYOUT_COLUMNS = 240, 6  # of a layout's frame [pixel], and of the picture of all layouts
GENERATED = "<!-- Written by docs/generate.py (make docs). -->"


def _file(env_id: str) -> str:
    return env_id.split("/")[-1]


def _table(header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _first_paragraph(function: object) -> str:
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def _argument_docs() -> dict[str, str]:
    """Argument name -> meaning, from the Google docstring of the constructor."""
    section = (inspect.getdoc(SkillVectorEnv.__init__) or "").split("Args:\n")[1].split("\n\n")[0]
    joined = re.sub(r"\n {5,}", " ", section)
    pairs = (line.strip().split(": ", 1) for line in joined.splitlines())
    return {name: text[0].upper() + text[1:] for name, text in pairs if not name.startswith("*")}


def _accepted_by_make(name: str, default: object) -> bool:
    """Whether ``gymnasium.make`` takes the argument: TimeLimit has its own, SkillEnv the rest."""
    if name == "max_episode_steps":
        return True
    try:
        SkillEnv(next(iter(ENVIRONMENTS.values())).tasks, **{name: default})
    except TypeError:
        return False
    return True


def _arguments(env_id: str) -> str:
    meanings, rows = _argument_docs(), []
    for name, parameter in inspect.signature(SkillVectorEnv.__init__).parameters.items():
        if name in ("self", "tasks") or parameter.kind is parameter.VAR_KEYWORD:
            continue
        default = parameter.default
        shown = ENVIRONMENTS[env_id].horizon if name == "max_episode_steps" else getattr(default, "value", default)
        where = "both" if _accepted_by_make(name, default) else "`make_vec`"
        rows.append((f"`{name}`", f"`{shown!r}`", where, meanings[name].replace("|", "\\|")))
    return _table(("argument", "default", "of", "meaning"), rows)


def _point(goal: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{x:g}" for x in goal) + ")"


def _tasks(tasks: tuple[str, ...]) -> str:
    header: tuple[str, ...] = ("task", "name", "what is asked", "goals [m]", "goal radius [m]")
    heights = [TASKS[name].goal_heights for name in tasks]
    rows: list[tuple[object, ...]] = []
    for k, (name, height) in enumerate(zip(tasks, heights, strict=True)):
        task = TASKS[name]
        goals = ", ".join(_point(goal if height is None else goal[:2]) for goal in task.goals)
        rows.append((k, f"`{name}`", task.summary, goals, f"{task.goal_radius:g}"))
        if height is not None:
            rows[-1] += (f"{height[0]:g} to {height[1]:g}",)
    if heights[0] is not None:
        header += ("goal heights [m]",)
    return _table(header, rows)


def _goal_region(tasks: tuple[str, ...]) -> str:
    turn = TASKS[tasks[0]].turn
    if turn:
        return (
            "A goal region is a ball around its centre. The regions count one after the other, in the order of the "
            f"table: each until the mass has been in it for {turn} steps, and the last from then on."
        )
    if TASKS[tasks[0]].goal_heights is None:
        return "A goal region is a ball around its centre."
    return (
        "The goal region is an upright cylinder that the centre of the block must be in: around the goal (x, y), "
        "of the goal radius, between the goal heights."
    )


def _films(tasks: tuple[str, ...]) -> str:
    """The films of the tasks, which docs/films.py writes, side by side."""
    return " ".join(f"![{name}, solved by a script]({name}.webp)" for name in dict.fromkeys(tasks))


def _light_shaping(tasks: tuple[str, ...]) -> str:
    shaped = {name: TASKS[name].light_shaping for name in tasks if TASKS[name].light_shaping}
    if not shaped:
        return 'No shaping is added here: "paper" and "sparse" are the same.'
    return (
        'With "paper", ' + ", ".join(f"`{name}` adds {w:g} times the shaped reward" for name, w in shaped.items()) + "."
    )


def _difficulty(tasks: tuple[str, ...]) -> str:
    """What benchmarks/random_success.py and benchmarks/demonstrations.py recorded, as a section."""
    random, scripted = (read_benchmark(BENCHMARKS, name) for name in ("random_success", "demonstrations"))
    if not set(tasks) <= set(random["tasks"]) & set(scripted["tasks"]):
        return ""
    rows = []
    for name in tasks:
        chance = random["tasks"][name]
        rows.append((
            f"`{name}`", f"{chance['last_step']:.1%}", f"{chance['any_step']:.1%}",
            f"{scripted['tasks'][name]['successes']} of {scripted['resets']}",
        ))  # fmt: skip
    header = ("task", "random: in the goal region at the end", "random: at any step", "demonstration: at the end")
    return f"""## Difficulty

Success of uniform random actions over {random["episodes"]} episodes, and of `skill_envs.demonstrate`.

{_table(header, rows)}

"""


def _layouts(tasks: tuple[str, ...]) -> str:
    """A table of the task's layouts, of the rows' fields that vary and of what benchmarks recorded, as a section."""
    name, rows = tasks[0], LAYOUTS.get(tasks[0], ())
    if len(tasks) > 1 or not TASKS[name].others:
        return ""
    fields = [field for field in dataclasses.fields(rows[0]) if len({getattr(row, field.name) for row in rows}) > 1]
    random, scripted, screened = (
        read_benchmark(BENCHMARKS, which) for which in ("random_success", "demonstrations", "layouts")
    )
    lines = []
    for k, row in enumerate(rows):
        called = f"{name}(layout={k})" if k else name
        uses = "development" if k in DEVELOPMENT else "test" if k in TEST else "the paper's"
        skills = ", ".join(f"{found['any_step']:.0%}" for found in screened["tasks"][name][k].values())
        lines.append((
            k, uses, *(_cell(getattr(row, field.name)) for field in fields), skills,
            f"{random['tasks'][called]['last_step']:.1%}",
            f"{scripted['tasks'][called]['successes']} of {scripted['resets']}",
        ))  # fmt: skip
    header = ("layout", "is for", *(field.metadata["meaning"] for field in fields))
    header += ("random z", "random actions", "demonstration")
    return f"""## Layouts

`layout=k` is the same task with its fixtures elsewhere. {_first_paragraph(type(rows[0]))} Layout 0 is the paper's.
{_range(DEVELOPMENT)} are for development, such as the choice of settings. {_range(TEST)} are for tests alone.
`make_vec(..., num_envs=n, layout=[...])` runs several in one batch.

![The layouts from above, without the arm]({name}-v0-layouts.png)

{_table(header, lines)}

"Random z" is the share of {screened["episodes"]} episodes with a success at any step, where z is drawn at random from
the marginal of trained skills and held for {screened["hold"]} steps. The skills are \
{", ".join(f"`{file}`" for file in screened["tasks"][name][0])}. "Random actions" and "demonstration" count successes at
the end.

"""


def _range(layouts: Sequence[int]) -> str:
    return f"Layouts {layouts[0]} to {layouts[-1]}"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _channels(channels: tuple[tuple[str, float, float, str], ...]) -> str:
    rows = [(i, meaning, f"{low:g}", f"{high:g}", unit) for i, (meaning, low, high, unit) in enumerate(channels)]
    return _table(("index", "meaning", "min", "max", "unit"), rows)


def _starting_state(tasks: tuple[str, ...]) -> str:
    for name in tasks:
        if not TASKS[name].start_summary:
            raise ValueError(f"task {name!r} has no start_summary, which its documentation page needs")
    texts = {TASKS[name].start_summary: None for name in tasks}
    if len(texts) == 1:
        return next(iter(texts))
    return "\n".join(f"- `{name}`: {TASKS[name].start_summary}" for name in dict.fromkeys(tasks))


def _space(space: spaces.Space[object]) -> str:
    if isinstance(space, spaces.Dict):
        return "Dict(" + ", ".join(f"{key}={_space(value)}" for key, value in space.items()) + ")"
    if isinstance(space, spaces.Box):
        return f"Box({space.shape}, {space.dtype})"
    return str(space)


def page(env_id: str) -> str:
    """The page of one environment, in Markdown."""
    environment = ENVIRONMENTS[env_id]
    first: Task = TASKS[environment.tasks[0]]
    env = gymnasium.make(env_id)
    unwrapped = env.unwrapped
    assert isinstance(unwrapped, SkillEnv)
    timestep, name, count = unwrapped.model.opt.timestep, _file(env_id), len(environment.tasks)
    seconds = environment.horizon * first.substeps * timestep
    margins = sorted({TASKS[task].shaping_margin for task in environment.tasks})
    drawn = (
        f'An episode draws one of its {count} tasks uniformly; `reset(options={{"task": k}})` fixes it. '
        "The observation is a dictionary of `observation`, below, and `task`, the index."
        if count > 1
        else "The environment has one task, so the observation is the vector below."
    )
    outside = environment.source.startswith("not")
    source = f"{'It is' if outside else 'In the paper:'} {environment.source}."
    return f"""{GENERATED}
# {name}

![{name}]({name}.png)

| | |
| --- | --- |
| Action space | `{_space(env.action_space)}` |
| Observation space | `{_space(env.observation_space)}` |
| Control frequency | {1 / (first.substeps * timestep):g} Hz ({first.substeps} physics steps of {timestep:g} s) |
| Create | `gymnasium.make("skill_envs:{env_id}")`, `gymnasium.make_vec("skill_envs:{env_id}", num_envs=64)` |

## Description

{environment.summary} {source}

{drawn}

{_tasks(environment.tasks)}

{_films(environment.tasks)}

{_goal_region(environment.tasks)}

## Action Space

{_channels(first.action)}

Actions outside the bounds are clipped; an action that is not finite is an error.

## Observation Space

{_channels(first.observation)}

Values outside the bounds are clipped.

## Rewards

`reward_type`: {_argument_docs()["reward_type"]}

Shaped: {_first_paragraph(rewards.shaped)} The margin, the distance beyond the region at which it has fallen to \
{rewards.shaped(np.ones(1), np.ones(1))[0]:g}, is {", ".join(f"{m:g}" for m in margins)} m.

{_light_shaping(environment.tasks)}

`info["is_success"]` is true while the goal region is reached; the results count an episode by its last step.

## Starting State

{_starting_state(environment.tasks)}

## Episode End

An episode never terminates. It is truncated after {environment.horizon} steps ({seconds:g} s), or where the simulation
diverges; `info["physics_error"]` is then true and the reward of that step 0.

{_difficulty(environment.tasks)}{_layouts(environment.tasks)}## Arguments

{_arguments(env_id)}

An unknown argument is an error. "Both" stands for `gymnasium.make` and `gymnasium.make_vec`. For `gymnasium.make`,
whose time limit is `gymnasium.wrappers.TimeLimit`, `max_episode_steps=None` means the default, and -1 never truncates.

## Version History

- v{name.rsplit("-v", 1)[1]}: the current version. Changes of behaviour are listed in the
  [changelog](../../CHANGELOG.md) and raise the version.
"""


def index() -> str:
    """The list of all environments, in Markdown."""
    rows = []
    for env_id, environment in ENVIRONMENTS.items():
        link = f"[`{env_id}`]({_file(env_id)}.md)"
        rows.append((link, len(environment.tasks), environment.horizon, environment.summary))
    table = _table(("id", "tasks", "steps", "what it is"), rows)
    return f"{GENERATED}\n# Environments\n\n`import skill_envs` registers them with Gymnasium.\n\n{table}\n"


def named(frame: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """The frame with a name in its upper left corner."""
    picture = Image.fromarray(frame)
    font = ImageFont.load_default(16)
    ImageDraw.Draw(picture).text((9, 7), name, fill="white", stroke_width=2, stroke_fill="black", font=font)
    return np.asarray(picture)


def write_pages(folder: Path) -> None:
    """Write every page and the index into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(index(), encoding="utf-8")
    for env_id in ENVIRONMENTS:
        (folder / f"{_file(env_id)}.md").write_text(page(env_id), encoding="utf-8")


def write_pictures(folder: Path) -> None:
    """Write a picture of every environment into ``folder``: its tasks side by side, or in two rows."""
    for env_id, environment in ENVIRONMENTS.items():
        count = len(environment.tasks)
        env = gymnasium.make_vec(env_id, num_envs=count, render_mode="rgb_array", width=FRAME, height=FRAME)
        env.reset(seed=0, options={"task": np.arange(count)} if count > 1 else None)
        columns = count if count <= COLUMNS else -(-count // 2)
        frames = []
        for frame, task in zip(env.render() or (), environment.tasks, strict=True):
            frames.append(np.pad(named(frame, task), ((0, GAP), (0, GAP), (0, 0)), constant_values=255))
        rows = [np.hstack(frames[i : i + columns]) for i in range(0, count, columns)]
        iio.imwrite(folder / f"{_file(env_id)}.png", np.vstack(rows)[:-GAP, :-GAP])
        env.close()


def _from_above(task: Task) -> NDArray[np.uint8]:
    """What a task's scene looks like at a start, seen from above and without the arm, which would hide it."""
    model = task.compile()
    arm = [i for i in range(model.ngeom) if model.geom(i).name.startswith("arm/")]
    model.geom_matid[arm], model.geom_rgba[arm] = -1, 0.0
    data = mujoco.MjData(model)
    data.qpos[:], _ = task.start(np.random.default_rng(0))
    mujoco.mj_forward(model, data)
    camera = mujoco.MjvCamera()
    camera.lookat, camera.distance, camera.azimuth, camera.elevation = (*CENTRE[:2], 0.05), 1.0, 0.0, -78.0
    with mujoco.Renderer(model, SMALL, SMALL) as renderer:
        renderer.update_scene(data, camera)
        frame: NDArray[np.uint8] = renderer.render()
    return frame


def write_layouts(folder: Path) -> None:
    """Write a picture of all layouts of each task that has several into ``folder``, one beside the other."""
    for name, task in TASKS.items():
        if not task.others:
            continue
        frames = []
        for k in range(1 + len(task.others)):
            frame = named(_from_above(task.layout(k)), f"layout {k}")
            frames.append(np.pad(frame, ((0, GAP), (0, GAP), (0, 0)), constant_values=255))
        frames += [np.full_like(frames[0], 255)] * (-len(frames) % LAYOUT_COLUMNS)
        rows = [np.hstack(frames[i : i + LAYOUT_COLUMNS]) for i in range(0, len(frames), LAYOUT_COLUMNS)]
        iio.imwrite(folder / f"{name}-v0-layouts.png", np.vstack(rows)[:-GAP, :-GAP])


def main() -> None:
    """Write docs/envs anew; pages and pictures of ids that are gone go too."""
    FOLDER.mkdir(exist_ok=True)
    known = {"README", *map(_file, ENVIRONMENTS), *(f"{name}-v0-layouts" for name in TASKS if TASKS[name].others)}
    for old in FOLDER.iterdir():
        if old.suffix in (".md", ".png") and old.stem not in known:
            old.unlink()
    write_pages(FOLDER)
    write_pictures(FOLDER)
    write_layouts(FOLDER)
    print(f"{len(ENVIRONMENTS)} pages in {FOLDER}")


if __name__ == "__main__":
    main()
