"""Creates topics that are missing, and tells how those that are there differ from what they should be."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from aiokafka import errors as aiokafka
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, OffsetSpec
from kafka.errors import BrokerResponseError, KafkaError, TopicAlreadyExistsError
from kafka.net.compat import KafkaNetClient

from domain.errors import KafkaRefusedError, KafkaUnreachableError
from domain.log_ends import Ends
from streams.reach import first_answering
from streams.topics import COPIES, PREFIX, READINGS, TOPICS, Topic

log = logging.getLogger(__name__)

T = TypeVar("T")

_ANSWER_S_MAX: Final = 30.0
_CREATED_S_MAX: Final = 90.0
"""Brokers hand it on to the controller. When that hangs they wait for 30 s of theirs, and then take the next one."""
REQUEST_S_MAX: Final = 10.0
"""Within the time for an answer there is another broker to be asked."""
_CONNECT_S_MAX: Final = 5.0
_ANSWERS: Final[Any] = (BrokerResponseError, aiokafka.BrokerResponseError)
"""Errors by which a broker answers, of either client."""
_AGAIN_S: Final = 0.5
_KNOWN_S_MAX: Final = 10.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class TopicSizes:
    """How topics are made.

    partitions: over which packs are spread. copies: of each message; None for the default. prefix: of their names.
    """

    partitions: int
    copies: int | None
    prefix: str = PREFIX

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics of the installation."""
        return tuple(topic.under(self.prefix) for topic in TOPICS)


@dataclass(frozen=True, slots=True)
class Drift:
    """What of a topic isn't as it should be.

    refuses: readings can't be taken in over this topic.
    """

    topic: str
    what: str
    found: str
    expected: str
    refuses: bool = False

    def __str__(self) -> str:
        return f"{self.topic}: {self.what} is {self.found}, should be {self.expected}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at the cluster found, after `created` had been made. missing: names of topics."""

    brokers: int
    created: tuple[str, ...]
    missing: tuple[str, ...]
    drifts: tuple[Drift, ...]


def inspect_topics(bootstrap: str, sizes: TopicSizes) -> Seen:
    """How the topics are; nothing is changed. Raises KafkaUnreachableError and KafkaRefusedError."""
    return _asked(bootstrap, lambda admin: _look(admin, sizes, ()))


def create_topics(bootstrap: str, sizes: TopicSizes) -> Seen:
    """Create the topics that are missing, and tell how all are; those that are there aren't changed.

    Raises KafkaUnreachableError and KafkaRefusedError.
    """
    ours: set[str] = set()

    def create(admin: KafkaAdminClient) -> Seen:
        missing = set(_look(admin, sizes, ()).missing)
        copies = _copies(admin, sizes)
        for topic in sizes.topics:
            if topic.name in missing:
                # One that was asked for before, without an answer, may be there by now.
                again = topic.name in ours
                ours.add(topic.name)
                if not _create(admin, topic, sizes, copies) and not again:
                    ours.discard(topic.name)
        created = [topic.name for topic in sizes.topics if topic.name in ours]
        return _look_until_known(admin, sizes, tuple(created))

    return _asked(bootstrap, create, _CREATED_S_MAX)


@dataclass(frozen=True, slots=True)
class Origin:
    """The topic of readings as an installation knows it: name/id, and the first position of each partition."""

    topic: str
    first: dict[int, int]


def readings_origin(bootstrap: str, prefix: str) -> Origin:
    """The topic of readings as it is now. Raises KafkaUnreachableError, and KafkaRefusedError when it is missing."""
    name = READINGS.under(prefix).name

    def origin(admin: KafkaAdminClient) -> Origin:
        (described,) = admin.describe_topics([name])
        numbers = [one["partition_index"] for one in described["partitions"]]
        if not numbers:
            raise KafkaRefusedError(f"there is no topic {name}; run `bpm migrate --kafka {bootstrap}`")
        parts = [TopicPartition(name, number) for number in numbers]
        offsets = admin.list_partition_offsets(dict.fromkeys(parts, OffsetSpec.EARLIEST))
        first = {part.partition: offsets[part].offset for part in parts}
        return Origin(f"{name}/{described['topic_id']}", first)

    return _asked(bootstrap, origin)


def log_ends(bootstrap: str, name: str, partitions: int) -> dict[int, int]:
    """The position behind the last message of each partition. Raises KafkaUnreachableError and KafkaRefusedError."""
    asked = {TopicPartition(name, number): OffsetSpec.LATEST for number in range(partitions)}
    ends = _asked(bootstrap, lambda admin: admin.list_partition_offsets(asked))
    return {part.partition: ends[part].offset for part in asked}


def ends_of(bootstrap: str, name: str, partitions: int) -> dict[int, Ends]:
    """Both ends of each partition. Raises KafkaUnreachableError and KafkaRefusedError."""
    parts = [TopicPartition(name, number) for number in range(partitions)]

    def ends(admin: KafkaAdminClient) -> dict[int, Ends]:
        first, behind = (
            admin.list_partition_offsets(dict.fromkeys(parts, end))
            for end in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)
        )
        return {part.partition: Ends(first[part].offset, behind[part].offset) for part in parts}

    return _asked(bootstrap, ends)


