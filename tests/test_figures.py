from skill_agent.experiments import FIGURES, figures
from skill_agent.experiments.registry import records_of


def test_plots_draw_every_variant(tiny_records):
    for figure in ("fig2", "fig3"):
        records = records_of(figure, tiny_records)
        for draw in (FIGURES[figure].draw, figures.pretrain):
            drawn = draw(records)
            assert drawn.axes and all(ax.lines for ax in drawn.axes)
