"""Settings that change how Vigil runs, never what it concludes: addresses, names, sizes of batches, time-outs.

In: nothing. Out: one frozen type; a field's name, type, default and help are declared here and nowhere else. It must
not know where values come from (:mod:`stream_app.config.load`) nor who reads them.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from stream_app.core.event_time import parse_event_time
from stream_app.core.settings import AtLeastOne, AtLeastZero, Limits, SettingsError

Provider = Literal["auto", "cuda", "tensorrt", "cpu"]
Partitioner = Literal["reject", "warn"]
SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

#: What Kafka takes as a topic, group or transactional id; a deployment's name becomes part of all three.
_KAFKA_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_HEARTBEATS_PER_SESSION = 3

_Port = Annotated[int, Meta(ge=0, le=65_535)]


class Operational(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that may be changed without changing a result. Times in milliseconds where the name says so."""

    bootstrap: Annotated[str, Meta(description="Kafka addresses, `host:port`, separated by commas.")] = "127.0.0.1:9092"
    deployment: Annotated[
        str, Meta(description="Name of this deployment: prefix of transactional ids, part of incident ids.")
    ] = "vigil"
    group: Annotated[str, Meta(description="Kafka consumer group; empty: the deployment's name.")] = ""
    worker_name: Annotated[
        str, Meta(description="Name of this worker in logs and as Kafka client id; empty: host name and process id.")
    ] = ""

    frames_topic: Annotated[str, Meta(description="Input: camera frames.")] = "vigil.frames"
    texts_topic: Annotated[str, Meta(description="Input: alarm texts.")] = "vigil.texts"
    alerts_topic: Annotated[str, Meta(description="Output: alerts.")] = "vigil.alerts"
    decisions_topic: Annotated[str, Meta(description="Output: every scored observation.")] = "vigil.decisions"
    journal_topic: Annotated[str, Meta(description="Output: the order in which records were merged.")] = "vigil.journal"
    state_topic: Annotated[str, Meta(description="Checkpoints, compacted; as many partitions as the inputs.")] = (
        "vigil.state"
    )
    dead_letters_topic: Annotated[str, Meta(description="Output: records that were refused, and why.")] = (
        "vigil.dead-letters"
    )

    security_protocol: Annotated[SecurityProtocol, Meta(description="How to talk to Kafka.")] = "PLAINTEXT"
    sasl_mechanism: Annotated[SaslMechanism, Meta(description="For SASL_* protocols.")] = "SCRAM-SHA-512"
    sasl_username: Annotated[str, Meta(description="For SASL_* protocols.")] = ""
    sasl_password: Annotated[
        str,
        Meta(
            description="For SASL_* protocols. Never printed; set it in the environment.",
            extra={"secret": True},
        ),
    ] = ""
    ssl_cafile: Annotated[
        str, Meta(description="PEM file with the authorities to trust, for *SSL protocols; empty: the system's.")
    ] = ""

    provider: Annotated[
        Provider,
        Meta(
            description="Where the model runs. `auto` takes CUDA where it works, else the CPU; any other value is "
            "required: the worker refuses to start on something else."
        ),
    ] = "auto"
    tensorrt_cache: Annotated[
        str,
        Meta(
            description="Folder where TensorRT keeps the engines that it compiled, which takes minutes; empty: it "
            "compiles at every start. What is in there is executed: let only the worker write to it."
        ),
    ] = ""
    bundle: Annotated[str, Meta(description="Directory of the model bundle; empty: the demo bundle.")] = ""
    bundle_key: Annotated[
        str,
        Meta(
            description="PEM file with the public key that the bundle must be signed with; a wrong signature is always "
            "refused."
        ),
    ] = ""
    allow_unsigned: Annotated[
        bool,
        Meta(
            description="Run a bundle without a signature, or, where `bundle_key` is empty, without checking it. The "
            "demo bundle needs neither: it is trusted as the code is."
        ),
    ] = False
    ort_threads: Annotated[AtLeastZero, Meta(description="ONNX Runtime threads on the CPU; 0: its own choice.")] = 0
    batch_images: Annotated[AtLeastOne, Meta(description="Most images in one run of the image encoder.")] = 32
    batch_texts: Annotated[AtLeastOne, Meta(description="Most texts in one run of the text encoder.")] = 64
    batch_pairs: Annotated[
        Annotated[int, Meta(ge=3)], Meta(description="Most rows in one run of the fusion head; a pair takes three.")
    ] = 256
    scorer_in_flight: Annotated[
        AtLeastOne, Meta(description="Observations in the scorer at once, over all tasks of a worker; more wait.")
    ] = 256
    feature_bytes: Annotated[
        AtLeastOne,
        Meta(
            description="Bytes of features kept, over all tasks of a worker; beyond it the least recently used are "
            "computed again when asked for."
        ),
    ] = 256 * 1024 * 1024
    watchdog_s: Annotated[
        AtLeastOne, Meta(description="Seconds after which a batch that hangs ends the process with an error.")
    ] = 10
    decode_children: Annotated[AtLeastOne, Meta(description="Processes that decode images.")] = 2
    decode_timeout_ms: Annotated[AtLeastOne, Meta(description="Time one image may take to decode.")] = 2_000
    decode_memory_mb: Annotated[
        Annotated[int, Meta(ge=64, le=1024 * 1024)],
        Meta(description="Memory that decoding may take in each of those processes, beyond the process itself, MiB."),
    ] = 1_024

    commit_ms: Annotated[AtLeastOne, Meta(description="Time between commits while there is no alert.")] = 1_000
    keyframe_ms: Annotated[
        AtLeastOne,
        Meta(
            description="Stream time between two keyframes of a task in the journal: a recording can begin at each. "
            "Every one holds a checkpoint."
        ),
    ] = 60_000
    idle_ms: Annotated[
        AtLeastOne, Meta(description="How long both topics must be quiet before stream time is advanced.")
    ] = 1_000
    caught_up_ms: Annotated[
        AtLeastOne, Meta(description="How old the last fetch may be for a topic to count as caught up.")
    ] = 5_000
    start_from: Annotated[
        str,
        Meta(
            description="Where a task without checkpoint and committed offset starts: `earliest`, `latest` or an "
            "RFC 3339 time."
        ),
    ] = "earliest"
    in_flight: Annotated[AtLeastOne, Meta(description="Observations per task that may wait for their scores.")] = 128
    queue_bytes: Annotated[
        AtLeastOne, Meta(description="Bytes per task and topic read ahead; beyond it that partition is paused.")
    ] = 32 * 1024 * 1024
    queue_records: Annotated[AtLeastOne, Meta(description="Records per task and topic read ahead.")] = 20_000
    fetch_bytes: Annotated[
        AtLeastOne,
        Meta(description="Bytes asked of Kafka per partition and fetch. Larger records still arrive."),
    ] = 2 * 1024 * 1024
    batch_bytes: Annotated[
        Annotated[int, Meta(ge=1024 * 1024)],
        Meta(
            description="Memory that one batch of Kafka records may take once it is unpacked: its bytes, 512 more for "
            "each record and 128 for each header. A larger one is not read: it becomes one dead letter. At least "
            "max_image_bytes + 1 MiB."
        ),
    ] = 64 * 1024 * 1024
    partitioner: Annotated[
        Partitioner,
        Meta(description="What to do when a topic's records are not where Kafka's own partitioner puts their keys."),
    ] = "reject"
    session_timeout_ms: Annotated[
        AtLeastOne, Meta(description="Kafka group: silence after which a worker counts as gone.")
    ] = 10_000
    heartbeat_ms: Annotated[AtLeastOne, Meta(description="Kafka group: time between heartbeats.")] = 3_000
    transaction_timeout_ms: Annotated[
        AtLeastOne, Meta(description="Kafka aborts transactions that stay open for longer.")
    ] = 10_000
    commit_timeout_ms: Annotated[
        AtLeastOne, Meta(description="A commit not confirmed within this time ends the task's epoch.")
    ] = 15_000

    health_host: Annotated[str, Meta(description="Address of /health/live, /health/ready and /metrics.")] = "127.0.0.1"
    health_port: Annotated[_Port, Meta(description="Port of the same; 0: a free one, printed at the start.")] = 6066
    log_format: Annotated[LogFormat, Meta(description="`auto`: readable lines in a terminal, JSON elsewhere.")] = "auto"
    log_level: Annotated[LogLevel, Meta(description="The least severe level that is logged.")] = "info"

    @property
    def group_id(self) -> str:
        """The consumer group in force: ``group``, else the deployment's name."""
        return self.group or self.deployment

    @property
    def limits(self) -> Limits:
        """The bounds on memory and work that the core reads."""
        return Limits(queue_bytes=self.queue_bytes, queue_records=self.queue_records, in_flight=self.in_flight)

    @property
    def topic_names(self) -> tuple[str, ...]:
        """The seven topics: frames, texts, alerts, decisions, journal, state, dead letters."""
        return (
            self.frames_topic,
            self.texts_topic,
            self.alerts_topic,
            self.decisions_topic,
            self.journal_topic,
            self.state_topic,
            self.dead_letters_topic,
        )

    def check(self) -> Operational:
        """Return the settings unchanged.

        Raises:
            SettingsError: if values do not fit together; the message names the setting, the expected and the found.
        """
        for name in ("deployment", "frames_topic", "texts_topic", "alerts_topic", "decisions_topic", "journal_topic"):
            _require_name(name, getattr(self, name))
        for name in ("state_topic", "dead_letters_topic"):
            _require_name(name, getattr(self, name))
        if self.group:
            _require_name("group", self.group)
        if len(set(self.topic_names)) != len(self.topic_names):
            _refuse("*_topic", "seven different names", ", ".join(self.topic_names))
        _require_addresses(self.bootstrap)
        if self.session_timeout_ms < _HEARTBEATS_PER_SESSION * self.heartbeat_ms:
            expected = f"<= session_timeout_ms / {_HEARTBEATS_PER_SESSION} = {self.session_timeout_ms // 3}"
            _refuse("heartbeat_ms", expected, str(self.heartbeat_ms))
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password):
            _refuse("sasl_username, sasl_password", f"both set, for {self.security_protocol}", "at least one empty")
        if self.start_from not in {"earliest", "latest"}:
            _require_time(self.start_from)
        return self

    def __repr__(self) -> str:
        """Show all fields but the secret ones: a repr ends up in logs and tracebacks."""
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "sasl_password")
        return f"Operational({', '.join(shown)}, sasl_password={'***' if self.sasl_password else ''!r})"


def _refuse(name: str, expected: str, found: str) -> None:
    message = f"setting {name}: expected {expected}, found {found}"
    raise SettingsError(message)


def _require_name(name: str, value: str) -> None:
    if _KAFKA_NAME.fullmatch(value) is None:
        _refuse(name, "1-200 of letters, digits, '.', '_' and '-'", repr(value))


def _require_addresses(bootstrap: str) -> None:
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        if not (host and port.isdecimal()):
            _refuse("bootstrap", "host:port, separated by commas", repr(bootstrap))


def _require_time(start_from: str) -> None:
    try:
        parse_event_time(start_from)
    except ValueError:
        _refuse("start_from", "earliest, latest or an RFC 3339 time", repr(start_from))
