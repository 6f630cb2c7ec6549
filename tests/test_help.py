"""The help of every command, and the commands that the pages show."""

import dataclasses
import inspect
import re
import shlex
import sys

import pytest
import tyro
from toy import ROOT

from skill_agent import cli

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SHOWN = {}
for _page in PAGES:
    for _block in re.findall(r"```sh\n(.*?)```", _page.read_text(encoding="utf-8"), re.DOTALL):
        for _line in _block.replace("\\\n", " ").splitlines():
            if _line.startswith("skill-embed "):
                SHOWN[f"{_page.name}: {_line}"] = shlex.split(_line, comments=True)[1:]


def test_the_pages_show_every_command():
    table = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    for name in cli.COMMANDS:
        assert f"| `skill-embed {name}" in table, name


@pytest.mark.parametrize("shown", list(SHOWN))
def test_a_command_that_a_page_shows_is_one(shown):
    name, *arguments = SHOWN[shown]
    if name == "--help":
        return
    kind = cli.COMMANDS[name].options
    assert isinstance(tyro.cli(kind, args=arguments, config=(tyro.conf.OmitArgPrefixes,)), kind)


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_option_has_its_words(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["skill-embed", name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0
    printed = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    kind = cli.COMMANDS[name].options
    source = "".join(inspect.getsource(parent) for parent in kind.__mro__[:-1])
    for field in dataclasses.fields(kind):
        if field.name == "settings":  # the config has their words
            continue
        words = re.search(rf'^    {field.name}: .*\n    """(\w+(?: \w+)?)', source, re.MULTILINE)
        assert words, f"{field.name} has no words"
        assert words[1] in printed
