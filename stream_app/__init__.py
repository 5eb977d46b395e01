"""Vigil, the live system: camera frames and alarm texts in, alerts out."""

__version__ = "0.1.0"
