"""Golden incidents: written, read, and compared line by line."""

from __future__ import annotations

import msgspec
import pytest

from stream_app.replay.golden import GoldenError, difference, read_golden, write_golden
from tests.replay.incidents_of import incident

SIDE = [incident(1, 0, 5_000), incident(2, 60_000, 61_000, zone="gate\x1b"), incident(3, 90_000, 90_000)]
GOLDEN = read_golden(write_golden(SIDE), "g.json")


def test_what_was_written_is_read_and_agrees() -> None:
    assert difference(GOLDEN, SIDE, tolerance=0.0) == []
    assert read_golden(write_golden([]), "g.json") == []
    assert write_golden(SIDE).count(b"\n") == 5


def test_a_difference_has_a_line_for_each_incident_that_is_not_the_same() -> None:
    found = [SIDE[0], incident(2, 60_000, 61_500, zone="gate\x1b"), SIDE[2], incident(4, 99_000, 99_000)]
    lines = difference(GOLDEN, found, tolerance=0.0)
    gone = [line for line in lines if line.startswith("-") and not line.startswith("---")]
    new = [line for line in lines if line.startswith("+") and not line.startswith("+++")]
    assert [line.split("  ")[1] for line in gone] == ["smoke in gate\\x1b, score 0.9000"]
    assert len(new) == 2
    assert "61.500Z" not in gone[0]


def test_scores_within_the_tolerance_agree_and_no_further() -> None:
    found = [SIDE[0], SIDE[1], msgspec.structs.replace(SIDE[2], score=0.903)]
    assert difference(GOLDEN, found, tolerance=0.005) == []
    assert len(difference(GOLDEN, found, tolerance=0.001)) > 0


def test_two_that_look_alike_are_two() -> None:
    assert difference(GOLDEN, [*SIDE, SIDE[2]], tolerance=0.0) != []
    assert difference([*GOLDEN, GOLDEN[2]], SIDE, tolerance=0.0) != []


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'[{"start": "x"}]', b'[{"start":"x","end":"x","label":"a","zone":"b","score":1}]']
)
def test_a_file_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(GoldenError, match=r"g\.json: expected a list of incidents"):
        read_golden(data, "g.json")
