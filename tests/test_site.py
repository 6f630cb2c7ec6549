"""The site: it builds without a warning, has its pages and every public name, and no link in it is dead."""

import importlib.util
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from toy import ROOT

import skill_agent
import skill_envs
from skill_agent import experiments

DOCS = ROOT / "docs"
SOURCES = [p for p in DOCS.rglob("*.md") if "live" not in p.relative_to(DOCS).parts]
NAMES = [f"{package.__name__}.{name}" for package in (skill_envs, skill_agent, experiments) for name in package.__all__]


class Page(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {given.get("id"), given.get("name")}
        self.links += [given[name] for name in ("href", "src") if given.get(name)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    (out / "live").mkdir()
    (out / "live" / "index.html").write_text("<html></html>")  # as if `make live` had been there
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", out / ".tree", DOCS, out]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_source_is_a_page(site, pages):
    for source in SOURCES:
        assert site / source.relative_to(DOCS).with_suffix(".html") in pages


def test_no_link_of_the_site_is_dead(site, pages):
    checked = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert found.exists(), f"{path.relative_to(site)}: {link}"
            assert found.is_relative_to(site.resolve())
            if parts.fragment and found in pages:
                assert unquote(parts.fragment) in pages[found].ids, f"{path.relative_to(site)}: {link}"
            checked += 1
    assert checked > 1000


def test_every_public_name_is_in_the_reference(pages):
    anchors = set().union(*(page.ids for path, page in pages.items() if path.parent.name == "api"))
    assert not set(NAMES) - anchors


def test_the_start_page_shows_the_live_arm_where_it_was_built(site, pages):
    assert "live/index.html" in pages[site / "index.html"].links
    assert "figures/transfer.webp" in (DOCS / "index.md").read_text(encoding="utf-8")


@pytest.fixture
def conf():
    spec = importlib.util.spec_from_file_location("docs_conf", DOCS / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("page", "link", "found"),
    [
        ("method.md", "../records", "{}/tree/main/records"),
        ("results.md", "../benchmarks/sac.json", "{}/blob/main/benchmarks/sac.json"),
        ("envs/LWall-v0.md", "../../CHANGELOG.md#unreleased", "../changelog.md#unreleased"),
        ("envs/LWall-v0.md", "../environments.md", "../environments.md"),
        ("method.md", "tried.md#the-point-mass", "tried.md#the-point-mass"),
        ("method.md", "#the-point-mass", "#the-point-mass"),
    ],
)
def test_links_out_of_the_docs_lead_to_the_repository(conf, page, link, found):
    assert conf.target(Path(conf.DOCS / page), link) == found.format(conf.REPOSITORY)


def test_the_start_page_without_the_live_arm_shows_the_film(conf, tmp_path):
    class App:
        outdir = tmp_path

        class env:
            doc2path = staticmethod(lambda name: DOCS / f"{name}.md")

    text = [(DOCS / "index.md").read_text(encoding="utf-8")]
    conf._read(App, "index", text)
    assert "transfer.webp" in text[0] and "iframe" not in text[0]
