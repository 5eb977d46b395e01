"""`vigil evidence ALERT --out DIR`: the frames and texts of an alert, fetched by their coordinates.

In: the id of an alert or incident. Out: files; exit status 1, loudly, where a piece is gone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_app.adapters.evidence import Evidence, NoSuchAlertError, fetch_evidence
from stream_app.adapters.watching import TopicMissingError
from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, connection_to, settings_from, topics_of
from stream_app.cli.outcome import CommandError, run_command

app = typer.Typer(add_completion=False, help="Fetch the frames and texts of an alert.")


@app.command()
def evidence(
    alert: Annotated[str, typer.Argument(metavar="ALERT", help="Id of an alert, or of an incident.")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write the files.")],
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Fetch every frame and text that an alert names, checked by offset and event time."""
    operational = settings_from(config, assignments, flags={"bootstrap": bootstrap}).operational
    fetching = fetch_evidence(connection_to(operational), topics_of(operational).alerts, alert, out)
    try:
        found = run_command(fetching)
    except (TopicMissingError, NoSuchAlertError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        message = f"{out} cannot be written: {error.strerror or error}"
        raise CommandError(message) from error
    _report(found, out)


def _report(found: Evidence, out: Path) -> None:
    alert = found.alert
    typer.echo(f"{alert.phase} {alert.label} in {alert.zone}, {alert.start} to {alert.end}, score {alert.score:.4f}")
    for piece in found.pieces:
        place = f"{piece.topic}/{piece.partition}/{piece.offset}"
        typer.echo(f"  {piece.kind:<5} {place}  {piece.file or 'MISSING: ' + piece.missing}")
    if alert.evidence_left_out:
        typer.echo(f"  the alert itself names no more than these; {alert.evidence_left_out} were left out")
    fetched = len(found.pieces) - len(found.missing)
    typer.echo(f"{fetched} of {len(found.pieces)} pieces in {out}")
    if found.missing:
        message = f"EVIDENCE MISSING: {len(found.missing)} of {len(found.pieces)} pieces are gone, see above"
        raise CommandError(message)
