"""What stands on the topics, written and read in one place. It knows the core and no client library."""
