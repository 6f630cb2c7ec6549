"""The figure of the tour: what is claimed and drawn of it, and its kept records."""

import json

import imageio.v3 as iio
import numpy as np
import pytest
from toy import ROOT

from skill_agent.experiments import figures, tour
from skill_agent.experiments.registry import EXPERIMENTS, records_of
from skill_envs import TASKS

RECORDS = records_of("tour", ROOT / "records")


def record(goals, gained):
    return {"final": {"goals_in_turn": goals, "return": gained}}


def test_all_goals_in_four_fifths_of_the_seeds_and_a_higher_return_in_every_pairing():
    all_four, three = record([1.0, 1.0, 0.95, 0.9], 30.0), record([1.0, 1.0, 0.95, 0.89], 20.0)
    others = {"redraw": [record([1.0, 0.5, 0.0, 0.0], 9.0)], "one": [record([1.0, 0.5, 0.0, 0.0], 25.0)]}
    reached, redraw, one = tour.tour_claims({"learned": [all_four] * 4 + [three], **others})
    assert reached.holds and reached.measured == "4 of 4 in 4 of 5 seeds" and reached.seeds == "4, 4, 4, 4, 3"
    assert redraw.holds and "28.0 against 9.0; higher in 5 of 5 pairings" in redraw.measured
    assert not one.holds and "higher in 4 of 5 pairings" in one.measured
    assert not tour.tour_claims({"learned": [all_four, three], **others})[0].holds
    assert tour.tour_claims({"learned": [], **others}) == []


def test_the_figure_shows_the_middle_seed_of_each_variant(tmp_path):
    figure = tour.tour(RECORDS)
    for ax, kept in zip(figure.axes, RECORDS.values(), strict=False):
        (seed,) = [record["seed"] for record in kept if f"(seed {record['seed']})" in ax.get_title()]
        returns = [record["final"]["return"] for record in kept]
        assert kept[seed]["final"]["return"] == pytest.approx(np.median(returns))
    figures.save(figure, tmp_path / "tour.png")
    assert iio.imread(tmp_path / "tour.png").std() > 5


def test_the_kept_records_are_of_the_present_settings():
    horizon = TASKS["PointMassTour"].horizon
    for variant, run in EXPERIMENTS["tour"].items():
        assert [record["seed"] for record in RECORDS[variant]] == list(range(5))
        for kept in RECORDS[variant]:
            assert kept["settings"] == json.loads(json.dumps(run.settings))
            assert run.total_timesteps <= kept["total_timesteps"] < 1.05 * run.total_timesteps
            assert np.shape(kept["final"]["trajectories"]["position"])[1] == horizon + 1
