import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from toy import ROOT

from skill_agent import SkillConfig, load_policy, load_skills
from skill_agent.experiments import EXPERIMENTS, records
from skill_agent.experiments.records import networks_path, record_path
from skill_agent.experiments.registry import records_of
from skill_agent.experiments.sums import write_listed
from skill_agent.files import TEMPORARY, read_json, write_whole
from skill_agent.skills import shipped

# What comes with the package.
KEPT = [(name, 0) for name in shipped("skills")]


@pytest.mark.parametrize("figure", ["fig2", "fig3"])
def test_kept_records_are_of_the_present_settings(figure):
    kept = records_of(figure, ROOT / "records")
    for variant, run in EXPERIMENTS[figure].items():
        records = kept[variant]
        assert [record["seed"] for record in records] == list(range(10))
        for record in records:
            assert record["settings"] == json.loads(json.dumps(run.settings)), (variant, record["seed"])
            assert record["env_id"] == run.env_id and record["learning_rate"] == run.learning_rate
            assert run.total_timesteps <= record["total_timesteps"] < run.total_timesteps * 1.05


def effective(settings):
    """Settings as JSON has them, defaults written out, without those that can't change what is learned."""
    found = json.loads(json.dumps(vars(SkillConfig()) | settings))
    del found["compile"]  # it changes speed, and numbers up to rounding alone
    if found["embedding"] == "task_id":  # no inference network, and no entropy of z
        found = {k: v for k, v in found.items() if not k.startswith(("inference_", "embedding_", "versatility_"))}
    return found


@pytest.mark.parametrize("figure", ["pretrain", "fig5", "solutions"])
def test_kept_arm_records_are_of_the_present_settings_and_what_they_trained_is_there(figure):
    for variant, found in records_of(figure, ROOT / "records").items():
        run = EXPERIMENTS[figure][variant]
        for record in found:
            assert effective(record["settings"]) == effective(run.settings), (variant, record["seed"])
            assert (record["env_id"], record["skills"] if run.skills else "") == (run.env_id, run.skills)
            assert run.total_timesteps <= record["total_timesteps"] < run.total_timesteps * 1.05
            assert all(record[name] == getattr(run, name) for name in ("learning_rate", "n_envs"))
            check_networks(figure, variant, run, record)


def check_networks(figure, variant, run, record):
    """Networks that are kept are those of the record's run; the transferred ones are kept with the skills."""
    path = networks_path(ROOT / "records", figure, variant, record["seed"])
    assert path.exists() or (variant, record["seed"]) not in KEPT, f"{path} is lost"
    if not path.exists():
        return
    if not run.skills:
        assert effective(vars(load_skills(path).config)) == configured(run.settings), path
        return
    policy = load_policy(path)
    skills = load_skills(networks_path(ROOT / "records", "pretrain", run.skills, record["seed"]))
    assert (record["hold"], policy.hold) == (run.hold, run.hold)
    assert effective(vars(policy.mapping.config)) == configured(run.settings)
    assert policy.skills.config == skills.config
    for name, value in skills.state_dict().items():
        assert torch.equal(value, policy.skills.state_dict()[name]), "the transfer is of other skills"


def configured(settings):
    """What of the settings is in the config that goes with the networks."""
    return effective({name: value for name, value in settings.items() if name in vars(SkillConfig())})


def test_kept_records_of_figure_4_are_of_the_present_table():
    for variant, found in records_of("fig4", ROOT / "records").items():
        run = EXPERIMENTS["fig4"][variant]
        for record in found:
            assert (record["env_id"], record["skills"], record["hold"]) == (run.env_id, run.skills, run.hold)
            assert record["starts"] * record["paths"] * record["hold"] * len(record["coverage"]) == run.total_timesteps


