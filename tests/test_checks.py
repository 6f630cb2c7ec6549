import numpy as np
import pytest

from skill_envs import checks


@pytest.mark.parametrize("value", [1, np.int64(5), 7])
def test_an_integer_in_range_comes_back_as_int(value):
    assert checks.integer("n", value, 1, 7) == value and type(checks.integer("n", value, 1, 7)) is int


@pytest.mark.parametrize("value", [0, 8, True, np.True_, 1.0, "1", None, float("nan"), np.array([1]), [1], 10**30])
def test_what_is_no_integer_in_range_is_named(value):
    with pytest.raises(ValueError, match=r"n=.* is not valid; choose an integer from 1 to 7"):
        checks.integer("n", value, 1, 7)


@pytest.mark.parametrize("value", [0.1, 1, np.float32(0.5), np.int64(1)])
def test_a_number_in_range_comes_back_as_float(value):
    assert checks.number("x", value, most=1, above=0) == value and type(checks.number("x", value, 0, 1)) is float


@pytest.mark.parametrize(
    "value", [0, -1, 1.1, float("nan"), float("inf"), -float("inf"), 10**400, True, "1", None, 1j, np.ones(1)]
)
def test_what_is_no_number_in_range_is_named(value):
    with pytest.raises(ValueError, match=r"x=.* is not valid; choose a finite number above 0 of at most 1"):
        checks.number("x", value, most=1, above=0)


@pytest.mark.parametrize("value", [0, 1, "yes", None, np.array(True)])
def test_only_booleans_are_booleans(value):
    assert checks.boolean("b", True) is True and checks.boolean("b", np.False_) is False
    with pytest.raises(ValueError, match=r"b=.* is not valid; choose True or False"):
        checks.boolean("b", value)


@pytest.mark.parametrize("value", ["c", None, 1, np.array(["a", "b"]), ["a"], float("nan")])
def test_one_of_names_the_choices(value):
    checks.one_of("kind", "a", ["a", "b"])
    with pytest.raises(ValueError, match=r"kind=.* is not valid; choose from \['a', 'b'\]"):
        checks.one_of("kind", value, ["a", "b"])


def test_the_nearest_name_is_suggested():
    valid = ["SkillEmbed/LWall-v0", "SkillEmbed/LWallPretrain-v0", "SkillEmbed/Push-v0", 3]
    for given, meant in (("lwall", 0), ("SkillEmbed/LWal-v0", 0), ("L-Wall-Pretrain", 1), ("SKILLEMBED/PUSH-V0", 2)):
        with pytest.raises(ValueError, match=rf"Did you mean '{valid[meant]}'\?$"):
            checks.one_of("env_id", given, valid)
    for given in ("SkillEmbed/Nowhere-v0", "", 4, None):
        with pytest.raises(ValueError, match=r"3\]$"):
            checks.one_of("env_id", given, valid)


def test_a_value_that_says_it_can_be_iterated_over_and_cannot_is_named_all_the_same():
    for given in (np.array(1.0), np.array("Push")):
        assert checks.did_you_mean(given, ["Push", "Lift"]) == ""
        with pytest.raises(ValueError, match="choose from"):
            checks.one_of("task", given, ["Push", "Lift"])
