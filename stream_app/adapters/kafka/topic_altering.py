"""Altering single settings of topics, which aiokafka's admin client cannot.

In: an admin client, settings by topic. Out: which topics were refused and why. The client's own `alter_configs` takes
back every setting of a topic that it is not given, whoever made it; this request (IncrementalAlterConfigs, Kafka 2.3
and newer) touches what it names and nothing else, even where somebody alters another setting at the same moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

NOT_ALLOWED: Final = 29
NO_RIGHT: Final = "expected the right {} on it, found none; grant it to this user"
_SET: Final = 0
_TOO_OLD: Final = "the brokers cannot alter single settings: expected Kafka 2.3 or newer"


class _AlterResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _AlterStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _AlterResponse
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(("name", String("utf-8")), ("config_operation", Int8), ("value", String("utf-8"))),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class _AlterRequest(Request[_AlterStruct]):  # type: ignore[misc]
    API_KEY = 44

    def __init__(self, changes: Mapping[str, Mapping[str, str]]) -> None:
        self._changes = changes

    def build(self, request_struct_class: type[_AlterStruct]) -> _AlterStruct:
        resources = [
            (ConfigResourceType.TOPIC, topic, [(name, _SET, value) for name, value in settings.items()])
            for topic, settings in self._changes.items()
        ]
        return request_struct_class(resources, False)  # noqa: FBT003 - by position: aiokafka's structs want it so


async def alter_settings(admin: Any, changes: Mapping[str, Mapping[str, str]]) -> dict[str, str]:  # noqa: ANN401
    """Set settings of topics. Brokers take each topic's as a whole or not at all; others do not depend on it.

    Args:
        admin: a started client.
        changes: by topic, the settings and their values.

    Returns:
        The topics that were refused, with the reason.

    Raises:
        KafkaError: if the brokers do not answer, or are older than this request.
    """
    try:
        response = await admin._send_request(_AlterRequest(changes))  # noqa: SLF001 - its public calls send no other
    except IncompatibleBrokerVersion as error:
        raise IncompatibleBrokerVersion(_TOO_OLD) from error
    return {
        topic: NO_RIGHT.format("ALTER_CONFIGS") if code == NOT_ALLOWED else words or for_code(code).__name__
        for code, words, _kind, topic in response.responses
        if code
    }