def test_the_repository_keeps_little_and_will_with_ten_seeds():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "records/*/*.safetensors" in ignored
    assert {line for line in ignored if line.startswith("!records")} == {
        f"!records/*/{name}-seed{seed}.safetensors" for name, seed in KEPT
    }
    networks = [path for name, seed in KEPT for path in (ROOT / "records").glob(f"*/{name}-seed{seed}.safetensors")]
    size = sum(path.stat().st_size for path in networks)
    for figure in EXPERIMENTS:
        for variant in EXPERIMENTS[figure]:
            sizes = [path.stat().st_size for path in (ROOT / "records" / figure).glob(f"{variant}-seed*.json")]
            if sizes:  # there are none yet of runs that are still to come
                size += 10 * sum(sizes) / len(sizes)
    assert size < 25e6


def test_a_record_keeps_the_decimals_and_points_that_are_needed():
    drawn = {
        "task": [0, 0, 1],
        "latent": np.float32([[0.12345], [1], [2]]).tolist(),
        "position": np.full((3, 51, 2), np.float32(0.12345)).tolist(),
        "inference_error": np.full((3, 50), np.float32(0.98768)).tolist(),
    }
    record = {"final": {"kl": [[0.123456]], "inference_error": [np.float32(0.98768).item()], "trajectories": drawn}}
    final = records.thin(record)["final"]
    assert final["kl"] == [[0.1235]] and final["inference_error"] == [0.9877]
    assert json.dumps(final["trajectories"]["latent"]) == "[[0.123], [1.0], [2.0]]"
    assert np.shape(final["trajectories"]["position"]) == (3, 51, 2) and "every" not in final["trajectories"]
    assert final["trajectories"]["position"][0][0] == [0.123, 0.123]
    assert final["trajectories"]["inference_error"][2] == [0.988] * 50
    assert record["final"]["kl"] == [[0.123456]], "what was measured is changed"
    assert records.thin({"final": final}) == {"final": final}


def test_the_trajectories_of_the_arm_are_a_sample():
    times = np.arange(101)[:, None] / 1000 * np.ones(3)
    task = [0] * 6 + [1] * 2
    position = [(number + times).tolist() for number in range(8)]
    kept = {"task": task, "latent": [[float(number)] for number in range(8)], "position": position}
    record = {"final": {"trajectories": kept | {"inference_error": np.zeros((8, 100)).tolist()}}}
    thinned = records.thin(record)
    found = thinned["final"]["trajectories"]
    assert found["task"] == [0, 0, 0, 0, 1, 1] and found["latent"] == [[0.0], [1.0], [2.0], [3.0], [6.0], [7.0]]
    assert found["every"] == 5 and np.shape(found["inference_error"]) == (6, 20)
    assert np.allclose(found["position"], np.array(position)[[0, 1, 2, 3, 6, 7], ::5])
    assert records.thin(thinned) == thinned


@pytest.fixture
def kept(tmp_path):
    """Copies of a record of each kind, and their names."""
    names = (
        "fig3/bernoulli-seed0.json", "fig4/with-seed0.json", "fig5/lwall-seed0.json", "pretrain/all-seed0.json",
        "solutions/with-seed0.json",
    )  # fmt: skip
    for name in names:
        write_listed(tmp_path / name, (ROOT / "records" / name).read_bytes())
    return [tmp_path / name for name in names]


def load(path):
    return records_of(path.parent.name, path.parents[1])


