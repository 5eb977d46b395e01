"""The join against the cases of other projects' own tests: Kafka Streams, Quix Streams, Flink.

Every case is judged in three ways. *By definition*: on its records our outputs are those of the design's five steps,
whatever the case expects. *To the letter*: our outputs are what the case expects. *By the stated rule*: they are what
the case expects once the rules on which we differ on purpose are applied to the expectation; each of those rules is one
function or one line of ``join_verdict``. A case of another file (``--join-cases PATH``) has to hold by definition, and
then to the letter or by the stated rule. Of the three known files, ``DIFFERS`` lists the cases that do not hold to the
letter, and why; a listed case that suddenly does is a failure.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.core.join_cases import JoinCase, UnknownFormatError, case_files, load_cases
from tests.core.join_verdict import judge

KNOWN = Path(__file__).resolve().parents[3] / "shared" / "data" / "join-cases"
_EAGER = "Quix puts a record out alone as soon as it meets nobody, and again with a later partner; ours waits for close"
_LATE = "Flink drops a record below the watermark; ours flags it and pairs it with what is still held"
#: Cases of the known files that do not hold to the letter, on purpose.
DIFFERS: dict[str, str] = {
    "quix:cases[4]-left:152e694d": _EAGER,
    "quix:cases[10]-right:dc3a7d4c": _EAGER,
    "quix:cases[11]-outer:d68467c7": _EAGER,
    "quix:cases[12]-outer:d68467c7": _EAGER,
    "flink-late:testDiscardsLateData:a0740b9f": _LATE,
    "flink-late:testLateData:1267bba1": _LATE,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one item per case; a file or case that cannot be read is one item that fails and says why."""
    given: Path | None = metafunc.config.getoption("--join-cases")
    if "case" not in metafunc.fixturenames:
        return
    path = KNOWN if given is None else given
    if not path.exists():
        if given is not None:
            message = f"--join-cases: expected a file or a folder of *.json, found nothing at {path}"
            raise pytest.UsageError(message)
        mark = pytest.mark.skip(reason=f"shared data missing: no folder {path}")
        metafunc.parametrize("case", [pytest.param(None, marks=mark, id="missing")])
        return
    params: list[Any] = []
    for file in case_files(path):
        try:
            params += [_param(file, number, case) for number, case in enumerate(load_cases(file))]
        except UnknownFormatError as error:
            params.append(pytest.param(error, id=f"unknown:{file.name}"))
    if not params:
        params.append(pytest.param(UnknownFormatError(f"{path}: expected *.json, found none"), id="empty"))
    metafunc.parametrize("case", params)


def _param(file: Path, number: int, case: JoinCase | UnknownFormatError) -> Any:  # noqa: ANN401 - a parameter set
    return pytest.param(case, id=case.id if isinstance(case, JoinCase) else f"unknown:{file.name}[{number}]")


@pytest.mark.shared_data
def test_the_join_agrees_with_the_case(case: JoinCase | UnknownFormatError) -> None:
    if isinstance(case, UnknownFormatError):
        pytest.fail(str(case), pytrace=False)
    found = judge(case.kind, case.data)
    assert not found.definition, found.definition
    assert not (found.letter and found.rule), f"to the letter: {found.letter}; by the stated rule: {found.rule}"
    reason = _reason_to_differ(case)
    if reason is not None:
        assert not found.rule, found.rule
        assert found.letter, f"listed as different ({reason}), but it holds to the letter: take it off the list"
    elif case.digest in _known_digests():
        assert not found.letter, found.letter


def test_a_listed_case_is_known_by_its_content_wherever_it_stands_in_a_file() -> None:
    for case_id, reason in DIFFERS.items():
        digest = case_id.rsplit(":", 1)[1]
        assert _reason_to_differ(JoinCase("quix", "cases[99]-left", digest, {})) == reason
    assert _reason_to_differ(JoinCase("quix", "cases[4]-left", "00000000", {})) is None


def test_one_case_of_no_known_format_hides_no_other_and_words_about_a_file_are_no_case(tmp_path: Path) -> None:
    case = {"name": "a", "lower": 0, "upper": 0, "left": [1], "right": [1], "expected": [[1, 1]]}
    file = tmp_path / "cases.json"
    file.write_text(json.dumps({"sources": ["x"], "cases": [case, {}, {**case, "how": "some"}, {**case, "name": "b"}]}))
    first, *errors, last = load_cases(file)
    assert [one.name for one in (first, last) if isinstance(one, JoinCase)] == ["a", "b"]
    assert [type(one) for one in errors] == [UnknownFormatError] * 2
    file.write_text(json.dumps({"sources": ["x"]}))
    with pytest.raises(UnknownFormatError, match="expected lists of join cases"):
        load_cases(file)


def test_every_listed_difference_is_a_case_of_the_known_files() -> None:
    if KNOWN.is_dir():
        assert {case_id.rsplit(":", 1)[1] for case_id in DIFFERS} <= _known_digests()


def _reason_to_differ(case: JoinCase) -> str | None:
    return next((reason for case_id, reason in DIFFERS.items() if case_id.endswith(f":{case.digest}")), None)


def _known_digests() -> set[str]:
    cases = [case for file in sorted(KNOWN.glob("*.json")) for case in load_cases(file)]
    return {case.digest for case in cases if isinstance(case, JoinCase)}
