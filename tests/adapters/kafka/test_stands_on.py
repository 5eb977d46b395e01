"""Every name that the Kafka adapters use of Faust and aiokafka without a promise is there, listed, and asked for."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import TopicPartitionState
from faust.transport import consumer as faust_consumer

import stream_app.adapters.kafka
from stream_app.adapters.kafka.stands_on import STANDS_ON, Used

_PACKAGE = Path(stream_app.adapters.kafka.__file__).parent
_SOURCES = {
    str(path.relative_to(_PACKAGE)): path.read_text() for path in _PACKAGE.rglob("*.py") if path.name != "stands_on.py"
}
_PRIVATE = {name for used in STANDS_ON for name in used.names if name.startswith("_")}


def _names_in(thing: Any) -> set[str]:  # noqa: ANN401 - a class of an untyped library
    """Every attribute that a class has or that its own or its bases' code sets on instances."""
    sources = [inspect.getsource(one) for one in thing.__mro__ if one is not object and one.__module__ != "typing"]
    return set(dir(thing)) | set(re.findall(r"self\.(\w+)\b[^=\n]*=", "\n".join(sources)))


@pytest.mark.parametrize("used", STANDS_ON, ids=lambda used: f"{used.owner.split(':')[1]}-{used.names[0]}")
def test_each_name_is_there_in_the_versions_that_are_installed(used: Used) -> None:
    module, _, owner = used.owner.partition(":")
    gone = set(used.names) - _names_in(getattr(importlib.import_module(module), owner))
    versions = {name: importlib.metadata.version(name) for name in ("faust-streaming", "aiokafka", "mode-streaming")}
    assert not gone, f"{versions} changed inside: {owner} has no {gone} any more, which was used because: {used.why}"


def _reached_into(source: str) -> set[str]:
    """The private names that a file uses of anything but its own objects."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and re.match(r"_[a-z]", node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
    }


@pytest.mark.parametrize("file", _SOURCES)
def test_no_private_name_is_used_that_is_not_listed(file: str) -> None:
    assert _reached_into(_SOURCES[file]) <= _PRIVATE, "list it in stands_on.py with its reason, or find a public one"


def test_no_name_is_listed_that_is_not_used() -> None:
    everything = "\n".join(_SOURCES.values())
    listed = {name for used in STANDS_ON for name in used.names}
    # The first is Faust's and asked for by its setting; the others are asked of our read-out by aiokafka.
    asked_for_elsewhere = {"scheduler", "check_assignment", "_update_position"}
    unused = {name for name in listed - asked_for_elsewhere if not re.search(rf"\b{name}\b", everything)}
    assert not unused


def test_aiokafka_asks_the_guard_where_the_guard_expects_it() -> None:
    assert "check_crcs=self._check_crcs" in inspect.getsource(AIOKafkaConsumer.start)
    assert "self._fetcher = Fetcher(" in inspect.getsource(AIOKafkaConsumer.start)
    assert "self._proc_fetch_request(assignment, node_id, request)" in inspect.getsource(Fetcher)
    proc = inspect.getsource(Fetcher._proc_fetch_request)
    assert "response = await self._client.send(node_id, request)" in proc
    assert "self._records[tp] = FetchResult(" in proc
    # What it discards is not taken for accepted, and a swap is safe: nothing is awaited from there to the end.
    assert "if not tp_state.has_valid_position or tp_state.position != fetch_offset:" in proc
    assert " await " not in proc.split("if not assignment.active:")[1]
    used = set(re.findall(r"self\._partition_records\.(\w+)", inspect.getsource(FetchResult)))
    assert used == {"next_fetch_offset"}, "the read-out has to have what a result asks of it"


def test_aiokafka_asks_the_source_where_the_source_expects_it() -> None:
    assert "await self._maybe_leave_group()" in inspect.getsource(GroupCoordinator.close)
    assert "self._fetcher.fetched_records(" in inspect.getsource(AIOKafkaConsumer.getmany)
    assert "self._position = position" in inspect.getsource(TopicPartitionState.consumed_to)


def test_faust_asks_the_source_where_the_source_expects_it() -> None:
    drain = inspect.getsource(faust_consumer.Consumer._drain_messages)
    assert "if r_offset is None or offset >= r_offset:" in drain, "else batches of one offset are dropped"
    assert "self._wait_next_records(timeout)" in inspect.getsource(faust_consumer.Consumer.getmany)
    assert "self.scheduler.iterate(records)" in inspect.getsource(faust_consumer.Consumer.getmany)
    asked = inspect.getsource(faust_consumer.ThreadDelegateConsumer._getmany)
    assert "self._thread.getmany(active_partitions, timeout)" in asked
