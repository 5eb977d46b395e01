"""Everything that talks to the brokers on behalf of a worker: clients, topics, preflight, publishing, recovery."""
