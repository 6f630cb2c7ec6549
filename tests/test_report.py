import sys

import imageio.v3 as iio
from toy import ROOT

from skill_agent import cli
from skill_agent.experiments import report


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
        tmp_path / "results.md": ("claims", "seeds", "cost", "sac"),
    }
    for page, names in markers.items():
        sections = "".join(f"<!-- {name} -->\nstale words\n<!-- /{name} -->\n" for name in names)
        page.write_text(f"before\n{sections}after\n", encoding="utf-8")
    written = report.write_report(tiny_records, readme, tmp_path, ROOT / "benchmarks")
    assert written[:3] == list(markers)
    for page in written[:3]:
        text = page.read_text(encoding="utf-8")
        assert "\n|" in text and "stale words" not in text
        assert text.startswith("before\n") and text.endswith("after\n")
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert text.count("\n|") >= 7 and "of 2 seeds" in text
    for path in written[3:]:
        image = iio.imread(path)
        assert image.std() > 5, path


def test_readme_and_docs_have_the_tables_of_the_records():
    for (page, marker), content in report.tables(ROOT / "records", ROOT / "benchmarks").items():
        text = (ROOT / page if page == "README.md" else ROOT / "docs" / page).read_text(encoding="utf-8")
        assert text == report.fill(text, marker, content), f"{page} is out of date; run `make results`"
