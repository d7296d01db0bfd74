"""The dead letters of an installation, looked through and sent again into the topics that they came from.

Which were sent again is noted among them: a mark stands behind its letter in the same partition, and is kept for
longer. It follows when the message is durable, so one whose mark is missing may have been sent, and is sent once more.

Letters are read and sent by aiokafka: it reads every codec that a broker may pack them with, and sends headers without
a value.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from domain.errors import KafkaRefusedError, KafkaUnreachableError, MessageUnreadableError
from streams.codec import decode, encode
from streams.dead_letters import Letter, Written, letter_of, message_of
from streams.ports import Stage
from streams.topic_admin import REQUEST_S_MAX, errors_as_ours, partitions_of, until_answered
from streams.topics import DEAD_LETTERS, READINGS, SINGLES, Header, version_header

Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]
"""Lets a coroutine run to its end; between two, connections stand still."""

_ANSWER_S_MAX: Final = 30.0
_POLL_MS: Final = 500
_TOGETHER_MAX: Final = 200
"""Letters whose marks follow together."""


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

    def __init__(
        self, bootstrap: str, prefix: str, partitions: Mapping[str, frozenset[int]], consumer: Any, run: Run
    ) -> None:
        """partitions: of the installation's topics. Raises KafkaError."""
        self._bootstrap = bootstrap
        self._topic = DEAD_LETTERS.under(prefix)
        self._singles, self._readings = SINGLES.under(prefix).name, READINGS.under(prefix).name
        self._partitions = partitions
        self._consumer = consumer
        self._run = run
        self._first, self._behind = run(_ends(consumer, self._topic.name, partitions[self._topic.name]))

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
                outcomes = self._run(self._send(producer, letters, dry_run=dry_run))
                left.update(why for why in outcomes if why is not None)
                done = [one for one, why in zip(letters, outcomes, strict=True) if why is None]
                sent += len(done)
                if not dry_run and done:
                    reached_stage(Stage.SENT_BEFORE_MARK)
                    self._run(self._mark(producer, done))
        return Outcome(sent, left)

    async def _send(self, producer: Any, letters: Sequence[Letter], *, dry_run: bool) -> list[str | None]:
        """Why each wasn't sent, None for those that are durable."""
        values = [self._value_of(one) for one in letters]
        outcomes = [one if isinstance(one, str) else None for one in values]
        if dry_run:
            return outcomes
        due: dict[TopicPartition, dict[int, Written]] = {}
        for number, (one, value) in enumerate(zip(letters, values, strict=True)):
            if isinstance(value, bytes):
                place = TopicPartition(one.original.topic, one.original.partition)
                due.setdefault(place, {})[number] = Written(one.original.key, value, one.original.headers)
        sent = await asyncio.gather(
            *(_send_all(producer, place, list(messages.values())) for place, messages in due.items())
        )
        for messages, whys in zip(due.values(), sent, strict=True):
            for number, why in zip(messages, whys, strict=True):
                outcomes[number] = why
        return outcomes

    def _value_of(self, letter: Letter) -> bytes | str:
        """The value that is to be sent, or why none is."""
        value = letter.original.value
        if letter.original.topic not in (self._singles, self._readings):
            return "its topic is not one of this installation"
        if letter.original.partition not in self._partitions[letter.original.topic]:
            return "its partition isn't there any more"
        if letter.cut is not None:
            return "only a part of it was kept"
        if not letter.kept:
            return "it was put aside when keys and headers were not kept"
        if value is None:
            return "it has no value"
        if letter.original.topic == self._singles:
            return value
        try:
            batch = decode(value)
        except MessageUnreadableError:
            return "it is no message of readings that this version can read"
        # Of a source the owner takes only what is behind the last that it has, and others have come since. Without
        # it readings are told apart by their identity, as everywhere.
        return value if batch.sent_on is None else encode(replace(batch, sent_on=None))

    async def _mark(self, producer: Any, letters: Iterable[Letter]) -> None:
        marks: dict[int, list[Written]] = {}
        for one in letters:
            headers = ((Header.SENT_AGAIN.value, str(one.position).encode()), version_header(self._topic))
            marks.setdefault(one.partition, []).append(Written(None, b"", headers))
        await asyncio.gather(
            *(
                _send_all(producer, TopicPartition(self._topic.name, number), messages)
                for number, messages in marks.items()
            )
        )

    @contextmanager
    def _producer(self) -> Iterator[Any]:
        producer = self._run(_started_producer(self._bootstrap))
        try:
            yield producer
        finally:
            self._run(producer.stop())

    def _records(self, told: Callable[[], None]) -> Iterator[Any]:
        """All records from the beginning to where the partitions ended when the box was opened."""
        left = {part for part, behind in self._behind.items() if self._first[part] < behind}
        self._run(self._begin())
        heard_s = time.monotonic()
        while left:
            found, left = self._run(self._more(left))
            for part, records in found.items():
                for record in records:
                    if record.offset < self._behind[part]:
                        told()
                        yield record
                heard_s = time.monotonic()
            if time.monotonic() - heard_s > _ANSWER_S_MAX:
                raise KafkaUnreachableError(f"nothing more comes from {self._topic.name}")

    async def _begin(self) -> None:
        for part, first in self._first.items():
            self._consumer.seek(part, first)

    async def _more(
        self, left: set[TopicPartition]
    ) -> tuple[dict[TopicPartition, list[Any]], set[TopicPartition]]:
        """Records of partitions, and those that have more."""
        found = await self._consumer.getmany(*left, timeout_ms=_POLL_MS)
        return found, {part for part in left if await self._consumer.position(part) < self._behind[part]}


