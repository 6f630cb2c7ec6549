"""Fixtures that several files of tests share."""

from dataclasses import replace

import pytest
import torch
from toy import InThisProcess, tiny

from skill_agent import rollouts
from skill_agent.experiments import reproduce, tables, train
from skill_agent.experiments.records import record_path
from skill_agent.experiments.tables import EXPERIMENTS, FIGURES
from skill_agent.files import write_json


@pytest.fixture
def tiny_figures(monkeypatch):
    """The real table with budgets of a second."""
    torch.set_num_threads(1)
    figures = {figure: {name: tiny(run) for name, run in variants.items()} for figure, variants in FIGURES.items()}
    monkeypatch.setattr(tables, "FIGURES", figures)
    monkeypatch.setattr(reproduce, "EXPERIMENTS", figures)
    return figures


@pytest.fixture(scope="session")
def tiny_records(tmp_path_factory):
    """Records of every variant; the second seed repeats the first one's numbers."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("records")
    for figure, variants in FIGURES.items():
        for name, run in variants.items():
            _, record = train.train(tiny(run), 0)
            for seed in range(2):
                write_json(record_path(folder, figure, name, seed), {**record, "seed": seed})
    return folder


@pytest.fixture
def tiny_arm(monkeypatch, tmp_path):
    """The real table of the arm with budgets of a second, in an empty folder; returns a folder of records."""
    torch.set_num_threads(1)
    tiny_nets = {"policy_kwargs": {"net_arch": [16, 16]}, "learning_starts": 64, "bf16": False, "compile": False}
    for figure in ("pretrain", "fig5"):
        for variant, run in EXPERIMENTS[figure].items():
            small = replace(run, total_timesteps=1_600, n_envs=8, settings=run.settings | tiny_nets)
            monkeypatch.setitem(EXPERIMENTS[figure], variant, small)
    for variant, run in EXPERIMENTS["fig4"].items():
        monkeypatch.setitem(EXPERIMENTS["fig4"], variant, replace(run, total_timesteps=8 * 40 * 3 * 50))
    for name in ("rollout", "episodes"):
        monkeypatch.setattr(rollouts, name, _few(getattr(rollouts, name)))
    monkeypatch.setattr(reproduce, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "records"


def _few(evaluation):
    """The same evaluation, on at most four episodes."""
    return lambda policy, env_id, n, *args, **kwargs: evaluation(policy, env_id, min(n, 4), *args, **kwargs)
