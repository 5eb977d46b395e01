"""Leaves a consumer group at once, whatever its join is doing. In: aiokafka's coordinator. Out: no member left behind.

aiokafka leaves only once it has a generation, and only when the join in flight is over. A join is over when every
member has joined: a member that is slow or gone holds it up for its session time-out. Who ends meanwhile stays in the
group as a ghost, which then holds up the others and owns tasks that nobody runs. So, once the coordinator closes:
- no further step of the join is asked for, and the answer to the one in flight is not waited for;
- the group is left with whatever member id the broker gave, over a connection of its own: the broker answers requests
  of one connection in order, so behind a join that is held up it would wait as long.

It is not for static members (with an instance id), which do not leave.
"""

# aiokafka hands its coordinator and answers over untyped:
# ruff: noqa: ANN401, SLF001

import asyncio
import logging
from typing import Any

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaError, NoError, UnknownMemberIdError, for_code
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

_log = logging.getLogger(__name__)


class _LeavingError(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """The next step of a join was not taken; aiokafka's coordinator gives the join up for it."""


class Membership:
    """The membership of one consumer in its group, for as long as its coordinator lives."""

    def __init__(self, coordinator: GroupCoordinator) -> None:
        """Take the coordinator's joining and leaving over, before it is subscribed to anything."""
        self._coordinator = coordinator
        self._send_request = coordinator._send_req
        self._may_be_member = False
        coordinator._send_req = self._send_unless_leaving
        coordinator._maybe_leave_group = self._leave_group

    async def leave(self) -> None:
        """Leave the group and take no part in it any more. Harmless twice, and before a join.

        Returns when the broker has answered; one that does not answer is for the caller to give up on.
        """
        try:
            await self._coordinator.close()
        except KafkaError:
            # What broke its routine, which keeps it from leaving; whoever looks at `check_errors` knows it already.
            await self._leave_group()

    @property
    def may_be_member(self) -> bool:
        """Whether the broker may take us for a member: a join was asked for, and no leaving was confirmed since."""
        return self._may_be_member

    async def _send_unless_leaving(self, request: Any) -> Any:
        if not isinstance(request, JoinGroupRequest | SyncGroupRequest):
            return await self._send_request(request)
        coordinator = self._coordinator
        if coordinator._closing.done():
            raise _LeavingError
        self._may_be_member = True
        answer = asyncio.ensure_future(self._send_request(request))
        await asyncio.wait([answer, coordinator._closing], return_when=asyncio.FIRST_COMPLETED)
        # The first answer brings the id to leave with; a broker gives it at once, whatever the group does.
        has_id = coordinator.member_id != JoinGroupRequest.UNKNOWN_MEMBER_ID
        if answer.done() or not has_id:
            return await answer
        answer.cancel()
        raise _LeavingError

    async def _leave_group(self) -> None:
        coordinator = self._coordinator
        if coordinator.member_id != JoinGroupRequest.UNKNOWN_MEMBER_ID:
            try:
                await self._send_leaving(coordinator.member_id)
            except KafkaError as error:
                _log.info("the group %s was not left: %r", coordinator.group_id, error)
                return
        self._may_be_member = False
        coordinator.reset_generation()

    async def _send_leaving(self, member_id: str) -> None:
        coordinator, client = self._coordinator, self._coordinator._client
        node = coordinator.coordinator_id
        if node is None:  # it moved, or its connection broke
            node = await client.coordinator_lookup(CoordinationType.GROUP, coordinator.group_id)
        request = LeaveGroupRequest(coordinator.group_id, member_id)
        answer = await client.send(node, request, group=ConnectionGroup.DEFAULT)
        error = for_code(answer.error_code)
        if error not in {NoError, UnknownMemberIdError}:
            raise error
