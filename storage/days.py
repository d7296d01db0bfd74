"""Which partition of readings a day belongs to."""

from dataclasses import dataclass
from datetime import date, timedelta

MONTHLY_MONTHS = 24
"""Months before the first day that have a partition each; earlier years have one each."""


@dataclass(frozen=True, slots=True)
class DayRange:
    """A partition of readings: from <= UTC day < to."""

    name: str
    starts: date
    ends: date


STANDARD_CLASS = 0
"""The number of the class of retention that is always there."""


CLASS_TABLES = "readings_class_"
"""How the names begin of tables with the readings of a class."""


def class_table(class_no: int) -> str:
    """The table with the readings of a class of retention, by the class's number."""
    return f"{CLASS_TABLES}{class_no}"


def partition_of(day: date, first_day: date, class_no: int = STANDARD_CLASS) -> DayRange:
    """The partition of a class's table that holds a day: daily from `first_day` on, before it monthly, then yearly.

    Monthly and yearly ones end where the finer ones begin, so that twenty years of history stay a few dozen
    partitions, which a query plans in well under 2 ms.

    >>> partition_of(date(2008, 4, 2), date(2026, 10, 23)).name
    'readings_2008'
    >>> partition_of(date(2026, 10, 22), date(2026, 10, 23)).ends
    datetime.date(2026, 10, 23)
    >>> partition_of(date(2026, 10, 23), date(2026, 10, 23), class_no=2).name
    'readings_class_2_2026_10_23'
    """
    name = "readings" if class_no == STANDARD_CLASS else class_table(class_no)
    if day >= first_day:
        return DayRange(f"{name}_{day:%Y_%m_%d}", day, day + timedelta(days=1))
    first_month = _months_before(first_day, MONTHLY_MONTHS)
    if day >= first_month:
        starts = day.replace(day=1)
        return DayRange(f"{name}_{day:%Y_%m}", starts, min(_next_month(starts), first_day))
    starts = day.replace(month=1, day=1)
    return DayRange(f"{name}_{day:%Y}", starts, min(starts.replace(year=day.year + 1), first_month))


def _next_month(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def _months_before(day: date, months: int) -> date:
    count = day.year * 12 + day.month - 1 - months
    return date(count // 12, count % 12 + 1, 1)
