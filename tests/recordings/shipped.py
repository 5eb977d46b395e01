"""Recordings in files that tests read, and how they were made."""

from __future__ import annotations

import re
from pathlib import Path

#: Half a minute of the drawn site.
SITE = Path(__file__).with_name("site.mcap")


def command() -> list[str]:
    """Return the arguments of `vigil` that made :data:`SITE`, but for where it was written to."""
    readme = SITE.with_name("README.md").read_text("utf-8")
    found = re.search(r"^vigil (site record .*) --out \S+$", readme, re.MULTILINE)
    assert found is not None
    return found[1].split()
