"""The task as a whole against the slow reference, against itself caught up in another way, and under another order."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from stream_app.config import Operational
from stream_app.core.admit import admit
from stream_app.core.checkpoint import decode_checkpoint
from stream_app.core.settings import Semantic
from stream_app.core.types import Record, Side
from tests.core.drive import T0, Raw, Scores, Shell, Trace, raw_frame, raw_text
from tests.core.examples import examples
from tests.core.play import LIMITS, Player
from tests.core.reference import all_pairs, all_unmatched
from tests.core.reference_task import SlowTask
from tests.core.streams import HOWS, Arrive, Level, Stream, streams

if TYPE_CHECKING:
    from stream_app.core.types import Alert
    from tests.core.reference_decide import Said


@given(streams(), st.integers(0, 1 << 32), st.sampled_from((0.0, 0.06)))
@examples(300)
def test_what_is_scored_refused_and_alerted_is_what_the_design_says_whatever_the_timing_and_crashes(
    stream: Stream, seed: int, crash_rate: float
) -> None:
    trace = Player(stream, Random(seed), crash_rate=crash_rate).play()
    slow = SlowTask(stream.settings, stream.scores)
    for op in stream.ops:
        if isinstance(op, Arrive):
            slow.take(op.side, op.raw)
        elif isinstance(op, Level):
            slow.level = op.level
        else:
            slow.tick(op.to_ms)
    scored = [
        (*offsets, one.observation.is_late, one.observation.is_image_shed, one.time_ms)
        for offsets, one in zip(trace.scored, trace.decisions, strict=True)
    ]
    assert scored == slow.scored
    assert trace.state.stream_ms == slow.join.stream_ms
    assert [_said(alert) for alert in trace.alerts] == slow.decide.said
    assert [(one.zone, one.time_ms) for one in trace.notices] == slow.notices
    letters = [(one.side, one.offset, one.reason) for one in trace.dead_letters]
    assert sorted(letters) == sorted(slow.refused + slow.decide.letters)


def _said(one: Alert) -> Said:
    return (
        one.phase, one.zone, one.label, one.number, one.time_ms, one.score, one.cameras, one.severity, one.start_ms,
        one.end_ms, one.present, one.is_late, one.is_masked, one.reason,
    )  # fmt: skip


# -- catching up ----------------------------------------------------------------------------------------------------

CATCH_UP = Semantic(
    before_ms=2_000, after_ms=2_000, grace_ms=1_000, sample_ms=500, quiet_ms=5_000, rate_per_s=5, rate_burst=3,
    window_bytes=400,
)  # fmt: skip


def _site(random: Random, seconds: int) -> dict[Side, list[Raw]]:
    """Texts up to 3 s late, camera c1 with a clock 1.9 s fast, frames of c2 out of order; appended as time goes by."""
    frames = [
        raw_frame(0, now + random.choice((0, 0, 400)), event_ms=now + fast, camera=camera, zone=random.choice("xxy"))
        for now in range(T0, T0 + seconds * 1_000, 250)
        for camera, fast in (("c1", 1_900), ("c2", -random.choice((0, 100, 700))))
    ]
    texts = []
    for _ in range(seconds * 2):
        event_ms = T0 + random.randrange(seconds * 1_000)
        texts.append(
            raw_text(0, event_ms + random.choice((0, 200, 3_000)), event_ms=event_ms, zone=random.choice("xy"))
        )
    return {side: _numbered(raws) for side, raws in ((Side.TEXT, texts), (Side.FRAME, frames))}


def _numbered(raws: list[Raw]) -> list[Raw]:
    """Order by append time, as a broker writes, and number."""
    ordered = sorted(raws, key=lambda raw: raw.timestamp)
    return [Raw(number, raw.timestamp, raw.key, raw.value, raw.headers) for number, raw in enumerate(ordered)]


def _merged(log: dict[Side, list[Raw]]) -> list[tuple[Side, Raw]]:
    """Order by append time, ties text first, then offset."""
    both = [(side, raw) for side in Side for raw in log[side]]
    return sorted(both, key=lambda one: (one[1].timestamp, one[0], one[1].offset))


def _live(log: dict[Side, list[Raw]], scores: Scores) -> Trace:
    shell = Shell(CATCH_UP, scores)
    for side, raw in _merged(log):
        shell.live(side, raw)
        shell.score_all()
        shell.commit()
    shell.finish(after_ms=60_000)
    return shell.trace


def _moods(log: dict[Side, list[Raw]], random: Random) -> Scores:
    return Scores({(side, raw.offset): random.randint(-2, 3) for side in Side for raw in log[side]})


@given(st.integers(0, 1 << 32), st.sampled_from(Side), st.integers(1, 40), st.integers(0, 3))
@examples(40)
def test_catching_up_with_either_topic_fetched_first_equals_live_with_crashes_on_the_way_too(
    seed: int, first: Side, fetch: int, crashes: int
) -> None:
    random = Random(seed)
    log = _site(random, seconds=4)
    scores = _moods(log, random)
    live = _live(log, scores)
    shell = Shell(CATCH_UP, scores, limits=Operational(queue_records=fetch, in_flight=5).limits)
    for _ in range(crashes):
        _catch_up(shell, log, random, first, fetch, at_most=random.randint(1, 60))
        shell = _successor(shell, log)
    _catch_up(shell, log, random, first, fetch)
    shell.finish(after_ms=60_000)
    assert shell.trace.scored == live.scored
    assert shell.trace.judged == live.judged
    assert shell.trace.alerts == live.alerts
    assert shell.trace.journal == live.journal
    assert shell.trace.dead_letters == live.dead_letters
    assert shell.trace.state == live.state


def _successor(shell: Shell, log: dict[Side, list[Raw]]) -> Shell:
    """Crash, and begin anew at the newest checkpoint, if there is one."""
    state = shell.trace.state if shell.trace.steps else None
    limits = shell.task._limits
    successor = Shell(CATCH_UP, shell.scores, trace=shell.trace, limits=limits, checkpoint=state)
    if state is not None:
        successor.read_again(log)
    return successor


def _catch_up(
    shell: Shell, log: dict[Side, list[Raw]], random: Random, first: Side, fetch: int, *, at_most: int = 20_000
) -> None:
    """Fetch the first topic as far as back pressure allows, then both; a side is caught up once all of it is here."""
    given = {side: shell.task.next_admitted(side) for side in Side}
    is_first_alone = True
    for _ in range(at_most):
        is_stuck = True
        for side in Side:
            shell.task.set_caught_up(side, given[side] == len(log[side]))
            if shell.task.is_full(side) or given[side] == len(log[side]) or (is_first_alone and side is not first):
                continue
            raws = log[side][given[side] : given[side] + fetch]
            given[side] += len(raws)
            shell.give(side, *raws)
            shell.task.set_caught_up(side, given[side] == len(log[side]))
            is_stuck = False
        is_first_alone = is_first_alone and not is_stuck
        shell.pump(random.randint(0, 50))
        if shell.flight:
            shell.score(random.choice(sorted(shell.flight)))
        if random.random() < 0.2:
            shell.commit()
        if all(given[side] == len(log[side]) and not shell.task.queued(side) for side in Side):
            return
    assert at_most < 20_000, "no progress: merge and back pressure lock each other"


# -- another interleaving -------------------------------------------------------------------------------------------


@given(
    st.integers(0, 1 << 32),
    st.sampled_from(HOWS),
    st.sampled_from(((20, 20), (0, 40), (-10, 40), (40, -10))),
    st.sampled_from((1, 25)),
)
@examples(200)
def test_within_grace_a_crash_and_another_interleaving_give_the_same_observations_each_exactly_once(
    seed: int, how: str, window: tuple[int, int], every_ms: int
) -> None:
    random = Random(seed)
    settings = Semantic(
        before_ms=window[0], after_ms=window[1], grace_ms=100, how=how, sample_ms=7,  # type: ignore[arg-type]
        unmatched_every_ms=every_ms, quiet_ms=1_000,
    ).check()  # fmt: skip
    # All event times lie within grace of one another, so nothing is late in any order.
    log = {
        Side.TEXT: [raw_text(n, T0 + 200, event_ms=T0 + random.randint(0, 100), zone=random.choice("xxy"))
                    for n in range(random.randint(0, 12))],
        Side.FRAME: [raw_frame(n, T0 + 200, event_ms=T0 + random.randint(0, 100), zone=random.choice("xxy"))
                     for n in range(random.randint(0, 12))],
    }  # fmt: skip
    scores = _moods(log, random)
    plain = Shell(settings, scores, limits=LIMITS)
    _interleave(plain, log, random, until=1.0)
    plain.finish(after_ms=100_000)
    broken = Shell(settings, scores, limits=LIMITS)
    trace = broken.trace
    _interleave(broken, log, random, until=random.random())
    if trace.steps:
        state = decode_checkpoint(trace.steps[-1].checkpoint)
        broken = Shell(settings, scores, trace=trace, limits=LIMITS, checkpoint=state)
        broken.read_again(log)
    else:
        broken = Shell(settings, scores, trace=trace, limits=LIMITS)
    _interleave(broken, log, random, until=1.0)
    broken.finish(after_ms=100_000)
    key = lambda one: (one[0] is None, one[1] is None, one)  # noqa: E731 - a sort key, None last
    assert sorted(trace.scored, key=key) == sorted(plain.trace.scored, key=key)
    assert len(trace.scored) == len(set(trace.scored))
    if every_ms == 1:
        _assert_brute_force(log, settings, plain.trace)


def _interleave(shell: Shell, log: dict[Side, list[Raw]], random: Random, *, until: float) -> None:
    """Deliver what is left of the log, each side in its order, the sides interleaved at random; score and commit."""
    left = [(side, list(log[side][shell.task.next_admitted(side) :])) for side in Side]
    total = sum(len(raws) for _, raws in left)
    stop = total - int(total * until)
    while sum(len(raws) for _, raws in left) > stop:
        side, raws = random.choice([one for one in left if one[1]])
        while shell.task.in_flight >= LIMITS.in_flight or (shell.flight and random.random() < 0.4):
            shell.score(random.choice(sorted(shell.flight)))
        if random.random() < 0.3 or len(shell.task._settle.outputs) + len(shell.task._settle.cut) >= LIMITS.outputs:
            shell.score_all()
            shell.commit()
        shell.live(side, raws.pop(0))


def _assert_brute_force(log: dict[Side, list[Raw]], settings: Semantic, trace: Trace) -> None:
    """Every text of an emitting side has a result, and no result is of a pair outside the window."""
    records = [one for side in Side for raw in log[side] if isinstance(one := admit(side, raw, settings), Record)]
    pairs, alone = all_pairs(records, settings), all_unmatched(records, settings)
    scored = set(trace.scored)
    assert {one for one in scored if None not in one} <= pairs
    assert {one for one in scored if None in one} <= alone
    assert {one for one in alone if one[1] is None} <= scored
    assert {text for text, _ in pairs} == {text for text, frame in scored if None not in (text, frame)}


# -- one camera's clock ---------------------------------------------------------------------------------------------


@given(st.integers(0, 1 << 32))
@examples(30)
def test_a_camera_in_the_year_2099_changes_nothing_for_others(seed: int) -> None:
    random = Random(seed)
    log = _site(random, seconds=3)
    scores = _moods(log, random)
    in_2099 = 4_070_908_800_000
    live = _live(log, scores)
    shell = Shell(CATCH_UP, Scores({ref: mood for ref, mood in scores.moods.items() if ref[0] is Side.TEXT}))
    frames = mad = 0
    for side, raw in _merged(log):
        if random.random() < 0.3:
            shell.live(Side.FRAME, raw_frame(frames, raw.timestamp, event_ms=in_2099))
            frames, mad = frames + 1, mad + 1
        if side is Side.FRAME:
            shell.scores.moods[(side, frames)] = scores.moods[(side, raw.offset)]
            raw = Raw(frames, raw.timestamp, raw.key, raw.value, raw.headers)  # noqa: PLW2901 - behind the mad ones
            frames += 1
        shell.live(side, raw)
        shell.score_all()
        shell.commit()
    shell.finish(after_ms=60_000)
    assert [letter.reason for letter in shell.trace.dead_letters].count("ahead") == mad
    assert _without_offsets(shell.trace) == _without_offsets(live)


def _without_offsets(trace: Trace) -> list[tuple[object, ...]]:
    """What was decided and alerted when, with the event time in place of a frame's offset."""
    decisions = [
        (one.time_ms, text and text.offset, frame and (frame.event_ms, frame.camera))
        for one in trace.decisions
        for text, frame in ((one.observation.text, one.observation.frame),)
    ]
    return [*decisions, *((one.time_ms, one.phase, one.label, one.zone) for one in trace.alerts)]
