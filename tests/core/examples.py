"""How many examples a property is tried with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable

#: ``VIGIL_HYPOTHESIS=thorough`` runs ten times the examples of every property, with new ones each time.
IS_THOROUGH = os.environ.get("VIGIL_HYPOTHESIS") == "thorough"


def examples(number: int) -> Callable[[Any], Any]:
    """Try the property with so many examples, or ten times as many in a thorough run, which has the time for it."""
    chosen = settings(settings.get_profile("core"), max_examples=number * 10 if IS_THOROUGH else number)
    return lambda test: pytest.mark.timeout(3_600)(chosen(test)) if IS_THOROUGH else chosen(test)
