"""The command line ``skill-embed``: which commands there are, and how they end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, Union

import tyro

from skill_agent import options
from skill_agent.commands import acting, benchmark, data, explore, listing, paper, sharing, training, tuning
from skill_agent.terminal import TRACEBACK, one_line, show_every_letter, with_paths
from skill_envs import __version__, checks


class Command(NamedTuple):
    """A command: the type of its options, and the function that takes them."""

    options: type
    run: Callable[[Any], None]


COMMANDS = {
    "envs": Command(options.Envs, listing.envs),
    "demo": Command(options.Demo, paper.demo),
    "train": Command(options.Train, training.train),
    "transfer": Command(options.Transfer, training.transfer),
    "tune": Command(options.Tune, tuning.tune),
    "reproduce": Command(options.Reproduce, paper.reproduce),
    "benchmark": Command(options.Benchmark, benchmark.benchmark),
    "film": Command(options.Film, acting.film),
    "play": Command(options.Play, acting.play),
    "evaluate": Command(options.Evaluate, acting.evaluate),
    "view": Command(options.View, acting.view),
    "explore": Command(options.Explore, explore.explore),
    "demos": Command(options.Demos, data.demos),
    "push": Command(options.Push, sharing.push),
    "report": Command(options.Report, paper.report),
}
_OLD_NAMES = {"record": "film"}


def _arguments() -> list[str]:
    """The command line; the older name of a command is taken, with a word on the new one.

    Raises:
        ValueError: there is no such command.
    """
    given = sys.argv[1:]
    if given and given[0] in _OLD_NAMES:
        old, given[0] = given[0], _OLD_NAMES[given[0]]
        print(f"skill-embed: {old} is called {given[0]} now", file=sys.stderr)
    if given and not given[0].startswith("-"):
        checks.one_of("command", given[0], list(COMMANDS))
    return given


def main() -> None:
    """Run one command; an error is one line, without a traceback unless SKILL_EMBED_TRACEBACK is set."""
    show_every_letter()
    if sys.argv[1:] == ["--version"]:
        print(f"skill-embed {__version__}")
        return
    kinds: Any = [Annotated[kind, tyro.conf.subcommand(name)] for name, (kind, _) in COMMANDS.items()]
    one_of_them: Any = Union[tuple(kinds)]  # noqa: UP007  (it is made of a table)
    try:
        given: Any = tyro.cli(
            one_of_them,
            args=_arguments(),
            prog="skill-embed",
            description="Learn an embedding space of robot skills. --version prints the version.",
            config=(tyro.conf.OmitArgPrefixes,),
        )
        for kind, run in COMMANDS.values():
            if type(given) is kind:
                run(with_paths(given))
    except KeyboardInterrupt:
        sys.exit("skill-embed: interrupted")
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        sys.exit(f"skill-embed: {one_line(error)}")


if __name__ == "__main__":
    main()
