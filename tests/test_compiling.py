"""What is compiled, and what happens where it can't be."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from toy import ROOT, make_line, make_model

from skill_agent import compiling


def parameters(model):
    return torch.cat([p.flatten() for p in model.policy.parameters()])


def failing(function, **_):
    """In place of torch.compile: a compiler that is there and fails."""

    def compile_and_fail(*_):
        raise RuntimeError("\n  fatal error: Python.h: No such file or directory\nmore lines")

    return compile_and_fail


def test_a_compiler_that_fails_is_named_and_training_goes_on_as_without(monkeypatch):
    plain = make_model(make_line(2, n_tasks=2)).learn(60)
    monkeypatch.setattr(torch, "compile", failing)
    model = make_model(make_line(2, n_tasks=2), compile=True)
    with pytest.warns(UserWarning, match=r"can't be compiled here.*fatal error: Python\.h") as caught:
        model.learn(60)
    assert len(caught) == 2  # the update, and acting; each once
    torch.testing.assert_close(parameters(model), parameters(plain), rtol=0, atol=0)
    assert model.config.compile  # it is still what was asked for


def test_an_error_of_the_function_itself_is_not_blamed_on_the_compiler(monkeypatch, recwarn):
    def broken(x):
        raise ZeroDivisionError("mine")

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(ZeroDivisionError, match="mine"):
        compiling.compiled(broken, lambda _: None)(1)
    assert not recwarn.list


def test_long_compiling_is_announced_once(monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    make_model(make_line(2), compile=True, verbose=0).learn(60)
    assert "compiling" not in capsys.readouterr().err
    make_model(make_line(2), compile=True, verbose=1).learn(60)
    error = capsys.readouterr().err
    assert error.count("compiling gradients") == error.count("compiling behaviour") == 1
    make_model(make_line(2), compile=True, verbose=0).learn(60, progress_bar=True)  # as the command line does
    error = capsys.readouterr().err
    assert error.count("compiling gradients") == error.count("compiling behaviour") == 1


def test_a_compiler_that_fails_later_is_named_as_well(monkeypatch):
    """Another shape is compiled anew, when the compiler may be gone."""
    calls = []

    def failing_at_two(function, **_):
        def call(x):
            calls.append(x)
            if x == 2:
                raise RuntimeError("no space left on device")
            return function(x)

        return call

    monkeypatch.setattr(torch, "compile", failing_at_two)
    double = compiling.compiled(lambda x: 2 * x, lambda _: None)
    assert double(1) == 2
    with pytest.warns(UserWarning, match="can't be compiled here.*no space left on device"):
        assert double(2) == 4
    assert double(1) == 2 and calls == [1, 2]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler to replace")
def test_a_broken_compiler_in_a_process_of_its_own(tmp_path):
    code = (
        "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n"
        "from toy import make_line, make_model\n"
        "model = make_model(make_line(2), compile=True).learn(40)\n"
        "assert model._n_updates > 0"
    )
    environment = os.environ | {
        "CXX": "/bin/false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}",
    }  # fmt: skip
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "can't be compiled here" in result.stderr
