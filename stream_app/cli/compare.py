"""`vigil compare`: what a bundle or a setting would change, said before it goes live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from stream_app.adapters.observing.logs import configure_logging
from stream_app.cli.judging import (
    ExpectOption,
    HtmlOption,
    JsonOption,
    JunitOption,
    RecordingsArgument,
    TextsOption,
    ZoneOption,
    expectations_from,
    failures,
    hand_over,
    progress,
    verdicts_from,
)
from stream_app.cli.options import ConfigOption, SetOption, settings_from
from stream_app.config import is_semantic
from stream_app.replay.session import Asked
from stream_app.terminal.outcome import USAGE, CommandError, run_command
from stream_app.wiring.recordings import DEFAULT_ZONE, Beside

app = typer.Typer(add_completion=False, help="Say what a bundle or a setting would change, on recordings.")

_SIDES = "vigil.sides"
_OPENERS = ("--against", "--with")
_INNER = ("--bundle", "--set")


class Side(NamedTuple):
    """One side as it is typed: `--with` or `--against`, and what stands behind it."""

    opener: str
    bundle: Path | None
    assignments: tuple[str, ...]


class _Sides(TyperCommand):
    """Takes the groups that `--against` and `--with` begin out of the arguments, and leaves the rest to typer."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own context type is private
        """Read the arguments."""
        sides, rest = sides_in(args)
        ctx.meta[_SIDES] = sides
        return super().parse_args(ctx, rest)


def sides_in(arguments: list[str]) -> tuple[list[Side], list[str]]:
    """Take the groups out of the arguments.

    Returns:
        The groups, and all other arguments; `--bundle` and `--set` behind an opener belong to its group.

    Raises:
        CommandError: if an option has no value, or a group names two bundles.
    """
    sides: list[Side] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if word in _OPENERS:
            sides.append(Side(word, None, ()))
        elif word == "--":
            rest += [word, *left]
            break
        elif sides and name in _INNER:
            if not equals and not left:
                raise CommandError(f"{sides[-1].opener} {name}: expected a value, found none", status=USAGE)
            sides[-1] = _extended(sides[-1], name, value if equals else left.pop(0))
        else:
            rest.append(word)
    return sides, rest


@app.command(cls=_Sides)
def compare(  # noqa: PLR0913 - one parameter an option
    ctx: typer.Context,
    recordings: RecordingsArgument,
    *,
    recorded: Annotated[
        list[Path] | None,
        typer.Option(
            "--recorded",
            metavar="REC",
            help="Compare the alerts that REC... holds with those of this recording, as recorded; may be repeated.",
        ),
    ] = None,
    verdicts: Annotated[
        Path | None,
        typer.Option("--verdicts", metavar="CSV", help="What reviewers found, as `vigil-export data verdicts`."),
    ] = None,
    operators: Annotated[
        int, typer.Option("--operators", min=1, help="Among how many people alarms are shared out.")
    ] = 1,
    as_json: JsonOption = False,
    html: HtmlOption = None,
    expect: ExpectOption = None,
    junit: JunitOption = None,
    zone: ZoneOption = DEFAULT_ZONE,
    texts: TextsOption = None,
    assignments: SetOption = None,
    config: ConfigOption = None,
) -> None:
    """Compare what recordings give by what was in force (A) with what they give by candidates (B, C, ...).

    --with begins a candidate: `--with --bundle DIR`, `--with --set open_texts=2`, or both; it may be repeated.
    --against does the same for A. A --set before them holds for all sides.
    """
    given = assignments or []
    loaded = settings_from(config, [one for one in given if not is_semantic(one)])
    asked = Asked(verdicts=verdicts_from(verdicts), expectations=expectations_from(expect, junit), operators=operators)
    sides: list[Side] = ctx.meta[_SIDES]
    _check(sides, recordings, recorded or [])
    # Here and not at the top: wrong usage is said before ONNX Runtime is loaded.
    from stream_app.wiring.replaying import Choice, Plan, compare_files, run_plan  # noqa: PLC0415

    common = tuple(one for one in given if is_semantic(one))
    if recorded:
        with failures():
            report, shown = compare_files([*recordings, *recorded], asked, has_page=html is not None)
        hand_over(report, shown, as_json=as_json, html=html, junit_path=junit)
        return
    base = [side for side in sides if side.opener == "--against"] or [Side("--against", None, ())]
    ordered = [*base, *(side for side in sides if side.opener == "--with")]
    plan = Plan(
        paths=tuple(recordings),
        choices=tuple(Choice(side.bundle, (*common, *side.assignments)) for side in ordered),
        asked=asked,
        has_page=html is not None,
        beside=Beside(zone, texts),
    )
    configure_logging(loaded.operational.log_format, "warning")
    with failures(), progress() as tell:
        report, shown = run_command(run_plan(plan, loaded, tell=tell))
    hand_over(report, shown, as_json=as_json, html=html, junit_path=junit)


def _check(sides: list[Side], recordings: list[Path], recorded: list[Path]) -> None:
    if recorded:
        if sides or len(recordings) != 1:
            raise CommandError("--recorded: expected one REC, and neither --with nor --against", status=USAGE)
        return
    if not any(side.opener == "--with" for side in sides):
        raise CommandError("expected --with [--bundle DIR] [--set NAME=VALUE], or --recorded REC", status=USAGE)
    if sum(side.opener == "--against" for side in sides) > 1:
        raise CommandError("--against: expected it at most once", status=USAGE)
    for side in sides:
        if side.bundle is None and not side.assignments:
            raise CommandError(f"{side.opener}: expected --bundle or --set behind it, found neither", status=USAGE)
        for one in side.assignments:
            if not is_semantic(one):
                raise CommandError(f"{side.opener} --set: expected a setting that changes results, found {one}; "
                                   "others go before --with", status=USAGE)  # fmt: skip


def _extended(side: Side, name: str, value: str) -> Side:
    if name == "--set":
        return side._replace(assignments=(*side.assignments, value))
    if side.bundle is not None:
        raise CommandError(f"{side.opener}: expected one --bundle, found two", status=USAGE)
    return side._replace(bundle=Path(value))
