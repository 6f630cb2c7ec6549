"""A figure is one entry, a method one row: what is added there is trained, claimed, drawn and offered."""

import shutil
import sys
from dataclasses import replace

import imageio.v3 as iio
import pytest
from conftest import tiny_arm_run
from matplotlib.figure import Figure
from toy import InThisProcess, tiny

from skill_agent import cli
from skill_agent.experiments import EXPERIMENTS, FIGURES, figures, registry, report, reproduce, work
from skill_agent.experiments.claims import Claim, fig5_claims
from skill_agent.experiments.registry import Entry, records_of
from skill_agent.experiments.tables import FAMILIES, METHODS, Method


def draw_success(records):
    figure = Figure()
    ax = figure.subplots()
    for record in records["one"]:
        ax.plot([point["success"] for point in record["curve"]])
    return figure


def claim_an_end(records):
    return [Claim("a toy comes to its end", "always", f"{len(records['one'])} of 1", len(records["one"]) == 1)]


def test_a_figure_is_one_entry(tiny_records, tmp_path, monkeypatch, capsys):
    entry = Entry({"one": tiny(EXPERIMENTS["fig2"]["with"])}, 1, work.short, draw_success, claim_an_end)
    monkeypatch.setitem(FIGURES, "toy", entry)
    monkeypatch.setattr(reproduce, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(sys, "argv", ["skill-embed", "reproduce", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    assert ",toy}" in "".join(capsys.readouterr().out.split())
    records = shutil.copytree(tiny_records, tmp_path / "records")
    folders = ["--records", str(records), "--figures", str(tmp_path / "figures")]
    monkeypatch.setattr(sys, "argv", ["skill-embed", "reproduce", "toy", *folders])
    cli.main()
    captured = capsys.readouterr()
    assert "finished: toy one seed 0" in captured.err and "800/800" in captured.err and "1 of 1 runs" in captured.err
    assert [record["seed"] for record in records_of("toy", records)["one"]] == [0]
    assert iio.imread(tmp_path / "figures/toy.png").std() > 5
    tables = report.tables(records)
    assert "| a toy comes to its end | always | 1 of 1 | yes |" in tables["results.md", "claims"]
    assert "| `toy` | 1 |" in tables["results.md", "cost"]
    drawn = [path.name for path in report.draw(records, tmp_path / "all", FIGURES)]
    assert drawn == ["fig2.png", "fig3.png", "toy.png"]
    shutil.rmtree(records / "toy")
    for page in ("README.md", "results.md", "benchmarks.md", "reliability.md", "workers.md"):
        (tmp_path / page).write_text("")
    with pytest.raises(FileNotFoundError, match=r"no records of \['one'\].*run: skill-embed reproduce toy"):
        report.write_report(records, tmp_path / "README.md", tmp_path)


@pytest.mark.parametrize(
    "toy", [Method("a toy", "#123456", {"inference_coef": 0.5}), Method("a toy", "#123456", {}, skills="all")]
)
def test_a_baseline_is_one_row(tiny_arm, monkeypatch, toy):
    monkeypatch.setitem(METHODS, "toy", toy)
    for name, entry in registry.registered().items():
        runs = {variant: tiny_arm_run(run) for variant, run in entry.runs.items()}
        monkeypatch.setitem(FIGURES, name, replace(entry, runs=runs))
    assert all(f"{family}-toy" in FIGURES["fig5"].runs for family in FAMILIES)
    done = list(reproduce.reproduce("fig5", 1, 1, tiny_arm, ["springwall", "springwall-toy"]))
    skills = toy.skills or "springwall-toy"
    assert {progress.finished for progress in done} == {
        f"{figure} {variant} seed 0"
        for figure, variant in [
            ("pretrain", "springwall"), ("pretrain", skills), ("fig5", "springwall"), ("fig5", "springwall-toy"),
        ]
    }  # fmt: skip
    (trained,) = records_of("pretrain", tiny_arm)[skills]
    assert toy.skills or trained["settings"]["inference_coef"] == 0.5
    records = records_of("fig5", tiny_arm)
    assert records["springwall-toy"][0]["skills"] == skills
    assert "SpringWall, ours against toy: success after 512,000 steps" in [row.claim for row in fig5_claims(records)]
    for ax in figures.fig5(records).axes[:6:3]:  # return and success of the first family
        (line,) = [line for line in ax.lines if line.get_label() == "a toy (1 seed)"]
        assert line.get_color() == "#123456"


def test_every_entry_says_how_many_seeds_and_only_what_is_required_is_missing():
    assert {name: entry.seeds for name, entry in FIGURES.items()} == {
        "fig2": 10, "fig3": 10, "ring": 10, "tour": 5, "pretrain": 3, "fig4": 5, "fig5": 3, "fig6": 1,
        "solutions": 3,
    }  # fmt: skip
    none = {variant: [] for variant in FIGURES["fig5"].runs}
    assert FIGURES["fig5"].missing(none) == list(FAMILIES)
    assert FIGURES["fig2"].missing({"with": [{}], "without": []}) == ["without"]
    assert "fig6" not in EXPERIMENTS and set(FIGURES["fig6"].runs) == set(FAMILIES)
