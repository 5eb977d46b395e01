"""How many examples a property is tried with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable

#: ``VIGIL_HYPOTHESIS=thorough`` runs ten times the examples of every property, with new ones each time; ``brief`` runs
#: a tenth of them, for whoever runs the tests hundreds of times (`python -m benchmarks.mutants`).
IS_THOROUGH = os.environ.get("VIGIL_HYPOTHESIS") == "thorough"
_IS_BRIEF = os.environ.get("VIGIL_HYPOTHESIS") == "brief"


def examples(number: int) -> Callable[[Any], Any]:
    """Try the property with so many examples, ten times as many in a thorough run, a tenth in a brief one."""
    tried = number * 10 if IS_THOROUGH else number // 10 if _IS_BRIEF else number
    chosen = settings(settings.get_profile("core"), max_examples=tried)
    return lambda test: pytest.mark.timeout(3_600)(chosen(test)) if IS_THOROUGH else chosen(test)
