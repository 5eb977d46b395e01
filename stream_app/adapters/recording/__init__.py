"""Recordings: ranges of a deployment's topics in MCAP files, written, read, cut and looked at; and read from Kafka.

A recording is lossless: what is read from a file is what a consumer read from the topic. It knows no model.
"""
