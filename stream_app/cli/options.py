"""Options that commands share, and the way from them to settings and a connection.

In: what was typed. Out: loaded settings, a Kafka connection. It is the one place where commands come by settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_app.config import LoadedSettings, SettingsError, load_settings
from stream_app.terminal.outcome import USAGE, CommandError
from stream_app.wiring.clients import connection_to, topics_of

__all__ = ["BootstrapOption", "ConfigOption", "SetOption", "connection_to", "settings_from", "topics_of"]

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings, TOML. [default: $VIGIL_CONFIG, else ./vigil.toml if there]"
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="One setting; may be repeated. `vigil config show` lists all."),
]
BootstrapOption = Annotated[
    str | None,
    typer.Option("--bootstrap", metavar="HOST:PORT", help="Kafka addresses. [default: the setting `bootstrap`]"),
]


def settings_from(
    file: Path | None, assignments: list[str] | None, *, flags: dict[str, object] | None = None
) -> LoadedSettings:
    """Load the settings of a command.

    Args:
        file: the value of ``--config``.
        assignments: the values of ``--set``.
        flags: values of dedicated flags by setting name, None where not given.

    Raises:
        CommandError: if a setting is wrong; exit status 2.
    """
    try:
        return load_settings(file=file, assignments=assignments or (), flags=flags)
    except SettingsError as error:
        raise CommandError(str(error), status=USAGE) from error
