import json
import math

import pytest
from toy import ROOT

from skill_agent.experiments import benchmarks
from skill_agent.experiments.schema import OBJECT, TEXT, TRUTH, check, number, whole
from skill_agent.experiments.sums import write_listed

SCHEMA = {
    "name": TEXT,
    "done": TRUTH,
    "any": OBJECT,
    "count": whole(low=1),
    "share": number("tasks", low=0, high=1),
    "points": number("episodes", "2"),
    "errors?": number("episodes", low=0, infinite=True),
    "curve": [{"success": number("tasks", low=0, high=1), "note?": number(null=True)}],
    "others": {"fixed": whole(), "*": number()},
}
GOOD = {
    "name": "x",
    "done": True,
    "any": {"a": [None]},
    "count": 1,
    "share": [0, 1.0],
    "points": [[1, 2], [3, 4], [5, 6]],
    "errors": [0.5, 0, math.inf],
    "curve": [{"success": [0.5, 0.5]}, {"success": [1, 1], "note": None}],
    "others": {"fixed": 3, "free": 0.5},
}


def test_what_fits_passes():
    check(GOOD, SCHEMA, {"tasks": 2})
    check({key: value for key, value in GOOD.items() if key != "errors"}, SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, r"name is 3; choose one of type str"),
        ({"done": 1}, r"done is 1; choose one of type bool"),
        ({"any": []}, r"any is \[\]; choose one of type dict"),
        ({"count": 0}, r"count is 0; choose a finite number from 1 to inf"),
        ({"count": 1.0}, r"count is 1.0; choose one of type int"),
        ({"count": True}, r"count is True; choose one of type int"),
        ({"share": [0, 1.99]}, r"share\[1\] is 1.99; choose a finite number from 0 to 1"),
        ({"share": [0, math.nan]}, r"share\[1\] is nan"),
        ({"share": [0, None]}, r"share\[1\] is None"),
        ({"share": [0]}, r"share has 1 entries; choose 2, as there are tasks"),
        ({"share": 0.5}, r"share is 0.5, not a list of tasks"),
        ({"points": [[1, 2, 3]]}, r"points\[0\] has 3 entries; choose 2"),
        ({"points": [[1, math.inf]] * 3}, r"points\[0\]\[1\] is inf"),
        ({"errors": [1, 1]}, r"errors has 2 entries; choose 3, as there are episodes"),
        ({"errors": [1, 1, -1e-9]}, r"errors\[2\] is -1e-09; choose a number from 0 to inf"),
        ({"curve": []}, r"curve is \[\], not a list with at least one object"),
        ({"curve": [{"success": [0, 2]}]}, r"curve\[0\]\.success\[1\] is 2"),
        ({"curve": [{}]}, r"curve\[0\] lacks the keys \['success'\]"),
        ({"others": {"free": 1}}, r"others lacks the keys \['fixed'\]"),
        ({"others": {"fixed": 3, "free": "1"}}, r"others\.free is '1'"),
        ({"extra": 1}, r"the content lacks the keys \[\] and has the unknown keys \['extra'\]"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        check(GOOD | change, SCHEMA, {"tasks": 2})


@pytest.mark.parametrize("content", [None, [], 3, "text"])
def test_what_is_no_object_is_named(content):
    with pytest.raises(ValueError, match="not an object"):
        check(content, SCHEMA)


def test_kept_benchmarks_are_what_was_measured_and_every_script_has_its_schema():
    found = benchmarks.load_benchmarks(ROOT / "benchmarks")
    measured = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    measured.remove("faster")  # its runs take hours, and are still to come
    assert measured == found.keys() and not (ROOT / "benchmarks/faster.json").exists()


def test_a_benchmark_with_an_impossible_value_is_named(tmp_path):
    for path in (ROOT / "benchmarks").glob("*.json"):
        content = json.loads(path.read_text())
        if path.stem == "random_success":
            content["tasks"]["Lift"]["last_step"] = 1.194
        write_listed(tmp_path / path.name, json.dumps(content).encode())
    with pytest.raises(ValueError, match=r"random_success\.json is not valid: tasks\.Lift\.last_step is 1\.194"):
        benchmarks.load_benchmarks(tmp_path)
    (tmp_path / "kills.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"kills\.json is missing; run: python benchmarks/kills\.py"):
        benchmarks.load_benchmarks(tmp_path)
