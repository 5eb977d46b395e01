"""Composes a worker. In: settings. Out: objects that know each other. It has no logic of its own."""
