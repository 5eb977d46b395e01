"""Every benchmark still runs and says what it promises. How fast is not for a test to say."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.core_rate import measure_core
from benchmarks.latency import LatencySettings, saturation, steepness
from benchmarks.measured import Figure, Machine, Report, percentile, ratios
from benchmarks.page import markdown
from benchmarks.records import jpeg, jpeg_of_size
from benchmarks.scoring_rate import measure_scoring
from stream_app.adapters.kafka.connection import Connection
from stream_app.config import Operational
from stream_app.core.image_header import read_image_header
from stream_app.wiring.clients import connection_to
from tests.bundle.tiny_bundle import write_tiny_bundle

_REPOSITORY = Path(__file__).resolve().parents[2]
_MACHINE = Machine(cpu="a processor", cores=2, memory_gib=8, system="Linux", python="3.11.7", packages={}, load=0.5)


def test_the_core_is_measured_in_every_mix_and_every_record_was_judged() -> None:
    figures = measure_core(rounds=2, frames=1_200)
    assert [figure.goal for figure in figures] == [50_000, 50_000, None, 0.8, None, None, None, None]
    assert all(len(figure.values) == 2 and min(figure.values) > 0 for figure in figures[:5])
    assert all(0 < min(figure.values) <= max(figure.values) < 20_000 for figure in figures[5:])


def test_scoring_is_measured_beside_bare_decoding_and_inference(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path)
    worker, bare, ratio = measure_scoring(bundle, rounds=1, frames=48, sizes=[(64, 48)])
    assert ratio.values == ratios(worker.values, bare.values)
    assert ratio.goal == 0.5


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_a_tiny_run_of_all_of_them_ends_by_itself_and_writes_its_figures_and_the_page(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path)
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    command = [sys.executable, "-m", "benchmarks", "--tiny", "--rounds", "1", "--bundle", str(bundle)]
    done = subprocess.run(
        [*command, "--json", str(figures), "--page", str(page)],
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = msgspec.json.decode(figures.read_bytes(), type=Report)
    assert {figure.part for figure in report.figures} == {"core", "kafka", "scoring", "latency", "replay"}
    assert all(value > 0 for figure in report.figures for value in figure.values)
    assert page.read_text(encoding="utf-8") == markdown(report)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        # Start (0 to 5 s) and last window (95 to 100) are flat; in between 10 a second.
        ([(0.0, 0.0), (5.0, 4.0), (6.0, 10.0), (10.0, 50.0), (14.0, 90.0), (20.0, 96.0), (30.0, 100.0)], 10.0),
        ([(0.0, 0.0), (0.1, 0.0), (0.2, 482.0), (0.3, 482.0)], None),
        ([(0.0, 0.0), (0.1, 240.0), (0.2, 482.0)], None),
    ],
)
def test_a_rate_is_taken_from_the_middle_of_a_backlog_or_not_at_all(
    samples: list[tuple[float, float]], expected: float | None
) -> None:
    assert steepness(samples) == expected


def test_a_backlog_that_is_too_small_for_the_machine_is_made_larger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def catch_up(_connection: Connection, _settings: LatencySettings, scores: int) -> list[tuple[float, float]]:
        asked.append(scores)
        looks = 1 if scores < 8_000 else 10
        return [(float(look), scores * look / looks) for look in range(looks + 1)]

    monkeypatch.setattr("benchmarks.latency._catch_up", catch_up)
    settings = LatencySettings(bundle=tmp_path, folder=tmp_path, backlog_scores=500)
    assert asyncio.run(saturation(connection_to(Operational()), settings)) == 800
    assert asked == [500, 2_000, 8_000]
    with pytest.raises(RuntimeError, match="longer than two looks"):
        asyncio.run(saturation(connection_to(Operational()), msgspec.structs.replace(settings, backlog_scores=5)))


@pytest.mark.parametrize("size", [1_000, 1_003, 30_000, 200_001])
def test_a_picture_of_a_given_size_has_exactly_that_and_is_a_jpeg(size: int) -> None:
    picture = jpeg_of_size(size)
    assert len(picture) == size
    assert read_image_header(picture).format == "jpeg"


def test_equal_pictures_come_from_equal_seeds_only() -> None:
    assert jpeg(32, 24, seed=1) == jpeg(32, 24, seed=1)
    assert jpeg(32, 24, seed=1) != jpeg(32, 24, seed=2)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([5.0], 0.99, 5.0), ([3.0, 1.0, 2.0], 0.5, 2.0), ([float(n) for n in range(1, 101)], 0.99, 99.0)],
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(
    values: list[float], share: float, expected: float
) -> None:
    assert percentile(values, share) == expected


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.5)


def test_the_page_shows_spread_goal_and_whether_the_median_reached_it() -> None:
    figure = Figure(part="core", name="core", unit="records/s", values=(40_000, 60_000, 52_000), goal=50_000)
    report = Report(command="python -m benchmarks", bundle="site/1", machine=_MACHINE, figures=(figure,))
    assert "| core | 40,000 / 52,000 / 60,000 | records/s | at least 50,000: reached |" in markdown(report)
    missed = msgspec.structs.replace(figure, values=(40_000, 49_000, 60_000))
    assert "at least 50,000: missed" in markdown(msgspec.structs.replace(report, figures=(missed,)))
