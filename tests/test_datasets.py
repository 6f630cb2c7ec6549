"""Demonstrations as Minari datasets: what is read back is what was done."""

import os
import sys

import numpy as np
import pytest
from toy import ROOT

from skill_agent import cli
from skill_envs import datasets
from skill_envs.datasets import write_minari

minari = pytest.importorskip("minari", reason="Minari is not installed")
pytest.importorskip("h5py", reason="h5py is not installed")
PUSH, LWALL = "SkillEmbed/Push-v0", "SkillEmbed/LWall-v0"


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    """Where datasets are in these tests."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["skill-embed", "demos", *arguments])
    cli.main()


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("env_id", [LWALL, "SkillEmbed/RailPush-v0"])
def test_a_dataset_is_read_back_and_its_episodes_replay_to_success(env_id, root):
    told = []
    folder = write_minari(env_id, "demos/test-v3", episodes=3, seed=5, done=told.append)
    assert folder == root / "demos/test-v3" and told == [True] * 3
    dataset = minari.load_dataset("demos/test-v3")
    assert dataset.total_episodes == 3 and dataset.total_steps == 300
    assert dataset.env_spec.id == env_id and "demos" in minari.namespace.list_local_namespaces()
    env = dataset.recover_environment()
    seeds = [metadata["seed"] for metadata in dataset.storage.get_episode_metadata(range(3))]
    assert seeds == [5, 6, 7]
    starts = []
    for episode, seed in zip(dataset.iterate_episodes(), seeds, strict=True):
        assert episode.observations.shape == (101, 27) and episode.observations.dtype == np.float32
        assert episode.actions.shape == (100, 7) and dataset.action_space.contains(episode.actions[0])
        assert not episode.terminations.any() and episode.truncations.tolist() == [False] * 99 + [True]
        observation, _ = env.reset(seed=seed)
        starts.append(observation)
        total = 0.0
        for action, seen in zip(episode.actions, episode.observations[1:], strict=True):
            observation, reward, _, _, info = env.step(action)
            np.testing.assert_array_equal(observation, seen)
            total += reward
        assert info["is_success"] and episode.infos["is_success"][-1]
        assert total == pytest.approx(episode.rewards.sum()) and total > 10
    assert (starts[0] != starts[1]).any()
    env.close()


def test_a_dataset_is_of_its_layout(root):
    folder = write_minari(LWALL, episodes=1, layout=3)
    assert folder == root / "skill-embed/lwall-layout3/scripted-v0"
    dataset = minari.load_dataset("skill-embed/lwall-layout3/scripted-v0")
    assert dataset.env_spec.kwargs["layout"] == 3
    env = dataset.recover_environment()
    (episode,) = dataset.iterate_episodes()
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observation, episode.observations[0])
    for action, seen in zip(episode.actions, episode.observations[1:], strict=True):
        observation, *_, info = env.step(action)
        np.testing.assert_array_equal(observation, seen)
    assert info["is_success"]
    env.close()


def test_a_dataset_that_exists_is_kept_unless_forced(root):
    write_minari(PUSH, "push-v0", episodes=1)
    before = (root / "push-v0/data/main_data.hdf5").read_bytes()
    with pytest.raises(FileExistsError, match="the dataset push-v0 exists"):
        write_minari(PUSH, "push-v0", episodes=2)
    assert (root / "push-v0/data/main_data.hdf5").read_bytes() == before
    write_minari(PUSH, "push-v0", episodes=2, force=True)
    assert minari.load_dataset("push-v0").total_episodes == 2
    (root / "mine-v0").mkdir()
    (root / "mine-v0/note.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="is no dataset of Minari"):
        write_minari(PUSH, "mine-v0", episodes=1, force=True)
    assert (root / "mine-v0/note.txt").read_text() == "precious"


def test_a_dataset_is_written_whole_or_not_at_all(root, monkeypatch):
    write_minari(PUSH, "push-v0", episodes=1)
    before = files(root)

    def fail(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(minari, "create_dataset_from_buffers", fail)
    for name in ("push-v0", "other/push-v1"):
        with pytest.raises(OSError, match="disk is full"):
            write_minari(PUSH, name, episodes=1, force=True)
    assert files(root) == before and os.environ["MINARI_DATASETS_PATH"] == str(root)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"env_id": "SkillEmbed/LWallPretrain-v0"}, r"SkillEmbed/LWallPretrain-v0.*SkillEmbed/LWall-v0"),
        ({"env_id": "SkillEmbed/PointMassCorner-v0"}, "is not valid"),
        ({"episodes": 0}, "episodes=0"),
        ({"layout": 1}, "layout"),
        ({"env_id": LWALL, "layout": 17}, "layout"),
        ({"seed": -1}, "seed=-1"),
        ({"name": "no version"}, "is no name of a Minari dataset"),
        ({"name": "../up-v0"}, "is no name of a Minari dataset"),
    ],
)
def test_wrong_arguments(arguments, said, root):
    with pytest.raises(ValueError, match=said):
        write_minari(**{"env_id": PUSH, "name": "push-v0", **arguments})
    assert not root.exists() or files(root) == []


def test_the_command_says_where_the_dataset_is(monkeypatch, capsys, root):
    command(monkeypatch, PUSH, "--episodes", "2")
    printed = capsys.readouterr().out
    assert "2 of 2 episodes end in the goal region" in printed
    assert (
        f"{root / 'skill-embed/push/scripted-v0'}; from Python: minari.load_dataset('skill-embed/push/scripted-v0')"
        in (" ".join(printed.split()))
    )
    with pytest.raises(SystemExit, match="exists in"):
        command(monkeypatch, PUSH, "--episodes", "2")
    with pytest.raises(SystemExit, match="SkillEmbed/Lift-v0"):
        command(monkeypatch, "SkillEmbed/Lif-v0")


def test_the_extra_is_named_where_minari_is_missing(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "minari"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit, match="needs the package minari, which is not installed: pip install"):
        command(monkeypatch, PUSH)


def test_the_block_of_the_page_works(monkeypatch, capsys):
    write_minari(LWALL, "lwall/scripted-v0", episodes=2)
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    block = next(part.split("```")[0] for part in text.split("```python\n") if "minari" in part.split("```")[0])
    exec(compile(block, "commands", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.startswith("100 ") and line.endswith(" True") for line in lines)


def test_every_demonstrated_task_has_an_environment():
    assert len(datasets.demonstrated()) == 9 and datasets.name_of(LWALL) == "skill-embed/lwall/scripted-v0"
