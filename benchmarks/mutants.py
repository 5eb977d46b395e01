"""`python -m benchmarks.mutants`: a seeded sample of small faults in core, wire and runtime, and which the tests find.

In: the tracked files as committed, and cosmic-ray, which makes the mutants (`pip install --group mutants`). Out: the
share that dies, and a line of JSON for each. A mutant is tried in a copy, first on the tests named after its file, then
on the other quick ones of its part and those above; what survives, then, on the slow ones. Properties run a tenth of
their examples: a survivor is a question to the tests, no verdict. One that never ends counts as dead.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cosmic_ray.plugins
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

#: What is mutated, and whose tests are asked.
_TESTS = {
    "core": ("core", "wire", "runtime", "adapters/observing"),
    "wire": ("wire", "runtime"),
    "runtime": ("runtime",),
}
#: Unions stand in annotations only; `is` and `==` say the same of None, enums and small numbers; every import finds a
#: decorator that is gone; operators on variables want a configuration.
_LEFT_OUT = ("BitOr_", "Eq_Is", "_Is_Eq", "IsNot_NotEq", "NotEq_IsNot", "RemoveDecorator", "Variable")
#: Loaded once, before the processes part.
_LIBRARIES = ("aiohttp.web", "aiokafka", "cv2", "hypothesis.strategies", "jsonschema", "msgspec", "numpy", "structlog")
_PYTEST = ["-x", "-q", "-m", "not kafka", "-p", "no:cacheprovider", "-p", "no:anyio", "--assert=plain"]
_MOST_CPU_S, _MOST_S, _MOST_BYTES = 120, 600, 8 << 30

_Mutant = tuple[str, str, int]


def _population() -> list[_Mutant]:
    """Return all mutants as file, operator and occurrence."""
    names = sorted(name for name in cosmic_ray.plugins.operator_names() if not any(word in name for word in _LEFT_OUT))
    found: list[_Mutant] = []
    for path in sorted(path for part in _TESTS for path in Path("stream_app", part).rglob("*.py")):
        nodes = list(ast_nodes(get_ast(path.read_text())))
        for name in names:
            operator = cosmic_ray.plugins.get_operator(name)()
            count = sum(len(list(operator.mutation_positions(node))) for node in nodes)
            found += [(str(path), name, occurrence) for occurrence in range(count)]
    return found


def _goes(part: str, stem: str) -> list[list[str]]:
    """Return test files: those named after the mutated file, the other quick ones, the slow ones."""
    goes: list[list[str]] = [[], [], []]
    for path in (path for folder in _TESTS[part] for path in sorted(Path("tests", folder).glob("test_*.py"))):
        is_slow = "@examples(" in path.read_text() or path.stem.endswith("_bounds")
        goes[0 if path.stem.startswith(f"test_{stem}") else 2 if is_slow else 1].append(str(path))
    return goes


def _status(tests: Sequence[str]) -> int:
    """Return the exit status of pytest in a process of its own, negative where it had to be stopped."""
    child = os.fork()
    if not child:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (_MOST_CPU_S, _MOST_CPU_S))
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
        signal.alarm(_MOST_S)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        status = 70
        try:
            status = int(pytest.main([*_PYTEST, *tests]))
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _try(mutant: _Mutant, *, is_slow: bool) -> dict[str, str] | None:
    """Return what became of a mutant; None where it is the same text, or no Python."""
    file, operator, occurrence = mutant
    path = Path(file)
    goes = _goes(path.parts[1], path.stem)
    sound, times = path.read_text(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    mutated = mutate_code(sound, cosmic_ray.plugins.get_operator(operator)(), occurrence)
    if mutated is None or mutated == sound or not _is_python(mutated):
        return None
    pairs = enumerate(zip(sound.splitlines(), mutated.splitlines(), strict=False), 1)
    line, (before, after) = next((at, both) for at, both in pairs if both[0] != both[1])
    path.write_text(mutated)
    try:
        statuses = (_status(go) for go in (goes[2:] if is_slow else goes[:2]) if go)
        status = next((status for status in statuses if status), 0)
    finally:
        path.write_text(sound)
        os.utime(path, ns=times)
    outcome = "survived" if status == 0 else "died" if status > 0 else "stopped"
    said = {"place": f"{file}:{line}", "operator": operator, "before": before.strip(), "after": after.strip()}
    return {"outcome": outcome, "asked": "all" if is_slow else "quick", **said}


def _is_python(text: str) -> bool:
    try:
        compile(text, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _sample(drawn: Sequence[_Mutant], number: int, end: float, out: Path) -> None:
    """Try so many: all on quick tests, then the survivors on slow ones, as long as there is time."""
    results: dict[_Mutant, dict[str, str]] = {}
    for is_slow in (False, True):
        for mutant in drawn if not is_slow else [one for one in results if results[one]["outcome"] == "survived"]:
            if time.monotonic() > end or (not is_slow and len(results) >= number):
                break
            if result := _try(mutant, is_slow=is_slow):
                results[mutant] = result
                out.write_text("".join(json.dumps(result) + "\n" for result in results.values()))
    counts = Counter(f"{result['outcome']} ({result['asked']} tests)" for result in results.values())
    print(f"{len(results)} of {len(drawn)} mutants: {dict(counts)}")


def main() -> None:
    """Draw, try, print."""
    parser = argparse.ArgumentParser(description="Mutants of core, wire and runtime, and whether the tests find them.")
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--number", type=int, default=400)
    parser.add_argument("--minutes", type=float, default=600, help="stop after so long, in the order of the seed")
    parser.add_argument("--out", type=Path, default=Path("mutants.jsonl"))
    told = parser.parse_args()
    out, end = told.out.resolve(), time.monotonic() + 60 * told.minutes
    os.environ["VIGIL_HYPOTHESIS"] = "brief"
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", "HEAD"], check=True, stdout=subprocess.PIPE).stdout  # noqa: S607
        subprocess.run(["tar", "x", "-C", folder], check=True, input=archive)  # noqa: S607
        os.chdir(folder)
        sys.path.insert(0, folder)
        for name in _LIBRARIES:
            importlib.import_module(name)
        # The package `benchmarks` has loaded it, from elsewhere: a process would go on with the sound code.
        for name in [name for name in sys.modules if name.partition(".")[0] == "stream_app"]:
            del sys.modules[name]
        gc.freeze()
        if any(map(_status, filter(None, _goes("core", "all")))):
            sys.exit("the tests fail without a mutant")
        # A mutant of the same size and second as the sound file must not be taken from the cache, nor leave its own.
        sys.dont_write_bytecode = True
        drawn = _population()
        random.Random(told.seed).shuffle(drawn)
        _sample(drawn, told.number, end, out)


if __name__ == "__main__":
    main()
