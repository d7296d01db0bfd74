"""What was fetched of a log: its messages, and what aiokafka says nothing of that stands between them."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import TopicPartitionState
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

_NO_TIME: Final = 0


class Record(Protocol):
    """A message as it was unpacked, without its place: that is of all that was fetched with it.

    Its time is in ms; -1 for none.
    """

    @property
    def offset(self) -> int: ...

    @property
    def timestamp(self) -> int: ...

    @property
    def timestamp_type(self) -> int: ...

    @property
    def key(self) -> bytes | None: ...

    @property
    def value(self) -> bytes | None: ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


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


@dataclass(frozen=True, slots=True)
class Missing:
    """A position that was asked for, and that the log doesn't have (any more)."""

    offset: int
    timestamp: int = _NO_TIME
    timestamp_type: int = 0


class Fetched(OrderedDict[Any, Any]):
    """What aiokafka keeps of its fetches, by partition: each with its gaps, and with what can't be read as its last.

    Positions follow one another within a fetch, so that whatever else is missing between two messages was lost. A
    position that the log doesn't have is told in its place; aiokafka would raise it to whoever asks for any partition,
    as it would that there is no position yet of one that was just assigned.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        super().__init__()
        self._subscriptions = fetcher._subscriptions  # noqa: SLF001 - there is no public way

    def __setitem__(self, part: Any, found: Any) -> None:
        if isinstance(found, FetchResult):
            found._partition_records = _Told(found._partition_records)  # noqa: SLF001
        elif isinstance(found._error, NoOffsetForPartitionError):  # noqa: SLF001
            found = _NoPositionYet()
        elif isinstance(found._error, OffsetOutOfRangeError):  # noqa: SLF001
            assignment = self._subscriptions.subscription.assignment
            absent = _Absent(assignment.state_value(part))
            found = FetchResult(part, assignment=assignment, partition_records=absent, backoff=found._backoff)  # noqa: SLF001
        super().__setitem__(part, found)


class _NoPositionYet:
    """In the place of aiokafka's error, until the partition is sought."""

    def calculate_backoff(self) -> float:
        return 0.0

    def check_raise(self) -> None: ...


class _Absent:
    """In the place of aiokafka's records of a partition, where the log has none.

    The position stays what it is. Once it is told, nothing more is fetched of the partition until it is assigned anew.
    """

    def __init__(self, state: TopicPartitionState) -> None:
        self.next_fetch_offset: int = state.position
        self._state = state

    def __iter__(self) -> Iterator[Missing]:
        self._state.pause()
        yield Missing(self.next_fetch_offset)


class _Told:
    """In the place of aiokafka's records of a partition. next_fetch_offset: behind what was given."""

    def __init__(self, records: PartitionRecords) -> None:
        # aiokafka would make an object of eleven fields of each, which costs more than unpacking it.
        records._consumer_record = _as_unpacked  # noqa: SLF001
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


def _as_unpacked(_: object, record: Record) -> Record:
    return record
