"""`vigil-export evaluate`: figures and report of one run. In: arguments. Out: tables, JSON, an HTML page."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from stream_app.files import write_whole
from stream_app.terminal.console import console
from stream_app.terminal.lines import echo_json
from stream_app.terminal.outcome import CommandError
from stream_app.terminal.progress import bar
from vigil_export.cli.outcome import say
from vigil_export.cli.runs import (
    JsonOption,
    ModeOption,
    ResamplesOption,
    SplitOption,
    calibrated_of,
    open_run,
    predictions_of,
    run_failures,
)
from vigil_export.data.reading.read import ReadOptions, open_dataset
from vigil_export.data.rows import DataError, Dataset
from vigil_export.evaluation.evaluate import MISSING_WORDS, Evaluation, names_of_rows
from vigil_export.evaluation.evaluate import evaluate as compute
from vigil_export.evaluation.intervals import RESAMPLES, doubts_of_groups
from vigil_export.evaluation.metrics import FIGURES
from vigil_export.evaluation.report import Sample, evaluation_page, read_history, read_samples
from vigil_export.evaluation.report.page import PICTURES, number, span
from vigil_export.evaluation.variants import read_variants
from vigil_export.training.run import RunFolder, read_doubts

app = typer.Typer(add_completion=False)


@app.command("evaluate")
def evaluate(  # noqa: PLR0913 - one parameter an option
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    *,
    split: SplitOption = "test",
    mode: ModeOption = "rows",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Report to write (.html). [default: in RUN/reports/]")
    ] = None,
    frames_per_second: Annotated[
        float | None, typer.Option("--fps", min=0, help="Frames per second of a camera, for alarms per day.")
    ] = None,
    recall: Annotated[float, typer.Option(min=0.01, max=1, help="Recall at which false alarms are counted.")] = 0.9,
    calibration: Annotated[
        str, typer.Option(help="Recalibrate on validation rows: platt, temperature, isotonic or none.")
    ] = "",
    thresholds: Annotated[
        str, typer.Option(metavar="RULE", help="Choose again: f=1, recall=0.95, false-alarms=0.01 or cost=10.")
    ] = "",
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the data set is now, for pictures of mistakes.")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Mistakes to show.")] = 24,
    resamples: ResamplesOption = RESAMPLES,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a run: figures with intervals, with a side missing and by facet; false alarms; an HTML report."""
    folder = open_run(run)
    with run_failures():
        calibrated = calibrated_of(folder, method=calibration, rule=thresholds, mode=mode)
        predictions = predictions_of(folder, split, mode)
        with bar("intervals"):
            found = compute(
                predictions,
                calibrated,
                recall=recall,
                frames_per_second=frames_per_second or None,
                worst=worst,
                resamples=resamples,
            )
        page = evaluation_page(
            found,
            _samples(folder, data, found),
            read_history(folder.logs / "metrics.csv"),
            read_variants(folder.path / "variants.json"),
            read_doubts(folder),
            is_crossval=folder.folds.is_file(),
        )
        name = split if mode == "rows" else f"{split}-{mode}"
        place = out or folder.path / "reports" / f"{name}.html"
        write_whole(place, page.encode())
    if as_json:
        echo_json(_document(found), is_pretty=True)
    else:
        _show(found)
    for note in _notes(found):
        say(note)
    say(f"report: {place}")


def _samples(run: RunFolder, data: Path | None, found: Evaluation) -> Mapping[str, Sample]:
    """Read pictures and texts of the mistakes; without the data set the report only names their rows."""
    names = [found.scored["both"].ids[place] for place in found.mistakes]
    rows = [name for place in found.mistakes for name in names_of_rows(found, int(place), PICTURES)]
    try:
        samples = read_samples(_dataset(run, data), rows)
    except DataError as error:
        if data is not None:
            raise CommandError(str(error)) from error
        say(f"no pictures in the report: {error}; --data DIR says where the data set is")
        return {}
    if missing := len([name for name in names if name not in samples]):
        say(f"{missing} of {len(names)} mistakes are shown by name only: the data set has no such rows")
    return samples


def _dataset(run: RunFolder, data: Path | None) -> Dataset:
    """Open the data set of a run: at the place in its configuration, or at the one given."""
    try:
        table: dict[str, Any] = tomllib.loads(run.config.read_text(encoding="utf-8")).get("data", {})
    except (OSError, tomllib.TOMLDecodeError):
        table = {}
    place = data or (Path(table["path"]) if isinstance(table.get("path"), str) else None)
    if place is None:
        raise DataError(f"{run.config}: expected the path of the data set in [data], found none")
    known = {name: table[name] for name in ReadOptions.__struct_fields__ if name in table}
    try:
        return open_dataset(place, msgspec.convert(known, ReadOptions))
    except msgspec.ValidationError as error:
        raise DataError(f"{run.config}: expected [data] as `train` reads it, found {error}") from error


def _document(found: Evaluation) -> dict[str, Any]:
    return {
        "name": found.predictions.name,
        "task": found.predictions.task,
        "split": found.predictions.split,
        "decisions": {presence: len(scored) for presence, scored in found.scored.items()},
        "calibration": found.calibrated.words,
        "rule": found.calibrated.rule,
        "figures": found.figures,
        "labels": found.labels,
        "operating_points": found.operating_points,
        "facets": found.facets,
        "notes": _notes(found),
    }


def _notes(found: Evaluation) -> list[str]:
    return doubts_of_groups(found.scored["both"].groups)


def _show(found: Evaluation) -> None:
    both = found.scored["both"]
    title = f"{found.predictions.name}: {len(both)} decisions of {found.predictions.split}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for presence in found.figures:
        table.add_column(MISSING_WORDS[presence], justify="right")
    for figure in FIGURES:
        table.add_row(figure, *(span(values[figure]) for values in found.figures.values()))
    screen = console()
    screen.print(table)
    screen.print(_labels(found))
    screen.print(_operating_points(found))


def _labels(found: Evaluation) -> Table:
    table = _table("as decided", "label", "decisions", "AUROC", "precision", "recall", "F1")
    for label in found.labels:
        decided = (label.decided.precision, label.decided.recall, label.decided.f1)
        table.add_row(label.name, str(label.decisions), span(label.auroc), *(number(value) for value in decided))
    return table


def _operating_points(found: Evaluation) -> Table:
    columns = ("label", "threshold by", "at", "recall", "precision", "false alarms", "per day")
    table = _table("at the thresholds; alarms are per camera and day", *columns)
    for line in found.operating_points:
        per_day = span(line.per_day, 1) if line.per_day else "-"
        rate = f"{span(line.rate, 4)} of {line.negatives}"
        # Their intervals are on the page: a terminal has 80 columns.
        shares = (number(line.recall.value), number(line.precision.value))
        table.add_row(line.label, line.at, f"{line.threshold:.4g}", *shares, rate, per_day)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in {"label", "threshold by"} else "right", overflow="fold")
    return table
