"""When a recording in Vector's ASCII format began: its dates carry month names and no time zone."""

import re
from datetime import UTC, datetime
from typing import Final

MONTHS: Final = {
    "jan": 1, "feb": 2, "mar": 3, "mär": 3, "mrz": 3, "apr": 4, "may": 5, "mai": 5, "jun": 6, "jul": 7,
    "aug": 8, "sep": 9, "oct": 10, "okt": 10, "nov": 11, "dec": 12, "dez": 12,
}  # fmt: skip

TIME_OF_DAY: Final = re.compile(
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6})\d*)?\s*(?P<half>[ap]m)?",
    re.IGNORECASE | re.ASCII,
)
NOON_HOUR: Final = 12


def parse_asc_date(text: str) -> datetime | None:
    """The moment of an ASC date line, or None when it can't be read; without a zone it is taken as UTC.

    python-can takes it as the reading machine's local time, so that one file would give two answers.

    >>> parse_asc_date("Thu, 09 Nov 2023 20:36:33 GMT").isoformat()
    '2023-11-09T20:36:33+00:00'
    >>> parse_asc_date("Tue May 27 04:09:35.000 pm 2014").isoformat()
    '2014-05-27T16:09:35+00:00'
    """
    time_of_day = TIME_OF_DAY.search(text)
    if time_of_day is None:
        return None
    words = re.findall(r"[^\W\d_]+|\d+", text[: time_of_day.start()] + " " + text[time_of_day.end() :])
    months = [MONTHS[word.lower()[:3]] for word in words if word.lower()[:3] in MONTHS]
    days = [int(word) for word in words if word.isdigit() and len(word) <= 2]  # noqa: PLR2004 - day of month
    years = [int(word) for word in words if word.isdigit() and len(word) == 4]  # noqa: PLR2004 - a year
    if not (months and days and years):
        return None
    hour = int(time_of_day["hour"])
    if time_of_day["half"] is not None:
        hour = hour % NOON_HOUR + (NOON_HOUR if time_of_day["half"].lower() == "pm" else 0)
    microsecond = int((time_of_day["fraction"] or "").ljust(6, "0"))
    minute, second = int(time_of_day["minute"]), int(time_of_day["second"])
    try:
        return datetime(years[0], months[-1], days[0], hour, minute, second, microsecond, tzinfo=UTC)
    except ValueError:
        return None
