"""Wiring of the Kafka clients: how the brokers and the logs name this process."""

import os

from stream_app.config import load_settings
from stream_app.wiring.clients import connection_to, worker_name
from stream_app.wiring.worker import source_settings


def test_a_worker_that_has_a_name_has_it_in_logs_and_at_the_brokers() -> None:
    operational = load_settings(environ={}, assignments=["worker_name=gate-1"]).operational
    connection = connection_to(operational)
    assert worker_name(operational) == "gate-1"
    assert connection.client_arguments()["client_id"] == "gate-1"
    # What the source makes its client with.
    assert source_settings(operational).connection.client_arguments()["client_id"] == "gate-1"


def test_workers_without_names_are_told_apart_by_host_and_process() -> None:
    assert worker_name(load_settings(environ={}).operational).endswith(f"-{os.getpid()}")
