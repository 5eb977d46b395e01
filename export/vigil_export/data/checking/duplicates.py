"""Finds duplicates of pictures and texts, exact or near. It must not know splits or rows.

Pictures are near when their perceptual hashes (ImageHash's phash: signs of the low frequencies of a cosine transform,
64 bits) differ in few bits and their thumbnails hardly differ in colour; the second test is there because two flat or
dark pictures have almost one hash. Texts are equal when they are after normalisation.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

# The figures: 1,800 frames of CCTV have 1,457 with a near one, all of the same scene, in 4,843 pairs (without the tests
# of colour 6,373, 6 of them of two scenes); 5,000 drawings of one shape each 327 pairs (without them 32,456).
#: Bits out of 64 that may differ.
NEAR_BITS = 8
#: Largest difference of colour between the thumbnails of two near pictures, of 255: on average, and in any one cell.
NEAR_COLOUR = 8.0
NEAR_CELL = 64
_CELLS = 8
# Comparisons made at once; each takes 9 bytes.
_BLOCK = 1 << 23
_PORTION = 1 << 16


def fingerprint(pixels: npt.NDArray[np.uint8]) -> tuple[np.uint64, npt.NDArray[np.uint8]]:
    """Return what pictures are compared by.

    Args:
        pixels: uint8 [h, w, 3], RGB, h and w at least 8.

    Returns:
        The perceptual hash, and a thumbnail uint8 [8, 8, 3].
    """
    picture = Image.fromarray(pixels)
    bits = np.packbits(imagehash.phash(picture).hash.ravel())
    thumbnail = np.asarray(picture.resize((_CELLS, _CELLS), Image.Resampling.BOX), np.uint8)
    return bits.view(">u8")[0].astype(np.uint64), thumbnail


def near_pairs(
    hashes: npt.NDArray[np.uint64],
    thumbnails: npt.NDArray[np.uint8],
    *,
    bits: int = NEAR_BITS,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[npt.NDArray[np.int64]]:
    """Find all pairs of near pictures, by comparing each with each.

    Pictures of one camera that stands still make very many pairs, so they come in portions.

    Args:
        hashes: uint64 [m].
        thumbnails: uint8 [m, 8, 8, 3].
        bits: How many bits may differ.
        progress: Told how many pictures have been compared with all others.

    Yields:
        int64 [at most 65,536, 2], places with the lower first. Exact duplicates are near too.
    """
    count = len(hashes)
    flat = thumbnails.reshape(count, _CELLS * _CELLS * 3).astype(np.int16)
    at_once = max(1, _BLOCK // max(count, 1))
    for start in range(0, count, at_once):
        block = hashes[start : start + at_once]
        first, second = np.nonzero(np.bitwise_count(block[:, None] ^ hashes[None, start:]) <= bits)
        later = first < second
        first, second = first[later] + start, second[later] + start
        for at in range(0, len(first), _PORTION):
            one, other = first[at : at + _PORTION], second[at : at + _PORTION]
            difference = np.abs(flat[one] - flat[other])
            is_near = (difference.mean(axis=1) <= NEAR_COLOUR) & (difference.max(axis=1) <= NEAR_CELL)
            yield np.stack((one[is_near], other[is_near]), axis=1)
        if progress is not None:
            progress(min(start + at_once, count), count)


def normalise(text: str) -> str:
    """Return a text by which repetitions are recognised: compatible forms, case, punctuation and space do not count."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in folded).split())
