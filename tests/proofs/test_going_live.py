"""docs/going-live.md, command by command: last night's recording, a better threshold, a trial beside production.

What the page takes for granted is made here: a deployment that ran, a bundle to try, and what reviewers wrote down.
"""

from __future__ import annotations

import asyncio
import csv
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch", reason="the training side needs the extra `export`")

from stream_app.cli import main as vigil
from stream_app.config import load_settings
from stream_app.demo.collecting import collect
from stream_app.demo.workers import Worker
from stream_app.wiring.clients import connection_to, topics_of
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.test_docs_commands import REPOSITORY, shown_commands
from vigil_export.cli import main as vigil_export

if TYPE_CHECKING:
    from stream_app.demo.truth import Outputs
    from tests.conftest import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

_PAGE = (REPOSITORY / "docs/going-live.md").read_text("utf-8")
_PROGRAMS = {"vigil": vigil, "vigil-export": vigil_export}
_TOML = re.findall(r"^```toml\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)
_WORKER = {"decode_children": 1, "ort_threads": 1}


def _run(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        _PROGRAMS[words[0]](list(words[1:]))
    assert ended.value.code == 0, " ".join(words)


def _write_settings(bootstrap: str, prefix: str) -> None:
    names = ("frames", "texts", "alerts", "decisions", "dead_letters", "journal", "state")
    lines = [f'bootstrap = "{bootstrap}"', f'deployment = "{prefix}"', 'provider = "cpu"', "allow_unsigned = true"]
    Path("vigil.toml").write_text("\n".join([*lines, *(f'{name}_topic = "{prefix}.{name}"' for name in names)]))


def _write_trial(prefix: str) -> None:
    """Write the page's trial.toml, its names made this test's own, on the inputs of production."""
    (trial,) = (block for block in _TOML if "deployment" in tomllib.loads(block))
    shared = [line for line in Path("vigil.toml").read_text().splitlines() if not line.startswith(("dep", "ale"))]
    inputs = [line for line in shared if line.startswith(("bootstrap", "provider", "allow", "frames", "texts"))]
    Path("trial.toml").write_text("\n".join([*inputs, trial.replace('"trial', f'"{prefix}-trial')]))


def _review() -> None:
    """Write down that what was said to be something was nothing, every other time."""
    with Path("verdicts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for number, row in enumerate(rows):
        row["label"] = "normal" if number % 2 else "fight"
    with Path("verdicts.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


async def _judge_all(config: str, *, texts: int) -> Outputs:
    """Run a worker until all is judged and every incident is closed."""
    loaded = load_settings(file=Path(config), environ={})
    connection, topics = connection_to(loaded.operational), topics_of(loaded.operational)
    found: Outputs
    worker = Worker(config, Path(f"{config}.log"), _WORKER, environment={"VIGIL_CONFIG": config})
    try:
        await worker.wait_ready()
        async with asyncio.timeout(180):
            while True:
                found = await collect(connection, topics)
                phases = [alert["phase"] for alert in found.alerts]
                judged = {
                    (one["partition"], one["offset"])
                    for decision in found.decisions
                    for one in decision["evidence"]
                    if one["kind"] == "text"
                }
                if len(judged) == texts and phases.count("opened") == phases.count("closed"):
                    return found
                await asyncio.sleep(0.5)
    finally:
        assert await worker.stop() == 0


def test_the_page_from_last_night_to_a_trial_beside_production_runs_as_it_stands(
    kafka: Broker,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    _write_settings(kafka.bootstrap, topic_prefix)
    _write_trial(topic_prefix)
    expectations = next(block for block in _TOML if "expect" in tomllib.loads(block))
    Path("night.toml").write_text(expectations)
    Path("bundles/site").mkdir(parents=True)
    write_tiny_bundle(Path("made")).rename("bundles/site/2")
    _run(("vigil", "site", "record", "--minutes", "0.75", "--zones", "2", "--cameras", "1", "--out", "played.mcap"))
    _run(("vigil", "topics", "create", "--partitions", "4"))
    _run(("vigil", "replay", "played.mcap", "--to-kafka", "--speed", "max", "--same-topics"))
    texts = int(capsys.readouterr().out.rpartition(" texts")[0].rpartition(" ")[2])
    live = asyncio.run(_judge_all("vigil.toml", texts=texts))
    assert live.alerts
    steps = shown_commands(_PAGE)
    assert {words[1] for words in steps if words[0] == "vigil"} == {
        *("record", "recording", "verify", "compare", "replay", "topics", "worker")
    }
    for words in steps:
        if words[:2] == ("vigil", "worker"):
            trial = asyncio.run(_judge_all("trial.toml", texts=texts))
            assert len(trial.decisions) == len(live.decisions)
            continue
        _run(words)
        if "verdicts" in words:
            _review()
    assert all(Path(name).stat().st_size for name in ("night.html", "night.xml", "rows/metadata.jsonl"))
