"""Runs commands where nothing but loopback answers, and tells whom they tried to reach.

Every address belongs to the loopback interface of a network namespace of their own, so each attempt of any library
becomes a packet that can be seen; so does a look-up, for the only name server has such an address too. It takes no
privileges where user namespaces are allowed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec
import pytest

_REPOSITORY = Path(__file__).resolve().parents[2]
_OWN_NAMESPACES = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--uts")
_TOOLS = ("unshare", "mount", "ip")
_NAME_SERVER = "192.0.2.53"  # of a block that is kept for documentation (RFC 5737)
#: What the machine is called in there; nobody knows the name, so whoever looks it up has to ask the name server.
HOST_NAME = "watched-host"
_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_ICMP, _UDP = 1, 17
# Classic BPF (code, jump if true, jump if false, value): keep what does not go to 127.0.0.0/8 or ::/32.
_NOT_LOOPBACK = (
    (0x30, 0, 0, 0),  # the first byte of the packet: version of IP
    (0x54, 0, 0, 0xF0),
    (0x15, 0, 2, 0x40),
    (0x30, 0, 0, 16),  # IPv4: the first byte of the destination
    (0x15, 3, 2, 127),
    (0x20, 0, 0, 24),  # IPv6: the first four bytes of the destination
    (0x15, 1, 0, 0),
    (0x06, 0, 0, 0xFFFF),  # keep it
    (0x06, 0, 0, 0),  # drop it
)


class Watched(msgspec.Struct, frozen=True):
    """What was seen: the end of each command, in their order, and the addresses and names that were asked for."""

    statuses: tuple[int, ...]
    outputs: tuple[str, ...]
    addresses: tuple[str, ...]
    names: tuple[str, ...]


def watch(commands: Sequence[Sequence[str]], *, environment: Mapping[str, str], timeout_s: float) -> Watched:
    """Run commands beside each other in a closed network, and return what they tried.

    Args:
        commands: programs with their arguments.
        environment: all variables that they see.
        timeout_s: after which they are ended; that fails the test.
    """
    _skip_where_impossible()
    inside = [*_OWN_NAMESPACES, sys.executable, "-m", "tests.proofs.closed_network", json.dumps([*map(list, commands)])]
    done = subprocess.run(
        inside, env=dict(environment), cwd=_REPOSITORY, capture_output=True, check=False, timeout=timeout_s
    )
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout, type=Watched)


def _skip_where_impossible() -> None:
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"a network namespace needs {', '.join(missing)} (Debian: util-linux, iproute2)")
    tried = subprocess.run([*_OWN_NAMESPACES, "true"], capture_output=True, text=True, check=False, timeout=30)
    if tried.returncode:
        pytest.skip(f"network namespaces cannot be made here: {tried.stderr.strip()}")


def _close_network() -> None:
    """Let every address be this machine's, and every name be asked of an address."""
    run = subprocess.check_call
    run(["ip", "link", "set", "lo", "up"])
    run(["ip", "route", "add", "local", "default", "dev", "lo"])
    if Path("/proc/net/if_inet6").exists():
        run(["ip", "-6", "route", "add", "local", "default", "dev", "lo"])
    socket.sethostname(HOST_NAME)
    # Daemons that look names up for others listen on sockets there, which no network namespace hides.
    run(["mount", "-t", "tmpfs", "none", "/run"])
    content = {
        "/etc/resolv.conf": f"nameserver {_NAME_SERVER}\noptions timeout:1 attempts:1\n",
        "/etc/nsswitch.conf": "hosts: files dns\n",
        "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    }
    for name, text in content.items():
        place = Path(name).resolve()  # often a link into /run
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            run(["mount", "--bind", file.name, str(place)])


class _Watcher:
    """Hears every packet that leaves loopback's own addresses."""

    def __init__(self) -> None:
        self.addresses: set[str] = set()
        self.names: set[str] = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _NOT_LOOPBACK))
        attached = struct.pack("HL", len(_NOT_LOOPBACK), ctypes.addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)  # the kernel copies the program
        self._socket.settimeout(0.2)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._hear)
        self._thread.start()

    def close(self) -> None:
        """Hear what is still there, and end."""
        self._ends.set()
        self._thread.join()
        self._socket.close()

    def _hear(self) -> None:
        while True:
            try:
                packet = self._socket.recv(0xFFFF)
            except TimeoutError:
                if self._ends.is_set():
                    return
                continue
            self._note(packet)

    def _note(self, packet: bytes) -> None:
        if packet[0] >> 4 == 6:
            self.addresses.add(socket.inet_ntop(socket.AF_INET6, packet[24:40]))
            return
        address = socket.inet_ntoa(packet[16:20])
        header = (packet[0] & 15) * 4
        if packet[9] == _UDP and address == _NAME_SERVER:
            self.names.add(_question(packet[header + 8 + 12 :]))
        elif packet[9] != _ICMP:  # which only tells the asker that nobody is there
            self.addresses.add(address)


def _question(rest: bytes) -> str:
    """Return the name that a DNS query asks for (RFC 1035, 4.1.2)."""
    labels, at = [], 0
    while size := rest[at]:
        labels.append(rest[at + 1 : at + 1 + size].decode("ascii", "backslashreplace"))
        at += 1 + size
    return ".".join(labels)


def _main(commands: list[list[str]]) -> None:
    _close_network()
    watcher = _Watcher()
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands]
        running = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
            for command, output in zip(commands, outputs, strict=True)
        ]
        statuses = tuple(process.wait() for process in running)
        watcher.close()
        said = tuple(_read(output) for output in outputs)
    found = Watched(statuses, said, tuple(sorted(watcher.addresses)), tuple(sorted(watcher.names)))
    sys.stdout.buffer.write(msgspec.json.encode(found))


def _read(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
