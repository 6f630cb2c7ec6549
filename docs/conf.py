"""The site by Sphinx (make site): the pages of docs/, which stay readable on GitHub, and the API reference.

Links that lead out of docs/ would be dead on the site. They go to the repository there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.resolve()
ROOT = DOCS.parent
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")
REPOSITORY = re.findall(r'^REPOSITORY = "(.*)"$', SETUP, re.MULTILINE)[0]

project = "skill-embed"
author = "The skill-embed authors"
project_copyright = author
release = re.findall(r'^VERSION = "(.*)"$', SETUP, re.MULTILINE)[0]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["live"]  # a page of its own, which `make live` builds
html_theme = "furo"
html_title = "skill-embed"
html_theme_options = {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": "docs/"}
templates_path: list[str] = []

myst_heading_anchors = 3  # as GitHub makes them
myst_fence_as_directive = ["math"]  # GitHub's way to write an equation

napoleon_use_ivar = True  # attributes as a list; some are properties with a docstring of their own
default_role = "py:obj"  # `name` in a docstring links to what it names, if that is public
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}

# Tests check that files of the repository are there, whether or not it is published.
linkcheck_ignore = [re.escape(REPOSITORY) + "/(blob|tree)/.*"]

EXCLUDED = DOCS / "live"  # links into it lead to the repository, too

# Pages of the site that show a file of the repository's root.
SHOWN = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "index.md"}


def target(page: Path, link: str) -> str:
    """Where a relative link of a page in docs/ leads on the site."""
    path, hash_, anchor = link.partition("#")
    found = (page.parent / path).resolve()
    if not path or (found.is_relative_to(DOCS) and not found.is_relative_to(EXCLUDED)):
        return link
    inside = found.relative_to(ROOT).as_posix()
    if inside in SHOWN:
        return os.path.relpath(DOCS / SHOWN[inside], page.parent) + hash_ + anchor
    return f"{REPOSITORY}/{'tree' if found.is_dir() else 'blob'}/main/{inside}{hash_}{anchor}"


def relink(page: Path, text: str) -> str:
    """The text of a page with its links as `target` has them."""
    return re.sub(r"\]\((?!https?:|mailto:)([^)\s]+)\)", lambda match: f"]({target(page, match[1])})", text)


def _read(app: Any, name: str, source: list[str]) -> None:
    source[0] = relink(Path(app.env.doc2path(name)), source[0])
    if name == "envs/README":
        source[0] += "\n```{toctree}\n:glob:\n:hidden:\n\n*\n```\n"
    if name == "index" and (Path(app.outdir) / "live" / "index.html").exists():
        source[0] = re.sub(r"<!-- live -->.*<!-- /live -->", LIVE, source[0], flags=re.DOTALL)


def _read_included(app: Any, path: Path, name: str, source: list[str]) -> None:
    # Its links are relative to the root; the page that shows it is in docs/.
    links = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s]+)\)")
    source[0] = links.sub(lambda match: f"]({target(DOCS / 'x.md', '../' + match[1])})", source[0])


LIVE = """```{raw} html
<iframe src="live/index.html" title="The arm, live: move z, and it moves the block" loading="lazy"
  style="width: 100%; height: 44rem; border: 1px solid var(--color-background-border); border-radius: .5rem"></iframe>
<p>It runs in your browser. <a href="live/index.html">Open it on a page of its own.</a></p>
```"""


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    app.connect("include-read", _read_included)
