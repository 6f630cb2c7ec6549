"""Commands that show what was learned: ``film``, ``evaluate``, ``play`` and ``view``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from skill_agent.commands import common
from skill_agent.options import Evaluate, Film, Play, View

if TYPE_CHECKING:
    from skill_agent.playing import TaskResult


def film(args: Film) -> None:
    """Film skills, a policy or a model."""
    from contextlib import ExitStack

    from skill_agent import filming, playing
    from skill_envs import checks
    from skill_envs.film import check_size, check_video, video
    from skill_envs.render import FILM_SHADOW_SIZE, MAX_SIDE

    # All that can be refused is, before anything is loaded or drawn.
    check_video(args.out, force=args.force)
    checks.integer("episodes", args.episodes, least=1)
    checks.integer("seed", args.seed, least=0)
    for side in ("width", "height"):
        checks.integer(side, getattr(args, side), least=1, most=MAX_SIDE)
    given = {"skills": args.skills, "policy": args.policy, "model": args.model}
    ids = common.ids_of(args.env_ids, given)
    policy = common.load_one(given)
    check_size(args.out, playing.number_of_tasks(policy) * args.width, args.height)
    steps = common.longest_episode(ids)
    total = None if steps is None else args.episodes * steps
    with ExitStack() as stack:
        add: Any = None

        def begin(fps: int) -> None:
            nonlocal add
            add = stack.enter_context(video(args.out, fps, total, force=args.force))

        filming.show_film(
            lambda frame: add(frame),
            policy,
            ids,
            args.episodes,
            args.seed,
            width=args.width,
            height=args.height,
            caption=args.caption,
            shadow_size=FILM_SHADOW_SIZE,
            begin=begin,
            layout=args.layout,
        )
    print(args.out)


def evaluate(args: Evaluate) -> None:
    """Play episodes, and print what came of them."""
    from skill_agent.files import write_json
    from skill_envs import checks

    # All that can be refused is, before anything is loaded or played.
    checks.integer("episodes", args.episodes, least=1)
    checks.integer("seed", args.seed, least=0)
    if args.json is not None:
        common.check_file(args.json, args.force, "--json")
    given = {"skills": args.skills, "policy": args.policy, "model": args.model}
    ids = common.ids_of(args.env_ids, given)
    policy = common.load_one(given)
    results = played(policy, ids, args.episodes, args.seed, deterministic=args.deterministic, layout=args.layout)
    if args.json is not None:
        common.check_file(args.json, args.force, "--json")  # the name may have been taken meanwhile
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.json, _content(args, ids, results))
        print(args.json)


def played(
    policy: Any, ids: list[str], episodes: int, seed: int, *, deterministic: bool = False, layout: int = 0
) -> list[TaskResult]:
    """Play episodes with a bar of them, and print the table of what came of them."""
    from tqdm import tqdm

    from skill_agent import playing

    total = episodes * playing.number_of_tasks(policy)
    asked: dict[str, Any] = {"seed": seed, "deterministic": deterministic, "layout": layout}
    with tqdm(total=total, desc=", ".join(ids), unit="episode") as bar:
        results = playing.evaluate(policy, ids, episodes, **asked, done=bar.update)
    heads = ["task", "success", "95 % interval", "return", "95 % interval"]
    common.print_table(heads, [_row(result) for result in results])
    return results


def _row(result: TaskResult) -> list[str]:
    """A task's line in the table."""
    from skill_agent.experiments.statistics import mean_interval, share_interval

    share, share_range = "not told", ""
    if result.success is not None:
        share = f"{result.success.mean():.0%}"
        share_range = "{:.0%} to {:.0%}".format(*share_interval(int(result.success.sum()), len(result.success)))
    mean_range = "one episode has none"
    if len(result.returns) > 1:
        mean_range = "{:.4g} to {:.4g}".format(*mean_interval(result.returns))
    return [result.task, share, share_range, f"{result.returns.mean():.4g}", mean_range]


def _content(args: Evaluate, ids: list[str], results: list[TaskResult]) -> dict[str, Any]:
    """What the file of an evaluation holds."""
    from skill_agent.experiments.statistics import mean_interval, share_interval
    from skill_envs import __version__

    tasks = []
    for result in results:
        task: dict[str, Any] = {"task": result.task, "return": float(result.returns.mean())}
        if len(result.returns) > 1:
            task["return_interval"] = list(mean_interval(result.returns))
        task["returns"] = result.returns.tolist()
        if result.success is not None:
            task["success"] = float(result.success.mean())
            task["success_interval"] = list(share_interval(int(result.success.sum()), len(result.success)))
            task["successes"] = result.success.tolist()
        tasks.append(task)
    return {
        "env_ids": ids,
        **{name: getattr(args, name) for name in ("skills", "policy", "model") if getattr(args, name)},
        **{name: getattr(args, name) for name in ("layout", "episodes", "seed", "deterministic")},
        "level": 0.95,
        "tasks": tasks,
        "versions": {"skill-embed": __version__},
    }


def play(args: Play) -> None:
    """Show a policy at the task that its file names: in a window, or in a video of one episode."""
    import gymnasium

    from skill_agent.filming import show_film
    from skill_agent.origin import id_and_layout
    from skill_agent.transferred import load_policy
    from skill_envs import ENVIRONMENTS, checks, opengl
    from skill_envs.film import check_video, video

    checks.integer("seed", args.seed, least=0)
    out = args.out or Path("runs") / f"play-{Path(args.policy).stem}.mp4"
    check_video(out, force=args.out is None)
    policy = load_policy(args.policy)
    env_id, layout = ("", 0) if policy.origin is None else id_and_layout(policy.origin.environment)
    if env_id not in ENVIRONMENTS:
        raise ValueError(
            f"policy={args.policy!r} names no environment of the suite; if you know it: "
            f"skill-embed film ID --policy {args.policy}"
        )
    if args.out is None and opengl.has_display():
        print(f"{env_id} in a window; close it to end")
        view(View(env_id, policy=args.policy, seed=args.seed, layout=layout))
        return
    # Every second frame and coarse shadows, since drawing without a GPU takes most of the time.
    steps_per_second = gymnasium.make(env_id).unwrapped.metadata["render_fps"]
    total = -(-ENVIRONMENTS[env_id].horizon // 2)
    with video(out, steps_per_second / 2, total, force=args.out is None) as add:
        show_film(add, policy, env_id, 1, args.seed, every=2, shadow_size=1024, layout=layout)
    print(out)


def view(args: View) -> None:
    """Open a window, in which skills, a policy or nothing acts."""
    import torch

    from skill_agent.policy import SkillPolicy
    from skill_envs import ENVIRONMENTS, checks
    from skill_envs import view as viewer

    checks.one_of("env_id", args.env_id, list(ENVIRONMENTS))
    checks.integer("seed", args.seed, least=0)
    task = int(args.task) if args.task.isdecimal() else args.task or None
    policy: Any = None
    if args.skills or args.policy:
        policy = common.load_one({"skills": args.skills, "policy": args.policy})
        n_tasks = policy.n_tasks if isinstance(policy, SkillPolicy) else 1
        found = len(ENVIRONMENTS[args.env_id].tasks)
        if found != n_tasks:
            raise ValueError(f"{args.env_id} has {found} tasks; the policy has {n_tasks}")
    torch.manual_seed(args.seed)
    viewer.view(args.env_id, policy, seed=args.seed, task=task, layout=args.layout)
