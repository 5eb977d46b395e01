"""What the demo reads of a checkpoint is what the core wrote."""

from __future__ import annotations

import pytest

from stream_app.core.checkpoint import decode_checkpoint
from stream_app.core.settings import Semantic
from stream_app.core.types import Side
from stream_app.demo.states import count_held, read_state
from tests.core.drive import T0, Scores, Shell, raw_frame, raw_text


def test_the_demo_counts_what_the_window_holds_as_the_core_does() -> None:
    shell = Shell(Semantic(), Scores())
    for offset in range(300):
        shell.live(Side.FRAME, raw_frame(offset, T0 + offset, identity=f"{offset}"))
    shell.live(Side.TEXT, raw_text(0, T0 + 300))
    shell.score_all()
    shell.commit()
    data = shell.trace.steps[-1].checkpoint
    assert count_held(read_state(data)) == decode_checkpoint(data).held == 301
    shell.finish(after_ms=5_400)
    data = shell.trace.steps[-1].checkpoint
    assert count_held(read_state(data)) == 0
    assert read_state(data)["totals"] == shell.task.totals


@pytest.mark.parametrize("data", [b"{}", b"\x02nothing"])
def test_what_is_no_checkpoint_is_said(data: bytes) -> None:
    with pytest.raises(ValueError, match="checkpoint"):
        read_state(data)