def test_any_changed_bit_is_found_and_the_file_named(kept):
    rng = np.random.default_rng(0)
    for path in kept:
        load(path)
        data = path.read_bytes()
        for position in rng.integers(8 * len(data), size=25):
            changed = bytearray(data)
            changed[position // 8] ^= 1 << position % 8
            path.write_bytes(changed)
            with pytest.raises(ValueError, match=path.name):
                load(path)
        for cut in (b"", data[: len(data) // 2], data + b"\n"):
            path.write_bytes(cut)
            with pytest.raises(ValueError, match=path.name):
                load(path)
        path.unlink()
        with pytest.raises(ValueError, match=f"{path.name} is missing"):
            load(path)
        write_whole(path, data)
        load(path)


def test_damage_of_the_list_is_named(kept):
    path = kept[0]
    sums = path.with_name("SHA256SUMS")
    line = sums.read_bytes()
    for damaged in (line[:40], b"\xff" + line, line[1:], b"0" * 64 + b" " + line[64:], line + line, b"\n" + line):
        sums.write_bytes(damaged)
        with pytest.raises(ValueError, match="SHA256SUMS"):
            load(path)
    sums.unlink()
    with pytest.raises(ValueError, match=r"bernoulli-seed0\.json is not listed in .*SHA256SUMS"):
        load(path)


@pytest.mark.parametrize(
    ("index", "where", "value", "message"),
    [
        (0, ("final", "success"), [1.99], r"final\.success\[0\] is 1\.99; choose a finite number from 0 to 1"),
        (0, ("final", "goals_reached"), [0.5, -0.1, 0, 0], r"final\.goals_reached\[1\] is -0\.1"),
        (0, ("curve", 3, "success"), [0.5, 0.5], r"curve\[3\]\.success has 2 entries; choose 1, as there are tasks"),
        (0, ("train_seconds",), float("nan"), "train_seconds is nan"),
        (0, ("env_id",), "SkillEmbed/Nowhere-v0", "env_id is 'SkillEmbed/Nowhere-v0'; choose from"),
        (0, ("seed",), 1, r"is of fig3, bernoulli, seed 1 by what it says"),
        (1, ("lifted",), 1.5, r"lifted is 1\.5"),
        (1, ("coverage",), ["0.1"], r"coverage\[0\] is '0\.1'; choose one of type float"),
        (2, ("final", "success_deterministic"), [2], r"final\.success_deterministic\[0\] is 2"),
        (2, ("hold",), 0, "hold is 0"),
        (3, ("final", "kl"), [[0.0] * 6] * 5, r"final\.kl has 5 entries; choose 6"),
        (3, ("updates",), None, "updates is None"),
    ],
)
def test_values_outside_their_range_are_named_with_the_file(kept, index, where, value, message):
    path = kept[index]
    record = content = read_json(path)
    *way, last = where
    for key in way:
        content = content[key]
    content[last] = value
    write_listed(path, json.dumps(record).encode())  # the sum is right
    with pytest.raises(ValueError, match=f"{path.name} .*{message}"):
        load(path)
    unlisted = path.with_name("other-seed0.json")
    if where != ("seed",):
        with pytest.raises(ValueError, match=f"{unlisted.name} would not be .*{message}"):
            records.write_record(unlisted, record)
    assert not unlisted.exists()


def test_what_is_being_written_or_was_left_by_a_killed_writer_is_no_record(kept):
    before = load(kept[0])
    for content in ("", kept[0].read_text()):
        kept[0].with_name(f"{TEMPORARY}0123456789abcdef-{kept[0].name}").write_text(content)
        assert load(kept[0]) == before


def test_of_two_writers_the_first_is_kept_and_no_reader_sees_a_torn_record(kept):
    path = kept[0]
    record = read_json(path)
    path = record_path(path.parents[1], "fig3", "bernoulli", 1)
    begun = threading.Barrier(7)
    seen = []

    def write(number):
        begun.wait()
        records.write_record(path, record | {"seed": 1, "updates": number})

    def read():
        begun.wait()
        while len(seen) < 20:
            seen.extend(record["updates"] for record in load(path)["bernoulli"][1:])

    with ThreadPoolExecutor(7) as pool:
        for future in [*(pool.submit(write, number) for number in range(6)), pool.submit(read)]:
            future.result()
    assert seen and set(seen) == {load(path)["bernoulli"][1]["updates"]}
    assert sorted(p.name for p in path.parent.iterdir()) == [
        ".lock", "SHA256SUMS", "bernoulli-seed0.json", "bernoulli-seed1.json",
    ]  # fmt: skip


def test_networks_stay_with_their_record(kept):
    path = kept[2]
    record, beside = read_json(path), path.with_suffix(".safetensors")
    records.write_record(path, record, b"trained again, as they were not kept")
    records.write_record(path, record | {"updates": 1}, b"another process's")
    assert beside.read_bytes() == b"trained again, as they were not kept" and read_json(path) == record
    path.unlink()
    records.write_record(path, record | {"updates": 1}, b"of the new record")
    assert beside.read_bytes() == b"of the new record" and read_json(path)["updates"] == 1
    load(path)
