"""The messages of a batch: each for one partition, and none larger than its topic takes."""

from typing import Final

from domain.errors import BodyTooLargeError
from domain.readings import IncomingBatch
from streams.codec import encode
from streams.cutting import CutLimits, cut
from streams.topics import READINGS

MESSAGE_BYTES_MAX: Final = READINGS.message_bytes_max - 1024
"""Of a message as it is encoded; Kafka adds less."""


def messages_of(batch: IncomingBatch, partitions: int, limits: CutLimits) -> list[tuple[int, bytes]]:
    """Partition and message of each part, in order of arrival within each partition.

    Names, and texts that were set aside, take more or less room by what they are made of: where that makes a message
    too large, each holds half as much. Raises BodyTooLargeError when one of a single reading is.
    """
    while True:
        made = [(one.partition_no, encode(one.batch)) for one in cut(batch, partitions, limits)]
        largest = max(len(message) for _, message in made)
        if largest <= MESSAGE_BYTES_MAX:
            return made
        if limits.readings_max == 1:
            raise too_large(largest)
        limits = CutLimits(limits.readings_max // 2, max(1, limits.raw_bytes_max // 2))


def too_large(size_bytes: int) -> BodyTooLargeError:
    """The error of a single reading that no message takes."""
    return BodyTooLargeError(
        f"a reading takes {size_bytes} bytes with what is kept of it", limit=MESSAGE_BYTES_MAX
    )