@contextmanager
def dead_letter_box(bootstrap: str, prefix: str) -> Iterator[DeadLetterBox]:
    """The dead letters of an installation. Raises KafkaUnreachableError and KafkaRefusedError."""
    topics = [topic.under(prefix).name for topic in (DEAD_LETTERS, READINGS, SINGLES)]
    partitions = partitions_of(bootstrap, topics)
    if not partitions[topics[0]]:
        raise KafkaRefusedError(f"there is no topic {topics[0]}; run `bpm migrate --kafka {bootstrap}`")
    with asyncio.Runner() as runner:
        opened = partial(_opened, prefix, partitions, runner.run)
        consumer, box = until_answered(bootstrap, opened)
        try:
            yield box
        finally:
            runner.run(consumer.stop())


def _opened(
    prefix: str, partitions: Mapping[str, frozenset[int]], run: Run, address: str
) -> tuple[Any, DeadLetterBox]:
    def asked(coroutine: Coroutine[Any, Any, Any]) -> Any:
        # Only what is asked of the cluster: whoever looks at letters has errors of their own.
        with errors_as_ours(address):
            return run(coroutine)

    consumer = run(_started_consumer(address))
    try:
        return consumer, DeadLetterBox(address, prefix, partitions, consumer, asked)
    except BaseException:
        run(consumer.stop())
        raise


async def _ends(
    consumer: Any, topic: str, numbers: Iterable[int]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Where partitions begin, and where they end; they are read from now on."""
    parts = [TopicPartition(topic, number) for number in sorted(numbers)]
    consumer.assign(parts)
    return await consumer.beginning_offsets(parts), await consumer.end_offsets(parts)


async def _started_consumer(bootstrap: str) -> Any:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        request_timeout_ms=int(REQUEST_S_MAX * 1000),
    )
    try:
        await consumer.start()
    except BaseException:
        await consumer.stop()
        raise
    return consumer


async def _started_producer(bootstrap: str) -> Any:
    # Compressed, as what is larger than its topic takes otherwise was when it came.
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        compression_type="gzip",
        request_timeout_ms=int(_ANSWER_S_MAX * 1000),
    )
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer


async def _send_all(producer: Any, place: TopicPartition, messages: Sequence[Written]) -> list[str | None]:
    """Why each message won't be durable, None for those that are. They go into a partition in their order."""
    outcomes: list[str | None] = []
    while len(outcomes) < len(messages):
        # Batches, because `send` takes no message without a key and a value.
        batch = producer.create_batch()
        together = []
        for one in messages[len(outcomes) :]:
            if batch.append(timestamp=None, key=one.key, value=one.value, headers=list(one.headers)) is None:
                break
            together.append(one)
        batch.close()
        try:
            await (await producer.send_batch(batch, place.topic, partition=place.partition))
        except (MessageSizeTooLargeError, RecordListTooLargeError):
            if len(together) == 1:
                outcomes.append("it is larger than its topic takes")
                continue
            for one in together:
                outcomes += await _send_all(producer, place, [one])
        else:
            outcomes += [None] * len(together)
    return outcomes


def _marked(record: Any) -> int | None:
    """The position of the letter that a message marks as sent again; None when it is no mark."""
    if len(record.headers) == 0 or record.headers[0][0] != Header.SENT_AGAIN or letter_of(message_of(record)):
        return None
    position = record.headers[0][1] or b""
    return int(position) if position.isdigit() else None
