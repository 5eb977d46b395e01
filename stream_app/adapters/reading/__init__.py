"""Reading topics for people and tools: alerts, decisions, evidence, checkpoints. Joins no consumer group."""
