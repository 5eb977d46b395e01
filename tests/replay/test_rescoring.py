"""Scores that are computed again are held against the recorded ones: how far they lie, and what passes a threshold."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from stream_app.core.score import LIMIT, micro_logit
from stream_app.core.types import LabelRule, Model, Scored
from stream_app.replay.rescored import MAX_LISTED, Differences, Observed, chance
from stream_app.replay.rescoring import Judge, Rescoring
from stream_app.replay.verification_document import verification_document
from stream_app.replay.verification_lines import verification_lines
from stream_app.replay.verify import verifying
from stream_app.runtime.ports.scoring import Score
from tests.core.drive import MODEL, T0
from tests.core.live import OTHER
from tests.replay.recorded import BusyLive, Recorded, busy_stream, record_live

if TYPE_CHECKING:
    from stream_app.core.types import Observation
    from stream_app.replay.rescored import Rescored
    from stream_app.replay.verification import Verification
    from stream_app.runtime.ports.scoring import RecordKey, ScoreItem
    from stream_app.wire.step import Payloads
    from tests.core.live import ScoresOfTwo

RULE = LabelRule("fight", is_alerting=True, open_at=micro_logit(0.8), close_at=micro_logit(0.4))
CALM = LabelRule("calm", is_alerting=False, open_at=micro_logit(0.5), close_at=micro_logit(0.5))
TWO = Model("site", "1", "ab" * 32, (RULE, CALM))
OBSERVED = Observed(partition=3, sequence=7, event_ms=T0, inputs=("text 5", "frame 9"))


def scored(*chances: float, failure: str | None = None) -> Scored:
    return Scored(7, 0, tuple(map(micro_logit, chances)), image_failure=failure)


def differences(*pairs: tuple[Scored, Scored], band: float = 0.02, tolerance: float = 0.05) -> Rescored:
    found = Differences(band, tolerance)
    for recorded, again in pairs:
        found.add(OBSERVED, TWO, recorded, again, ("fight", "calm"))
    return found.result()


def test_per_label_the_greatest_and_the_typical_difference_of_probabilities_is_told() -> None:
    pairs = [(scored(0.5, 0.1), scored(0.5 + by, 0.1)) for by in (0.001, 0.001, 0.001, 0.03, 0.002)]
    fight, calm = differences(*pairs).labels
    assert (fight.label, fight.scores, calm.label) == ("fight", 5, "calm")
    assert fight.greatest == pytest.approx(0.03, abs=1e-6)
    assert fight.typical == pytest.approx(0.001, abs=1e-6)
    assert (calm.greatest, calm.typical) == (0, 0)


@pytest.mark.parametrize(
    ("recorded", "again", "inside", "outside"),
    [
        (0.81, 0.79, 1, 0),
        (0.79, 0.81, 1, 0),
        (0.83, 0.79, 0, 1),
        (0.41, 0.39, 1, 0),
        (0.45, 0.39, 0, 1),
        # Both thresholds are passed.
        (0.81, 0.1, 1, 1),
        (0.8, 0.9, 0, 0),
        (0.81, 0.99, 0, 0),
    ],
)
def test_what_passes_a_threshold_only_once_is_a_flip_in_or_outside_the_band(
    recorded: float, again: float, inside: int, outside: int
) -> None:
    found = differences((scored(recorded, 0.1), scored(again, 0.1)))
    label = found.labels[0]
    assert (label.flips_inside, label.flips_outside) == (inside, outside)
    assert sorted(flip.is_inside for flip in found.flips) == [False] * outside + [True] * inside
    for flip in found.flips:
        assert flip.of == OBSERVED
        assert flip.recorded == pytest.approx(recorded, abs=1e-6)
        assert flip.again == pytest.approx(again, abs=1e-6)
        assert flip.at == pytest.approx(0.8 if flip.threshold == "open_at" else 0.4, abs=1e-6)


def test_a_score_at_the_threshold_itself_flips_inside_a_band_of_nothing() -> None:
    (label, _) = differences((scored(0.8, 0.1), scored(0.79, 0.1)), band=0.0).labels
    assert (label.flips_inside, label.flips_outside) == (1, 0)


def test_the_typical_difference_is_the_median() -> None:
    for typical, found in ((0.03, (0.001, 0.03, 0.03)), (0.001, (0.001, 0.001, 0.03, 0.03))):
        pairs = [(scored(0.5, 0.1), scored(0.5 + by, 0.1)) for by in found]
        assert differences(*pairs).labels[0].typical == pytest.approx(typical, abs=1e-6)


def test_the_chance_of_any_logit_is_one() -> None:
    assert (chance(-(10**12)), chance(10**12)) == (chance(-LIMIT), chance(LIMIT))
    assert 0 < chance(-LIMIT) < 0.5 < chance(LIMIT) <= 1


def test_nothing_scored_is_not_complete() -> None:
    assert not Differences(0.0, 0.0).result().is_complete


def test_a_label_that_does_not_alert_flips_nothing() -> None:
    (_, calm) = differences((scored(0.1, 0.9), scored(0.1, 0.2))).labels
    assert (calm.flips_inside, calm.flips_outside) == (0, 0)


@pytest.mark.parametrize(
    ("recorded", "again", "is_within"),
    [
        (scored(0.5, 0.1), scored(0.54, 0.1), True),
        (scored(0.5, 0.1), scored(0.56, 0.1), False),
        (scored(0.5, 0.1), scored(0.5, 0.16), False),
        # Within the tolerance, and yet it passes a threshold from far away.
        (scored(0.83, 0.1), scored(0.79, 0.1), False),
        (scored(0.81, 0.1), scored(0.79, 0.1), True),
        (scored(0.5, 0.1, failure="undecodable"), scored(0.5, 0.1), False),
        (scored(0.5, 0.1, failure="decode-timeout"), scored(0.5, 0.1, failure="undecodable"), True),
        (Scored(7, 0, None, image_failure="inference"), Scored(7, 0, None, image_failure="inference"), True),
        (replace(scored(0.5, 0.1), text_failure="inference"), scored(0.5, 0.1), False),
        # Nothing could be scored today, though nothing is said to have failed: there is nothing to be compared.
        (scored(0.5, 0.1), Scored(7, 0, None), True),
    ],
)
def test_it_is_within_by_tolerance_band_and_what_could_be_scored(
    recorded: Scored,
    again: Scored,
    is_within: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert differences((recorded, again)).is_within is is_within


def test_all_flips_are_counted_and_few_are_listed_those_outside_first() -> None:
    inside, outside = (scored(0.81, 0.1), scored(0.79, 0.1)), (scored(0.9, 0.1), scored(0.7, 0.1))
    found = differences(*[inside] * 30, *[outside] * 5)
    assert (found.labels[0].flips_inside, found.labels[0].flips_outside) == (30, 5)
    assert [flip.is_inside for flip in found.flips] == [False] * 5 + [True] * (MAX_LISTED - 5)


def test_of_flips_no_more_are_held_than_are_listed() -> None:
    found = Differences(0.02, 0.05)
    for _ in range(MAX_LISTED + 5):
        found.add(OBSERVED, TWO, scored(0.81, 0.1), scored(0.79, 0.1), ("fight", "calm"))
    assert sum(map(len, found._listed)) == MAX_LISTED


def test_labels_are_compared_by_their_names_and_those_that_are_missing_are_not() -> None:
    found = Differences(0.0, 0.0)
    found.add(OBSERVED, TWO, scored(0.5, 0.1), scored(0.9, 0.5), ("other", "fight"))
    (fight,) = found.result().labels
    assert (fight.label, fight.greatest) == ("fight", 0)


# -- while a recording is verified -----------------------------------------------------------------------------------


class Again:
    """Scores what it is asked as the live model did, plus ``more``; late, and in any order."""

    def __init__(self, scores: ScoresOfTwo, *, more: int = 0, breaks: bool = False) -> None:
        self.random = Random(5)
        self.scores, self.more, self.breaks = scores, more, breaks
        self.observations: dict[tuple[RecordKey | None, RecordKey | None], Observation] = {}
        self.known: set[RecordKey] = set()
        self.asked = self.most = self.now = 0

    async def score(self, item: ScoreItem) -> Score:
        keys = (
            None if item.image is None else item.image.key,
            None if item.text is None else item.text.key,
        )
        self.known.update(key for key in keys if key is not None)
        if item.image is not None:
            assert item.image.data.startswith(b"\x89PNG")
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(self.random.randint(0, 9)):
            await asyncio.sleep(0)
        self.now -= 1
        if self.breaks:
            raise RuntimeError("broken")
        # Nothing of a record is let go while one of its scores is waited for.
        assert all(key in self.known for key in keys if key is not None)
        found = self.scores.of(self.observations[keys])
        full = found.full and tuple(one + self.more for one in found.full)
        return Score(full, found.without_image, found.without_text, found.image_failure, found.text_failure)

    def forget(self, key: RecordKey) -> None:
        self.known.discard(key)


class Seeing(Rescoring):
    """Tells the scorers which observation is behind what they are asked: their models are of observations."""

    def __init__(self, *scorers: tuple[Model, Again], tolerance: float = 0.0) -> None:
        self.scorers = {model.sha256: scorer for model, scorer in scorers}
        judges = {model.sha256: Judge(scorer, tuple(label.name for label in model.labels)) for model, scorer in scorers}
        super().__init__(lambda model: judges.get(model.sha256), band=tolerance, tolerance=tolerance)

    def answered(
        self, partition: int, observation: Observation, scored: Scored, model: Model, payloads: Payloads
    ) -> None:
        text, frame = observation.text, observation.frame
        has_image = frame is not None and not observation.is_image_shed
        keys = (
            self._key(partition, frame.ref) if has_image and frame is not None else None,
            self._key(partition, text.ref) if text is not None else None,
        )
        if model.sha256 in self.scorers:
            self.scorers[model.sha256].observations[keys] = observation
        super().answered(partition, observation, scored, model, payloads)


def _busy(seed: int) -> tuple[Recorded, ScoresOfTwo]:
    random = Random(seed)
    stream = busy_stream(random)
    live = BusyLive(stream, replace(stream.settings, sample_ms=5), random)
    return record_live(live.play(), stream.log, random), live.scores


def _run(recorded: Recorded, onlooker: Rescoring) -> tuple[Verification, Rescored]:
    async def whole() -> tuple[Verification, Rescored]:
        try:
            work = verifying(recorded, onlooker)
            while True:
                try:
                    next(work)
                except StopIteration as done:
                    return done.value, await onlooker.finish()
                await onlooker.room()
        finally:
            onlooker.close()

    return asyncio.run(whole())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_decision_that_is_verified_is_scored_again_by_the_model_in_force_then(seed: int) -> None:
    recorded, scores = _busy(seed)
    scorers = (Again(scores), Again(scores))
    verification, rescored = _run(recorded, Seeing(*zip((MODEL, OTHER), scorers, strict=True)))
    assert verification.status == "equal"
    # What was scored and not yet decided at a crash comes again.
    assert rescored.decisions >= verification.tasks[0].verified["decisions"] > 0
    assert (rescored.is_within, rescored.is_complete) == (True, True)
    assert {label.greatest for label in rescored.labels} == {0.0}
    assert {label.label for label in rescored.labels} == {"fight", "fire", "calm"}
    assert all(scorer.asked for scorer in scorers)
    assert all(scorer.known == set() for scorer in scorers), "features of records that nobody needs any more"


def test_a_model_that_is_not_at_hand_leaves_its_decisions_out_by_name_and_count() -> None:
    recorded, scores = _busy(1)
    verification, rescored = _run(recorded, Seeing((MODEL, Again(scores))))
    assert rescored.is_within
    assert not rescored.is_complete
    ((name, count),) = rescored.without_bundle.items()
    assert name == f"site/2, sha256 {OTHER.sha256}"
    assert count > 0
    assert any(
        f"NOT scored again: {count} decisions by {name}" in line for line in verification_lines(verification, rescored)
    )


def test_another_score_is_told_in_words_and_as_json() -> None:
    recorded, scores = _busy(1)
    scorers = [(model, Again(scores, more=-400_000)) for model in (MODEL, OTHER)]
    verification, rescored = _run(recorded, Seeing(*scorers, tolerance=0.01))
    # By the recorded scores everything is what it was.
    assert verification.status == "equal"
    assert not rescored.is_within
    lines = verification_lines(verification, rescored)
    flips = [line for line in lines if line.startswith("  flip ")]
    assert len(flips) == MAX_LISTED
    assert "flip OUTSIDE the band: " in flips[0] or "flip inside the band: " in flips[0]
    assert ", sequence " in flips[0]
    document = verification_document(verification, rescored, "different")
    assert document.rescored is not None
    assert document.rescored.flips[0].inputs == rescored.flips[0].of.inputs
    assert not document.rescored.within


def test_a_scorer_that_breaks_ends_it() -> None:
    recorded, scores = _busy(2)
    scorer = Again(scores, breaks=True)
    with pytest.raises(RuntimeError, match="broken"):
        _run(recorded, Seeing((MODEL, scorer), (OTHER, scorer)))
    assert scorer.known == set()
