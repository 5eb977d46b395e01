"""The one error of the local Kafka: what was expected, what was found, what to do."""


class LocalKafkaError(RuntimeError):
    """The local Kafka could not be started, found or stopped; the message says why and what to do."""
