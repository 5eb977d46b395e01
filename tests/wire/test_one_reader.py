"""What stands on the topics is read in `wire` (a checkpoint in the core); whoever else reads JSON says what it is."""

import ast
from pathlib import Path

import stream_app

ROOT = Path(stream_app.__file__).parent
#: Modules that read other JSON, and which.
OTHERS = {
    "adapters/decoding/child.py": "settings from the parent process",
    "adapters/feed/texts.py": "a file of texts to be sent",
    "adapters/recording/cut.py": "the settings that a recording says were in force",
    "adapters/recording/foreign_images.py": "pictures of other tools' recordings",
    "adapters/recording/layout.py": "a recording's own metadata",
    "bundle/manifest.py": "the manifest of a bundle",
    "cli/demo.py": "the texts of a folder to be played",
    "config/load.py": "a value on the command line",
    "demo/collecting.py": "what the demo's judge reads by the published schemas: it shares no code with what it judges",
    "local_kafka/detached.py": "its own state file",
    "local_kafka/jars.py": "its own list of jars",
    "replay/differing.py": "two values of one record, to say in which property they differ",
    "replay/golden.py": "golden incidents, kept beside somebody's tests",
    "replay/played.py": "a structured CloudEvent whose time and id are to be moved, whatever else is in it",
    "replay/verdicts.py": "verdicts of reviewers",
}
_READERS = {"json.decode", "json.loads", "json.load", "json.Decoder", "msgspec.json.decode", "msgspec.json.Decoder"}


def reads_json(source: str) -> bool:
    return any(
        isinstance(node, ast.Attribute) and ast.unparse(node) in _READERS for node in ast.walk(ast.parse(source))
    )


def test_nobody_else_reads_what_stands_on_the_topics() -> None:
    found = {
        path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if reads_json(path.read_text(encoding="utf-8"))
    }
    assert {name for name in found if not name.startswith(("wire/", "core/"))} == set(OTHERS)


def test_a_reader_is_found_however_it_is_called() -> None:
    assert reads_json("import msgspec\nfound = msgspec.json.decode(b'', type=int)")
    assert reads_json("import json\nread = json.loads")
    assert not reads_json("import msgspec\nmsgspec.json.encode(1)")
