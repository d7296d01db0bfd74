"""Raw readings are kept for a time: whole days are archived first, and dropped later.

Decision record: docs/decisions/0013-retention-by-archived-days.md.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.rows import DictRow, dict_row

from domain.clock import to_ms
from domain.errors import ArchivedError
from domain.readings import Int64Array
from domain.windows import QUARTER_MS
from storage.connections import connect
from storage.database import query
from storage.days import STANDARD_CLASS
from storage.transactions import Transaction

MARGIN: Final = timedelta(days=1)
"""Days are dropped that ended so long before what is archived: quarter-hours may still be counted again whose readings
reach back before that line."""

Connection = psycopg.Connection[DictRow]


@dataclass(frozen=True, slots=True)
class Part:
    """A partition, or a chunk, of a class's readings of starts <= t < ends."""

    name: str
    starts: datetime
    ends: datetime
    class_no: int = STANDARD_CLASS


@dataclass(frozen=True, slots=True)
class Dropped:
    """What one try dropped, or why it didn't.

    part: None when nothing was due, or nothing could be dropped. waits_for: what must be done before, in words.
    """

    part: Part | None = None
    size_bytes: int = 0
    waits_for: str | None = None


_WAITS: Final = {
    "notes": "quarter-hours are to be counted again",
    "corrections": "corrections aren't done",
    "states": "the state of some packs isn't saved",
}


@dataclass(frozen=True, slots=True)
class KeptClass:
    """A class of retention.

    keep_days: None keeps its readings for good. archived_before: None while nothing is archived.
    """

    class_no: int
    name: str
    keep_days: int | None
    archived_before: datetime | None


def classes(conninfo: str) -> list[KeptClass]:
    """All classes of retention by number; of the standard one a setting says the days."""
    with connect(conninfo, row_factory=dict_row) as connection:
        return [KeptClass(**row) for row in connection.execute(query("retention.classes")).fetchall()]


def archived_before(conninfo: str, class_no: int = STANDARD_CLASS) -> datetime | None:
    """Where a class's archived days end; None while nothing is archived.

    conninfo: of the retention role, as everywhere here.
    """
    with connect(conninfo, row_factory=dict_row) as connection:
        found: datetime | None = _one(connection, "marks", {"class_no": class_no})["archived_before"]
        return found


def clock_trusted_until(conninfo: str) -> datetime:
    """How far a clock is trusted for archiving, as all processes together know it."""
    with connect(conninfo, row_factory=dict_row) as connection:
        found: datetime = _one(connection, "clock_trusted_until")["clock_trusted_until"]
        return found


def trust_clock(conninfo: str, until: datetime) -> None:
    """Let all processes know that a clock is trusted so far; never less than before."""
    with connect(conninfo, row_factory=dict_row) as connection:
        connection.execute(query("retention.trust_clock"), {"until": until})


def archive(
    conninfo: str,
    kept_since: datetime,
    now: datetime,
    before_commit: Callable[[], None] = lambda: None,
    *,
    class_no: int = STANDARD_CLASS,
) -> datetime | None:
    """Archive a class's counted days that ended before `kept_since`; where they end now, None without a change.

    Nothing is done while another process does it. Waits for what is being committed; afterwards no reading of these
    days is stored, corrected or deleted. The database refuses to archive any of the last 7 days, by its own clock and
    by `clock_trusted_until`.
    """
    with _turn(conninfo) as connection:
        if connection is None:
            return None
        of_class = {"class_no": class_no}
        marks = _one(connection, "marks", of_class)
        if marks["counted_before"] is None:
            return None
        before = _midnight(min(kept_since, marks["counted_before"]))
        if marks["archived_before"] is not None and before <= marks["archived_before"]:
            return None
        connection.execute(query("retention.archive"), of_class | {"before": before, "now": now})
        connection.execute(query("retention.change_registries"), of_class)
        connection.execute(query("retention.note_archived"), of_class | {"before": before})
        before_commit()
        return before


