"""What is dropped after the readings that it is about, a slice at a time: superseded values, receipts, notes of bodies.

Decision record: docs/decisions/0013-retention-by-archived-days.md.
"""

from datetime import datetime
from typing import Any

from storage.connections import connect
from storage.database import query


def drop_superseded(conninfo: str, rows_max: int) -> int:
    """Drop superseded values of days whose readings were dropped, and give how many.

    conninfo: of the retention role, as everywhere here.
    """
    return _drop(conninfo, "superseded", {"rows_max": rows_max})


def drop_receipts(conninfo: str, before: datetime, rows_max: int) -> int:
    """Drop receipts of bodies that arrived before a moment, all of whose readings were dropped, and give how many.

    Those of imports stay. A body that was cut goes with all its parts.
    """
    return _drop(conninfo, "receipts", {"before": before, "rows_max": rows_max})


def forget_submissions(conninfo: str, before: datetime, rows_max: int) -> int:
    """Drop what was noted of bodies that went into the topic before a moment, and give how many."""
    return _drop(conninfo, "submissions", {"before": before, "rows_max": rows_max})


def _drop(conninfo: str, what: str, given: dict[str, Any]) -> int:
    with connect(conninfo) as connection:
        return connection.execute(query(f"retention.drop_{what}"), given).rowcount
