"""Ray: imported only where it is asked for, and a cluster of its own that only this machine can reach."""

from __future__ import annotations

import importlib
import ipaddress
import os
import secrets
from typing import Any

LOCAL = "local"  # in place of an address
_STORE = 2**29  # object store of a local cluster [byte]


def load_ray() -> Any:
    """The package.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ImportError(f"Ray is not installed ({error}): pip install 'skill-embed[ray]'") from error


def connect(address: str, n_cpus: int | None = None) -> tuple[Any, bool]:
    """Connect to a cluster, unless this process is in one already.

    Args:
        address: of a running cluster, such as "10.0.0.1:6379"; "local" starts one on this machine, which nobody else
            can reach, and whose token nobody else knows.
        n_cpus: of a local cluster, for tasks; None for as many as there are.

    Returns:
        The package, and whether a cluster was started, which the caller has to end by ``shutdown``.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: there is no cluster at this address, or it wants another token.
        RuntimeError: Ray was imported in a way that opens ports to the network.
    """
    if address == LOCAL:
        # Read when Ray is imported, here and in the processes that it starts. The first one stands for "no cluster of
        # several machines", on which Ray listens at 127.0.0.1 alone.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        if "RAY_AUTH_MODE" not in os.environ:
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    ray = load_ray()
    if ray.is_initialized():
        return ray, False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address != LOCAL:
        try:
            ray.init(address=address, **quiet)
        except Exception as error:
            raise ConnectionError(f"no Ray cluster can be joined at {address!r}: {error}") from error
        return ray, True
    ray.init(address=LOCAL, include_dashboard=False, num_cpus=n_cpus, object_store_memory=_STORE, **quiet)
    nodes = [node["NodeManagerAddress"] for node in ray.nodes()]
    if not all(ipaddress.ip_address(node).is_loopback for node in nodes):
        ray.shutdown()
        raise RuntimeError(
            f"Ray listens at {nodes}, since it was imported before; import it later, or call ray.init yourself"
        )
    return ray, True
