"""The benchmark's statistics, against numbers worked out by hand and against loops."""

import numpy as np
import pytest
from scipy import stats

from skill_agent.benchmark.statistics import (
    Table,
    area,
    forward_transfer,
    improvement,
    interval,
    level,
    resampled,
)


def test_the_level_is_the_mean_of_the_middle_half_of_all_scores():
    # Of eight scores, two are left out at either end: 2, 3, 4, 7 are left.
    assert level([[0.0, 9.0, 3.0, 2.0], [4.0, 1.0, 7.0, 8.0]]) == 4.0
    # Of five, one.
    assert level([[0.0], [1.0], [2.0], [6.0], [9.0]]) == 3.0
    scores = np.random.default_rng(0).random((4, 5, 8))
    assert np.allclose(level(scores), [stats.trim_mean(table.ravel(), 0.25) for table in scores])


def test_the_improvement_counts_pairs_of_a_layout_and_ties_half():
    # Layout 1: 3 of 4 pairs; layout 2: a tie, two lost, and one lost by the second run.
    assert improvement([[2.0, 1.0], [4.0, 0.0]], [[1.0, 1.0], [3.0, 2.0]]) == pytest.approx((0.75 + 0.125) / 2)
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (3, 5, 8)), rng.integers(0, 4, (3, 2, 8))
    for sample in range(3):
        shares = []
        for layout in range(8):
            pairs = [(x, y) for x in a[sample, :, layout] for y in b[sample, :, layout]]
            shares.append(np.mean([1.0 if x > y else 0.5 if x == y else 0.0 for x, y in pairs]))
        assert improvement(a, b)[sample] == pytest.approx(np.mean(shares))


def test_forward_transfer_is_0_as_from_scratch_and_1_at_once():
    scratch = [[0.2, 0.0], [0.4, 0.0]]  # means .3 and 0
    assert np.allclose(forward_transfer([[0.3, 0.0], [1.0, 0.5]], scratch), [[0, 0], [1, 0.5]])
    with pytest.raises(ValueError, match=r"an area from scratch is 1\.0; choose areas below 1"):
        forward_transfer([[0.5]], [[1.0]])


def test_the_area_is_by_trapezia():
    assert area([0, 100, 300], [0.0, 1.0, 0.5]) == pytest.approx((50 + 150) / 300)
    assert area([0, 10], [1.0, 1.0]) == 1
    for wrong in ([0], [0, 0], [1, 0]):
        with pytest.raises(ValueError, match=r"are not valid; choose at least two that rise"):
            area(wrong, [0.5] * len(wrong))


def named(rows, columns, shared):
    """A table whose scores say where they stand: 100 for a seed, 1 for a layout."""
    return Table(100.0 * np.arange(rows)[:, None] + np.arange(columns), shared)


def test_a_sample_draws_seeds_and_then_layouts_which_tables_share():
    ours, other, scratch = named(10, 8, True), named(5, 8, True), named(3, 8, False)
    drawn = resampled((ours, other, scratch), 200, np.random.default_rng(0))
    assert [each.shape for each in drawn] == [(200, 10, 8), (200, 5, 8), (200, 3, 8)]
    layouts = [each % 100 for each in drawn]
    for each in layouts:  # one draw of layouts a sample, the same for all
        assert (each == layouts[0][:, :1]).all()
    assert len(np.unique(layouts[0][:, 0], axis=0)) == 200
    seeds = [each // 100 for each in drawn]
    for each in seeds[:2]:  # whole rows
        assert (each == each[..., :1]).all()
    assert not (seeds[0][:, :5] == seeds[1]).all(axis=(1, 2)).any()  # each method's on its own
    assert not (seeds[2] == seeds[2][..., :1]).all(axis=(1, 2)).any()  # within each layout
    for each, rows in zip(seeds, (10, 5, 3), strict=True):
        assert set(np.unique(each)) == set(range(rows))


def test_the_interval_is_that_of_a_loop():
    tables = (
        Table(np.random.default_rng(1).random((4, 3)), True),
        Table(np.random.default_rng(2).random((3, 3)), False),
    )

    def gain(a, b):
        return improvement(forward_transfer(a, b), forward_transfer(b, b))

    found = interval(gain, *tables, samples=300, seed=5)
    first, second = resampled(tables, 300, np.random.default_rng(5))
    each = [float(gain(a, b)) for a, b in zip(first, second, strict=True)]
    assert found.middle == pytest.approx(float(gain(tables[0].scores, tables[1].scores)))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(each, [2.5, 97.5])))
    assert found == interval(gain, *tables, samples=300, seed=5)


def test_skills_that_are_shared_make_an_interval_wider():
    scores = np.repeat(np.linspace(0, 1, 6)[:, None], 8, axis=1)  # seeds differ, layouts don't
    shared, apart = (interval(level, Table(scores, kind)) for kind in (True, False))
    assert shared.high - shared.low > 1.5 * (apart.high - apart.low)


def test_rounding_errors_decide_nothing():
    assert interval(level, Table(np.full((3, 8), 0.2), True)) == (0.2, 0.2, 0.2)


def test_tables_of_other_layouts_are_refused():
    with pytest.raises(ValueError, match=r"tables of \[7, 8\] layouts are not valid"):
        interval(improvement, named(2, 8, True), named(2, 7, True))
