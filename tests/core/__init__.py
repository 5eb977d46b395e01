"""Tests of the pure core: scenarios by stage, properties against a brute force, conformance with other projects."""
