"""Seen: the same CloudEvents source and id, remembered until stream time passes first sight + H."""

from __future__ import annotations

from stream_app.core.seen import Seen
from stream_app.core.types import Side

ONE, OTHER = (Side.TEXT, b"1"), (Side.FRAME, b"1")


def test_an_identity_is_remembered_until_stream_time_passes_its_expiry() -> None:
    seen = Seen()
    seen.add(ONE, 1, 100)
    assert [seen.is_duplicate(ONE, now) for now in (0, 100, 101)] == [True, True, False]
    assert not seen.is_duplicate(OTHER, 0)


def test_one_that_comes_again_after_its_expiry_is_remembered_anew() -> None:
    seen = Seen()
    seen.add(ONE, 1, 100)
    seen.add(ONE, 5, 300)
    seen.forget(101)
    assert seen.is_duplicate(ONE, 300)
    seen.forget(301)
    assert not seen.is_duplicate(ONE, 301)
    assert not seen._expires
    assert not seen._entries


def test_what_was_remembered_at_an_earlier_sequence_number() -> None:
    seen = Seen()
    seen.add(ONE, 1, 100)
    seen.add(OTHER, 5, 200)
    seen.add(ONE, 7, 300)
    assert list(seen.remembered_at(4, 50)) == [(ONE, 100)]
    assert list(seen.remembered_at(6, 101)) == [(OTHER, 200)]
    assert list(seen.remembered_at(7, 201)) == [(ONE, 300)]


def test_what_was_remembered_is_restored() -> None:
    seen, successor = Seen(), Seen()
    seen.add(ONE, 1, 100)
    seen.add(OTHER, 5, 200)
    successor.restore(seen.remembered_at(5, 0))
    assert list(successor.remembered_at(5, 0)) == [(ONE, 100), (OTHER, 200)]
    successor.forget(101)
    assert not successor.is_duplicate(ONE, 101)
    assert successor.is_duplicate(OTHER, 101)


def test_what_is_remembered_is_told_in_order_of_expiry_also_where_a_switch_has_shortened_h() -> None:
    seen, successor = Seen(), Seen()
    seen.add(ONE, 1, 300)
    seen.add(OTHER, 5, 200)
    successor.restore(seen.remembered_at(5, 0))
    assert list(seen.remembered_at(5, 0)) == list(successor.remembered_at(5, 0)) == [(OTHER, 200), (ONE, 300)]
    seen.forget(201)
    assert list(seen.remembered_at(5, 201)) == [(ONE, 300)]
