"""The settings page `docs/settings.md`, written from the declarations, so that it cannot contradict them."""

from __future__ import annotations

from stream_app.config.declared import SETTINGS, Kind, Setting

_HEAD = """# Settings

Written by `vigil config docs` from the declarations in `stream_app/config` and `stream_app/core/settings.py`: change
those, not this page (a test compares the two).

A value comes from (later ones win): its default; a TOML file (`--config FILE`, else the one that `VIGIL_CONFIG`
names, else `./vigil.toml` if it exists); the environment (`VIGIL_` and the name in capitals; `VIGIL_BROKER` is
another name of `VIGIL_BOOTSTRAP`, which wins where both are set); the command line (`--set name=value`, any number of
times, and the flags that some commands have). An unknown name is an error in each of them. `vigil config show` prints
what is in force and where it came from, `vigil config check` only whether it is valid.

Variables that Kubernetes sets for services called `vigil...` (`VIGIL_SERVICE_HOST`, `VIGIL_PORT=tcp://...`) are
ignored.

```toml
# vigil.toml
bootstrap = "kafka-1:9092,kafka-2:9092"
grace_ms = 2000

[thresholds.fight]
open_at = 0.85
close_at = 0.6
```
"""

_SEMANTIC = """## Settings that change results

They are part of the settings hash that every alert carries: the same recording may give other alerts when one changes.
"""

_THRESHOLDS = """### Thresholds per label

`thresholds.<label>.open_at` and `thresholds.<label>.close_at` replace those of the bundle's manifest; probabilities
strictly between 0 and 1. They are part of the settings hash too. In the environment they are JSON in
`VIGIL_THRESHOLDS`: `{"fight": {"open_at": 0.85}}`.
"""

_OPERATIONAL = """## Settings that change how Vigil runs, never what it concludes
"""


def settings_page() -> str:
    """Return the whole page as Markdown."""
    parts = [_HEAD, _SEMANTIC, _table("semantic"), _THRESHOLDS, _OPERATIONAL, _table("operational")]
    return "\n".join(parts)


def _table(kind: Kind) -> str:
    rows = [_row(setting) for setting in SETTINGS if setting.kind == kind]
    return "\n".join(["| name | type | default | what it is |", "|---|---|---|---|", *rows]) + "\n"


def _row(setting: Setting) -> str:
    expected = setting.expected.replace("|", "\\|")
    default = f"`{setting.default}`" if setting.default != "" else "empty"
    return f"| `{setting.name}` | {expected} | {default} | {setting.help.replace('|', chr(92) + '|')} |"
