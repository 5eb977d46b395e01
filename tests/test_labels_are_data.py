"""Labels are data: outside the drawn site, and what is made for it, no code knows one."""

import ast
from pathlib import Path

import pytest

from stream_app.drawn_site import LABELS
from stream_app.drawn_site.story import LOOKALIKES
from tests.conftest import REPOSITORY

#: Names of files whose subject is the drawn site and the bundle that is trained on it.
_ABOUT_THE_SITE = ("stream_app/drawn_site/", "stream_app/demo/")


def _sources() -> list[Path]:
    found = [path for room in ("stream_app", "export", "vigil") for path in sorted((REPOSITORY / room).rglob("*.py"))]
    return [path for path in found if not str(path.relative_to(REPOSITORY)).startswith(_ABOUT_THE_SITE)]


def labels_in(source: str) -> set[str]:
    """Return the labels and look-alikes of the site that are a string of some code, by themselves."""
    strings = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    return {name for name in strings if isinstance(name, str)} & {*LABELS, *LOOKALIKES}


def test_no_code_knows_a_label() -> None:
    sources = _sources()
    assert len(sources) > 200
    known = {str(path.relative_to(REPOSITORY)): labels_in(path.read_text("utf-8")) for path in sources}
    assert {name: labels for name, labels in known.items() if labels} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [("if label == 'fight': pass", {"fight"}), ("say('no fight here')", set()), ("of = {'fire': 1}", {"fire"})],
)
def test_a_label_in_code_is_found(source: str, found: set[str]) -> None:
    assert labels_in(source) == found
