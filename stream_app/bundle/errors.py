"""The one way a bundle is refused: what was looked at, what was expected, what was found."""

from __future__ import annotations


class BundleError(ValueError):
    """A bundle, or a part of it, does not fit. The message names the part, the expected and the found value."""

    def __init__(self, what: str, *, expected: object, found: object) -> None:
        """Keep the three parts of a refusal.

        Args:
            what: the part that was looked at, such as ``files["tokenizer.json"]``.
            expected: what would have been right.
            found: what is there.
        """
        super().__init__(f"{what}: expected {expected}, found {found}")
        self.what = what
        self.expected = expected
        self.found = found
