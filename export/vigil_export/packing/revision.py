"""Which source revision made a bundle, according to git."""

from __future__ import annotations

import subprocess
from pathlib import Path


def source_revision() -> str:
    """Return the git revision of this source, with `-modified` where it differs from it; `unknown` outside git."""
    here = Path(__file__).resolve().parent.parent
    found = []
    for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", str(here))):
        try:
            done = subprocess.run(
                ("git", *arguments),  # noqa: S607 - wherever git is installed
                cwd=here,
                capture_output=True,
                text=True,
                check=True,
                timeout=20,
            )
        except (OSError, subprocess.SubprocessError):
            return "unknown"
        found.append(done.stdout.strip())
    return found[0] + ("-modified" if found[1] else "")
