"""What was decided and waits for a step: everything counts, and counts once."""

from __future__ import annotations

import pytest

from stream_app.core.effects import Outputs

#: What is put out; digests say what was taken in for it.
_KINDS = tuple(kind for kind in Outputs.__slots__ if kind != "digests")


@pytest.mark.parametrize("kind", _KINDS)
def test_all_that_was_decided_counts_once_whatever_it_is(kind: str) -> None:
    outputs = Outputs()
    for other in _KINDS:
        getattr(outputs, other).append(other)
    assert len(outputs) == len(_KINDS)
    getattr(outputs, kind).append(kind)
    assert len(outputs) == len(_KINDS) + 1
