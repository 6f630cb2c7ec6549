"""A small part of the benchmark that damages and forges files."""

from collections import Counter

import numpy as np
import pytest
import reliability

from skill_envs import scenes


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Good files of every kind that is quick to load."""
    made = {}
    for name in ("skills", "transferred policy", "record", "asset"):
        made[name] = tmp_path_factory.mktemp("good")
        reliability.KINDS[name].make(made[name])
    return made


@pytest.mark.parametrize(
    "name", ["transferred policy", "record", "asset", "forged skills", "forged transferred policy"]
)
def test_a_damaged_or_forged_file_is_named_or_does_no_harm(good, tmp_path, monkeypatch, name):
    monkeypatch.setattr(scenes, "ASSETS", scenes.ASSETS)  # so that it is restored
    kind, source = reliability.KINDS[name], good[name.removeprefix("forged ")]
    expected = kind.load(source)
    found = Counter()
    for told in reliability.tries(kind, source, tmp_path, expected, 40, np.random.default_rng(5)):
        outcome = told[2]
        assert not outcome.startswith(reliability.FAULTS), told
        found[outcome] += 1
    assert found["named"] >= 20 and found.total() == 40


def test_faults_are_seen(good, tmp_path):
    """The measurement itself: it tells an error without a name, and other numbers without an error."""
    source = good["skills"]
    for load, outcome in ((lambda folder: 1 / 0, "nameless"), (lambda folder: "other", "silent")):
        kind = reliability.Kind(reliability.KINDS["skills"].make, load)
        ((*_, told),) = reliability.tries(kind, source, tmp_path / outcome, "this", 1, np.random.default_rng(0))
        assert told.startswith(outcome)
