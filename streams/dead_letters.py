"""Dead letters: messages that can't be committed, kept as they came, with why and where they stood."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from domain.errors import BpmError, PartitionRevokedError, UnavailableError
from streams.producing import Producer
from streams.topics import DEAD_LETTERS, Header, version_header

log = logging.getLogger(__name__)

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

_TRY_S_MAX: Final = 5.0
_SAY_AGAIN_S: Final = 30.0
_FORGOTTEN_S: Final = 60.0
"""After this long without a try, nothing waits any more: the partition is another worker's."""
_OVERHEAD_BYTES: Final = 256
_HEADER_OVERHEAD_BYTES: Final = 16
"""More than Kafka adds to a message and to each of its headers."""
_CUT_TEXT_BYTES: Final = 128
"""More than it takes to say what was cut."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it stands in a topic. published_ms: the time that it has there."""

    topic: str
    partition: int
    position: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    published_ms: int

    @property
    def source(self) -> str:
        """Where it stands, as TOPIC:PARTITION:POSITION."""
        return f"{self.topic}:{self.partition}:{self.position}"

    def text_of(self, header: Header) -> str | None:
        """The text of the first header of that name; None when there is none, or it is no text."""
        return _text(next((value for name, value in self.headers if name == header), None))


def message_of(record: Any) -> Message:
    """The message of a record that says where it stands."""
    return message_at(record.topic, record.partition, record)


def message_at(topic: str, partition: int, record: Any) -> Message:
    """The message of a record of a partition."""
    return Message(
        topic,
        partition,
        record.offset,
        record.key,
        record.value,
        tuple(record.headers),
        record.timestamp,
    )


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. number: its place as PARTITION:POSITION in the topic of dead letters.

    original: the message as it stood in its topic. kept: whether its key, headers and time are here; they are not in
    letters of the first version. cut: what of it isn't here, None when it is whole.
    """

    partition: int
    position: int
    put_aside_ms: int
    reason: str
    original: Message
    kept: bool
    cut: str | None

    @property
    def number(self) -> str:
        return f"{self.partition}:{self.position}"


_OURS: Final = (Header.CUT, Header.SOURCE, Header.REASON, Header.PUBLISHED, Header.VERSION)
"""Behind the headers that the message had, which may have the same names; the last of a name is ours."""
_OURS_AT_FIRST: Final = (Header.VERSION, Header.SOURCE, Header.REASON)
"""All that letters of the first version have."""

_PLACE_NUMBERS: Final = 2
"""Partition and position."""


def letter_of(message: Message) -> Letter | None:
    """What a message of the topic of dead letters is; None for one that isn't a letter."""
    names = tuple(name for name, _ in message.headers)
    kept = names != _OURS_AT_FIRST
    last = message.headers[-len(_OURS) :] if kept else message.headers
    ours = {name: _text(value) or "" for name, value in last}
    topic, *place = ours.get(Header.SOURCE, "").rsplit(":", _PLACE_NUMBERS)
    if (
        (kept and names[-len(_OURS) :] != _OURS)
        or len(place) != _PLACE_NUMBERS
        or not all(map(_is_number, place))
    ):
        return None
    published = ours.get(Header.PUBLISHED, "")
    original = Message(
        topic,
        int(place[0]),
        int(place[1]),
        message.key,
        message.value,
        tuple(message.headers[: -len(last)]),
        int(published) if _is_number(published) else -1,
    )
    return Letter(
        message.partition,
        message.position,
        message.published_ms,
        ours[Header.REASON],
        original,
        kept,
        ours.get(Header.CUT) or None,
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True, slots=True)
class Written:
    """A message as it is to be sent."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def written(message: Message, reason: str, bytes_max: int) -> Written:
    """The dead letter of a message, byte for byte; what would be over the limit is cut, and says so."""

    def made(key: bytes | None, value: bytes | None, headers: Headers, cut: str) -> Written:
        texts = (cut, message.source, reason, str(message.published_ms))
        named = zip(_OURS, (text.encode() for text in texts), strict=False)
        ours = [(name.value, text) for name, text in named]
        return Written(key, value, (*headers, *ours, version_header(DEAD_LETTERS)))

    whole = made(message.key, message.value, message.headers, "")
    if _bytes_of(whole) <= bytes_max:
        return whole
    key, value, headers, cut = message.key, message.value or b"", message.headers, []
    if _bytes_of(Written(key, None, headers)) > bytes_max // 2:
        cut.append(f"the key and {len(headers)} headers left out")
        key, headers = None, ()
    room = bytes_max - _bytes_of(made(key, None, headers, "")) - _CUT_TEXT_BYTES
    if len(value) > room:
        cut.append(f"{room} of {len(value)} bytes of the value kept")
    return made(key, message.value and value[:room], headers, "; ".join(cut))


def _bytes_of(one: Written) -> int:
    """No fewer than Kafka makes of it."""
    headers = sum(
        len(name.encode()) + len(value or b"") + _HEADER_OVERHEAD_BYTES for name, value in one.headers
    )
    return len(one.key or b"") + len(one.value or b"") + headers + _OVERHEAD_BYTES


@dataclass(slots=True)
class _Waiting:
    """A message that can't be put aside, since when, when that was last tried, and last said."""

    position: int
    since_s: float
    tried_s: float
    said_s: float | None = None


