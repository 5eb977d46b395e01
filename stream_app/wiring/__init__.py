"""Composition: settings in, objects that know each other out. No logic of its own."""
