"""The command ``demos``."""

from __future__ import annotations

from skill_agent.options import Demos


def demos(args: Demos) -> None:
    """Demonstrate with a bar, and say where the dataset is and how it is loaded."""
    from tqdm import tqdm

    from skill_envs import checks, datasets

    checks.one_of("env_id", args.env_id, datasets.demonstrated())
    name = args.minari or datasets.name_of(args.env_id, args.layout)
    succeeded = 0
    with tqdm(total=args.episodes, desc=args.env_id, unit="episode") as bar:

        def count(success: bool) -> None:
            nonlocal succeeded
            succeeded += success
            bar.update()

        folder = datasets.write_minari(
            args.env_id,
            name,
            episodes=args.episodes,
            seed=args.seed,
            layout=args.layout,
            force=args.force,
            done=count,
        )
    print(f"{succeeded} of {args.episodes} episodes end in the goal region")
    print(f"{folder}; from Python: minari.load_dataset({name!r})")
