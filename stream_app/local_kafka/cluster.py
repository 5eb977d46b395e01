"""One or three Kafka nodes as one thing that is started and stopped: the API for tests and the demo.

In: how many nodes. Out: bootstrap addresses; nodes that can be killed, restarted and paused one by one.
"""

import atexit
import errno
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stream_app.local_kafka.broker_settings import NodePorts, node_settings
from stream_app.local_kafka.errors import LocalKafkaError
from stream_app.local_kafka.jars import java_executable, verified_class_path
from stream_app.local_kafka.node import JavaRuntime, Node
from stream_app.local_kafka.ports import LOOPBACK, free_ports, is_listening

FOLDER_PREFIX: Final = "vigil-kafka-"
_SIZES: Final = (1, 3)
_PORT_TRIES: Final = 3
_PORT_TAKEN: Final = ("BindException", "Address already in use")


class LocalKafka:
    """A real Apache Kafka (KRaft, loopback, plaintext) with its data in a temporary folder.

    Usable as a context manager. Everything is synchronous; no thread of its own watches the nodes. When this process
    ends, however it ends, the kernel kills the nodes.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        ready_timeout_s: float = 90.0,
        is_bound_to_parent: bool = True,
    ) -> None:
        """Describe a cluster; nothing is started yet.

        Args:
            nodes: 1 or 3.
            port: of the first node's clients (the next ones follow); free ports by default.
            settings: Kafka's own broker settings that go before ours.
            ready_timeout_s: for all nodes to serve, in seconds.
            is_bound_to_parent: False only for brokers that outlive this process.

        Raises:
            LocalKafkaError: `nodes` is neither 1 nor 3.
        """
        if nodes not in _SIZES:
            message = f"a local Kafka has 1 or 3 nodes: expected one of {_SIZES}, found {nodes}"
            raise LocalKafkaError(message)
        self._size = nodes
        self._port = port
        self._settings = dict(settings or {})
        self._ready_timeout_s = ready_timeout_s
        self._is_bound_to_parent = is_bound_to_parent
        self._nodes: dict[int, Node] = {}
        self._folder: Path | None = None

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes, `host:port,...`; they stay the same until `stop`."""
        return ",".join(f"{LOOPBACK}:{node.port}" for node in self._running().values())

    @property
    def log_paths(self) -> tuple[Path, ...]:
        """Each node's log. `stop` removes them, unless a node failed."""
        return tuple(node.log_path for node in self._nodes.values())

    @property
    def folder(self) -> Path:
        """The temporary folder with settings, data and logs."""
        self._running()
        if self._folder is None:
            raise self._not_started()
        return self._folder

    @property
    def pids(self) -> dict[int, int]:
        """The process id of each node that runs, by node number."""
        return {n: node.process.pid for n, node in self._nodes.items() if node.process is not None and node.is_running}

    def start(self) -> Self:
        """Start all nodes and wait until they serve.

        Raises:
            LocalKafkaError: it runs already, a package is missing, a jar is not the expected one, a port is taken, or
                a node did not come up (then with the path and the last lines of its log, which is kept).
        """
        if self._nodes:
            message = f"this local Kafka is already running, at {self.bootstrap}"
            raise LocalKafkaError(message)
        java = JavaRuntime(java_executable(), verified_class_path(), heap_mib=256 if self._size == 1 else 192)
        for tries_left in reversed(range(_PORT_TRIES)):
            try:
                self._start_on(self._choose_ports(), java=java)
            except LocalKafkaError as error:
                # Between the choice of a free port and Kafka's bind another process may have taken it.
                if self._port is not None or not tries_left or not any(sign in str(error) for sign in _PORT_TAKEN):
                    raise
            else:
                break
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Stop all nodes (SIGTERM; SIGKILL after 15 s) and remove their folder. Harmless when not started."""
        atexit.unregister(self.stop)
        failed = [node for node in self._nodes.values() if node.ended_by_itself]
        for node in self._nodes.values():
            node.request_stop()
        for node in self._nodes.values():
            node.stop()
        self._remove(keep_logs=bool(failed))
        for node in failed:
            warnings.warn(f"Kafka node {node.number} ended by itself; its log: {node.log_path}", stacklevel=2)

    def kill(self, node: int = 1) -> None:
        """Kill a node (SIGKILL): nothing is flushed, no leader is handed over."""
        self._node(node).kill()

    def restart(self, node: int = 1) -> None:
        """Start a node again on the same data and ports (stopping it in order where it runs), and wait for it.

        After a kill this takes about 5 s: the old registration has to expire first.
        """
        one = self._node(node)
        one.stop()
        one.spawn()
        one.wait_until_ready(self._ready_timeout_s)

    def pause(self, node: int = 1) -> None:
        """Stop a node's clock (SIGSTOP): connections stay open, nothing is answered."""
        self._node(node).pause()

    def resume(self, node: int = 1) -> None:
        """Resume a paused node (SIGCONT)."""
        self._node(node).resume()

    def __enter__(self) -> Self:
        """Start all nodes."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all nodes."""
        self.stop()

    def detach(self) -> None:
        """Leave the nodes running: they outlive this process, and this object no longer stops them."""
        atexit.unregister(self.stop)
        self._nodes = {}
        self._folder = None

    def _start_on(self, ports: dict[int, NodePorts], *, java: JavaRuntime) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        try:
            for number, own in ports.items():
                self._nodes[number] = Node(
                    number,
                    port=own.client,
                    folder=self._folder,
                    java=java,
                    is_bound_to_parent=self._is_bound_to_parent,
                )
                self._nodes[number].prepare(node_settings(number, ports=ports, overrides=self._settings))
            for node in self._nodes.values():
                node.spawn()
            deadline = time.monotonic() + self._ready_timeout_s
            for node in self._nodes.values():
                node.wait_until_ready(max(0.0, deadline - time.monotonic()))
        except BaseException as error:
            # Also on Ctrl-C: a start that did not finish leaves no process behind.
            for node in self._nodes.values():
                node.kill()
            self._remove(keep_logs=isinstance(error, LocalKafkaError))
            raise

    def _choose_ports(self) -> dict[int, NodePorts]:
        numbers = range(1, self._size + 1)
        if self._port is None:
            ports = free_ports(2 * self._size)
            return {n: NodePorts(ports[2 * n - 2], ports[2 * n - 1]) for n in numbers}
        for port in range(self._port, self._port + self._size):
            if is_listening(port):
                message = f"port {port} on {LOOPBACK}: expected a free one, found {errno.errorcode[errno.EADDRINUSE]}"
                raise LocalKafkaError(message)
        return {n: NodePorts(self._port + n - 1, port) for n, port in enumerate(free_ports(self._size), start=1)}

    def _remove(self, *, keep_logs: bool) -> None:
        if self._folder is not None:
            for node in self._nodes.values():
                shutil.rmtree(node.data, ignore_errors=True)
            if not keep_logs:
                shutil.rmtree(self._folder, ignore_errors=True)
        self._nodes = {}
        self._folder = None

    def _node(self, number: int) -> Node:
        nodes = self._running()
        if number not in nodes:
            message = f"no such Kafka node: expected one of {sorted(nodes)}, found {number}"
            raise LocalKafkaError(message)
        return nodes[number]

    def _running(self) -> dict[int, Node]:
        if not self._nodes:
            raise self._not_started()
        return self._nodes

    @staticmethod
    def _not_started() -> LocalKafkaError:
        return LocalKafkaError("this local Kafka is not started")
