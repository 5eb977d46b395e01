"""Comparing runs: the gain over the better side is told first, whether there is one or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream_app.bundle.manifest import Presence
from tests.export.predicted import draw
from vigil_export.evaluation.calibrated import fit
from vigil_export.evaluation.compare import Run, compare
from vigil_export.evaluation.pool import pool
from vigil_export.evaluation.predictions import Predictions, PredictionsError, load_predictions, sides_of
from vigil_export.evaluation.thresholds import F1


def _run(predictions: Predictions, **validation: float) -> Run:
    return predictions, fit(draw(predictions.task, rows=400, seed=50, **validation), "platt", F1)  # type: ignore[arg-type]


def only(predictions: Predictions, side: Presence, name: str) -> Predictions:
    """Return what a model that looks at one side would have said."""
    alone = predictions.logits[side]
    blind = np.zeros_like(alone)
    other: Presence = "image" if side == "text" else "text"
    return replace(predictions, name=name, logits={"both": alone, side: alone, other: blind})


def test_a_gain_is_told_in_the_first_line_with_its_interval() -> None:
    drawn = draw("binary", rows=1500, split="test", name="concat")
    found = compare([_run(drawn)], resamples=200)
    assert found.first_line.startswith("concat: fusion gains +")
    assert "points of accuracy over the better single modality" in found.first_line
    gain = found.gains[0].interval
    assert gain.low > 0
    assert gain.value == pytest.approx(
        found.figures["concat"]["accuracy"].value
        - max(found.figures[f"concat, {side} left out"]["accuracy"].value for side in ("image", "text"))
    )


def test_a_gain_that_is_none_is_told_as_well() -> None:
    drawn = draw("binary", rows=800, split="test", name="concat", image=0.0)
    runs = [_run(drawn), _run(only(drawn, "text", "lstm")), _run(only(drawn, "image", "resnet"))]
    found = compare(runs, resamples=200)
    assert found.gains[0].interval.high < 0
    assert found.first_line.endswith(": a loss.")
    same = replace(drawn, logits={**drawn.logits, "both": drawn.logits["text"] + np.float32(1e-3)})
    unsure = compare([_run(same), *runs[1:]], resamples=200)
    assert "the interval holds zero, so no gain is shown" in unsure.first_line


def test_the_gain_pays_for_the_choice_of_the_better_side() -> None:
    drawn = draw("binary", rows=600, split="test", name="concat")
    found = compare([_run(drawn)], resamples=200)
    over = [pair.differences["accuracy"] for pair in found.pairs if pair.first == "concat"]
    gain = found.gains[0].interval
    assert gain.value == pytest.approx(min(difference.value for difference in over))
    assert gain.low <= min(difference.low for difference in over)
    assert gain.high < min(difference.high for difference in over)


def test_single_sides_are_known_by_what_they_do_not_look_at_and_stand_first() -> None:
    drawn = draw("multilabel", rows=300, split="test", name="fusion")
    text, image = only(drawn, "text", "lstm"), only(drawn, "image", "resnet")
    assert [sides_of(run) for run in (drawn, text, image)] == ["both", "text", "image"]
    found = compare([_run(drawn), _run(image), _run(text)], resamples=50)
    assert [contender.name for contender in found.contenders] == ["lstm", "resnet", "fusion"]
    assert all(contender.is_own_run for contender in found.contenders)
    assert found.notes == ()
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        ("resnet", "lstm"),
        ("fusion", "lstm"),
        ("fusion", "resnet"),
    ]


def test_a_run_of_one_side_is_known_as_such_after_its_parts_were_calibrated_apart(tmp_path: Path) -> None:
    drawn = draw("binary", rows=120, split="test", name="fusion")
    runs = []
    for one in (drawn, only(drawn, "text", "lstm"), only(drawn, "image", "resnet")):
        # Rows without a picture make the calibration of lone texts another than that of pairs.
        partial = [replace(draw("binary", rows=200, seed=seed), has_image=np.arange(200) % 3 > 0) for seed in (1, 2)]
        parts = [
            (replace(one, ids=tuple(f"{at} {row}" for row in one.ids)), fit(partial[at], "platt", F1)) for at in (0, 1)
        ]
        pool(parts, name=one.name).save(tmp_path / "all.npz")
        runs.append(load_predictions(tmp_path / "all.npz"))
    assert [sides_of(run) for run in runs] == ["both", "text", "image"]
    assert not np.array_equal(runs[1].logits["both"], runs[1].logits["text"])
    found = compare([_run(run) for run in runs], resamples=50)
    assert [contender.name for contender in found.contenders] == ["lstm", "resnet", "fusion"]
    assert [gain.fusion for gain in found.gains] == ["fusion", "fusion"]


def test_a_side_that_no_run_has_is_stood_for_and_said_so() -> None:
    drawn = draw("multilabel", rows=300, split="test", name="fusion")
    found = compare([_run(drawn), _run(only(drawn, "text", "lstm"))], resamples=50)
    assert [contender.name for contender in found.contenders] == ["lstm", "fusion, text left out", "fusion"]
    assert [contender.is_own_run for contender in found.contenders] == [True, False, True]
    assert len(found.notes) == 1
    assert "No run uses the image alone" in found.notes[0]


def test_runs_are_paired_by_the_names_of_rows_whatever_their_order() -> None:
    drawn = draw("binary", rows=300, split="test", name="one")
    order = np.random.default_rng(0).permutation(300)
    turned = replace(
        drawn,
        logits={key: values[order] for key, values in drawn.logits.items()},
        truth=drawn.truth[order],
        groups=drawn.groups[order],
        ids=tuple(drawn.ids[at] for at in order),
        facets={},
    )
    found = compare([_run(drawn), _run(turned)], resamples=50)
    pair = found.pairs[-1]
    assert {pair.first, pair.second} == {"one (1)", "one (2)"}
    assert (pair.differences["accuracy"].low, pair.differences["accuracy"].high) == (0, 0)


def test_differences_stay_paired_where_runs_number_their_groups_differently() -> None:
    drawn = draw("binary", rows=300, split="test", name="one")
    found = compare([_run(drawn), _run(replace(drawn, groups=100 - drawn.groups))], resamples=50)
    interval = found.pairs[-1].differences["accuracy"]
    assert (interval.low, interval.high) == (0, 0)
    assert not any("differently" in note for note in found.notes)


@pytest.mark.parametrize("is_first", [True, False])
def test_runs_that_group_rows_differently_are_compared_by_the_fewest_groups_and_it_is_said(is_first: bool) -> None:  # noqa: FBT001
    drawn = draw("binary", rows=300, split="test", name="scenes", group_of=6)
    rows = replace(drawn, name="rows", groups=np.arange(300))
    found = compare([_run(one) for one in ((drawn, rows) if is_first else (rows, drawn))], resamples=50)
    assert all(len(np.unique(contender.scored.groups)) == 50 for contender in found.contenders)
    assert any("group rows differently" in note for note in found.notes)
    interval = found.pairs[-1].differences["AUROC"]
    assert (interval.low, interval.high) == (0, 0)


def test_only_shared_decisions_with_both_sides_are_compared() -> None:
    drawn = draw("binary", rows=100, split="test", name="one")
    partial = replace(drawn, has_text=np.arange(100) >= 20, name="two")
    found = compare([_run(drawn), _run(partial)], resamples=50)
    assert all(len(contender.scored) == 80 for contender in found.contenders)
    assert any("80 of 100 decisions" in note for note in found.notes)


def test_runs_of_other_data_are_refused() -> None:
    drawn = draw("binary", rows=100, split="test", name="one")
    with pytest.raises(PredictionsError, match="no row that all judged"):
        compare([_run(drawn), _run(replace(drawn, ids=tuple(f"x{at}" for at in range(100))))])
    flipped = replace(drawn, name="two", truth=1 - drawn.truth)
    with pytest.raises(
        PredictionsError, match=r"the same truth in all runs, found another in two, first at row metadata.jsonl:1"
    ):
        compare([_run(drawn), _run(flipped)])
    with pytest.raises(PredictionsError, match="expected runs with the labels"):
        compare([_run(drawn), _run(draw("multilabel", rows=100, split="test"))])


def test_few_groups_are_said() -> None:
    drawn = draw("binary", rows=100, split="test", group_of=20)
    found = compare([_run(drawn)], resamples=50)
    assert any("only 5 groups" in note for note in found.notes)
    alone = compare([_run(replace(drawn, groups=np.zeros(100, np.int64)))], resamples=50)
    assert alone.first_line.endswith("there is no interval for one group, or for too few with or without a label.")


def test_a_gain_that_no_decision_can_show_is_said_to_be_unknown() -> None:
    drawn = draw("binary", rows=100, split="test", name="concat")
    found = compare([_run(replace(drawn, truth=np.zeros_like(drawn.truth)))], resamples=50)
    assert found.first_line.startswith("concat: fusion gains ")
    assert found.gains[1].sentence.startswith("concat: the gain in AUROC is unknown")
    assert "nan" not in " ".join(gain.sentence for gain in found.gains)
