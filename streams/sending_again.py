"""The dead letters of an installation, looked through and sent again into the topics that they came from.

Which were sent again is noted among them: a mark stands behind its letter in the same partition, and is kept for
longer. It follows when the message is durable, so one whose mark is missing may have been sent, and is sent once more.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Final

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from domain.errors import KafkaRefusedError, KafkaUnreachableError, MessageUnreadableError
from streams.codec import decode, encode
from streams.dead_letters import Letter, letter_of, message_of
from streams.ports import Stage
from streams.topic_admin import errors_as_ours, in_time, until_answered
from streams.topics import DEAD_LETTERS, READINGS, SINGLES, Header, version_header

_ANSWER_S_MAX: Final = 30.0
_POLL_MS: Final = 500
_TOGETHER_MAX: Final = 200
"""Letters whose marks follow together."""
_REQUEST_BYTES_MAX: Final = 2 * DEAD_LETTERS.message_bytes_max


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: those of a reason, of a tenant by its header, of a topic, partition or message; None for all."""

    reason: str | None = None
    tenant: str | None = None
    source: str | None = None

    def has(self, letter: Letter) -> bool:
        """Whether it is one of those."""
        return (
            self.reason in (None, letter.reason)
            and self.tenant in (None, letter.original.text_of(Header.TENANT))
            and (self.source is None or f"{letter.original.source}:".startswith(f"{self.source}:"))
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A letter, and when it was sent again, None when it wasn't."""

    letter: Letter
    sent_again_ms: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the letters that were asked for. left: how many weren't sent, by why."""

    sent: int
    left: Counter[str]


class DeadLetterBox:
    """The dead letters that there were when it was opened."""

    def __init__(self, bootstrap: str, prefix: str, consumer: Any) -> None:
        """Raises KafkaRefusedError when there is no topic."""
        self._bootstrap = bootstrap
        self._topic = DEAD_LETTERS.under(prefix)
        self._singles, self._readings = SINGLES.under(prefix).name, READINGS.under(prefix).name
        self._consumer = consumer
        numbers = consumer.partitions_for_topic(self._topic.name)
        if not numbers:
            raise KafkaRefusedError(
                f"there is no topic {self._topic.name}; run `bpm migrate --kafka {bootstrap}`"
            )
        parts = [TopicPartition(self._topic.name, number) for number in sorted(numbers)]
        consumer.assign(parts)
        self._first, self._behind = consumer.beginning_offsets(parts), consumer.end_offsets(parts)

    @property
    def messages(self) -> int:
        """So many are read by `found`, each twice."""
        return sum(behind - self._first[part] for part, behind in self._behind.items())

    def found(self, wanted: Wanted, told: Callable[[], None]) -> Iterator[Found]:
        """Each letter that is wanted, in the order of the topic. told: called for each message that is read."""
        sent_again_ms: dict[tuple[int, int], int] = {}
        for record in self._records(told):
            if (position := _marked(record)) is not None:
                sent_again_ms[record.partition, position] = record.timestamp
        for record in self._records(told):
            letter = letter_of(message_of(record))
            if letter is not None and wanted.has(letter):
                yield Found(letter, sent_again_ms.get((letter.partition, letter.position)))

    def send_again(
        self,
        wanted: Wanted,
        told: Callable[[], None],
        reached_stage: Callable[[Stage], None],
        *,
        dry_run: bool,
    ) -> Outcome:
        """Send letters that weren't yet into the partitions that they came from; with dry_run only say what would be.

        A repeat sends what has no mark. Letters that can't become what they were are left.
        """
        sent, left = 0, Counter[str]()
        due = (one.letter for one in self.found(wanted, told) if one.sent_again_ms is None)
        with self._producer() as producer:
            while letters := list(islice(due, _TOGETHER_MAX)):
                outcomes = self._send(producer, letters, dry_run=dry_run)
                left.update(why for why in outcomes if why is not None)
                done = [one for one, why in zip(letters, outcomes, strict=True) if why is None]
                sent += len(done)
                if not dry_run and done:
                    reached_stage(Stage.SENT_BEFORE_MARK)
                    self._mark(producer, done)
        return Outcome(sent, left)

    def _send(self, producer: Any, letters: Sequence[Letter], *, dry_run: bool) -> list[str | None]:
        """Why each wasn't sent, None for those that are durable."""
        values = [self._value_of(one) for one in letters]
        if dry_run:
            return [one if isinstance(one, str) else None for one in values]
        under_way = [
            value
            if isinstance(value, str)
            else producer.send(
                one.original.topic,
                value,
                one.original.key,
                list(one.original.headers),
                one.original.partition,
            )
            for one, value in zip(letters, values, strict=True)
        ]
        return [one if isinstance(one, str) else _acknowledged(one) for one in under_way]

    def _value_of(self, letter: Letter) -> bytes | str:
        """The value that is to be sent, or why none is."""
        value = letter.original.value
        if letter.original.topic not in (self._singles, self._readings):
            return "its topic is not one of this installation"
        if letter.original.partition not in (
            self._consumer.partitions_for_topic(letter.original.topic) or ()
        ):
            return "its partition isn't there any more"
        if letter.cut is not None:
            return "only a part of it was kept"
        if not letter.kept:
            return "it was put aside when keys and headers were not kept"
        if value is None:
            return "it has no value"
        if any(text is None for _, text in letter.original.headers):
            return "a header of it has no value, which can't be sent from here"
        if letter.original.topic == self._singles:
            return value
        try:
            batch = decode(value)
        except MessageUnreadableError:
            return "it is no message of readings that this version can read"
        # Of a source the owner takes only what is behind the last that it has, and others have come since. Without
        # it readings are told apart by their identity, as everywhere.
        return value if batch.sent_on is None else encode(replace(batch, sent_on=None))

    def _mark(self, producer: Any, letters: Iterable[Letter]) -> None:
        marks = [
            producer.send(
                self._topic.name,
                b"",
                headers=[
                    (Header.SENT_AGAIN.value, str(one.position).encode()),
                    version_header(self._topic),
                ],
                partition=one.partition,
            )
            for one in letters
        ]
        for mark in marks:
            mark.get(_ANSWER_S_MAX)

    @contextmanager
    def _producer(self) -> Iterator[Any]:
        # Compressed, as what is larger than its topic takes otherwise was when it came.
        producer = KafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=False,
            max_in_flight_requests_per_connection=1,
            compression_type="gzip",
            max_request_size=_REQUEST_BYTES_MAX,
        )
        try:
            yield producer
        finally:
            producer.close(timeout=_ANSWER_S_MAX)

    def _records(self, told: Callable[[], None]) -> Iterator[Any]:
        """All records from the beginning to where the partitions ended when the box was opened."""
        left = {part for part, behind in self._behind.items() if self._first[part] < behind}
        self._consumer.seek_to_beginning(*self._behind)
        self._consumer.resume(*self._behind)
        heard_s = time.monotonic()
        while left:
            for part, records in self._consumer.poll(timeout_ms=_POLL_MS).items():
                for record in records:
                    if record.offset < self._behind[part]:
                        told()
                        yield record
                heard_s = time.monotonic()
            for part in [one for one in left if self._consumer.position(one) >= self._behind[one]]:
                self._consumer.pause(part)
                left.discard(part)
            if time.monotonic() - heard_s > _ANSWER_S_MAX:
                raise KafkaUnreachableError(f"nothing more comes from {self._topic.name}")


