"""Single readings that others publish, gathered into batches and sent on into the topic of readings.

What is read here is known to Kafka only, as far as it was sent on. A worker that ends in between sends some again: each
message says where its items came from, and the owner of the partition that it is for drops those that it has.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import numpy as np
from aiokafka.errors import KafkaError

from domain.errors import BpmError, MessageMisdirectedError, MessageUnreadableError, UnavailableError
from domain.readings import IncomingBatch, SentOn
from streams.codec import encode
from streams.cutting import CutLimits, cut
from streams.dead_letters import Message, message_at
from streams.fetched import Record
from streams.messages import MESSAGE_BYTES_MAX, too_large
from streams.topics import Header

log = logging.getLogger(__name__)

_TENANT: Final = Header.TENANT.value
_RETRY_S: Final = 0.5
_TRIES_MAX: Final = 3
"""Tries of a batch that fails by itself; then its messages are dead letters."""


@dataclass(frozen=True, slots=True)
class Readables:
    """Messages of a tenant, in their order, as they stand in their topic, and the JSON object that each is."""

    records: list[Record] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def size_bytes(self) -> int:
        return sum(len(one.value or b"") for one in self.records)

    def parts(self, length: int) -> "Iterator[Readables]":
        """One part after another, each of so many messages at most."""
        for start in range(0, len(self.records), length):
            part = slice(start, start + length)
            yield Readables(self.records[part], self.objects[part])


class Judge(Protocol):
    """Makes a batch of readings of one tenant."""

    async def batch(self, tenant: str, batch_id: uuid.UUID, readables: Readables) -> IncomingBatch:
        """The batch of some messages, by their order.

        Raises UnavailableError while the store is away, MessageMisdirectedError for a tenant that isn't there.
        """
        ...

    def read(self, values: Sequence[bytes]) -> Sequence[dict[str, Any] | BpmError]:
        """The JSON object of each text, or why it is none."""
        ...


class Singles:
    """Takes single readings of any partition of their topic.

    topic: name/id of theirs. send: gives a partition of readings a message, and returns once it is durable there.
    put_aside: makes a message a dead letter. Raises UnavailableError, having said so, while that can't be done, and
    PartitionRevokedError when the partition is to be let go of besides.
    """

    def __init__(
        self,
        topic: str,
        partitions: int,
        limits: CutLimits,
        judge: Judge,
        send: Callable[[int, bytes], Awaitable[object]],
        put_aside: Callable[[Message, Exception], Awaitable[object]],
    ) -> None:
        self._topic = topic
        self._name = topic.partition("/")[0]
        self._partitions = partitions
        self._limits = limits
        self._judge = judge
        self._send = send
        self._put_aside = put_aside

    async def take_in(self, partition: int, records: Sequence[Record]) -> None:
        """Send the readings of some messages on; returns once all of them are durable, or dead letters.

        Those of a source reach each partition of readings in their order, and one message after another: on this the
        owner relies when it drops what it has. Tries until it works. Raises PartitionRevokedError when dead letters
        can't be made, and the partition is to be let go of.
        """
        by_tenant: dict[bytes, Readables] = {}
        read = await asyncio.to_thread(self._judge.read, [one.value or b"" for one in records])
        for record, found in zip(records, read, strict=True):
            tenant = _tenant_of(record)
            if isinstance(found, BpmError):
                await self._aside(partition, record, found)
                continue
            of_tenant = by_tenant.get(tenant)
            if of_tenant is None:
                if not _is_name(tenant):
                    await self._aside(partition, record, _nameless())
                    continue
                of_tenant = by_tenant[tenant] = Readables()
            of_tenant.records.append(record)
            of_tenant.objects.append(found)
        for tenant, of_tenant in by_tenant.items():
            for group in of_tenant.parts(self._limits.readings_max):
                await self._send_on(partition, tenant.decode(), group)

    async def _send_on(self, partition: int, tenant: str, group: Readables) -> None:
        tries = 0
        while True:
            try:
                if not await self._try_to_send_on(partition, tenant, group):
                    for half in group.parts((len(group) + 1) // 2):
                        await self._send_on(partition, tenant, half)
            except (UnavailableError, KafkaError, OSError, TimeoutError) as error:
                log.warning("singles of partition %d wait: %s", partition, error)
            except MessageMisdirectedError as error:
                for record in group.records:
                    await self._aside(partition, record, error)
                return
            except BpmError as error:
                await self._one_by_one(partition, tenant, group, error)
                return
            except Exception as error:
                # Whatever it is, it comes of these messages.
                tries += 1
                log.exception("singles of partition %d could not be sent on", partition)
                if tries == _TRIES_MAX:
                    await self._one_by_one(partition, tenant, group, error)
                    return
            else:
                return
            await asyncio.sleep(_RETRY_S)

    async def _one_by_one(self, partition: int, tenant: str, group: Readables, error: Exception) -> None:
        """Send on what can be, and put the others aside."""
        if len(group) == 1:
            await self._aside(partition, group.records[0], error)
            return
        for single in group.parts(1):
            await self._send_on(partition, tenant, single)

    async def _try_to_send_on(self, partition: int, tenant: str, group: Readables) -> bool:
        """Whether that was done; not where a partition of readings would get more than one message of its topic."""
        source = f"{self._topic}:{partition}:{tenant}"
        first, last = group.records[0].offset, group.records[-1].offset
        batch_id = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:bpm:{source}:{first}-{last}")
        batch = await self._judge.batch(tenant, batch_id, group)
        positions = np.array([one.offset for one in group.records], np.int64)
        sent_on = SentOn(source, np.arange(len(positions), dtype=np.int32), positions)
        messages = await asyncio.to_thread(self._messages, replace(batch, sent_on=sent_on))
        await asyncio.gather(*(self._send(*one) for one in messages))
        return bool(messages)

    def _messages(self, batch: IncomingBatch) -> list[tuple[int, bytes]]:
        """What each partition of readings gets of a batch; nothing where one would get two, or too large a one.

        That is so where much was set aside, or names are long. Raises BodyTooLargeError for a single that no message
        takes.
        """
        cuts = cut(batch, self._partitions, self._limits)
        if len({one.partition_no for one in cuts}) != len(cuts):
            return []
        messages = [(one.partition_no, encode(one.batch)) for one in cuts]
        largest = max(len(message) for _, message in messages)
        if largest <= MESSAGE_BYTES_MAX:
            return messages
        if batch.received > 1:
            return []
        raise too_large(largest)

    async def _aside(self, partition: int, record: Record, error: Exception) -> None:
        message = message_at(self._name, partition, record)
        while True:
            try:
                await self._put_aside(message, error)
            except UnavailableError:
                await asyncio.sleep(_RETRY_S)
            else:
                return


def _tenant_of(record: Record) -> bytes:
    """The first header that names the tenant; empty where there is none."""
    for name, value in record.headers:
        if name == _TENANT:
            return value or b""
    return b""


def _is_name(tenant: bytes) -> bool:
    try:
        return bool(tenant) and tenant.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _nameless() -> MessageUnreadableError:
    return MessageUnreadableError("the message doesn't say which tenant it is for", field="bpm-tenant")
