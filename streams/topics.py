"""The topics of a Kafka cluster: the one list, which `bpm migrate` creates and checks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

_MS_PER_HOUR: Final = 3_600_000
_HOURS_PER_DAY: Final = 24
_KIB: Final = 1 << 10
_MIB: Final = 1 << 20

COPIES: Final = 3
"""Copies of each message where nothing else is set and there are brokers for them."""

PREFIX: Final = "bpm"
"""With which the names of topics begin where nothing else is set."""


class Header(StrEnum):
    """Headers of messages; their values are text in UTF-8."""

    VERSION = "bpm-version"
    TENANT = "bpm-tenant"
    SOURCE = "bpm-source"
    REASON = "bpm-reason"
    PUBLISHED = "bpm-published-ms"
    CUT = "bpm-cut"
    SENT_AGAIN = "bpm-sent-again"


HEADER_MEANS: Final[Mapping[Header, str]] = {
    Header.VERSION: "version of the message's schema",
    Header.TENANT: "the tenant's name",
    Header.SOURCE: "`TOPIC:PARTITION:POSITION` where the message stood",
    Header.REASON: "code of the error because of which the message was set aside",
    Header.PUBLISHED: "time of the message in its topic, in ms since 1970; -1 for none",
    Header.CUT: "what of the message isn't here, because it was too large; empty when it is whole",
    Header.SENT_AGAIN: "position of the dead letter, in the same partition, that was sent again; nothing else is said",
}


class Cleanup(StrEnum):
    """What is done with old messages: dropped after the retention, or only the last of each key kept."""

    DELETE = "delete"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it should be.

    holds: what a message is. key: what its key is. partitions: None for as many as packs are spread over.
    message_bytes_max: of a message as it is sent, with its key and headers.
    headers: those that a message may carry.
    """

    name: str
    holds: str
    key: str
    partitions: int | None
    retention_hours: int
    cleanup: Cleanup
    message_bytes_max: int
    schema_version: int
    headers: tuple[Header, ...]

    def under(self, prefix: str) -> "Topic":
        """The topic of an installation whose topics' names begin otherwise."""
        return replace(self, name=f"{prefix}{self.name.removeprefix(PREFIX)}")

    def configuration(self, copies: int) -> dict[str, str]:
        """Kafka's own settings of the topic when each message is kept so many times.

        A message counts as sent when all copies but one have it, so that one broker may be away; nothing that
        was acknowledged is given up to have a broker back sooner.
        """
        return {
            "cleanup.policy": str(self.cleanup),
            "retention.ms": str(self.retention_hours * _MS_PER_HOUR),
            "retention.bytes": "-1",
            "max.message.bytes": str(self.message_bytes_max),
            "min.insync.replicas": str(max(1, copies - 1)),
            "unclean.leader.election.enable": "false",
            "compression.type": "producer",
        }


def version_header(topic: Topic) -> tuple[str, bytes]:
    """The header that says by which schema a message of the topic is written."""
    return Header.VERSION.value, str(topic.schema_version).encode()


READINGS: Final = Topic(
    name=f"{PREFIX}.readings.v1",
    holds="readings of one batch as an Arrow IPC stream, all of one partition's packs",
    key="none; the partition is the pack's number modulo the number of partitions",
    partitions=None,
    retention_hours=7 * _HOURS_PER_DAY,
    cleanup=Cleanup.DELETE,
    message_bytes_max=_MIB,
    schema_version=1,
    headers=(Header.VERSION,),
)
SINGLES: Final = Topic(
    name=f"{PREFIX}.readings.single.v1",
    holds="one reading as a JSON object, published by others",
    key="the pack, so that its readings stay in order",
    partitions=None,
    retention_hours=7 * _HOURS_PER_DAY,
    cleanup=Cleanup.DELETE,
    message_bytes_max=64 * _KIB,
    schema_version=1,
    headers=(Header.VERSION, Header.TENANT),
)
ALERTS: Final = Topic(
    name=f"{PREFIX}.alerts.v1",
    holds="one event of an alert as a JSON object, as webhooks get it; `data.partition`, `data.seq` tell repetitions",
    key="id of the alert",
    partitions=None,
    retention_hours=30 * _HOURS_PER_DAY,
    cleanup=Cleanup.DELETE,
    message_bytes_max=_MIB,
    schema_version=1,
    headers=(Header.VERSION, Header.TENANT),
)
DEAD_LETTERS: Final = Topic(
    name=f"{PREFIX}.dead-letters.v1",
    holds="a message that can't be understood, as it came, its headers before those named here; or what was sent again",
    key="as it came",
    partitions=1,
    retention_hours=30 * _HOURS_PER_DAY,
    cleanup=Cleanup.DELETE,
    message_bytes_max=2 * _MIB,
    schema_version=2,
    headers=(
        Header.CUT,
        Header.SOURCE,
        Header.REASON,
        Header.PUBLISHED,
        Header.SENT_AGAIN,
        Header.VERSION,
    ),
)

TOPICS: Final = (READINGS, SINGLES, ALERTS, DEAD_LETTERS)
