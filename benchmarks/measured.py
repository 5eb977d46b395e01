"""What a measurement gives back: figures with their spread, their goals, and the machine they were taken on."""

from __future__ import annotations

import math
import os
import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec

PartName = Literal["core", "kafka", "scoring", "latency", "replay"]
_PACKAGES = ("aiokafka", "faust-streaming", "onnxruntime-gpu", "opencv-python")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured quantity.

    Attributes:
        part: which measurement it belongs to.
        name: what was measured, for people.
        unit: of the values, for example ``records/s``.
        values: one per round, in the order they were taken; at least one.
        goal: the median is to reach at least this; None where there is no goal.
        digits: decimals that mean something.
    """

    part: PartName
    name: str
    unit: str
    values: tuple[float, ...]
    goal: float | None = None
    digits: int = 0

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.values)

    @property
    def is_reached(self) -> bool | None:
        """Whether the median reaches the goal; None where there is no goal."""
        return None if self.goal is None else self.median >= self.goal

    def shown(self, value: float) -> str:
        """Write a value with the digits that mean something."""
        return f"{value:,.{self.digits}f}"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured. ``load`` is the 1-minute load average just before the first measurement."""

    cpu: str
    cores: int
    memory_gib: int
    system: str
    python: str
    packages: dict[str, str]
    load: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one run measured."""

    command: str
    bundle: str
    machine: Machine
    figures: tuple[Figure, ...]


def ratios(above: tuple[float, ...], below: tuple[float, ...]) -> tuple[float, ...]:
    """Divide round by round: what ran next to each other is compared, so that a slow minute hurts both."""
    return tuple(one / other for one, other in zip(above, below, strict=True))


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least ``share`` (0 to 1) of all values do not exceed.

    Raises:
        ValueError: if there are no values.
    """
    if not values:
        message = "no values: nothing was measured"
        raise ValueError(message)
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def this_machine() -> Machine:
    """Describe the machine in words that name no place."""
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_cpu_model(),
        cores=usable_cores(),
        memory_gib=round(pages * page_bytes / 2**30),
        system=platform.system(),
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES},
        load=round(os.getloadavg()[0], 2),
    )


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