class DeadLetterWriter:
    """Makes messages dead letters, and raises the alarm while it can't: their partitions wait.

    Its producer is not idempotent: such a one goes on for ever by itself while a topic is away, and is of no use any
    more after a message that was refused. A dead letter may come twice for that; its source tells.
    """

    def __init__(
        self, bootstrap: str, topic: str, monotonic_s: Callable[[], float], done: Callable[[Message], None]
    ) -> None:
        """topic: of dead letters. done: called with each message that has become one."""
        self.letting_go = False
        """Whether partitions are about to be let go of; nothing is waited for then."""
        self._topic = topic
        self._monotonic_s = monotonic_s
        self._done = done
        self._producer = Producer(
            bootstrap,
            _TRY_S_MAX,
            max_request_size=DEAD_LETTERS.message_bytes_max,
            request_timeout_ms=int(_TRY_S_MAX * 1000),
        )
        self._waiting: dict[tuple[str, int], _Waiting] = {}

    async def put(self, message: Message, error: Exception) -> None:
        """Returns once the dead letter is durable.

        Raises UnavailableError when it can't be made now, having said so; PartitionRevokedError when partitions are to
        be let go of besides.
        """
        reason = error.code if isinstance(error, BpmError) else type(error).__name__
        letter = written(message, reason, DEAD_LETTERS.message_bytes_max)
        try:
            producer = await self._producer.started()
            # A batch, because `send` takes no message without a key and a value.
            batch = producer.create_batch()
            batch.append(timestamp=None, key=letter.key, value=letter.value, headers=list(letter.headers))
            batch.close()
            await (await producer.send_batch(batch, self._topic, partition=0))
        except (KafkaError, OSError, TimeoutError) as why:
            self._say_waiting(message, reason, why)
            kind = PartitionRevokedError if self.letting_go else UnavailableError
            raise kind(f"{message.source} can't be made a dead letter: {why}") from why
        self._waiting.pop((message.topic, message.partition), None)
        self._done(message)
        where = message.topic, message.partition, message.position
        log.error("%s, partition %d: message %d is a dead letter: %s", *where, error)
        if cut := dict(letter.headers).get(Header.CUT.value):
            log.critical(
                "%s, partition %d: message %d is too large for a dead letter; it is whole in its topic only: %s",
                *where,
                cut.decode(),
            )

    def waiting(self) -> Iterator[tuple[str, int, float]]:
        """Topic and partition of each that waits, and for how many seconds."""
        now_s = self._monotonic_s()
        for (topic, partition), one in list(self._waiting.items()):
            if now_s - one.tried_s < _FORGOTTEN_S:
                yield topic, partition, now_s - one.since_s
            else:
                self._waiting.pop((topic, partition), None)

    async def stop(self) -> None:
        """Let go of Kafka."""
        await self._producer.stop()

    def _say_waiting(self, message: Message, reason: str, why: Exception) -> None:
        """Log that a partition waits: at once, and again and again; as critical unless it may pass by itself."""
        now_s = self._monotonic_s()
        waiting = self._waiting.get((message.topic, message.partition))
        if waiting is None or waiting.position != message.position:
            waiting = _Waiting(message.position, now_s, now_s)
            self._waiting[message.topic, message.partition] = waiting
        waiting.tried_s = now_s
        if waiting.said_s is not None and now_s - waiting.said_s < _SAY_AGAIN_S:
            return
        passes = isinstance(why, OSError | TimeoutError) or (
            isinstance(why, KafkaError)
            and why.retriable
            and not isinstance(why, UnknownTopicOrPartitionError)
        )
        log.log(
            logging.WARNING if passes and waiting.said_s is None else logging.CRITICAL,
            "%s, partition %d waits at message %d for %.0f s: it can't be made a dead letter (%s) in %s: %s",
            message.topic,
            message.partition,
            message.position,
            now_s - waiting.since_s,
            reason,
            self._topic,
            why,
        )
        waiting.said_s = now_s
