"""Which decisions a recording takes: those in its zones, and of events in a half-open span of time."""

import pytest

from stream_app.adapters.reading.decisions import Chosen
from stream_app.wire.decisions import decode_decision
from tests.cli.deployment import decision_value
from tests.wire.test_events import START_MS

#: The newest record that the decision names is its text.
NEWEST_MS = START_MS + 250


@pytest.mark.parametrize(
    ("chosen", "is_taken"),
    [
        (Chosen(), True),
        (Chosen(zones=frozenset({"dock-3", "gate"})), True),
        (Chosen(zones=frozenset({"gate"})), False),
        (Chosen(from_ms=NEWEST_MS), True),
        (Chosen(from_ms=NEWEST_MS + 1), False),
        (Chosen(until_ms=NEWEST_MS), False),
        (Chosen(until_ms=NEWEST_MS + 1), True),
        (Chosen(from_ms=NEWEST_MS, until_ms=NEWEST_MS + 1), True),
        (Chosen(from_ms=0, until_ms=0), False),
        (Chosen(from_ms=NEWEST_MS, until_ms=NEWEST_MS + 1, zones=frozenset({"gate"})), False),
    ],
)
def test_a_span_has_its_beginning_and_not_its_end(chosen: Chosen, *, is_taken: bool) -> None:
    assert chosen.takes(decode_decision(decision_value())) == is_taken
