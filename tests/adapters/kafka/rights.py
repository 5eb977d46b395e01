"""Granting rights on a Kafka that checks them."""

import asyncio
from typing import Any

from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest

TOPIC, GROUP, TRANSACTIONAL_ID = 2, 3, 5
LITERAL, PREFIXED = 3, 4
_ALLOW = 3


async def grant(admin: Any, kind: int, name: str, user: str, operation: int, *, pattern: int = PREFIXED) -> None:  # noqa: ANN401
    """Allow a user one operation, and wait until the broker that answers knows it."""
    principal = f"User:{user}"
    response = await admin._send_request(CreateAclsRequest(kind, name, pattern, principal, "*", operation, _ALLOW))
    assert not any(code for code, _words in response.creation_responses), response
    asked = DescribeAclsRequest(kind, name, pattern, principal, "*", operation, _ALLOW)
    while not (await admin._send_request(asked)).resources:  # noqa: ASYNC110 - the broker tells nobody
        await asyncio.sleep(0.05)
