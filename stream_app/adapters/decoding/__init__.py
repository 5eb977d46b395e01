"""Decoding untrusted images in child processes with limits of memory and time."""
