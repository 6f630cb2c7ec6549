"""The benchmark of dm_control's walker: what a transfer learns with is what it is evaluated with."""

import importlib.util
import sys

import pytest
from toy import ROOT

pytest.importorskip("shimmy")


@pytest.fixture
def walker(monkeypatch):
    specification = importlib.util.spec_from_file_location("walker", ROOT / "benchmarks/walker.py")
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "walker", module)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [0, 1, 4, 5])
def test_a_transfer_is_evaluated_with_the_skills_that_it_learned_with(walker, monkeypatch, tmp_path, seed):
    loaded = []

    class Loaded(Exception):
        pass

    def load(path):
        loaded.append(path)
        raise Loaded

    monkeypatch.setattr(walker, "load_skills", load)
    monkeypatch.setattr(walker, "make_task_vec_env", lambda *_: None)
    with pytest.raises(Loaded):
        walker.make_model("transfer", seed, {}, tmp_path)
    skills = walker.skills_of(seed, tmp_path)
    for evaluated in (seed, 50 + seed):
        with pytest.raises(Loaded):
            walker.Evaluator("transfer", 4, evaluated, skills)
    assert loaded == [tmp_path / f"ours-{seed % 3}.safetensors"] * 3
