"""A member of a consumer group, made by hand: it joins, holds what it was given, and never joins again by itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.protocol.group import JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

#: Of the ghosts as well as of the members by hand: none of them may expire while a test looks, in ms.
LONG_SESSION_MS = 60_000
_MEMBER_ID_REQUIRED = 79
#: The name of Faust's assignor: members without a protocol in common are refused.
_PROTOCOL = "faust"


class HandMadeMember:
    """Joins a group by bare requests; what it does not answer holds a rebalance up."""

    def __init__(self, client: AIOKafkaClient, coordinator: int, group: str) -> None:
        self._client = client
        self._coordinator = coordinator
        self._group = group
        self.member_id = ""

    async def announce(self) -> None:
        """Ask for a member id and do not join with it: every rebalance waits for such a member."""
        joined = await self._join_once()
        assert joined.error_code == _MEMBER_ID_REQUIRED, joined

    async def join(self) -> list[str]:
        """Join; return the ids of all members once the rebalance is over, our own included."""
        if not self.member_id:
            await self.announce()
        joined = await self._join_once()
        assert joined.error_code == 0, joined
        assert joined.leader_id == self.member_id, "a follower is not told who else is there"
        members = [member[0] for member in joined.members]
        shares = [(member, b"") for member in members]
        sync = SyncGroupRequest(self._group, joined.generation_id, self.member_id, None, shares)
        synced = await self._client.send(self._coordinator, sync, group=ConnectionGroup.COORDINATION)
        assert synced.error_code == 0, synced
        return members

    async def _join_once(self) -> Any:  # noqa: ANN401 - aiokafka's answers have no types
        instance_id = None  # no static member
        request = JoinGroupRequest(
            *(self._group, LONG_SESSION_MS, LONG_SESSION_MS),
            *(self.member_id, instance_id, "consumer", [(_PROTOCOL, b"")]),
        )
        joined = await self._client.send(self._coordinator, request, group=ConnectionGroup.COORDINATION)
        self.member_id = joined.member_id
        return joined

    async def leave(self) -> None:
        """Leave the group."""
        await self._client.send(self._coordinator, LeaveGroupRequest(self._group, self.member_id))


@contextlib.asynccontextmanager
async def hand_made_member(bootstrap: str, group: str) -> AsyncIterator[HandMadeMember]:
    """A member that has not joined yet, and leaves in the end."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    member = HandMadeMember(client, await _coordinator_of(client, group), group)
    try:
        yield member
    finally:
        await member.leave()
        await client.close()


async def _coordinator_of(client: AIOKafkaClient, group: str) -> int:
    """Return the group's broker; one on which no group has ever been makes the topic of their offsets first."""
    while True:
        try:
            return int(await client.coordinator_lookup(CoordinationType.GROUP, group))
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(0.1)


async def group_of(bootstrap: str, group: str) -> tuple[str, set[str]]:
    """Return the group's state and its members' ids, as the broker sees them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        [described] = await admin.describe_consumer_groups([group])
        [(error, _, state, _, _, members, *_)] = described.groups
        assert error == 0, described
        return state, {member[0] for member in members}
    finally:
        await admin.close()


async def others_in(bootstrap: str, group: str) -> set[str]:
    """Return who is in a group beside a member that joins it now: also those that a description does not list.

    A member that the broker gave an id to, and that has not joined with it, is in no description; it holds up a join.
    """
    async with hand_made_member(bootstrap, group) as member:
        return {*await member.join()} - {member.member_id}
