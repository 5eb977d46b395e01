"""What a source raises. Every message says what was found and what happens next."""


class SourceError(RuntimeError):
    """The source cannot continue, or was used against its contract."""


class PositionLostError(SourceError):
    """The broker has no record at the position that is to be read next, and continuing elsewhere would hide a loss."""


class TopicGoneError(SourceError):
    """An input topic was deleted while it was read. The process must end: there is nothing left for it to read."""


class BatchLostError(SourceError):
    """A fetched batch did not arrive at the handler. The process must end and read it again."""
