"""Functions compiled by torch.compile, which go on uncompiled where this machine can't compile them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

# Kernels are called from C++, which spares the interpreter's time between them.
_OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {"cpp_wrapper": True}


def compiled(
    function: Callable[..., Any], announce: Callable[[str], None], *, traces_gradients: bool = False
) -> Callable[..., Any]:
    """``function`` compiled at its first call, and anew for inputs of other shapes.

    A compiler may be missing, too old, or without the headers that it needs, and only trying tells. Where compiling
    fails, a warning says why, and the function itself is called from then on.

    Args:
        function: of tensors, without side effects.
        announce: is told, before the first call, that compiling takes a while.
        traces_gradients: whether the function calls torch.autograd.grad, and should be one graph all the same.
    """
    fast = torch.compile(function, dynamic=False, options=_OPTIONS)
    # Older releases of torch lack the switch, and compile two graphs in place of one.
    if traces_gradients and hasattr(torch._dynamo.config, "trace_autograd_ops"):
        fast = torch._dynamo.config.patch(trace_autograd_ops=True)(fast)
    announced = fails = False

    def call(*arguments: Any) -> Any:
        nonlocal announced, fails
        if fails:
            return function(*arguments)
        if not announced:
            announce(f"compiling {function.__name__}: up to a minute, or seconds where an earlier result is cached")
            announced = True
        try:
            return fast(*arguments)
        except Exception as error:  # a compiler can fail in any way, and at other shapes anew
            # An error of the function's own comes again here, and is the caller's.
            result = function(*arguments)
            fails = True
            lines = [line for line in str(error).splitlines() if line.strip()]
            reason = lines[0] if lines else type(error).__name__
            warnings.warn(
                f"{function.__name__} can't be compiled here, and takes longer uncompiled: {reason}", stacklevel=2
            )
            return result

    return call
