"""The dead letters of a broker."""

from kafka import KafkaConsumer, TopicPartition

from streams.topics import DEAD_LETTERS, Header

_WAIT_MS_MAX = 20_000


def reasons_by_source(bootstrap: str) -> dict[str, str]:
    """Why each message is a dead letter, by its place as topic:partition:offset."""
    place = TopicPartition(DEAD_LETTERS.name, 0)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, consumer_timeout_ms=_WAIT_MS_MAX)
    try:
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        end = consumer.end_offsets([place])[place]
        found: dict[str, str] = {}
        while consumer.position(place) < end:
            message = next(consumer)
            headers = {name: value.decode() for name, value in message.headers}
            found[headers[Header.SOURCE.value]] = headers[Header.REASON.value]
    finally:
        consumer.close()
    return found
