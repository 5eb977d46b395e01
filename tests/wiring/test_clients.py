"""Wiring of the Kafka clients: how the brokers and the logs name this process."""

import asyncio
import os
from types import SimpleNamespace
from typing import Any, cast

from stream_app.adapters.kafka.source import FaustSource
from stream_app.adapters.kafka.source.driver import ReadingThread
from stream_app.config import Operational, load_settings
from stream_app.wiring.clients import connection_to, worker_name
from stream_app.wiring.worker import source_settings
from tests.adapters.kafka.source_rig import Recorder


def test_a_worker_that_has_a_name_has_it_in_logs_and_at_the_brokers() -> None:
    operational = load_settings(environ={}, assignments=["worker_name=gate-1"]).operational
    connection = connection_to(operational)
    assert worker_name(operational) == "gate-1"
    assert connection.client_arguments()["client_id"] == "gate-1"
    assert asyncio.run(_name_of_the_sources_client(operational)) == "gate-1"


async def _name_of_the_sources_client(operational: Operational) -> str:
    """Make the client that the source reads with, and return the name that it gives to the brokers."""
    source = FaustSource(source_settings(operational), Recorder())
    app = source._build()
    thread = SimpleNamespace(wiring=SimpleNamespace(settings=source._settings), app=app, _note_fetched=lambda *_: None)
    client = ReadingThread._create_worker_consumer(cast("ReadingThread", thread), cast("Any", app.transport))
    return str(client._client._client_id)


def test_workers_without_names_are_told_apart_by_host_and_process() -> None:
    assert worker_name(load_settings(environ={}).operational).endswith(f"-{os.getpid()}")
