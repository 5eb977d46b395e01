"""Word vectors of GloVe, Word2Vec and fastText. In: a file and the words wanted. Out: their vectors.

`.txt` and `.vec` hold a word and its numbers in a line, some of them the two sizes in the first; `.bin` is Word2Vec's
binary form; each may be packed (`.gz`). Files of several GB are read as a stream: only what is wanted stays.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from vigil_export.models.encoders.weights import WeightsError

_FASTTEXT = (793712314).to_bytes(4, "little")
_LONGEST_WORD = 1000  # bytes; GoogleNews has words of some 100, so more means that the file is something else
_SHOWN = 10

_Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of some texts a file of vectors knows.

    Attributes:
        words: How many different words the texts have.
        known: How many of them have a vector.
        uses: How many words the texts have, repetitions counted.
        known_uses: How many of these have a vector.
        missing: The words without a vector, the most frequent first.
    """

    words: int
    known: int
    uses: int
    known_uses: int
    missing: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in one line."""
        share, used = self.known / max(1, self.words), self.known_uses / max(1, self.uses)
        missing = f"; most frequent without: {', '.join(self.missing[:_SHOWN])}" if self.missing else ""
        return f"vectors for {self.known} of {self.words} words ({share:.1%}), {used:.1%} of all uses{missing}"


def coverage(counts: Mapping[str, int], known: Collection[str]) -> Coverage:
    """Compare the words of texts with those that have a vector.

    Args:
        counts: Word -> how often the texts have it, from `vigil_export.data.preparing.tokens.count_words`.
        known: Words that have one, as `load_vectors` gives them.
    """
    missing = sorted((word for word in counts if word not in known), key=lambda word: (-counts[word], word))
    uses = sum(counts.values())
    known_uses = uses - sum(counts[word] for word in missing)
    return Coverage(len(counts), len(counts) - len(missing), uses, known_uses, tuple(missing))


def load_vectors(path: Path, words: Collection[str]) -> dict[str, _Vector]:
    """Read the vectors of some words.

    Args:
        path: The file.
        words: The words wanted. One that the file lacks takes the vector of its lower-case, capitalised or upper-case
            form, in this order.

    Returns:
        Word -> float32 [e], for those that the file has.

    Raises:
        WeightsError: The file cannot be read, or has none of the words.
    """
    wanted = {form for word in words for form in _forms(word)}
    found: dict[str, _Vector] = {}
    for word, vector in _read(path, wanted):
        if vector is not None and word not in found:
            found[word] = np.array(vector, np.float32)
    chosen = {word: next((found[form] for form in _forms(word) if form in found), None) for word in words}
    known = {word: vector for word, vector in chosen.items() if vector is not None}
    if not known:
        raise WeightsError(f"vectors {path}: expected some of the {len(words)} words of the vocabulary, found none")
    return known


def file_words(path: Path, limit: int) -> list[str]:
    """Return the first words of a file, which are the most frequent in all files that are in use.

    Raises:
        WeightsError: The file cannot be read.
    """
    return [word for (word, _), _ in zip(_read(path, ()), range(limit), strict=False)]


def file_width(path: Path) -> int:
    """Return the length of the vectors in a file.

    Raises:
        WeightsError: The file cannot be read.
    """
    return next((len(vector) for _, vector in _read(path, None) if vector is not None), 0)


def _forms(word: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((word, word.lower(), word.capitalize(), word.upper())))


def _read(path: Path, wanted: Collection[str] | None) -> Iterator[tuple[str, _Vector | None]]:
    """Give every word, with its vector where it is wanted; `None` wants all. Reading numbers takes most of the time."""
    name = path.name.removesuffix(".gz")
    if not path.is_file() or not name.endswith((".txt", ".vec", ".bin")):
        raise WeightsError(f"vectors {path}: expected a .txt, .vec or .bin file, gzipped or not, found none")
    try:
        with cast("BinaryIO", gzip.open(path) if path.name.endswith(".gz") else path.open("rb")) as file:
            yield from (_read_binary if name.endswith(".bin") else _read_lines)(file, path, wanted)
    except (OSError, EOFError, zlib.error) as error:
        raise WeightsError(f"vectors {path}: cannot be read: {error}") from error


def _read_lines(file: BinaryIO, path: Path, wanted: Collection[str] | None) -> Iterator[tuple[str, _Vector | None]]:
    width = said = read = 0
    for number, line in enumerate(file, start=1):
        parts = line.decode("utf-8", "replace").rstrip().split(" ")
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            said, width = int(parts[0]), int(parts[1])
            continue
        width = width or len(parts) - 1
        # A word may have blanks inside (". . ." in GloVe 840B), so the numbers are counted from the end.
        word = " ".join(parts[:-width]) if width else ""
        vector = _numbers(parts[-width:]) if wanted is None or word in wanted else None
        if not word or (vector is not None and not len(vector)):
            start = line[:40].decode("utf-8", "replace")
            raise WeightsError(
                f"vectors {path}:{number}: expected a word and {width or 'its'} numbers with blanks between them, "
                f"found {start!r}"
            )
        read += 1
        yield word, vector
    if read < said:
        raise WeightsError(
            f"vectors {path}: expected {said} words, as its first line says, found {read}: the file was cut short; "
            "fetch it again"
        )


def _numbers(parts: list[str]) -> _Vector:
    """Return finite numbers, or none at all."""
    try:
        vector = np.array(parts, np.float32)
    except ValueError:
        return np.empty(0, np.float32)
    return vector if np.isfinite(vector).all() else np.empty(0, np.float32)


def _read_binary(file: BinaryIO, path: Path, wanted: Collection[str] | None) -> Iterator[tuple[str, _Vector | None]]:
    head = file.readline(100)
    if head.startswith(_FASTTEXT):
        raise WeightsError(f"vectors {path}: expected Word2Vec's .bin, found fastText's own; use its .vec")
    try:
        count, width = (int(part) for part in head.split())
    except ValueError:
        raise WeightsError(
            f"vectors {path}: expected the numbers of words and dimensions, found {head[:40]!r}"
        ) from None
    for number in range(count):
        word = bytearray()
        while (letter := file.read(1)) not in {b" ", b""} and len(word) < _LONGEST_WORD:
            word += letter
        data = file.read(4 * width)
        if len(data) != 4 * width or letter != b" ":
            raise WeightsError(f"vectors {path}: expected {count} words, found no whole word after {number}")
        text = word.decode("utf-8", "replace").lstrip("\n")
        yield text, np.frombuffer(data, "<f4") if wanted is None or text in wanted else None
