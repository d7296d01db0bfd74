"""Where the readings of an installation come from, and over how many partitions its packs are spread."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from psycopg.rows import dict_row

from domain.errors import ConflictError, DatabaseRefusedError
from domain.log_ends import Lost
from domain.operators import Doer
from storage.connections import connect
from storage.database import SCHEMA, query
from storage.platform_log import COMMAND, Done, note


@dataclass(frozen=True, slots=True)
class Layout:
    """topic: as name/id; None while the engine's own process takes readings in."""

    partitions: int
    topic: str | None


def layout(conninfo: str) -> Layout:
    """The layout of the installation."""
    with connect(conninfo, autocommit=True, row_factory=dict_row) as connection:
        row = connection.execute(f"SELECT partitions, topic FROM {SCHEMA}.installation").fetchone()
    assert row is not None  # noqa: S101 - made with the database
    return Layout(row["partitions"], row["topic"])


def positions(conninfo: str) -> dict[int, int]:
    """The position at which each partition goes on."""
    with connect(conninfo, autocommit=True) as connection:
        rows = connection.execute(f"SELECT partition_no, next FROM {SCHEMA}.partitions").fetchall()
    return dict(rows)


def adopt(
    conninfo: str,
    topic: str,
    first: Mapping[int, int],
    *,
    anew: bool = False,
    require_read: Callable[[str], None] = lambda _: None,
) -> bool:
    """Let readings come from a topic from now on; whether that is new. There is no way back.

    first: the first position that the topic has in each of its partitions. Whoever wrote before is fenced off.
    anew: also when they come from another topic, with as many partitions: nothing more comes from that. require_read:
    raises when that has what isn't committed; it looks while nobody is told that something is safe in it.
    Raises DatabaseRefusedError when they come from another topic, or over another number of partitions.
    """
    with (
        connect(conninfo, row_factory=dict_row, options=f"-c search_path={SCHEMA}") as connection,
        connection.transaction(),
    ):
        (now,) = connection.execute(query("layout.lock")).fetchall()
        if now["topic"] is not None:
            if (now["topic"], now["partitions"]) == (topic, len(first)):
                return False
            if now["partitions"] != len(first):
                raise DatabaseRefusedError(
                    f"the readings of this installation come from the topic {now['topic']} with {now['partitions']}"
                    f" partitions, and {topic} has {len(first)}: their number is fixed"
                )
            if not anew:
                raise DatabaseRefusedError(
                    f"the readings of this installation come from the topic {now['topic']}, and not from {topic};"
                    " when that one is lost, run `bpm migrate --adopt-new-topic`"
                )
        connection.execute(query("layout.lock_partitions"))
        if now["topic"] is not None:
            require_read(now["topic"])
            connection.execute(query("layout.note_left"), {"topic": now["topic"]})
        connection.execute(query("layout.begin"))
        numbers = sorted(first)
        connection.execute(
            query("layout.add_partitions"), {"numbers": numbers, "first": [first[one] for one in numbers]}
        )
        connection.execute(query("layout.adopt"), {"topic": topic, "partitions": len(first)})
        told = {"topic": topic, "partitions": len(first), "left": now["topic"]}
        note(connection, COMMAND, Done("topics.adopted", "topics", topic.partition("/")[0], told))
    return True


def accept_lost(conninfo: str, topic: str, lost: Mapping[int, Lost], by: Doer = COMMAND) -> None:
    """Let partitions of the topic, name/id, go on behind what it has lost; all of them, or none.

    lost: of each partition. Whoever works on one is fenced off, and takes it up again. The platform's log says what was
    lost. Raises DatabaseRefusedError when readings come from another topic, ConflictError when a partition isn't at its
    first lost position. The connection acts as the ingest role.
    """
    with connect(conninfo, row_factory=dict_row) as connection:
        (now,) = connection.execute(query("submissions.log_held")).fetchall()
        if now["topic"] != topic:
            raise DatabaseRefusedError(
                f"the readings of this installation come from the topic {now['topic']}, and not from {topic}"
            )
        for number, one in sorted(lost.items()):
            given = {"partition_no": number, "first": one.first, "goes_on_at": one.goes_on_at}
            if not connection.execute(query("layout.pass_over"), given).fetchall():
                raise ConflictError(f"partition {number} isn't at position {one.first} any more")
            connection.execute(query("layout.note_lost"), given | {"topic": topic, "last": one.last})
            told = {
                "topic": topic,
                "partition": number,
                "first_lost": one.first,
                "last_lost": one.last,
                "messages_max": one.messages_max,
                "goes_on_at": one.goes_on_at,
            }
            name = topic.partition("/")[0]
            note(connection, by, Done("partitions.loss_accepted", "partitions", f"{name}:{number}", told))
