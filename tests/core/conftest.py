"""Hypothesis profile of the core's properties: quick and repeatable, or thorough where asked."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.core.examples import IS_THOROUGH

settings.register_profile(
    "core",
    deadline=None,
    derandomize=not IS_THOROUGH,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("core")
