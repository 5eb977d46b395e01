"""What all tests share: a real Kafka, the shared data, and the rule that in CI such a test may not skip."""

import os
import re
import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from stream_app.local_kafka import LocalKafka
from tests.file_order import long_files_first

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@dataclass(frozen=True, slots=True)
class Broker:
    """The Kafka that the tests talk to. Tests that kill or pause nodes start a `LocalKafka` of their own."""

    bootstrap: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the project's own options."""
    parser.addoption(
        "--join-cases",
        type=Path,
        default=None,
        metavar="PATH",
        help="a file or folder of join cases, in place of ../shared/data/join-cases",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the project's own markers."""
    config.addinivalue_line("markers", "kafka: talks to a real Apache Kafka (VIGIL_BROKER, else a local one)")
    config.addinivalue_line("markers", "soak: takes many minutes; left out unless `-m` names it (make soak)")
    config.addinivalue_line("markers", "shared_data: reads ../shared/data without the fixture of that name")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell ignores SIGINT for what it starts in the background, and children inherit that; what is caught
        # becomes the default again in a child. So tests can interrupt theirs, and the run itself still ignores it.
        signal.signal(signal.SIGINT, lambda _number, _frame: None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave soaks out; where files are dealt out to processes, put those that may take longest first."""
    if "soak" not in config.getoption("markexpr"):
        left_out = [item for item in items if item.get_closest_marker("soak") is not None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    if hasattr(config, "workerinput"):
        items[:] = long_files_first(items, default_limit_s=float(config.getini("timeout")))


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """A running Kafka: the one of VIGIL_BROKER where set, else a local one that lives as long as the test run."""
    configured = os.environ.get("VIGIL_BROKER")
    if configured:
        yield Broker(configured)
        return
    with LocalKafka() as local:
        yield Broker(local.bootstrap)


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """A name that no other test and no other run uses, valid as the beginning of a topic's or group's name."""
    test = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name).strip("-").lower()[:60]
    return f"{test}-{uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder ../shared/data; the test skips where a checkout has none beside it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"shared data missing: no folder {SHARED_DATA}")
    return SHARED_DATA


def _needs_kafka(item: pytest.Item) -> bool:
    return item.get_closest_marker("kafka") is not None or "kafka" in getattr(item, "fixturenames", ())


def _must_not_skip(item: pytest.Item) -> bool:
    """In CI a test that needs Kafka must run, and so must one that needs the shared data where these are there."""
    if os.environ.get("CI") != "true":
        return False
    if _needs_kafka(item):
        return True
    needs_data = item.get_closest_marker("shared_data") is not None or "shared_data" in getattr(
        item, "fixturenames", ()
    )
    return needs_data and SHARED_DATA.is_dir()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip that would hide a promise into a failure; keep a report fit to be sent."""
    report = yield
    # Between processes a report travels as UTF-8, which cannot write every string that a test logs.
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    if report.skipped and not hasattr(report, "wasxfail") and _must_not_skip(item):
        report.outcome = "failed"
        report.longrepr = f"this test may not skip where CI=true, but it did: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Refuse a module that skips as a whole in CI: which of its tests would have needed Kafka is not known then."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and SHARED_DATA.is_dir():
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} may not skip as a whole where CI=true, but it did: {report.longrepr}"
    return report
