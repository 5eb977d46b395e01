"""How often Python looks for cyclic garbage while records are judged: seldom, and never through what start-up left.

A record is a dozen small objects, none of them in a cycle, and a fetch brings thousands: by default the collector goes
through them every 700, which took a tenth of the worker's time. Reference counts free them all the same.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A collection comes when so many more objects were made than freed: a few MB, were they all garbage.
YOUNG_OBJECTS: Final = 20_000


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Keep what exists out of the collector's sight and let it run seldom; undone at the end."""
    young, middle, old = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, middle, old)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)
        gc.unfreeze()
