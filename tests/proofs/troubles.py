"""What a recording has to be verified over besides kills: planted trouble, and how a proof knows that it happened."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer

from stream_app.core.journal import JournalReset, JournalSkipped, JournalSwitch, JournalThinning, JournalTick
from stream_app.wire.dead_letters import decode_dead_letter
from stream_app.wire.decisions import decode_decision
from stream_app.wire.journal import decode_journal
from tests.proofs.rig import jpeg, now_ms, zones_of

if TYPE_CHECKING:
    from tests.proofs.recording_rig import Subscriber
    from tests.proofs.rig import Planter

#: Small bounds, so that everything happens within seconds.
TIGHT: dict[str, Any] = {
    "window_bytes": 10_000,
    "rate_per_s": 20,
    "rate_burst": 60,
    "in_flight": 1,
    "scorer_in_flight": 1,
    "keyframe_ms": 3_000,
}
_ENTRIES = (JournalReset, JournalSkipped, JournalSwitch, JournalThinning, JournalTick)
#: Entries of the journal, reasons of dead letters and marks of decisions that a run has to have in it.
WANTED = frozenset(
    {*(entry.__name__ for entry in _ENTRIES), "rate", "no-key", "undecodable", "not-an-image", "shed", "late", "masked"}
)


async def plant_trouble(planter: Planter, name: str) -> None:
    """Plant duplicates, pictures and texts that are refused or fail, a flood, and more pairs than can be scored.

    Args:
        planter: on the inputs.
        name: distinguishes one call from another.
    """
    twice, flooded, crowded = (zones_of(partition, 40)[39] for partition in (1, 2, 3))
    at_ms = now_ms()
    whole = jpeg(size=(640, 480))
    for _ in range(3):
        await planter.frame(twice, at_ms, identity=f"picture {name}")
        await planter.text(twice, at_ms, "a fight", identity=f"text {name}")
    await planter.frame(twice, at_ms, whole[: len(whole) // 2], camera="cut off")
    await planter.frame(twice, at_ms, b"GIF89a is not understood", camera="other")
    await planter.text(twice, at_ms - 3_600_000, "a fire an hour ago")
    for topic, value in ((planter.rig.topics.frames, whole), (planter.rig.topics.texts, b"a fire without a zone")):
        await planter.producer.send_and_wait(topic, value)
    await _plant_in_transactions(planter, twice, name)
    await asyncio.gather(*(planter.text(flooded, at_ms, f"all quiet {number}") for number in range(300)))
    at_ms = now_ms()
    places = [(at_ms + 100 * number, f"c{camera}") for number in range(-4, 4) for camera in range(8)]
    await asyncio.gather(*(planter.frame(crowded, time_ms, camera=camera) for time_ms, camera in places))
    await asyncio.gather(*(planter.text(crowded, at_ms, f"a fight {number}") for number in range(50)))


async def _plant_in_transactions(planter: Planter, zone: str, name: str) -> None:
    """Publish as a feeder with transactions does: markers leave holes in the offsets, and some is aborted."""
    topics, bootstrap = planter.rig.topics, planter.rig.connection.bootstrap
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"feeder {name}", acks="all") as producer:
        for is_kept in (True, False, True):
            await producer.begin_transaction()
            for topic, value in ((topics.frames, jpeg()), (topics.texts, b"a fire"), (topics.frames, jpeg())):
                await producer.send_and_wait(topic, value, key=zone.encode())
            await (producer.commit_transaction() if is_kept else producer.abort_transaction())


def happened(seen: Subscriber) -> Counter[str]:
    """Count what was journaled, refused and marked."""
    found: Counter[str] = Counter()
    for (kind, _), records in seen.seen.items():
        for record in records:
            if kind == "journal":
                found.update(type(entry).__name__ for entry in decode_journal(record.value or b"").entries)
            elif kind == "dead_letters":
                found[decode_dead_letter(record.headers).reason] += 1
            elif kind == "decisions":
                decision = decode_decision(record.value)
                found.update(mark for mark in ("shed", "late", "masked") if getattr(decision, mark))
    return found
