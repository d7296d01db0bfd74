"""What was fetched of a log: its messages, and what aiokafka says nothing of that stands between them."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from aiokafka import ConsumerRecord
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords

Record: TypeAlias = ConsumerRecord[bytes, bytes]

_NO_TIME: Final = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """Positions, the first and the last, at which there is no message to read: markers of transactions, and messages of
    those that were aborted.
    """

    first: int
    offset: int
    timestamp: int = _NO_TIME
    timestamp_type: int = 0


@dataclass(frozen=True, slots=True)
class Damaged:
    """A position from which on nothing can be read, and why."""

    offset: int
    error: Exception
    timestamp: int = _NO_TIME
    timestamp_type: int = 0


class Fetched(OrderedDict[Any, Any]):
    """What aiokafka keeps of its fetches, by partition: each with its gaps, and with what can't be read as its last.

    Positions follow one another within a fetch, so that whatever else is missing between two messages was lost.
    """

    def __setitem__(self, part: Any, found: Any) -> None:
        if isinstance(found, FetchResult):
            found._partition_records = _Told(found._partition_records)  # noqa: SLF001 - there is no public way
        super().__setitem__(part, found)


class _Told:
    """In the place of aiokafka's records of a partition. next_fetch_offset: behind what was given."""

    def __init__(self, records: PartitionRecords) -> None:
        self.next_fetch_offset: int = records.next_fetch_offset
        self._given = self._give(records)

    def __iter__(self) -> Iterator[Record | Gap | Damaged]:
        return self._given

    def _give(self, records: PartitionRecords) -> Iterator[Record | Gap | Damaged]:
        damage = None
        try:
            for record in records:
                if record.offset > self.next_fetch_offset:
                    yield self._gap(record.offset)
                self.next_fetch_offset = record.offset + 1
                yield record
        except Exception as error:  # noqa: BLE001 - it depends on the codec
            damage = error
        if records.next_fetch_offset > self.next_fetch_offset:
            yield self._gap(records.next_fetch_offset)
        if damage is not None:
            yield Damaged(self.next_fetch_offset, damage)

    def _gap(self, behind: int) -> Gap:
        first, self.next_fetch_offset = self.next_fetch_offset, behind
        return Gap(first, behind - 1)
