"""What the figures show: all variants, which seed, and what colours, lines and bands mean."""

import copy
from itertools import combinations

import numpy as np
import pytest

from skill_agent.experiments import FIGURES, figures, statistics
from skill_agent.experiments.registry import records_of
from skill_agent.experiments.tables import METHODS
from skill_envs import ENVIRONMENTS


def test_plots_draw_every_variant(tiny_records):
    for figure in ("fig2", "fig3"):
        records = records_of(figure, tiny_records)
        for draw in (FIGURES[figure].draw, figures.pretrain):
            drawn = draw(records)
            assert drawn.axes and all(ax.lines for ax in drawn.axes)


def key_of(ax):
    return {text.get_text() for text in ax.get_legend().get_texts()}


@pytest.mark.parametrize(("shares", "shown"), [([0, 4, 4], 1), ([4, 3, 2], 1), ([2, 0, 2], 0), ([1, 4], 0)])
def test_figure_3_shows_the_middle_seed_and_says_which(tiny_records, shares, shown):
    records = copy.deepcopy(records_of("fig3", tiny_records))
    for variant, name in (("bernoulli", "goals_reached_discrete"), ("gaussian", "goals_reached")):
        first = records[variant][0]
        records[variant] = [copy.deepcopy(first) for _ in shares]
        for seed, (record, n) in enumerate(zip(records[variant], shares, strict=True)):
            record["seed"] = seed
            record["final"][name] = [0.25] * n + [0.0] * (4 - n)
    for ax in figures.fig3(records).axes[:2]:
        assert f"seed {shown}: {shares[shown]} of 4 goals" in ax.get_title()
        assert f"{len(shares)} seeds: {min(shares)} to {max(shares)} goals" in ax.get_title()


def test_the_colours_of_paths_have_a_key(tiny_records):
    records = records_of("fig3", tiny_records)
    bernoulli, gaussian, _ = figures.fig3(records).axes
    assert key_of(bernoulli) <= {"z = (0, 0)", "z = (0, 1)", "z = (1, 0)", "z = (1, 1)"}
    colours = {line.get_color() for line in bernoulli.get_legend().get_lines()}
    assert len(colours) == len(key_of(bernoulli))
    assert len(gaussian.child_axes[0].patches) == 72  # the ring of directions
    two_goals = figures.demo(records_of("fig2", tiny_records)["with"][0]).axes[0]
    assert key_of(two_goals) == set(ENVIRONMENTS["SkillEmbed/PointMassTwoGoals-v0"].tasks)


def test_no_line_of_figure_5_hides_another():
    curve = [{"steps": steps, "return": 1.0, "success": [1.0]} for steps in (0, 512_000)]
    same = [{"curve": curve}] * 3  # all methods do the same
    figure = figures.fig5({f"lwall{'-' * bool(name)}{name}": same for name in METHODS})
    assert "interquartile mean" in figure.get_suptitle() and "95 %" in figure.get_suptitle()
    (success,) = [ax for ax in figure.axes if ax.get_legend()]
    marked = [line for line in success.lines if line.get_marker() not in ("", "None")]
    assert len(marked) == len(METHODS) == len({line.get_marker() for line in marked})
    places = [set(np.arange(21)[slice(line.get_markevery()[0], None, line.get_markevery()[1])]) for line in marked]
    assert all(a.isdisjoint(b) for a, b in combinations(places, 2)) and all(places)


def test_goals_count_from_a_share_of_the_episodes():
    assert statistics.goals([0.05, 0.049, 0.5, 0.0]) == 2
    assert statistics.goals([0.05, 0.049, 0.5, 0.0], least=0.5) == 1
