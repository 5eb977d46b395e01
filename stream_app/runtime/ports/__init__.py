"""What the runtime asks of the world outside: one port per file, with the errors and values that it speaks of."""
