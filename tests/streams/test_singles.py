"""A single reading that no message of the topic of readings takes, on its way through real cutting and encoding."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from domain.errors import BodyTooLargeError, BpmError
from domain.readings import IncomingBatch
from streams.cutting import CutLimits
from streams.dead_letters import Message
from streams.messages import MESSAGE_BYTES_MAX
from streams.singles import Readables, Singles
from tests.streams.test_messages import aside

TOO_LARGE = 1
"""The position of the single of which too much is kept."""


@dataclass(frozen=True, slots=True)
class Single:
    """A message as it was unpacked."""

    offset: int
    value: bytes = b"{}"
    key: bytes | None = None
    timestamp: int = 0
    timestamp_type: int = 0
    headers: Sequence[tuple[str, bytes | None]] = (("bpm-tenant", b"acme"),)


class AllAside:
    """Sets each single aside, and keeps so much of one that no message takes it."""

    def read(self, values: Sequence[bytes]) -> list[dict[str, Any] | BpmError]:
        return [{} for _ in values]

    async def batch(self, tenant: str, batch_id: uuid.UUID, readables: Readables) -> IncomingBatch:
        assert tenant == "acme"
        sizes = [MESSAGE_BYTES_MAX if one.offset == TOO_LARGE else 10 for one in readables.records]
        found = [aside("\\", 1, size).quarantined[0] for size in sizes]
        items = tuple(replace(item, index=index) for index, item in enumerate(found))
        return replace(aside("x", len(items), 1), id=batch_id, quarantined=items)


def test_single_that_no_message_takes_is_a_dead_letter_and_the_others_go_on() -> None:
    sent: list[bytes] = []
    put_aside: list[tuple[int, Exception]] = []

    async def send(_: int, message: bytes) -> None:
        sent.append(message)

    async def set_aside(message: Message, error: Exception) -> None:
        put_aside.append((message.position, error))

    singles = Singles("singles/1", 2, CutLimits(5_000, 1 << 30), AllAside(), send, set_aside)
    asyncio.run(asyncio.wait_for(singles.take_in(0, [Single(number) for number in range(4)]), 20))
    ((position, error),) = put_aside
    assert position == TOO_LARGE
    assert isinstance(error, BodyTooLargeError)
    assert sent
    assert max(len(message) for message in sent) <= MESSAGE_BYTES_MAX
