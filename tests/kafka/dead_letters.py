"""The dead letters of a broker."""

from kafka import KafkaConsumer, TopicPartition

from streams.dead_letters import Letter, letter_of, message_of
from streams.topics import DEAD_LETTERS

_WAIT_MS_MAX = 20_000


def letters_by_source(bootstrap: str, topic: str = DEAD_LETTERS.name) -> dict[str, Letter]:
    """The dead letter of each message, the last one where there are several, by its place as topic:partition:offset."""
    place = TopicPartition(topic, 0)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, consumer_timeout_ms=_WAIT_MS_MAX)
    try:
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        end = consumer.end_offsets([place])[place]
        found: dict[str, Letter] = {}
        while consumer.position(place) < end:
            letter = letter_of(message_of(next(consumer)))
            if letter is not None:
                found[letter.original.source] = letter
    finally:
        consumer.close()
    return found


def reasons_by_source(bootstrap: str) -> dict[str, str]:
    """Why each message is a dead letter, by its place as topic:partition:offset."""
    return {source: letter.reason for source, letter in letters_by_source(bootstrap).items()}
