"""The use case of usage."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from api.call import Call
from api.ranges import require_range
from api.usage.schemas import UsageAsked
from storage import usage

Row = dict[str, Any]


async def page(call: Call, asked: UsageAsked) -> tuple[list[Row], str | None]:
    """Periods in order, and the cursor of the next page. Raises InvalidRequestError."""
    async with call.snapshot() as transaction:
        rows, after = await usage.page(transaction, wanted_of(asked))
    return [shown(row) for row in rows], after


def wanted_of(asked: UsageAsked) -> usage.Wanted:
    """Which periods are asked for. Raises InvalidRequestError."""
    require_range(asked.starts, asked.ends)
    starts = None if asked.starts is None else asked.starts.astimezone(UTC).date()
    return usage.Wanted(asked.by, starts, _day_behind(asked.ends), asked.cursor, asked.limit)


def shown(row: Row) -> Row:
    """A period as answers show it."""
    return row | {"period": row["period"].isoformat()}


def _day_behind(ends: datetime | None) -> date | None:
    """The first day that doesn't begin before a moment; None when there is none."""
    if ends is None:
        return None
    day = ends.astimezone(UTC).date()
    if ends == datetime.combine(day, time(), UTC):
        return day
    # Behind the last day of the calendar there is none.
    return None if day == date.max else day + timedelta(days=1)
