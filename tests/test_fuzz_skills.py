"""Files of skills and policies with random damage: an error that names the file, or the very same networks."""

import json
import math

import numpy as np
import pytest
import torch
from sharing import forge, make_agent, make_policy

from skill_agent import load_policy, load_skills, tensorfile
from skill_agent.tensorfile import SkillsFileError


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_damage_is_an_error_whatever_bit_it_is(tmp_path):
    path = make_agent().export_skills(tmp_path / "skills")
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(data[:8], "little")
    for bit in [*range(64), *rng.integers(8 * header, size=200), *rng.integers(8 * header, 8 * len(data), size=100)]:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            policy = load_skills(path)
        except SkillsFileError as error:
            assert str(path) in str(error)
        else:  # a flip in the header's padding changes nothing
            assert all(v.isfinite().all() for v in policy.state_dict().values())
            assert json.loads(data[8:header]) == json.loads(flipped[8:header])
    for cut in (0, 4, header - 1, header, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            load_skills(path)
    with pytest.raises(FileNotFoundError):
        load_skills(tmp_path / "nowhere.safetensors")


def test_damage_of_any_kind_is_named(tmp_path):
    """Bits, cuts and swaps at random places of a policy's file: an error that names it, or the very same policy."""
    path = make_policy(tmp_path)
    good, rng = path.read_bytes(), np.random.default_rng(1)
    description, arrays = tensorfile.read(path)
    for _ in range(300):
        data = bytearray(good)
        for at in rng.integers(len(data), size=rng.integers(1, 4)):
            data[at] = rng.integers(256)
        path.write_bytes(data[: len(data) if rng.random() < 0.7 else rng.integers(len(data))])
        try:
            load_policy(path)
        except SkillsFileError as error:
            assert str(path) in str(error)
        else:
            found, same = tensorfile.read(path)
            assert found == description and all((same[name] == array).all() for name, array in arrays.items())


EVIL = [None, True, "x", -1, 0, 1, 1.5, 1e30, 1e300, -1e300, 1e-300, math.inf, math.nan, 2**31, 2**63, 10**30, [], {}]
EVIL += [[1] * 40, [10**6], "y" * 10_000, {"a": 1}]


def leaves(value, path=()):
    """The paths of everything in JSON."""
    if isinstance(value, dict):
        for key in value:
            yield (*path, key)
            yield from leaves(value[key], (*path, key))
    if isinstance(value, list):
        for i in range(len(value)):
            yield (*path, i)
            yield from leaves(value[i], (*path, i))


def put(value, path, new):
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


def test_a_description_with_any_value_replaced_is_named_or_acts(tmp_path):
    """With a right sum, so that nothing but the checks stands between a stranger and the networks."""
    good, rng, refused = make_policy(tmp_path), np.random.default_rng(2), 0
    description, _ = tensorfile.read(good)
    places, path = list(leaves(description)), tmp_path / "forged.safetensors"
    for _ in range(400):
        place, evil = places[rng.integers(len(places))], EVIL[rng.integers(len(EVIL))]
        forge(good, path, lambda d, place=place, evil=evil: put(d, place, evil))
        try:
            policy = load_policy(path)
        except SkillsFileError as error:
            refused += 1
            assert str(path) in str(error) and len(str(error)) < 1_000
            continue
        for deterministic in (True, False):
            actions, state = policy.predict(np.full((2, 4), 0.3, np.float32), deterministic=deterministic)
            assert np.isfinite(actions).all() and np.isfinite(state[0]).all(), (place, evil)
    assert 200 < refused < 400


def test_a_header_with_any_number_changed_is_named(tmp_path):
    good, rng = make_policy(tmp_path).read_bytes(), np.random.default_rng(3)
    length = int.from_bytes(good[:8], "little")
    path = tmp_path / "forged.safetensors"
    for _ in range(300):
        header = json.loads(good[8 : 8 + length])
        places = [place for place in leaves(header) if place[0] != "__metadata__"]
        place, evil = places[rng.integers(len(places))], EVIL[rng.integers(len(EVIL))]
        put(header, place, evil)
        encoded = json.dumps(header).encode()
        path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + good[8 + length :])
        if json.dumps(header) == json.dumps(json.loads(good[8 : 8 + length])):
            continue  # the same number again
        with pytest.raises(SkillsFileError, match="forged"):
            load_policy(path)
