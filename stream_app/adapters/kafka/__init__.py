"""Everything that talks to the brokers for a worker: clients, topics, preflight, source, publishing, recovery, reset.

It knows nothing of the model, of inference or of metrics.
"""
