"""Fixtures that several files of tests share."""

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from toy import InThisProcess, tiny

from skill_agent import rollouts
from skill_agent.experiments import EXPERIMENTS, FIGURES, reproduce, train
from skill_agent.experiments.records import record_path, write_record

# dm-control has no wheels for Python 3.13; see setup.py.
collect_ignore = [] if find_spec("dm_control") else ["test_dm.py", "test_dm_utils.py", "test_pin.py"]


@pytest.fixture
def tiny_figures(monkeypatch):
    """The registry, with budgets of a second for the point mass."""
    torch.set_num_threads(1)
    for figure in ("fig2", "fig3"):
        for name, run in EXPERIMENTS[figure].items():
            monkeypatch.setitem(EXPERIMENTS[figure], name, tiny(run))
    return EXPERIMENTS


@pytest.fixture(scope="session")
def tiny_records(tmp_path_factory):
    """Records of every variant of the point mass; the second seed repeats the first one's numbers."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("records")
    for figure in ("fig2", "fig3"):
        for name, run in EXPERIMENTS[figure].items():
            _, record = train.train(tiny(run), 0)
            for seed in range(2):
                named = {"figure": figure, "variant": name, **record, "seed": seed}
                write_record(record_path(folder, figure, name, seed), named)
    return folder


@pytest.fixture
def tiny_arm(monkeypatch, tmp_path):
    """The registry, with budgets of a second for the arm, in an empty folder; returns a folder of records."""
    torch.set_num_threads(1)
    for figure in ("pretrain", "fig5", "fig6", "solutions"):
        for variant, run in FIGURES[figure].runs.items():
            monkeypatch.setitem(FIGURES[figure].runs, variant, tiny_arm_run(run))
    for variant, run in EXPERIMENTS["fig4"].items():
        monkeypatch.setitem(EXPERIMENTS["fig4"], variant, replace(run, total_timesteps=8 * 40 * 3 * 50))
    for name in ("rollout", "episodes"):
        monkeypatch.setattr(rollouts, name, _few(getattr(rollouts, name)))
    monkeypatch.setattr(reproduce, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "records"


def tiny_arm_run(run):
    """The run with a budget of a second."""
    tiny_nets = {"policy_kwargs": {"net_arch": [16, 16]}, "learning_starts": 64, "bf16": False, "compile": False}
    return replace(run, total_timesteps=1_600, n_envs=8, settings=run.settings | tiny_nets)


def _few(evaluation):
    """The same evaluation, on at most four episodes."""
    return lambda policy, env_id, n, *args, **kwargs: evaluation(policy, env_id, min(n, 4), *args, **kwargs)