@contextmanager
def dead_letter_box(bootstrap: str, prefix: str) -> Iterator[DeadLetterBox]:
    """The dead letters of an installation. Raises KafkaUnreachableError and KafkaRefusedError."""
    address, consumer, box = until_answered(bootstrap, partial(_opened, prefix))
    with errors_as_ours(address):
        try:
            yield box
        finally:
            consumer.close()


def _opened(prefix: str, address: str) -> tuple[str, Any, DeadLetterBox]:
    consumer = KafkaConsumer(
        bootstrap_servers=address, auto_offset_reset="earliest", enable_auto_commit=False, **in_time()
    )
    try:
        return address, consumer, DeadLetterBox(address, prefix, consumer)
    except BaseException:
        consumer.close()
        raise


def _marked(record: Any) -> int | None:
    """The position of the letter that a message marks as sent again; None when it is no mark."""
    if len(record.headers) == 0 or record.headers[0][0] != Header.SENT_AGAIN or letter_of(message_of(record)):
        return None
    position = record.headers[0][1] or b""
    return int(position) if position.isdigit() else None


def _acknowledged(under_way: Any) -> str | None:
    """None when a message is durable, or why it never will be."""
    try:
        under_way.get(_ANSWER_S_MAX)
    except (MessageSizeTooLargeError, RecordListTooLargeError):
        return "it is larger than its topic takes"
    return None