def identity_of(bootstrap: str, name: str) -> str:
    """A topic as name/id. Raises KafkaUnreachableError, and KafkaRefusedError when it is missing."""
    (described,) = _described(bootstrap, [name])
    if not described["partitions"]:
        raise KafkaRefusedError(f"there is no topic {name}; run `bpm migrate --kafka {bootstrap}`")
    return f"{name}/{described['topic_id']}"


def partitions_of(bootstrap: str, topics: Sequence[str]) -> dict[str, frozenset[int]]:
    """The partitions of each topic; none of one that is missing. Raises KafkaUnreachableError and KafkaRefusedError."""
    return {
        one["name"]: frozenset(part["partition_index"] for part in one["partitions"])
        for one in _described(bootstrap, topics)
    }


def require_log(bootstrap: str, log: str) -> None:
    """That the topic of readings is still the one in which positions count. log: name/id.

    Raises KafkaUnreachableError, and KafkaRefusedError when it is missing or was made anew.
    """
    name, _, known = log.partition("/")
    found = identity_of(bootstrap, name).partition("/")[2]
    if found != known:
        raise KafkaRefusedError(
            f"the topic {name} was made anew: readings come from the one with the id {known}, and this one has {found};"
            " when that one is lost, run `bpm migrate --adopt-new-topic`"
        )


def made_anew(bootstrap: str, topics: Sequence[str]) -> str | None:
    """Which of some topics, given as name/id, has another id now; None when none has. Of one that is missing nothing is
    said: it may be that a broker doesn't know it yet.

    Raises KafkaUnreachableError and KafkaRefusedError.
    """
    known = dict(topic.split("/") for topic in topics)
    for described in _described(bootstrap, list(known)):
        name, found = described["name"], str(described["topic_id"])
        if described["partitions"] and found != known[name]:
            return f"the topic {name} was made anew: it has the id {found}, and had {known[name]}"
    return None


def unread(
    bootstrap: str, log: str, positions: Mapping[int, int], answer_s_max: float = _ANSWER_S_MAX
) -> dict[int, int]:
    """Messages of each partition of a topic from its position on; {} where the topic, name/id, isn't there any more.

    answer_s_max: so long the brokers have for the answer. Raises KafkaUnreachableError and KafkaRefusedError.
    """
    name, _, known = log.partition("/")

    def behind(admin: KafkaAdminClient) -> dict[int, int]:
        (described,) = admin.describe_topics([name])
        if not described["partitions"] or str(described["topic_id"]) != known:
            return {}
        parts = [TopicPartition(name, one["partition_index"]) for one in described["partitions"]]
        ends = admin.list_partition_offsets(dict.fromkeys(parts, OffsetSpec.LATEST))
        return {
            part.partition: max(0, ends[part].offset - positions.get(part.partition, ends[part].offset))
            for part in parts
        }

    return _asked(bootstrap, behind, answer_s_max)


def require_topics(bootstrap: str, sizes: TopicSizes) -> tuple[Drift, ...]:
    """What isn't as it should be, though readings can be taken in.

    Raises KafkaUnreachableError, and KafkaRefusedError for a topic that is missing or another number of partitions.
    """
    seen = inspect_topics(bootstrap, sizes)
    if seen.missing:
        raise KafkaRefusedError(
            f"there is no topic {', '.join(seen.missing)}; run `bpm migrate --kafka {bootstrap}`"
        )
    if refused := [drift for drift in seen.drifts if drift.refuses]:
        raise KafkaRefusedError("; ".join(map(str, refused)), limit=refused[0].expected)
    return seen.drifts


@contextmanager
def errors_as_ours(address: str) -> Iterator[None]:
    """Errors of the clients of a cluster become ours. address: by which it was reached.

    Raises KafkaUnreachableError and KafkaRefusedError.
    """
    try:
        yield
    except (KafkaError, aiokafka.KafkaError, OSError) as error:
        if isinstance(error, _ANSWERS) and not error.retriable:
            raise KafkaRefusedError(f"the cluster answered {type(error).__name__}") from error
        why = str(error) or type(error).__name__
        raise KafkaUnreachableError(f"no broker answers as it should at {address}: {why}") from error


def in_time(answer_s_max: float = _ANSWER_S_MAX) -> dict[str, Any]:
    """How long a client waits for a broker, as its arguments: within the time there is another one to be asked."""
    request_ms = int(min(REQUEST_S_MAX, answer_s_max) * 1000)
    connect_ms = int(min(_CONNECT_S_MAX, answer_s_max) * 1000)
    return {
        "bootstrap_timeout_ms": request_ms,
        "request_timeout_ms": request_ms,
        "kafka_client": partial(KafkaNetClient, socket_connection_setup_timeout_ms=connect_ms),
    }


