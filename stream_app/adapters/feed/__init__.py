"""Feeds videos, images, cameras and alarm texts to the input topics, as CloudEvents in binary mode. No model here."""

from stream_app.adapters.feed.camera import Camera, FeedError, Footage, Shot, open_footage
from stream_app.adapters.feed.outbox import FeedReport, Sent
from stream_app.adapters.feed.play import FeedSettings, feed_frames, feed_texts, feeding_producer
from stream_app.adapters.feed.texts import TimedText, body_of, read_texts
from stream_app.adapters.feed.turns import Turns

__all__ = [
    "Camera",
    "FeedError",
    "FeedReport",
    "FeedSettings",
    "Footage",
    "Sent",
    "Shot",
    "TimedText",
    "Turns",
    "body_of",
    "feed_frames",
    "feed_texts",
    "feeding_producer",
    "open_footage",
    "read_texts",
]
