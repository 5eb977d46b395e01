"""What this package uses of Faust and aiokafka that they do not promise to keep: every such name, and why.

In: nothing. Out: `STANDS_ON`, by class. Nothing here runs: a test walks the table, looks each name up in the versions
that are installed, and compares the table with what the code of this package uses. So a new version that took a name
away fails with that name and its reason, and a name that is not in the table fails too.

Names without an underscore stand here where they are undocumented, of a class that is, or overridden.
"""

from typing import Final, NamedTuple


class Used(NamedTuple):
    """Names of one class that are used for one reason."""

    owner: str
    names: tuple[str, ...]
    why: str


STANDS_ON: Final = (
    # Every consumer (guarding.py).
    Used(
        "aiokafka.consumer.consumer:AIOKafkaConsumer",
        ("_client", "_fetcher", "start"),
        "the answers to fetches are taken where they come in, and read out by us; no hook is offered",
    ),
    Used(
        "aiokafka.consumer.consumer:AIOKafkaConsumer",
        ("_check_crcs",),
        "set after the caller's options: CRCs are checked by us, in any case",
    ),
    Used(
        "aiokafka.consumer.consumer:AIOKafkaConsumer",
        ("_isolation_level",),
        "read only: an option that has no getter",
    ),
    Used("aiokafka.client:AIOKafkaClient", ("send",), "replaced, to see the answers"),
    Used(
        "aiokafka.consumer.fetcher:Fetcher",
        ("_proc_fetch_request", "_records"),
        "wrapped, to put our read-out in the place of aiokafka's before anybody reads it",
    ),
    Used(
        "aiokafka.consumer.fetcher:FetchResult",
        ("_partition_records", "check_assignment", "_update_position"),
        "the place of the read-out, and what is asked of it",
    ),
    Used(
        "aiokafka.consumer.fetcher:PartitionRecords",
        ("_aborted_transactions", "next_fetch_offset"),
        "the start and the aborted transactions of a read-out",
    ),
    Used(
        "aiokafka.consumer.fetcher:PartitionRecords",
        ("_records_iterator",),
        "set to None, as it does itself when it was read: what is not read would lie in a reference cycle",
    ),
    Used(
        "aiokafka.consumer.subscription_state:Assignment",
        ("active", "state_value"),
        "whether the fetcher accepted an answer. `last_poll_timestamp`, which is public, is in wall-clock ms: two "
        "answers of one ms look like one, and records on their way like an end",
    ),
    Used(
        "aiokafka.consumer.subscription_state:TopicPartitionState",
        ("has_valid_position", "position"),
        "the position, at once. `AIOKafkaConsumer.position`, which is public, waits where there is none: for a seek "
        "that waits behind it",
    ),
    # The source's consumer (source/driver.py, source/missing.py).
    Used(
        "aiokafka.consumer.consumer:AIOKafkaConsumer",
        ("_subscription",),
        "the way to the position, see TopicPartitionState",
    ),
    Used(
        "aiokafka.consumer.subscription_state:SubscriptionState",
        ("subscription",),
        "the way to the position, see TopicPartitionState",
    ),
    Used(
        "aiokafka.consumer.subscription_state:Subscription",
        ("assignment",),
        "the way to the position, see TopicPartitionState",
    ),
    Used(
        "aiokafka.consumer.consumer:AIOKafkaConsumer",
        ("_closed", "_coordinator"),
        "to look for errors before there is a partition to read: `getmany` would tell, and waits for the assignment",
    ),
    Used(
        "aiokafka.consumer.group_coordinator:GroupCoordinator",
        ("check_errors",),
        "as above",
    ),
    Used(
        "aiokafka.consumer.fetcher:Fetcher",
        ("error_future",),
        "what ended the fetcher's routine; whoever reads waits for ever then",
    ),
    Used(
        "aiokafka.client:AIOKafkaClient",
        ("cluster", "force_metadata_update"),
        "asks for a topic that is missing now, not in minutes; `topics()`, which is public, asks for all there are and "
        "does not tell the consumer",
    ),
    Used(
        "aiokafka.cluster:ClusterMetadata",
        ("unauthorized_topics",),
        "a topic without the right to read it never gets a partition, and nobody is told",
    ),
    # Leaving the group (source/leaving.py).
    Used(
        "aiokafka.consumer.group_coordinator:GroupCoordinator",
        ("_client", "_closing", "_maybe_leave_group", "_send_req"),
        "wrapped, so that a join under way is given up; `close` and `maybe_leave_group` wait for its end",
    ),
    Used(
        "aiokafka.consumer.group_coordinator:GroupCoordinator",
        ("close", "coordinator_id", "group_id", "member_id", "reset_generation"),
        "the membership, and its end",
    ),
    Used("aiokafka.client:AIOKafkaClient", ("coordinator_lookup",), "a connection of its own to leave by"),
    # Faust (source/driver.py).
    Used(
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread",
        ("_create_worker_consumer",),
        "overridden: the client is ours",
    ),
    Used(
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread",
        ("_consumer", "_ensure_consumer", "getmany", "on_start"),
        "the client; and where Faust asks for records",
    ),
    Used("faust.transport.drivers.aiokafka:Consumer", ("_new_consumer_thread",), "overridden: the thread is ours"),
    Used(
        "faust.transport.consumer:Consumer",
        ("on_buffer_drop", "on_buffer_full", "perform_seek", "scheduler", "verify_event_path"),
        "overridden to do nothing: positions and pausing are the shell's",
    ),
    Used(
        "mode.threads:QueueServiceThread",
        ("call_thread", "parent_loop", "thread_loop", "Worker"),
        "the way into the thread and out of it",
    ),
    Used("faust.app.base:App", ("BootStrategy", "on_first_start"), "no producer, and no folder for tables"),
    # Producers (publisher.py).
    Used(
        "aiokafka.producer.producer:AIOKafkaProducer",
        ("_closed", "_sender"),
        "an outage must not keep a task from giving up its producer: `stop` begins a flush that never ends then",
    ),
    Used("aiokafka.producer.sender:Sender", ("sender_task",), "as above"),
    Used(
        "aiokafka.producer.producer:AIOKafkaProducer",
        ("_txn_manager",),
        "why a transaction failed: what is raised says only that it is not open",
    ),
    Used(
        "aiokafka.producer.transaction_manager:TransactionManager",
        ("wait_for_transaction_end",),
        "as above",
    ),
    # Administration (topic_altering.py).
    Used(
        "aiokafka.admin.client:AIOKafkaAdminClient",
        ("_send_request",),
        "its own `alter_configs` takes back every setting that it is not given",
    ),
)
