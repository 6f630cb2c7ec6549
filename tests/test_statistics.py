import math

import pytest

from skill_agent.experiments.statistics import improvement_interval


def test_the_probability_of_improvement_counts_pairs_and_half_of_the_ties():
    # By hand: 1 ties with 1 and loses to 2, 2 beats 1 and ties with 2, 3 beats both.
    middle, low, high = improvement_interval([1.0, 2.0, 3.0], [1.0, 2.0])
    assert middle == pytest.approx((0.5 + 0 + 1 + 0.5 + 1 + 1) / 6)
    assert 0 <= low <= middle <= high <= 1


def test_a_method_that_always_wins_has_no_doubt_about_it():
    assert improvement_interval([5.0, 6.0, 7.0], [1.0, 2.0, 3.0]) == (1.0, 1.0, 1.0)
    assert improvement_interval([1.0, 2.0, 3.0], [5.0, 6.0, 7.0])[0] == 0.0


def test_one_run_has_no_interval():
    middle, low, high = improvement_interval([2.0], [1.0, 3.0])
    assert middle == 0.5
    assert math.isnan(low) and math.isnan(high)
