"""One Kafka node: its files, its process, its log.

In: a node's number, ports and folder. Out: a formatted, running, killed, paused or stopped Java process. It must not
know of the other nodes' processes; who runs together is written in the settings that it is given.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stream_app.local_kafka.child import end, spawn
from stream_app.local_kafka.errors import LocalKafkaError
from stream_app.local_kafka.ports import LOOPBACK, is_listening

CLUSTER_ID: Final = "vigil-local"
BROKER_MAIN: Final = "kafka.Kafka"
_FORMAT_MAIN: Final = "kafka.tools.StorageTool"
_STOP_GRACE_S: Final = 15.0
_POLL_S: Final = 0.05
_TAIL_LINES: Final = 15
_LOG4J = """\
status=error
appender.out.type=Console
appender.out.name=OUT
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=OUT
"""
# Java asks this file and no name server: Kafka would look up the machine's own name.
_HOSTS = f"{LOOPBACK} localhost\n"


@dataclass(frozen=True, slots=True)
class JavaRuntime:
    """What runs a node: the executable, the verified class path, the bound of the heap in MiB."""

    executable: Path
    class_path: str
    heap_mib: int

    def command(self, main_class: str, *, heap_mib: int, options: tuple[str, ...] = ()) -> list[str]:
        """Return the command line up to the main class. Flags favour a fast start over long-run throughput."""
        flags = [f"-Xmx{heap_mib}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *options]
        return [str(self.executable), *flags, "-cp", self.class_path, main_class]


class Node:
    """A node that can be started again and again on the same data and ports."""

    def __init__(self, number: int, *, port: int, folder: Path, java: JavaRuntime, is_bound_to_parent: bool) -> None:
        """Describe a node; nothing is written or started yet.

        Args:
            number: `node.id`, from 1.
            port: of the listener for clients.
            folder: for settings, data and log.
            java: what runs it.
            is_bound_to_parent: the node is killed when this process ends.
        """
        self.number = number
        self.port = port
        self.data = folder / f"data-{number}"
        self.log_path = folder / f"node-{number}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._settings_path = folder / f"node-{number}.properties"
        self._log4j_path = folder / "log4j2.properties"
        self._hosts_path = folder / "hosts"
        self._java = java
        self._is_bound_to_parent = is_bound_to_parent

    def prepare(self, settings: Mapping[str, str]) -> None:
        """Write the node's settings and format its storage.

        Raises:
            LocalKafkaError: Kafka's tool refused; with its output.
        """
        lines = [f"{name}={value}\n" for name, value in {**settings, "log.dirs": str(self.data)}.items()]
        self._settings_path.write_text("".join(lines), encoding="utf-8")
        self._log4j_path.write_text(_LOG4J, encoding="utf-8")
        self._hosts_path.write_text(_HOSTS, encoding="utf-8")
        command = self._java.command(_FORMAT_MAIN, heap_mib=128, options=self._java_options)
        with self.log_path.open("ab") as log:
            self.process = spawn(
                [*command, "format", "-t", CLUSTER_ID, "-c", str(self._settings_path)],
                output=log,
                folder=self._folder,
                is_bound_to_parent=True,
            )
        status = self.process.wait()
        self.process = None
        if status != 0:
            raise self._failure(f"its storage could not be formatted: expected exit status 0, found {status}")

    def spawn(self) -> None:
        """Start the process and return at once; `wait_until_ready` tells when it serves.

        Raises:
            LocalKafkaError: the node runs already.
        """
        if self.is_running:
            message = f"Kafka node {self.number} is already running"
            raise LocalKafkaError(message)
        command = self._java.command(BROKER_MAIN, heap_mib=self._java.heap_mib, options=self._java_options)
        with self.log_path.open("ab") as log:
            self.process = spawn(
                [*command, str(self._settings_path)],
                output=log,
                folder=self._folder,
                is_bound_to_parent=self._is_bound_to_parent,
            )

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until clients are served: Kafka opens the port only once the broker is usable.

        Raises:
            LocalKafkaError: the process ended, or `timeout_s` seconds went by; with the log's path and last lines.
        """
        deadline = time.monotonic() + timeout_s
        while not is_listening(self.port):
            status = self.process.poll() if self.process is not None else None
            if self.process is None or status is not None:
                raise self._failure(f"it ended while starting, exit status {status}")
            if time.monotonic() > deadline:
                raise self._failure(f"expected {LOOPBACK}:{self.port} to open within {timeout_s:g} s, it did not")
            time.sleep(_POLL_S)

    @property
    def is_running(self) -> bool:
        """The process is there (it may be paused)."""
        return self.process is not None and self.process.poll() is None

    @property
    def ended_by_itself(self) -> bool:
        """The process was started, not stopped or killed through this object, and is gone."""
        return self.process is not None and self.process.poll() is not None

    def request_stop(self) -> None:
        """Send SIGTERM (and SIGCONT, in case the node is paused) without waiting."""
        if self.process is not None and self.is_running:
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop the node in order; kill it where that takes longer than 15 s."""
        if self.process is not None:
            end(self.process, grace_s=_STOP_GRACE_S)
            self.process = None

    def kill(self) -> None:
        """Kill the node (SIGKILL) and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Stop the running node (SIGSTOP); return when all of its threads are stopped.

        Raises:
            LocalKafkaError: the node does not run.
        """
        process = self._running_process("paused")
        process.send_signal(signal.SIGSTOP)
        # WNOWAIT: an exit is left for `Popen` to collect.
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Resume a paused node (SIGCONT).

        Raises:
            LocalKafkaError: the node does not run.
        """
        self._running_process("resumed").send_signal(signal.SIGCONT)

    def _running_process(self, what: str) -> subprocess.Popen[bytes]:
        if self.process is None or not self.is_running:
            message = f"Kafka node {self.number} is not running, so it cannot be {what}"
            raise LocalKafkaError(message)
        return self.process

    @property
    def _java_options(self) -> tuple[str, ...]:
        return (
            f"-Dlog4j2.configurationFile=file:{self._log4j_path}",
            f"-Djdk.net.hosts.file={self._hosts_path}",
        )

    def _failure(self, what: str) -> LocalKafkaError:
        try:
            tail = self.log_path.read_text("utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        except FileNotFoundError:
            tail = []
        lines = "".join(f"\n  {line}" for line in tail) or "\n  (nothing)"
        return LocalKafkaError(f"Kafka node {self.number}: {what}. Log: {self.log_path}, its last lines:{lines}")
