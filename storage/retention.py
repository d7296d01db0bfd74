"""Raw readings are kept for a time: whole days are archived first, and dropped later.

Decision record: docs/decisions/0013-retention-by-archived-days.md.
"""

from collections.abc import Callable, Iterator
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
from storage.transactions import Transaction

MARGIN: Final = timedelta(days=1)
"""Days are dropped that ended so long before what is archived: quarter-hours may still be counted again whose readings
reach back before that line."""

Connection = psycopg.Connection[DictRow]


@dataclass(frozen=True, slots=True)
class Part:
    """A partition, or a chunk, of readings of starts <= t < ends."""

    name: str
    starts: datetime
    ends: datetime


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


def archived_before(conninfo: str) -> datetime | None:
    """Where archived days end; None while nothing is archived. conninfo: of the retention role, as everywhere here."""
    with connect(conninfo, row_factory=dict_row) as connection:
        found: datetime | None = _one(connection, "marks")["archived_before"]
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
    conninfo: str, kept_since: datetime, now: datetime, before_commit: Callable[[], None] = lambda: None
) -> datetime | None:
    """Archive the counted days that ended before `kept_since`; where archived days end now, None without a change.

    Nothing is done while another process does it. Waits for what is being committed; afterwards no reading of these
    days is stored, corrected or deleted. The database refuses to archive any of the last 7 days, by its own clock and
    by `clock_trusted_until`.
    """
    with _turn(conninfo) as connection:
        if connection is None:
            return None
        marks = _one(connection, "marks")
        if marks["counted_before"] is None:
            return None
        before = _midnight(min(kept_since, marks["counted_before"]))
        if marks["archived_before"] is not None and before <= marks["archived_before"]:
            return None
        connection.execute(query("retention.archive"), {"before": before, "now": now})
        connection.execute(query("retention.change_registries"))
        connection.execute(query("retention.note_archived"), {"before": before})
        before_commit()
        return before


def drop_oldest(
    conninfo: str, archived_until: datetime, before_commit: Callable[[], None] = lambda: None
) -> Dropped:
    """Drop the oldest part that is due, as a whole.

    archived_until: what was archived after it is not dropped yet, because requests that began before may still read
    it. Nothing is done while another process does it. Raises psycopg.errors.LockNotAvailable when requests read
    readings all the time; try again.
    """
    with _turn(conninfo) as connection:
        parts = [] if connection is None else _due(connection, archived_until)
        if connection is None or not parts:
            return Dropped()
        part = parts[0]
        waits = _one(connection, "waits_for", {"starts": part.starts, "ends": part.ends})
        for name, words in _WAITS.items():
            if waits[name]:
                return Dropped(waits_for=words)
        size_bytes = _one(connection, "drop_part", {"part": part.name})["size_bytes"]
        before_commit()
        return Dropped(part, size_bytes or 0)


@contextmanager
def _turn(conninfo: str) -> Iterator[Connection | None]:
    """A transaction of the only process that does this now; None while another one does."""
    with connect(conninfo, row_factory=dict_row) as connection, connection.transaction():
        yield connection if _one(connection, "take_turn")["mine"] else None


def _due(connection: Connection, archived_until: datetime) -> list[Part]:
    marks = _one(connection, "marks")
    if (
        marks["archived_before"] is None
        or marks["archived_at"] is None
        or marks["archived_at"] > archived_until
    ):
        return []
    ended_before = {"ended_before": marks["archived_before"] - MARGIN}
    rows = connection.execute(query("retention.parts"), ended_before).fetchall()
    return [Part(row["part"], row["starts"], row["ends"]) for row in rows]


def _one(connection: Connection, name: str, parameters: dict[str, Any] | None = None) -> DictRow:
    (row,) = connection.execute(query(f"retention.{name}"), parameters).fetchall()
    return row


def _midnight(moment: datetime) -> datetime:
    """Where the UTC day of a moment begins."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


# What requests are told.


async def kept_since(transaction: Transaction) -> datetime | None:
    """From when on raw readings can be asked for; None while all are kept."""
    row = await transaction.one("retention.kept_since")
    assert row is not None  # noqa: S101 - the installation's one row
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
