"""`vigil config`: which settings are in force and where each came from; whether they are valid; the settings page.

In: options, a file, the environment. Out: a table or JSON; secrets are masked in both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from stream_app.cli.options import ConfigOption, SetOption, settings_from
from stream_app.config import SETTINGS, LoadedSettings, Setting, settings_page
from stream_app.terminal.console import console
from stream_app.terminal.lines import echo, echo_json
from stream_app.terminal.outcome import FAILED, REFUSED, CommandError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show or check the settings in force.")


@app.command()
def show(
    *,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the defaults.")] = False,
) -> None:
    """Print every setting, its value and where the value came from."""
    loaded = settings_from(config, assignments)
    rows = [row for row in _rows(loaded) if not changed or row["from"] != "default"]
    if as_json:
        content = {"settings": rows, "sha256": loaded.sha256, "file": str(loaded.file) if loaded.file else None}
        echo_json(content, is_pretty=True)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "from", "changes results"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(row["name"], str(row["value"]), row["from"], "yes" if row["kind"] == "semantic" else "")
    console().print(table)
    echo(f"settings hash: {loaded.sha256}")


@app.command()
def check(*, config: ConfigOption = None, assignments: SetOption = None) -> None:
    """Say whether the settings are valid and what they point at exists. Exit status 2 or 4 if not."""
    loaded = settings_from(config, assignments)
    operational = loaded.operational
    missing = []
    if operational.bundle and not (Path(operational.bundle) / "manifest.json").is_file():
        missing.append(f"setting bundle: expected a bundle with manifest.json, found none at {operational.bundle}")
    if operational.bundle_key and not Path(operational.bundle_key).is_file():
        missing.append(f"setting bundle_key: expected a PEM file, found none at {operational.bundle_key}")
    if operational.ssl_cafile and not Path(operational.ssl_cafile).is_file():
        missing.append(f"setting ssl_cafile: expected a PEM file, found none at {operational.ssl_cafile}")
    if missing:
        raise CommandError("\n".join(missing), status=REFUSED)
    source = f", read {loaded.file}" if loaded.file else ""
    echo(f"settings are valid{source}; settings hash {loaded.sha256}")


@app.command()
def docs(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")] = Path("docs/settings.md"),
) -> None:
    """Write the settings page from the declarations."""
    try:
        out.write_text(settings_page(), encoding="utf-8")
    except OSError as error:
        message = f"cannot write {out}: {error.strerror}"
        raise CommandError(message, status=FAILED) from error
    echo(f"wrote {out}")


def _rows(loaded: LoadedSettings) -> list[dict[str, Any]]:
    rows = [
        {
            "name": setting.name,
            "value": _value(setting, loaded),
            "from": loaded.origins[setting.name],
            "kind": setting.kind,
        }
        for setting in SETTINGS
    ]
    for override in loaded.thresholds:
        for field in ("open_at", "close_at"):
            name = f"thresholds.{override.label}.{field}"
            if name in loaded.origins:
                found = getattr(override, field)
                rows.append({"name": name, "value": found, "from": loaded.origins[name], "kind": "semantic"})
    return rows


def _value(setting: Setting, loaded: LoadedSettings) -> object:
    struct = loaded.semantic if setting.kind == "semantic" else loaded.operational
    value = getattr(struct, setting.name)
    return setting.shown(value) if setting.is_secret else value