def until_answered(bootstrap: str, question: Callable[[str], T], answer_s_max: float = _ANSWER_S_MAX) -> T:
    """What a cluster answers to a question, which is given the address of a broker that answers.

    A broker that hangs may be the one that is to answer, for as long as the others take it for well: then the whole
    question is asked again, and the client takes another broker or the next leader. Raises KafkaUnreachableError and
    KafkaRefusedError.
    """
    until_s = time.monotonic() + answer_s_max
    while True:
        address = asyncio.run(first_answering(bootstrap, min(_CONNECT_S_MAX, answer_s_max)))
        try:
            with errors_as_ours(address):
                return question(address)
        except KafkaUnreachableError as error:
            if time.monotonic() + _AGAIN_S > until_s:
                raise
            log.warning("%s; it is asked again", error.detail)
        time.sleep(_AGAIN_S)


def _asked(
    bootstrap: str, question: Callable[[KafkaAdminClient], T], answer_s_max: float = _ANSWER_S_MAX
) -> T:
    def asked(address: str) -> T:
        admin = KafkaAdminClient(bootstrap_servers=address, **in_time(answer_s_max))
        try:
            return question(admin)
        finally:
            admin.close()

    return until_answered(bootstrap, asked, answer_s_max)


def _described(bootstrap: str, topics: Sequence[str]) -> list[dict[str, Any]]:
    """Topics as the cluster knows them; those that aren't there without partitions."""
    told: list[dict[str, Any]] = _asked(bootstrap, lambda admin: admin.describe_topics(list(topics)))
    return told


def _copies(admin: KafkaAdminClient, sizes: TopicSizes) -> int:
    return sizes.copies or min(COPIES, len(admin.describe_cluster()["brokers"]))


def _create(admin: KafkaAdminClient, topic: Topic, sizes: TopicSizes, copies: int) -> bool:
    """True when the topic was made, False when another one was quicker."""
    wanted = {
        "num_partitions": topic.partitions or sizes.partitions,
        "replication_factor": copies,
        "configs": topic.configuration(copies),
    }
    try:
        admin.create_topics({topic.name: wanted})
    except TopicAlreadyExistsError:
        return False
    except KafkaError as error:
        if isinstance(error, BrokerResponseError) and not error.retriable:
            why = (
                f"{topic.name} can't be created with {copies} copies of each message: {type(error).__name__}"
            )
            raise KafkaRefusedError(why, limit=copies) from error
        why = f"{topic.name} can't be created while the cluster's controller doesn't answer: {error}"
        raise KafkaUnreachableError(why) from error
    return True


def _look_until_known(admin: KafkaAdminClient, sizes: TopicSizes, created: tuple[str, ...]) -> Seen:
    """How the topics are, once every broker that is asked knows them all."""
    deadline_s = time.monotonic() + _KNOWN_S_MAX
    while (seen := _look(admin, sizes, created)).missing and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    return seen


def _look(admin: KafkaAdminClient, sizes: TopicSizes, created: tuple[str, ...]) -> Seen:
    described = {one["name"]: one for one in admin.describe_topics([topic.name for topic in sizes.topics])}
    configured = _configured(admin, [topic for topic in sizes.topics if described[topic.name]["partitions"]])
    # The settings are told by another broker than the partitions, and it may not know the topic yet.
    there = [topic for topic in sizes.topics if configured.get(topic.name)]
    copies = _copies(admin, sizes)
    return Seen(
        brokers=len(admin.describe_cluster()["brokers"]),
        created=created,
        missing=tuple(topic.name for topic in sizes.topics if topic not in there),
        drifts=tuple(
            drift
            for topic in there
            for drift in _drifts(topic, sizes, copies, described[topic.name], configured[topic.name])
        ),
    )


def _configured(admin: KafkaAdminClient, topics: Sequence[Topic]) -> dict[str, dict[str, str]]:
    """Kafka's settings of each topic."""
    if not topics:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics]
    told = admin.describe_configs(asked, config_filter="all")["topic"]
    return {name: {key: one["value"] for key, one in values.items()} for name, values in told.items()}


def _drifts(
    topic: Topic, sizes: TopicSizes, copies: int, described: dict[str, Any], configured: dict[str, str]
) -> Iterator[Drift]:
    partitions, expected = len(described["partitions"]), topic.partitions or sizes.partitions
    if partitions != expected:
        # With another number a pack's readings would be in two partitions, so with two writers.
        yield Drift(
            topic.name,
            "partitions",
            str(partitions),
            str(expected),
            refuses=topic == READINGS.under(sizes.prefix),
        )
    found_copies = min(len(one["replica_nodes"]) for one in described["partitions"])
    if found_copies != copies:
        yield Drift(topic.name, "copies", str(found_copies), str(copies))
    for name, value in topic.configuration(copies).items():
        if configured[name] != value:
            yield Drift(topic.name, name, configured[name], value)
