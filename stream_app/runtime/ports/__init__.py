"""What the runtime asks of the world outside, one port a file, with the errors and values that each speaks of."""
