"""Topics of their own for each measurement, so that no figure depends on what ran before."""

from __future__ import annotations

import msgspec

from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.topic_plans import plan_topics
from stream_app.adapters.kafka.topics import create_topics
from stream_app.wire.topics import Topics

PARTITIONS = 4


async def create_inputs_and_outputs(connection: Connection, prefix: str, *, has_append_time: bool) -> Topics:
    """Create the seven topics of a deployment.

    Args:
        connection: the broker.
        prefix: of their names.
        has_append_time: whether the broker stamps the inputs, as it should; False keeps the times they are sent with,
            so that a backlog can look as if it had come in over hours.
    """
    topics = Topics(**{name: f"{prefix}.{name}" for name in Topics.__struct_fields__})
    plans = plan_topics(topics, PARTITIONS)
    if not has_append_time:
        kept = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
        inputs = {topics.frames, topics.texts}
        plans = tuple(
            msgspec.structs.replace(plan, configs={**plan.configs, **kept}) if plan.name in inputs else plan
            for plan in plans
        )
    await create_topics(connection, plans)
    return topics
