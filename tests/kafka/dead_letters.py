"""The dead letters of a broker."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.dead_letters import Letter, letter_of, message_of
from streams.topics import DEAD_LETTERS

_WAIT_S_MAX = 20.0


def letters_by_source(bootstrap: str, topic: str = DEAD_LETTERS.name) -> dict[str, Letter]:
    """The dead letter of each message, the last one where there are several, by its place as topic:partition:offset."""

    async def read() -> dict[str, Letter]:
        found: dict[str, Letter] = {}
        place = TopicPartition(topic, 0)
        async with (
            AIOKafkaConsumer(
                bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
            ) as consumer,
            asyncio.timeout(_WAIT_S_MAX),
        ):
            consumer.assign([place])
            await consumer.seek_to_beginning(place)
            end = (await consumer.end_offsets([place]))[place]
            while await consumer.position(place) < end:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    letters = (letter_of(message_of(record)) for record in records)
                    found |= {letter.original.source: letter for letter in letters if letter is not None}
        return found

    return asyncio.run(read())


def reasons_by_source(bootstrap: str) -> dict[str, str]:
    """Why each message is a dead letter, by its place as topic:partition:offset."""
    return {source: letter.reason for source, letter in letters_by_source(bootstrap).items()}
