"""`python -m vigil_export` is `vigil-export`."""

from vigil_export.cli import main

main()
