"""Seen: the same CloudEvents source and id, remembered until stream time has passed first sight + H."""

from __future__ import annotations

import pytest

from stream_app.core.seen import Seen
from stream_app.core.types import Side

ONE, OTHER = (Side.TEXT, b"1"), (Side.FRAME, b"1")


def test_an_identity_is_remembered_until_stream_time_has_passed_h() -> None:
    seen = Seen()
    seen.add((Side.TEXT, 3), b"1", 90, 10)
    assert [seen.is_duplicate(ONE, now) for now in (0, 100, 101)] == [True, True, False]
    assert not seen.is_duplicate(OTHER, 0)


def test_until_when_is_rounded_up_to_a_sixteenth_of_h_so_that_it_is_told_in_few_runs() -> None:
    seen = Seen()
    for offset in range(4_000):
        seen.add((Side.FRAME, offset), b"%d" % offset, offset, 1_600)
    runs = seen.expiries_at(Side.FRAME, 4_000)
    assert runs[:3] == [(0, 1_600), (1, 1_700), (101, 1_800)]
    assert all(seen.is_duplicate((Side.FRAME, b"%d" % offset), offset + 1_600) for offset in range(4_000))
    seen.forget(3_999, 0)
    assert len(seen.expiries_at(Side.FRAME, 4_000)) <= 17


def test_one_that_comes_again_after_its_expiry_is_remembered_anew() -> None:
    seen = Seen()
    seen.add((Side.TEXT, 1), b"1", 90, 10)
    seen.add((Side.TEXT, 5), b"1", 290, 10)
    assert seen.forget(101, 0) == [(Side.TEXT, 1)]
    assert seen.is_duplicate(ONE, 300)
    assert [seen.remembers((Side.TEXT, offset)) for offset in (1, 5)] == [False, True]
    assert seen.forget(301, 0) == [(Side.TEXT, 5)]
    assert not seen.is_duplicate(ONE, 301)
    assert not seen._expires
    assert not any(seen._entries)
    assert not any(seen._expiries)


def test_until_when_is_told_of_what_lies_below_the_position_only() -> None:
    seen = Seen()
    seen.add((Side.TEXT, 1), b"1", 90, 10)
    seen.add((Side.TEXT, 5), b"2", 290, 10)
    assert seen.expiries_at(Side.TEXT, 5) == [(1, 100)]
    assert seen.expiries_at(Side.TEXT, 6) == [(1, 100), (5, 300)]
    assert seen.expiries_at(Side.FRAME, 9) == []


def test_what_was_remembered_is_restored_once_the_inputs_tell_it_again() -> None:
    seen, successor = Seen(), Seen()
    seen.add((Side.TEXT, 1), b"1", 90, 10)
    seen.add((Side.FRAME, 4), b"1", 190, 10)
    told = (seen.expiries_at(Side.TEXT, 9), seen.expiries_at(Side.FRAME, 9))
    successor.restore(told, [], (1, 4))
    assert [successor.remembers((Side.TEXT, offset)) for offset in (0, 1)] == [False, True]
    successor.restore_one((Side.FRAME, 4), b"1")
    successor.restore_one((Side.TEXT, 1), b"1")
    assert (successor.expiries_at(Side.TEXT, 9), successor.expiries_at(Side.FRAME, 9)) == told
    assert successor.forget(101, 0) == [(Side.TEXT, 1)]
    assert not successor.is_duplicate(ONE, 101)
    assert successor.is_duplicate(OTHER, 101)


def test_a_record_that_tells_no_identity_any_more_is_another_one() -> None:
    seen = Seen()
    with pytest.raises(ValueError, match="expected an identity"):
        seen.restore_one((Side.TEXT, 1), None)


def test_a_switch_that_shortens_h_forgets_nothing_sooner() -> None:
    seen = Seen()
    seen.add((Side.TEXT, 1), b"1", 100, 200)
    seen.add((Side.TEXT, 5), b"2", 110, 10)
    assert seen.is_duplicate((Side.TEXT, b"2"), 300)
    assert seen.expiries_at(Side.TEXT, 6) == [(1, 300)]


def test_identities_without_an_offset_are_carried_until_they_expire() -> None:
    seen = Seen()
    seen.restore(([], []), [(Side.TEXT, b"1", 100)], (0, 0))
    assert seen.is_duplicate(ONE, 100)
    assert seen.old_at(100) == [(Side.TEXT, b"1", 100)]
    assert not seen.is_duplicate(ONE, 101)
    assert seen.old_at(101) == []
    assert not seen._expires
