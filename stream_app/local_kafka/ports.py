"""Free TCP ports on loopback for listeners that must come back on the same port after a restart."""

import random
import socket
from contextlib import ExitStack
from pathlib import Path

from stream_app.local_kafka.errors import LocalKafkaError

LOOPBACK = "127.0.0.1"
_LOWEST_PORT = 15_000
_TRIES = 200


def free_ports(count: int) -> list[int]:
    """Return `count` distinct ports nobody listens on at the moment.

    They lie below the kernel's ephemeral range: a client that keeps connecting to a killed broker inside that range can
    be given the broker's own port as its source port, connect to itself and so keep the broker from coming back.

    Raises:
        LocalKafkaError: no free ports were found.
    """
    highest = _first_ephemeral_port() - 1
    if highest - _LOWEST_PORT < _TRIES:
        highest = 65_535
    candidates = random.Random().sample(range(_LOWEST_PORT, highest), _TRIES)  # noqa: S311 - no secret
    found: list[int] = []
    with ExitStack() as stack:
        for port in candidates:
            if len(found) == count:
                break
            probe = stack.enter_context(socket.socket())
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            found.append(port)
    if len(found) < count:
        message = f"no free ports on {LOOPBACK}: expected {count} between {_LOWEST_PORT} and {highest}, found {found}"
        raise LocalKafkaError(message)
    return found


def is_listening(port: int) -> bool:
    """Tell whether somebody accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _first_ephemeral_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768  # Linux's default
