"""Single readings that others publish, gathered into batches and sent on into the topic of readings.

What is read here is known to Kafka only, as far as it was sent on. A worker that ends in between sends some again: each
message says where its items came from, and the owner of the partition that it is for drops those that it has.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
from aiokafka.errors import KafkaError

from domain.errors import BpmError, MessageMisdirectedError, MessageUnreadableError, UnavailableError
from domain.readings import IncomingBatch, SentOn
from streams.codec import encode
from streams.cutting import CutLimits, cut
from streams.dead_letters import Message
from streams.topics import Header

log = logging.getLogger(__name__)

_RETRY_S: Final = 0.5
_TRIES_MAX: Final = 3
"""Tries of a batch that fails by itself; then its messages are dead letters."""


@dataclass(frozen=True, slots=True)
class Readable:
    """A message that is a JSON object of a tenant."""

    message: Message
    object: dict[str, Any]

    @property
    def value(self) -> bytes:
        return self.message.value or b""


class Judge(Protocol):
    """Makes a batch of readings of one tenant."""

    async def batch(self, tenant: str, batch_id: uuid.UUID, readables: Sequence[Readable]) -> IncomingBatch:
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
        self._partitions = partitions
        self._limits = limits
        self._judge = judge
        self._send = send
        self._put_aside = put_aside

    async def take_in(self, partition: int, messages: Sequence[Message]) -> None:
        """Send the readings of some messages on; returns once all of them are durable, or dead letters.

        Those of a source reach each partition of readings in their order, and one message after another: on this the
        owner relies when it drops what it has. Tries until it works. Raises PartitionRevokedError when dead letters
        can't be made, and the partition is to be let go of.
        """
        by_tenant: dict[str, list[Readable]] = {}
        read = await asyncio.to_thread(self._judge.read, [one.value or b"" for one in messages])
        for message, found in zip(messages, read, strict=True):
            tenant = message.text_of(Header.TENANT)
            if isinstance(found, BpmError):
                await self._aside(message, found)
            elif not tenant or not tenant.isprintable():
                await self._aside(message, _nameless())
            else:
                by_tenant.setdefault(tenant, []).append(Readable(message, found))
        for tenant, of_tenant in by_tenant.items():
            for group in self._groups(of_tenant):
                await self._send_on(partition, tenant, group)

    def _groups(self, readables: Sequence[Readable]) -> Iterator[list[Readable]]:
        """So many at once that each partition of readings gets one message of them."""
        group: list[Readable] = []
        size = 0
        for single in readables:
            too_large = size + len(single.value) > self._limits.raw_bytes_max
            if group and (too_large or len(group) == self._limits.readings_max):
                yield group
                group, size = [], 0
            group.append(single)
            size += len(single.value)
        if group:
            yield group

    async def _send_on(self, partition: int, tenant: str, group: Sequence[Readable]) -> None:
        tries = 0
        while True:
            try:
                await self._try_to_send_on(partition, tenant, group)
            except (UnavailableError, KafkaError, OSError, TimeoutError) as error:
                log.warning("singles of partition %d wait: %s", partition, error)
            except MessageMisdirectedError as error:
                for single in group:
                    await self._aside(single.message, error)
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

    async def _one_by_one(
        self, partition: int, tenant: str, group: Sequence[Readable], error: Exception
    ) -> None:
        """Send on what can be, and put the others aside."""
        if len(group) == 1:
            await self._aside(group[0].message, error)
            return
        for single in group:
            await self._send_on(partition, tenant, [single])

    async def _try_to_send_on(self, partition: int, tenant: str, group: Sequence[Readable]) -> None:
        source = f"{self._topic}:{partition}:{tenant}"
        batch_id = uuid.uuid5(
            uuid.NAMESPACE_URL, f"urn:bpm:{source}:{group[0].message.position}-{group[-1].message.position}"
        )
        batch = await self._judge.batch(tenant, batch_id, group)
        positions = np.array([one.message.position for one in group], np.int64)
        batch = replace(batch, sent_on=SentOn(source, positions))
        messages = await asyncio.to_thread(self._messages, batch)
        await asyncio.gather(*(self._send(*one) for one in messages))

    def _messages(self, batch: IncomingBatch) -> list[tuple[int, bytes]]:
        """What each partition of readings gets of a batch."""
        cuts = cut(batch, self._partitions, self._limits)
        if len({one.partition_no for one in cuts}) != len(cuts):
            raise ValueError("a partition would get two messages of one group")
        return [(one.partition_no, encode(one.batch)) for one in cuts]

    async def _aside(self, message: Message, error: Exception) -> None:
        while True:
            try:
                await self._put_aside(message, error)
            except UnavailableError:
                await asyncio.sleep(_RETRY_S)
            else:
                return


def _nameless() -> MessageUnreadableError:
    return MessageUnreadableError("the message doesn't say which tenant it is for", field="bpm-tenant")
