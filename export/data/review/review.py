"""Makes the list that reviewers fill in: one line per text of a recording, with what it said and what the model said.

In: decisions and their evidence. Out: the bytes of a CSV that `read_verdicts` reads. It must not know what the labels
mean.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from export.data.review.decisions import place_of
from export.data.review.evidence import Evidence, Place, text_of
from stream_app.wire.decisions import Decision

# What a spreadsheet would take for a formula, and run: the words are those of strangers.
_FORMULA = ("=", "+", "-", "@")


@dataclass(slots=True)
class _Line:
    kind: str
    time: str
    zone: str
    frames: int = 0
    said: str = ""
    score: float = -1.0


def review_list(decisions: Sequence[Decision], evidence: Evidence, *, has_lists: bool = False) -> tuple[int, bytes]:
    """Write the list, in the order in which the texts were judged.

    Args:
        decisions: From `read_decisions`.
        evidence: The words of the texts; a text that is not in it has none.
        has_lists: A column `labels` for several names with `;`, in place of `label`.

    Returns:
        How many lines, and the CSV, UTF-8. Columns: `text`, `frame` (of those that were judged alone), the empty label,
        `time`, `zone`, `frames` (how many it was judged with), `said` (the label with the highest score of them all),
        `score`, and `words`.

    Raises:
        DataError: A text cannot be read.
    """
    lines: dict[Place, _Line] = {}
    for decision in decisions:
        about = decision.named("text") or decision.evidence[0]
        line = lines.setdefault(place_of(about), _Line(about.kind, about.time, decision.zone))
        line.frames += decision.named("frame") is not None
        for name, score in (decision.scores or {}).items():
            if score > line.score:
                line.said, line.score = name, score
    return len(lines), _encode(lines, evidence, "labels" if has_lists else "label")


def _encode(lines: dict[Place, _Line], evidence: Evidence, label: str) -> bytes:
    written = io.StringIO()
    sheet = csv.writer(written, lineterminator="\n")
    sheet.writerow(["text", "frame", label, "time", "zone", "frames", "said", "score", "words"])
    for place, line in lines.items():
        is_text = line.kind == "text"
        words = text_of(evidence.files[place]) if is_text and place in evidence.files else ""
        if words.startswith(_FORMULA):
            words = f"'{words}"
        score = f"{line.score:.4f}" if line.said else ""
        named = (place, "") if is_text else ("", place)
        sheet.writerow([*named, "", line.time, line.zone, line.frames, line.said, score, words])
    return written.getvalue().encode()
