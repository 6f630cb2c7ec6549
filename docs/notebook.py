"""Write docs/tutorials/first-skills.ipynb: the first tutorial as a notebook, from its page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "tutorials" / "first-skills.md"


def cells(text: str) -> list[dict[str, Any]]:
    """Cells of a page: each block of Python is one, and so is the text between two blocks."""
    found = []
    for i, part in enumerate(re.split(r"```python\n(.*?)```\n", text, flags=re.DOTALL)):
        cell: dict[str, Any] = {"cell_type": "markdown", "metadata": {}}
        if i % 2:
            cell = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
        found.append({**cell, "id": f"cell-{i}", "source": part.strip().splitlines(keepends=True)})
    return found


def notebook(text: str) -> str:
    """A page as a notebook, in JSON."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json.dumps({"cells": cells(text), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


if __name__ == "__main__":
    PAGE.with_suffix(".ipynb").write_text(notebook(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE.with_suffix(".ipynb"))
