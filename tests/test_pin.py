"""Why MuJoCo stays below 4, and when it need not: in this file's skips, which pytest lists at its end.

Nothing here fails by what others publish. Where dm-control has caught up, the test is skipped and says what to do;
``make mujoco4`` then compares the suite on both versions.
"""

from importlib.metadata import version

import gymnasium
import numpy as np
import observations
import pytest
from dm_control.mujoco.wrapper.mjbindings import sizes
from packaging.requirements import Requirement
from packaging.version import Version
from test_install import setup_arguments

# Fields of MjModel and MjData that MuJoCo 3.17 has and 4.0 does not.
GONE_IN_4 = {
    "mjmodel": [
        "flex_vertedge", "flex_vertedgeadr", "flex_vertedgenum", "flex_vertmetric",
        "flexvert_J_colind", "flexvert_J_rowadr", "flexvert_J_rownnz",
    ],
    "mjdata": ["flexvert_J", "flexvert_length"],
}  # fmt: skip


def stale(tables):
    """Those of them that dm-control's tables name; it reads every one when it makes a Physics."""
    return [name for struct, names in GONE_IN_4.items() for name in names if name in tables[struct]]


def below_4():
    (text,) = [r for r in setup_arguments()["install_requires"] if Requirement(r).name == "mujoco"]
    return not Requirement(text).specifier.contains("4.0.0")


def check(tables, pinned, dm_control):
    """The pin stands as long as dm-control needs it; then a skip says that it can go."""
    if stale(tables):
        assert pinned, f"dm-control {dm_control} reads {stale(tables)}, which MuJoCo 4 does not have: keep mujoco<4"
    elif pinned:
        pytest.skip(f"dm-control {dm_control} no longer needs mujoco<4: run `make mujoco4`, then lift it in setup.py")


def test_the_pin_of_mujoco_stands_while_dm_control_needs_it():
    check(sizes.array_sizes, below_4(), version("dm-control"))


def test_what_it_says_when_dm_control_has_caught_up():
    caught_up = {"mjmodel": {}, "mjdata": {}}
    with pytest.raises(pytest.skip.Exception, match=r"dm-control 2\.0 no longer needs mujoco<4: run `make mujoco4`"):
        check(caught_up, True, "2.0")
    check(caught_up, False, "2.0")
    with pytest.raises(AssertionError, match=r"reads \['flex_vertedge'\].*keep mujoco<4"):
        check(caught_up | {"mjmodel": {"flex_vertedge": ()}}, False, "1.0.50")


def test_the_list_is_of_fields_that_this_mujoco_has():
    """With MuJoCo 4 installed it would be of fields that are gone."""
    import mujoco

    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    structs = {"mjmodel": model, "mjdata": mujoco.MjData(model)}
    before_4 = Version(mujoco.__version__) < Version("4")
    for struct, names in GONE_IN_4.items():
        for name in names:
            assert hasattr(structs[struct], name) == before_4, name


def test_what_make_mujoco4_compares_is_the_same_twice_and_notices_a_change(monkeypatch):
    first, again = (observations.episodes("SkillEmbed/PointMassTwoGoals-v0") for _ in range(2))
    assert first.shape == (52, 4, 4) and np.array_equal(first, again)
    assert observations.difference(first, again) == "identical"
    again[-1, 0, 0] = np.nextafter(again[-1, 0, 0], np.float32(9))
    assert observations.difference(first, again).startswith("differs by up to")
    assert gymnasium.spec("SkillEmbed/LWall-v0").id in observations.ENVIRONMENTS
