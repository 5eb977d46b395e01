"""What was decided and waits for a step: everything counts, and counts once."""

from __future__ import annotations

import pytest

from stream_app.core.effects import Outputs


@pytest.mark.parametrize("kind", Outputs.__slots__)
def test_all_that_was_decided_counts_once_whatever_it_is(kind: str) -> None:
    outputs = Outputs()
    for other in Outputs.__slots__:
        getattr(outputs, other).append(other)
    assert len(outputs) == len(Outputs.__slots__)
    getattr(outputs, kind).append(kind)
    assert len(outputs) == len(Outputs.__slots__) + 1
