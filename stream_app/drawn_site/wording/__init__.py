"""Site, wording: alarm texts in English and Chinese, composed of parts. `compose` is the way in."""

from stream_app.drawn_site.wording.compose import LANGUAGES, Sentence, compose, parts

__all__ = ["LANGUAGES", "Sentence", "compose", "parts"]
