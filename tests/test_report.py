import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from scipy import stats
from toy import ROOT

from skill_agent import cli
from skill_agent.experiments import report
from skill_agent.experiments.claims import Claim


def test_a_figure_without_its_records_is_left_as_it_is(tiny_arm, tmp_path, monkeypatch, capsys):
    path = tmp_path / "figures/fig5.png"
    path.parent.mkdir()
    path.write_text("precious")
    argv = ["skill-embed", "reproduce", "fig5", "--variants", "lwall-scratch", "--seeds", "1", "--figures", "figures"]
    monkeypatch.setattr(sys, "argv", argv)
    cli.main()
    assert path.read_text() == "precious"
    assert "not drawn: there are no records of ['springwall', 'lwall', 'railpush']" in capsys.readouterr().out


def test_figures_and_table_come_from_records_alone(tiny_records, tmp_path):
    readme = tmp_path / "README.md"
    markers = {
        readme: ("speed", "results"),
        tmp_path / "benchmarks.md": ("environments", "learner", "physics"),
        tmp_path / "reliability.md": ("files", "kills"),
        tmp_path / "workers.md": ("measured", "scale"),
        tmp_path / "results.md": ("claims", "seeds", "cost", "sac", "walker"),
    }
    for page, names in markers.items():
        sections = "".join(f"<!-- {name} -->\nstale words\n<!-- /{name} -->\n" for name in names)
        page.write_text(f"before\n{sections}after\n", encoding="utf-8")
    written = report.write_report(tiny_records, readme, tmp_path, ROOT / "benchmarks")
    assert written[:5] == list(markers)
    for page in written[:5]:
        text = page.read_text(encoding="utf-8")
        assert "\n|" in text and "stale words" not in text
        assert text.startswith("before\n") and text.endswith("after\n")
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert text.count("\n|") >= 7 and "of 2 seeds" in text
    for path in written[5:]:
        image = iio.imread(path)
        assert image.std() > 5, path


def test_readme_and_docs_have_the_tables_of_the_records():
    for (page, marker), content in report.tables(ROOT / "records", ROOT / "benchmarks").items():
        text = (ROOT / page if page == "README.md" else ROOT / "docs" / page).read_text(encoding="utf-8")
        assert text == report.fill(text, marker, content), f"{page} is out of date; run `make results`"


@pytest.fixture
def reads(monkeypatch):
    """How often each file was read."""
    counted = Counter()

    def counting(read):
        def count(path, *args, **kwargs):
            counted[path] += 1
            return read(path, *args, **kwargs)

        return count

    for name in ("read_bytes", "read_text"):
        monkeypatch.setattr(Path, name, counting(getattr(Path, name)))
    return counted


def test_each_record_is_read_once_and_each_interval_taken_once(reads, monkeypatch):
    drawn = []
    bootstrap = stats.bootstrap

    def noted(data, *args, **kwargs):
        drawn.append(data)
        return bootstrap(data, *args, **kwargs)

    monkeypatch.setattr(stats, "bootstrap", noted)
    report.tables(ROOT / "records", ROOT / "benchmarks")
    files = {*(ROOT / "records").glob("*/*.json"), *(ROOT / "benchmarks").glob("*.json")}
    assert len(files) > 150
    assert {path: count for path, count in reads.items() if path.suffix == ".json"} == dict.fromkeys(files, 1)
    kinds = {tuple(np.asarray(part).tobytes() for part in data) for data in drawn}
    # Of figure 2's errors, figure 4's coverage by one, some and many z, and the walker's transfers.
    assert len(drawn) == len(kinds) == 5


@pytest.fixture
def pages(tmp_path):
    """A README and pages with the markers, and nothing between them."""
    markers = dict.fromkeys(("README.md", "results.md", "benchmarks.md", "reliability.md", "workers.md"), "")
    for page, marker in report.tables(ROOT / "records", ROOT / "benchmarks"):
        markers[page] += f"<!-- {marker} -->\n<!-- /{marker} -->\n"
    for page, text in markers.items():
        (tmp_path / page).write_text(text)
    return tmp_path


def test_a_second_report_has_the_same_bytes(tiny_records, pages, reads):
    records = shutil.copytree(tiny_records, pages / "records")
    (records / "fig5").mkdir()
    for path in [*(ROOT / "records/fig5").glob("*.json"), ROOT / "records/fig5/SHA256SUMS"]:
        shutil.copy(path, records / "fig5")
    written = []
    for seed in (1, 2):
        np.random.seed(seed)  # what is drawn from NumPy's global generator would differ
        reads.clear()
        paths = report.write_report(records, pages / "README.md", pages, ROOT / "benchmarks")
        assert {count for path, count in reads.items() if path.suffix == ".json"} == {1}
        written.append({path.name: path.read_bytes() for path in paths})
    assert written[0] == written[1] and {"fig2.png", "fig3.png", "fig5.png", "results.md"} <= written[0].keys()


def test_the_readme_has_few_rows_failures_included_and_counts_all():
    kept = report.load_all(ROOT / "records")
    claims = report.claims_of(kept)
    told = [claim for claim in claims if claim.told]
    assert 1 <= len(told) <= 8 and {claim.holds for claim in told} == {True, False}
    text = report.short_table(claims)
    assert text.count("\n|") == len(told) + 1
    hold = len([claim for claim in claims if claim.holds])
    assert text.endswith(f"\n\nOf all {len(claims)} claims, {hold} hold and {len(claims) - hold} do not.")


@pytest.mark.parametrize("name", ["records/fig3/gaussian-seed1.json", "benchmarks/sac.json"])
def test_report_names_a_changed_file_and_writes_nothing(tiny_records, pages, monkeypatch, name):
    shutil.copytree(tiny_records, pages / "records")
    shutil.copytree(ROOT / "benchmarks", pages / "benchmarks")
    before = {path: path.read_bytes() for path in pages.glob("*.md")}
    data = bytearray((pages / name).read_bytes())
    data[len(data) // 2] ^= 1
    (pages / name).write_bytes(data)
    monkeypatch.chdir(pages)
    monkeypatch.setattr(sys, "argv", ["skill-embed", "report", "--docs", "."])
    with pytest.raises(SystemExit, match=f"{name} was changed: its SHA-256 is .*SHA256SUMS says"):
        cli.main()
    assert {path: path.read_bytes() for path in pages.glob("*.md")} == before


def test_a_bar_in_a_claim_ends_no_cell():
    row = Claim("z of p(z|t)", "more", "1 | 2", True, "p(z'|z)")
    for table in (report.claims_table([row]), report.seeds_table([row])):
        *_, last = table.splitlines()
        cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", last)[1:-1]]
        assert cells[0] == row.claim and row.measured in cells and len(cells) == table.splitlines()[0].count("|") - 1