def drop_oldest(
    conninfo: str,
    archived_until: datetime,
    before_commit: Callable[[], None] = lambda: None,
    *,
    classes: Sequence[int] = (STANDARD_CLASS,),
) -> Dropped:
    """Drop the oldest part that is due of some classes, as a whole; one class's readings don't wait for another's.

    archived_until: what was archived after it is not dropped yet, because requests that began before may still read
    it. Nothing is done while another process does it. Raises psycopg.errors.LockNotAvailable when requests read
    readings all the time; try again.
    """
    with _turn(conninfo) as connection:
        waits_for = None
        for part in [] if connection is None else _due(connection, archived_until, classes):
            assert connection is not None  # noqa: S101 - there are parts
            waits_for = _waits_for(connection, part)
            if waits_for is None:
                size_bytes = _one(connection, "drop_part", {"part": part.name})["size_bytes"]
                before_commit()
                return Dropped(part, size_bytes or 0)
        return Dropped(waits_for=waits_for)


@contextmanager
def _turn(conninfo: str) -> Iterator[Connection | None]:
    """A transaction of the only process that does this now; None while another one does."""
    with connect(conninfo, row_factory=dict_row) as connection, connection.transaction():
        yield connection if _one(connection, "take_turn")["mine"] else None


def _due(connection: Connection, archived_until: datetime, classes: Sequence[int]) -> list[Part]:
    """The oldest part of each class that is due."""
    asked = {"archived_until": archived_until, "classes": list(classes), "margin": MARGIN}
    oldest: dict[int, Part] = {}
    for row in connection.execute(query("retention.due"), asked).fetchall():
        oldest.setdefault(row["class_no"], Part(row["part"], row["starts"], row["ends"], row["class_no"]))
    return list(oldest.values())


def _waits_for(connection: Connection, part: Part) -> str | None:
    """What must be done before a part may go, in words; None when it may."""
    asked = {"starts": part.starts, "ends": part.ends, "class_no": part.class_no}
    waits = _one(connection, "waits_for", asked)
    return next((words for name, words in _WAITS.items() if waits[name]), None)


def _one(connection: Connection, name: str, parameters: dict[str, Any] | None = None) -> DictRow:
    (row,) = connection.execute(query(f"retention.{name}"), parameters).fetchall()
    return row


def _midnight(moment: datetime) -> datetime:
    """Where the UTC day of a moment begins."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


# What requests are told.


async def kept_since(transaction: Transaction) -> datetime | None:
    """From when on the tenant's raw readings can be asked for; None while all are kept."""
    row = await transaction.one("retention.kept_since")
    assert row is not None  # noqa: S101 - the tenant's row
    found: datetime | None = row["archived_before"]
    return found


async def require_kept(transaction: Transaction, starts: datetime, what: str = "raw readings are") -> None:
    """Raises ArchivedError when raw readings from a moment on aren't all kept."""
    kept = await kept_since(transaction)
    if kept is not None and starts < kept:
        raise ArchivedError(
            f"{what} kept from {kept.isoformat()} on; windows of whole quarter-hours go further back",
            field="from",
            limit=kept.isoformat(),
        )


def require_kept_windows(kept_since: datetime | None, bounds_ms: Int64Array) -> None:
    """Raises ArchivedError when windows bounds_ms[w] <= t < bounds_ms[w + 1] need raw readings that aren't all kept.

    Windows that end at whole quarter-hours need none: these are kept.
    """
    if kept_since is None:
        return
    cut_ms = bounds_ms[bounds_ms % QUARTER_MS != 0]
    if (cut_ms < to_ms(kept_since)).any():
        raise ArchivedError(
            f"before {kept_since.isoformat()} windows are kept by the quarter-hour: ask for whole ones, by from, to and"
            " step",
            field="from",
            limit=kept_since.isoformat(),
        )
