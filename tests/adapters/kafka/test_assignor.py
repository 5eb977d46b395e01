"""aiokafka's own range assignor, which a source without Faust would use, keeps both sides of a task together."""

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from hypothesis import given
from hypothesis import strategies as st

_TOPICS = ("vigil.frames", "vigil.texts")


class Cluster(ClusterMetadata):  # type: ignore[misc]  # aiokafka has no types
    """Both topics with the same number of partitions."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._count = partitions

    def partitions_for_topic(self, topic: str) -> set[int]:
        assert topic in _TOPICS
        return set(range(self._count))


@given(
    partitions=st.integers(1, 64),
    members=st.lists(st.uuids().map(str), min_size=1, max_size=20, unique=True),
    order=st.permutations(_TOPICS),
)
def test_each_partition_of_both_topics_goes_to_one_and_the_same_member(
    partitions: int, members: list[str], order: list[str]
) -> None:
    subscribed = {
        member: RangePartitionAssignor.metadata(order if number % 2 else _TOPICS)
        for number, member in enumerate(members)
    }
    owners: dict[str, dict[int, str]] = {topic: {} for topic in _TOPICS}
    for member, given_out in RangePartitionAssignor.assign(Cluster(partitions), subscribed).items():
        for topic, ours in given_out.assignment:
            for partition in ours:
                assert partition not in owners[topic]
                owners[topic][partition] = member
    assert owners["vigil.frames"] == owners["vigil.texts"]
    assert set(owners["vigil.frames"]) == set(range(partitions))
