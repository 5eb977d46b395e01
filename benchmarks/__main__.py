"""`python -m benchmarks`: measure, print, and write the figures down where asked."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shlex
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import msgspec

from benchmarks.core_rate import measure_core
from benchmarks.kafka_rate import measure_kafka
from benchmarks.latency import LatencySettings, measure_latency
from benchmarks.measured import Figure, PartName, Report, this_machine
from benchmarks.page import markdown, text_lines
from benchmarks.replay_rate import measure_replay
from benchmarks.scoring_rate import measure_scoring
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.observing.logs import configure_logging
from stream_app.bundle.demo import demo_bundle_path
from stream_app.bundle.errors import BundleError
from stream_app.bundle.load import load_bundle
from stream_app.config import Operational
from stream_app.local_kafka import LocalKafka
from stream_app.wiring.clients import connection_to


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured. Small and large are records per backlog of 1 KB and 30 KB frames."""

    core_frames: int
    small_frames: int
    large_frames: int
    scored_frames: int
    backlog_scores: int
    half_load_s: float
    recorded_frames: int
    recorded_minutes: float


#: What the figures are taken with; and what is just enough to see that everything still runs.
FULL = Size(
    core_frames=60_000,
    small_frames=30_000,
    large_frames=20_000,
    scored_frames=1_500,
    backlog_scores=2_500,
    half_load_s=20.0,
    recorded_frames=10_000,
    recorded_minutes=3.0,
)
TINY = Size(
    core_frames=2_000,
    small_frames=2_000,
    large_frames=500,
    scored_frames=64,
    backlog_scores=500,
    half_load_s=6.0,
    recorded_frames=2_000,
    recorded_minutes=0.25,
)


def main() -> int:
    """Run what the arguments ask for.

    Returns:
        0 when everything was measured, whether goals were reached or not; 2 for a bundle that cannot be used.
    """
    arguments = _arguments().parse_args()
    configure_logging("console", "error")
    # Their warnings are about topics that were made a moment ago.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        path = arguments.bundle or demo_bundle_path()
        bundle = load_bundle(path)
    except BundleError as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 2
    machine = this_machine()
    print(f"{machine.cpu}, {machine.cores} cores, load {machine.load:.2f}; minimum / median / maximum")
    figures = run(arguments.only or list(get_args(PartName)), path, arguments.rounds, TINY if arguments.tiny else FULL)
    manifest = bundle.manifest
    report = Report(
        command=_command(arguments),
        bundle=f"{manifest.name}/{manifest.version}, SHA-256 {bundle.sha256[:16]}",
        machine=machine,
        figures=tuple(figures),
    )
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    if arguments.page:
        arguments.page.write_text(markdown(report), encoding="utf-8")
    return 0


def run(parts: list[PartName], bundle: Path, rounds: int, size: Size) -> list[Figure]:
    """Measure the parts one after the other, printing each as it is done; what is started is ended."""
    figures: list[Figure] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-bench-")))
        connection: Connection | None = None
        for part in parts:
            if part in {"kafka", "latency"} and connection is None:
                connection = connection_to(Operational(bootstrap=stack.enter_context(LocalKafka()).bootstrap))
            found = _measures(bundle, rounds, size, connection, folder)[part]()
            print("\n".join([part, *text_lines(found)]), flush=True)
            figures += found
    return figures


def _measures(
    bundle: Path, rounds: int, size: Size, connection: Connection | None, folder: Path
) -> dict[PartName, Callable[[], list[Figure]]]:
    there = connection or connection_to(Operational())
    latency = LatencySettings(
        bundle=bundle, folder=folder, backlog_scores=size.backlog_scores, seconds=size.half_load_s
    )
    backlogs = ((1_000, size.small_frames), (30_000, size.large_frames))
    pictures = ((320, 240), (640, 480))
    return {
        "core": lambda: measure_core(rounds=rounds, frames=size.core_frames),
        "kafka": lambda: measure_kafka(there, rounds=rounds, sizes=backlogs),
        "scoring": lambda: measure_scoring(bundle, rounds=rounds, frames=size.scored_frames, sizes=pictures),
        "latency": lambda: asyncio.run(measure_latency(there, latency)),
        "replay": lambda: measure_replay(
            bundle, folder, rounds=rounds, frames=size.recorded_frames, minutes=size.recorded_minutes
        ),
    }


def _command(arguments: argparse.Namespace) -> str:
    """Return the command without where its figures go: that changes nothing in them."""
    words = ["python", "-m", "benchmarks", "--rounds", str(arguments.rounds)]
    words += [word for part in arguments.only or () for word in ("--only", part)]
    words += ["--bundle", str(arguments.bundle)] if arguments.bundle else []
    return shlex.join([*words, "--tiny"] if arguments.tiny else words)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=get_args(PartName), help="this part; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="of each comparison (default: %(default)s)")
    parser.add_argument("--bundle", type=Path, help="directory of a model bundle (default: the demo bundle)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write them as a Markdown page there")
    parser.add_argument("--tiny", action="store_true", help="hardly any records: to see that it runs, not how fast")
    return parser


if __name__ == "__main__":
    sys.exit(main())
