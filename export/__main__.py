"""`python -m export` is `vigil-export`."""

from export.cli import main

main()
