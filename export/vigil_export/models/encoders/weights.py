"""Pretrained weights: from a safetensors file or from the Hugging Face hub, or an error that says what to do.

In: a name or path. Out: weights inside a module, all of them or none. No pickles: a safetensors file holds
numbers only.
"""

from __future__ import annotations

import contextlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import safetensors.torch
from safetensors import SafetensorError
from torch import nn

_PATIENCE_S = 3.0
"""How long to wait for the hub to answer; its own client would try for minutes behind a firewall that says nothing."""

_SHOWN = 4


class WeightsError(ValueError):
    """Pretrained weights cannot be had or do not fit; the message says what to do."""


def load_file(module: nn.Module, path: Path, *, leave_out: tuple[str, ...] = ()) -> None:
    """Load a safetensors file into a module.

    Args:
        module: Takes the weights; unchanged if there is an error.
        path: The file.
        leave_out: Names of layers (a classifier) that the file may have and the module has not.

    Raises:
        WeightsError: No such file, no safetensors, or its names or shapes are not the module's.
    """
    if not path.is_file():
        raise WeightsError(f"weights {path}: expected a .safetensors file, found none")
    try:
        found = safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights {path}: expected a .safetensors file, found: {error}") from error
    found = {name: value for name, value in found.items() if not name.startswith(tuple(f"{n}." for n in leave_out))}
    expected = module.state_dict()
    # Counters of batches, which some files leave out and which change nothing.
    missing = [name for name in expected if name not in found and not name.endswith("num_batches_tracked")]
    unknown = [name for name in found if name not in expected]
    other = [name for name in found if name in expected and found[name].shape != expected[name].shape]
    for what, names in (("lacks", missing), ("has unknown", unknown), ("has other shapes of", other)):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise WeightsError(
                f"weights {path}: expected the {len(expected)} tensors of the backbone; "
                f"the file {what} {', '.join(names[:_SHOWN])}{more}"
            )
    module.load_state_dict(found, strict=False)


def is_hub_reachable() -> bool:
    """Whether to ask the hub, or only the copies on this machine: it answers within 3 s, or a proxy may know it."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    hub = urllib.parse.urlsplit(huggingface_hub.constants.ENDPOINT)
    if urllib.request.getproxies().get(hub.scheme):
        return True
    port = hub.port or (443 if hub.scheme == "https" else 80)
    try:
        socket.create_connection((hub.hostname or "", port), timeout=_PATIENCE_S).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def hub_errors(name: str, *, instead: str) -> Iterator[None]:
    """Turn what the hub's client raises into an error that says what to do.

    Args:
        name: What was asked for.
        instead: What to do without the hub.

    Raises:
        WeightsError: The hub or its answer was of no use.
    """
    try:
        yield
    except WeightsError:
        raise
    # The client raises OSError without a network and RuntimeError when it gives up trying again.
    except (OSError, RuntimeError, ValueError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise WeightsError(
            f"weights of {name}: expected them on this machine or from {huggingface_hub.constants.ENDPOINT}, "
            f"found: {first}. Without that network: {instead}"
        ) from error
