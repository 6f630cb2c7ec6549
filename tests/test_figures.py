from skill_agent.experiments import figures
from skill_agent.experiments.records import load_records
from skill_agent.experiments.tables import EXPERIMENTS, FIGURES


def test_plots_draw_every_variant(tiny_records):
    for figure in FIGURES:
        records = load_records(tiny_records, figure)
        for draw in (figures.FIGURES[figure], figures.pretrain):
            drawn = draw(records)
            assert drawn.axes and all(ax.lines for ax in drawn.axes)
    assert figures.FIGURES.keys() == EXPERIMENTS.keys()
