"""Reads topics for people and tools: alerts, decisions, evidence, checkpoints. It never writes, and knows no model."""
