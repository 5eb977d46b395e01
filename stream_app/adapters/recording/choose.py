"""Which records belong to a recording, and how much of each: by task, time and zone.

In: what is wanted, and a record of a topic. Out: the record, less of it, or nothing. The same rule serves records from
Kafka and from another recording. It must not know either.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from stream_app.adapters.recording.keyframes import Start
from stream_app.replay.recording import About, Kind, TopicRecord
from stream_app.wire.alerts import Alert, decode_alert
from stream_app.wire.dead_letters import decode_dead_letter
from stream_app.wire.decisions import decode_decision
from stream_app.wire.message import WireError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.wire.references import EvidenceRef

#: A step's outputs are appended about when its journal record is, by brokers whose clocks differ: so much before and
#: after the range outputs are taken, too.
SLACK_MS: Final = 10_000
OUTPUTS: Final[frozenset[Kind]] = frozenset({"alerts", "decisions", "dead_letters"})


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted. ``about`` says it as the recording will; ``to_ms`` None leaves the end open.

    ``starts`` are the keyframes to begin from, by task: with them records from before the range belong to it.
    ``reached`` says by task below which texts and frames all have their places in steps of the range: they belong to
    it whatever their time, for where producers stamp them their clocks may be wrong.
    """

    about: About
    to_ms: int | None
    starts: dict[int, Start] = {}
    reached: dict[int, tuple[int, int]] = {}

    def of(self, kind: Kind, record: TopicRecord) -> TopicRecord | None:
        """Return what of a record belongs to the recording; None where nothing does."""
        if kind in OUTPUTS:
            return self._output(kind, record)
        if kind == "journal":
            is_late = self.to_ms is not None and record.append_ms >= self.to_ms
            return record if not is_late and self._is_journal_wanted(record) else None
        if record.partition not in self.about.partitions or not self._is_input_in_range(kind, record):
            return None
        is_left_out = not self._is_zone_wanted(record) or (kind == "frames" and not self.about.has_pictures)
        return without_value(record) if is_left_out else record

    @property
    def outputs_from_ms(self) -> int:
        """The time from which on outputs are taken."""
        return min((self.about.from_ms, *(start.append_ms - SLACK_MS for start in self.starts.values())))

    def _is_input_in_range(self, kind: Kind, record: TopicRecord) -> bool:
        start, append_ms = self.starts.get(record.partition), record.append_ms
        lowest = None if start is None else start.text if kind == "texts" else start.frame
        if lowest is not None and lowest <= record.offset < self.end_of(kind, record.partition):
            return True
        if self.to_ms is not None and append_ms >= self.to_ms:
            return False
        return append_ms >= self.about.from_ms or (lowest is not None and record.offset >= lowest)

    def end_of(self, kind: Kind, task: int) -> int:
        """Return the offset below which all inputs of a task have their places in steps of the range."""
        return self.reached.get(task, (0, 0))[kind == "frames"]

    def _is_journal_wanted(self, record: TopicRecord) -> bool:
        task = _task_of_key(record.key, self.about.deployment)
        if task is None or task not in self.about.partitions:
            return False
        start = self.starts.get(task)
        if start is None or record.timestamp >= self.about.from_ms:
            return record.timestamp >= self.about.from_ms
        return record.offset >= start.journal_offset

    def _output(self, kind: Kind, record: TopicRecord) -> TopicRecord | None:
        is_late = self.to_ms is not None and record.timestamp >= self.to_ms + SLACK_MS
        if is_late or record.timestamp < self.outputs_from_ms:
            return None
        if not self._is_zone_wanted(record):
            return None
        deployment, task = owner_of(kind, record)
        if deployment != self.about.deployment or (task is not None and task not in self.about.partitions):
            return None
        if kind == "dead_letters" and not self.about.has_pictures and self._is_of_frame(record):
            return without_value(record)
        return record

    def _is_zone_wanted(self, record: TopicRecord) -> bool:
        zones = self.about.zones
        return not zones or (record.key or b"").decode("utf-8", "replace") in zones

    def _is_of_frame(self, letter: TopicRecord) -> bool:
        return decode_dead_letter(letter.headers).topic == self.about.topics.frames


def without_value(record: TopicRecord) -> TopicRecord:
    """Return a record without its value; its size still says how long that was."""
    return msgspec.structs.replace(record, value=None)


def is_left_out(record: TopicRecord) -> bool:
    """Whether the record had a value that the recording does not hold."""
    return record.value is None and record.size > 0


def owner_of(kind: Kind, record: TopicRecord) -> tuple[str, int | None]:
    """Return whose output a record is: the deployment, and its task where the record says it.

    A record of which neither can be told is nobody's, and its deployment is empty.
    """
    try:
        if kind == "dead_letters":
            letter = decode_dead_letter(record.headers)
            return letter.deployment, letter.partition
        deployment, name = _source(record)
        if kind == "decisions":
            return deployment, _task_of(decode_decision(record.value).evidence)
        content = decode_alert(record.value, record.headers)
    except WireError:
        return "", None
    if isinstance(content, Alert):
        return deployment, _task_of(content.evidence)
    found = re.match(rf"[a-z]+-{re.escape(deployment)}-(\d+)-", name)
    return deployment, int(found[1]) if found else None


def _source(record: TopicRecord) -> tuple[str, str]:
    said = {name: (content or b"").decode("utf-8", "replace") for name, content in record.headers}
    return said.get("ce_source", "").removeprefix("/vigil/"), said.get("ce_id", "")


def _task_of(evidence: Iterable[EvidenceRef]) -> int | None:
    return next((named.partition for named in evidence), None)


def _task_of_key(key: bytes | None, deployment: str) -> int | None:
    name, _, number = (key or b"").decode("utf-8", "replace").rpartition("/")
    return int(number) if name == deployment and number.isdecimal() else None
