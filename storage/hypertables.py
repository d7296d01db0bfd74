"""Hypertables of TimescaleDB: what is old enough is stored by column, and what is archived is dropped."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg.rows import dict_row

from storage.database import query


@dataclass(frozen=True, slots=True)
class RetentionClass:
    """A hypertable, and for how long its chunks stay as they came. They are compressed once they are counted, too."""

    hypertable: str
    compress_after: timedelta


@dataclass(frozen=True, slots=True)
class Settled:
    """What one look did: the chunk that was compressed, None for none, and how many were dropped."""

    compressed: str | None
    dropped: int


def settle(
    conninfo: str, classes: tuple[RetentionClass, ...], readings_keep: timedelta, now: datetime
) -> Settled | None:
    """Compress the oldest chunk that is due, and drop readings that are archived and older than `readings_keep`.

    None where there are no hypertables. Does nothing while another process does it. A chunk isn't due before its
    quarter-hours are counted: counting reads rows as they came in a fraction of the time.
    """
    with (
        psycopg.connect(conninfo, row_factory=dict_row, autocommit=True) as connection,
        connection.transaction(),
    ):
        (found,) = connection.execute(query("hypertables.counted_before")).fetchall()
        (turn,) = connection.execute(query("hypertables.take_turn")).fetchall()
        if not found["hypertables"]:
            return None
        if not turn["mine"]:
            return Settled(None, 0)
        (dropped,) = connection.execute(query("hypertables.drop"), {"before": now - readings_keep}).fetchall()
        for one in classes:
            before = now - one.compress_after
            if found["counted_before"] is not None:
                before = min(before, found["counted_before"])
            asked = {"hypertable": one.hypertable, "before": before}
            (done,) = connection.execute(query("hypertables.compress"), asked).fetchall()
            if done["chunk"] is not None:
                return Settled(done["chunk"], dropped["chunks"])
        return Settled(None, dropped["chunks"])
