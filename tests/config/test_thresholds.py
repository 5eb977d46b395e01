"""Threshold overrides: they replace the manifest's values and are part of the settings hash."""

import pytest

from stream_app.config import (
    Semantic,
    SettingsError,
    ThresholdOverride,
    load_settings,
    override_labels,
    settings_sha256,
)
from stream_app.core.types import LabelRule

LABELS = (
    LabelRule("fight", is_alerting=True, open_at=1_386_294, close_at=0),
    LabelRule("day.time", is_alerting=False, open_at=500_000, close_at=-500_000),
)


def test_an_override_replaces_what_it_names_and_nothing_else() -> None:
    fight, day = override_labels(LABELS, [ThresholdOverride(label="fight", open_at=0.9)])
    assert (fight.open_at, fight.close_at) == (2_197_225, 0)
    assert day == LABELS[1]


def test_a_label_that_the_bundle_lacks_is_refused_with_a_suggestion() -> None:
    with pytest.raises(SettingsError, match=r"did you mean 'fight'\?"):
        override_labels(LABELS, [ThresholdOverride(label="figth", open_at=0.9)])


def test_thresholds_that_would_close_above_where_they_open_are_refused() -> None:
    with pytest.raises(SettingsError, match="expected close_at <= open_at"):
        override_labels(LABELS, [ThresholdOverride(label="fight", close_at=0.95)])


def test_a_label_may_hold_dots() -> None:
    loaded = load_settings(environ={}, assignments=["thresholds.day.time.close_at=0.25"])
    assert loaded.thresholds == (ThresholdOverride(label="day.time", close_at=0.25),)


def test_a_flag_changes_one_threshold_of_those_in_the_environment() -> None:
    environ = {"VIGIL_THRESHOLDS": '{"fight": {"open_at": 0.7, "close_at": 0.2}}'}
    loaded = load_settings(environ=environ, assignments=["thresholds.fight.open_at=0.9"])
    assert loaded.thresholds == (ThresholdOverride(label="fight", open_at=0.9, close_at=0.2),)
    assert loaded.origins["thresholds.fight.close_at"] == "environment VIGIL_THRESHOLDS"


def test_overrides_are_part_of_the_settings_hash_in_any_order() -> None:
    one, two = ThresholdOverride(label="a", open_at=0.7), ThresholdOverride(label="b", open_at=0.8)
    semantic = Semantic()
    assert settings_sha256(semantic, ()) == semantic.sha256
    assert settings_sha256(semantic, (one, two)) == settings_sha256(semantic, (two, one))
    assert (
        len({settings_sha256(semantic, ()), settings_sha256(semantic, (one,)), settings_sha256(semantic, (two,))}) == 3
    )


def test_operational_settings_are_no_part_of_the_settings_hash() -> None:
    changed = load_settings(environ={"VIGIL_COMMIT_MS": "7"})
    assert changed.sha256 == load_settings(environ={}).sha256 == Semantic().sha256
