"""The tutorials run from their first line to their last, on tiny budgets; the notebook is the first of them."""

import importlib.util
import json
import re

import pytest
import torch
from toy import ROOT

TUTORIALS = ROOT / "docs" / "tutorials"
# What makes a tutorial take minutes, and what a test has instead.
BUDGETS = {
    r"^(steps|choices) = [\d_]+": r"\1 = 640",
    "episodes_per_task=20": "episodes_per_task=2",
    "n=20": "n=2",
    "fps=10, total=100": "fps=10, total=50",
    "episodes=2": "episodes=1",
    "learning_starts=1_280, train_freq=20, gradient_steps=40": "learning_starts=64, train_freq=5, gradient_steps=1",
}


def blocks_of(name):
    text = (TUTORIALS / name).read_text(encoding="utf-8")
    if name.endswith(".ipynb"):
        return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_there_are_three_and_a_notebook():
    found = sorted(path.name for path in TUTORIALS.iterdir() if path.stem != "README")
    assert found == ["first-skills.ipynb", "first-skills.md", "own-tasks.md", "transfer.md"]


@pytest.mark.parametrize("name", ["first-skills.ipynb", "own-tasks.md", "transfer.md"])
def test_a_tutorial_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    code, used = "\n".join(blocks_of(name)), 0
    for pattern, small in BUDGETS.items():
        code, count = re.subn(pattern, small, code, flags=re.MULTILINE)
        used += count
    assert used, "a tutorial has budgets, and this test makes them small"
    try:
        exec(compile(code, name, "exec"), {"__name__": name})
    finally:
        torch.set_num_threads(threads)
    left = {path.name for path in tmp_path.iterdir()}
    assert {"first-skills.ipynb": {"skills.safetensors", "skills.png", "skills.gif"}}.get(name, set()) <= left


def test_the_notebook_is_what_its_page_says():
    spec = importlib.util.spec_from_file_location("docs_notebook", ROOT / "docs" / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.PAGE.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert written == module.notebook(module.PAGE.read_text(encoding="utf-8")), "run `make docs`"
    assert blocks_of("first-skills.ipynb") == [block.strip() for block in blocks_of("first-skills.md")]
