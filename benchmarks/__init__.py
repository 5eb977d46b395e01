"""Measurements of Vigil on one machine, side by side with what it is built on. Run `python -m benchmarks`."""
