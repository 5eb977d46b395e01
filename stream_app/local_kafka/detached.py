"""A local Kafka that outlives the command that started it: up, down, status.

In: a state directory. Out: brokers that run until `detached_down`, found again through a state file. Only processes
that an earlier `detached_up` started are ever signalled.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from stream_app.local_kafka.cluster import FOLDER_PREFIX, LocalKafka
from stream_app.local_kafka.errors import LocalKafkaError
from stream_app.local_kafka.process_identity import ProcessMark, end_marked, is_alive, mark_process

_STATE_FILE: Final = "kafka.json"
_STOP_GRACE_S: Final = 15.0


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bootstrap: str
    folder: str
    nodes: tuple[ProcessMark, ...]


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """What is known of the detached broker: its address, its folder, how many of its nodes run."""

    bootstrap: str
    folder: Path
    nodes_up: int
    nodes_total: int

    @property
    def is_up(self) -> bool:
        """All nodes run."""
        return self.nodes_up == self.nodes_total


def default_state_dir(environment: Mapping[str, str] | None = None) -> Path:
    """Return where the state file lies: `$XDG_STATE_HOME/vigil`, by default `~/.local/state/vigil`."""
    configured = (os.environ if environment is None else environment).get("XDG_STATE_HOME")
    return (Path(configured) if configured else Path.home() / ".local" / "state") / "vigil"


def detached_up(nodes: int = 1, *, port: int | None = None, state_dir: Path) -> BrokerStatus:
    """Start brokers that outlive this process, and wait until they serve.

    What is left of a broker that died (after a reboot, say) is cleared away first.

    Raises:
        LocalKafkaError: one is up already, or it could not be started.
    """
    with _locked(state_dir):
        before = _read(state_dir)
        if before is not None:
            status = _status(before)
            if status.nodes_up:
                message = f"a local Kafka is up already, at {status.bootstrap} (state in {state_dir}): stop it first"
                raise LocalKafkaError(message)
            _clear(before, state_dir=state_dir)
        with LocalKafka(nodes, port=port, is_bound_to_parent=False) as kafka:
            marks = tuple(mark for pid in kafka.pids.values() if (mark := mark_process(pid)) is not None)
            if len(marks) != nodes:
                message = f"the local Kafka ended right after its start: expected {nodes} nodes, found {len(marks)}"
                raise LocalKafkaError(message)
            state = _State(bootstrap=kafka.bootstrap, folder=str(kafka.folder), nodes=marks)
            _write(state, state_dir=state_dir)
            # Only now: until the state file is there, a Ctrl-C still takes the brokers down.
            kafka.detach()
        return _status(state)


def detached_down(*, state_dir: Path) -> BrokerStatus | None:
    """Stop the brokers that `detached_up` started and remove their data.

    Returns:
        What was up before; None where nothing was.
    """
    with _locked(state_dir):
        state = _read(state_dir)
        if state is None:
            return None
        before = _status(state)
        for mark in state.nodes:
            end_marked(mark, grace_s=_STOP_GRACE_S)
        _clear(state, state_dir=state_dir)
        return before if before.nodes_up else None


def detached_status(*, state_dir: Path) -> BrokerStatus | None:
    """Return what is up, None where nothing was started (or everything is gone)."""
    state = _read(state_dir)
    if state is None:
        return None
    status = _status(state)
    return status if status.nodes_up else None


def _status(state: _State) -> BrokerStatus:
    return BrokerStatus(
        bootstrap=state.bootstrap,
        folder=Path(state.folder),
        nodes_up=sum(is_alive(mark) for mark in state.nodes),
        nodes_total=len(state.nodes),
    )


def _read(state_dir: Path) -> _State | None:
    path = state_dir / _STATE_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        message = f"{path}: expected the state of a local Kafka, found something else ({error}); remove the file"
        raise LocalKafkaError(message) from error


def _write(state: _State, *, state_dir: Path) -> None:
    path = state_dir / _STATE_FILE
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    fresh.replace(path)


def _clear(state: _State, *, state_dir: Path) -> None:
    folder = Path(state.folder)
    # The name is checked: a state file edited by hand must not make us remove somebody's folder.
    if folder.name.startswith(FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
    (state_dir / _STATE_FILE).unlink(missing_ok=True)


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    """Refuse a second command on the same state directory while one works."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "kafka.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another command is starting or stopping the local Kafka of {state_dir}"
            raise LocalKafkaError(message) from error
        yield
