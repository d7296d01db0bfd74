"""A quarter-hour counted from raw readings by its definition (rule E13), in plain whole numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

QUARTER_MS = 900_000
INT64_MAX = 2**63 - 1

Point = tuple[int, int]
"""Milliseconds from the quarter's start, thousandths."""

Area = Callable[[int, int, int, int], int]

Moment = tuple[int, tuple[tuple[int, int], ...]]
"""Milliseconds from the quarter's start, and (measure, thousandths) of what was read then."""


@dataclass(slots=True)
class OfMeasure:
    """One measure in one quarter-hour. Times are milliseconds from its start."""

    count: int = 0
    total: int = 0
    squares: int = 0
    minimum: int = 0
    maximum: int = 0
    first: int = 0
    last: int = 0
    first_ms: int = 0
    last_ms: int = 0
    covered_ms: int = 0
    twice_area: int = 0


@dataclass(slots=True)
class Quarter:
    """One tenure's quarter-hour; `anything` is whether there is a reading in it, or a line through it."""

    measures: list[OfMeasure]
    charged: int = 0
    discharged: int = 0
    charged_energy: int = 0
    discharged_energy: int = 0
    covered_ms: int = 0
    energy_covered_ms: int = 0
    anything: bool = field(default=False, compare=False)


@lru_cache(maxsize=200_000)
def quarter(moments: tuple[Moment, ...], measures: int, voltage: int, current: int, gap_ms: int) -> Quarter:
    """The quarter-hour of one tenure's readings in order of time, those up to gap_ms outside of it included.

    Remembered by the readings themselves, so that an unchanged quarter is not counted twice.
    """
    found = Quarter([OfMeasure() for _ in range(measures)])
    found.anything = any(0 <= ts < QUARTER_MS for ts, _ in moments)
    values = [dict(read) for _, read in moments]
    for measure, record in enumerate(found.measures):
        line = [(ts, read[measure]) for (ts, _), read in zip(moments, values, strict=True) if measure in read]
        for ts, value in line:
            if 0 <= ts < QUARTER_MS:
                _add(record, ts, value)
        for begin, end in _joined(line, gap_ms):
            record.covered_ms += _inside(begin, end)
            record.twice_area += _part(begin, end, _twice_area)
            if measure == current:
                found.charged += _part(begin, end, _twice_area_above)
                found.discharged += _part(_turned(begin), _turned(end), _twice_area_above)
    powers = [
        (ts, _nearest(read[voltage] * read[current], 1000))
        for (ts, _), read in zip(moments, values, strict=True)
        if voltage in read and current in read
    ]
    for begin, end in _joined(powers, gap_ms):
        found.energy_covered_ms += _inside(begin, end)
        found.charged_energy += _part(begin, end, _twice_area_above)
        found.discharged_energy += _part(_turned(begin), _turned(end), _twice_area_above)
    for begin, end in _joined([(ts, 0) for ts, _ in moments], gap_ms):
        found.covered_ms += _inside(begin, end)
    found.anything |= found.covered_ms > 0
    return found


def fold(parts: Sequence[tuple[int, Quarter]], measures: int) -> Quarter:
    """A longer window of quarter-hours (start, record) in order of time; its times are those of the calendar."""
    found = Quarter([OfMeasure() for _ in range(measures)])
    for starts, part in parts:
        found.anything |= part.anything
        for name in (
            "charged",
            "discharged",
            "charged_energy",
            "discharged_energy",
            "covered_ms",
            "energy_covered_ms",
        ):
            setattr(found, name, getattr(found, name) + getattr(part, name))
        for into, of in zip(found.measures, part.measures, strict=True):
            into.covered_ms += of.covered_ms
            into.twice_area += of.twice_area
            if of.count == 0:
                continue
            if into.count == 0:
                into.minimum, into.maximum = of.minimum, of.maximum
                into.first, into.first_ms = of.first, starts + of.first_ms
            into.count += of.count
            into.total += of.total
            into.squares += of.squares
            into.minimum, into.maximum = min(into.minimum, of.minimum), max(into.maximum, of.maximum)
            into.last, into.last_ms = of.last, starts + of.last_ms
    return found


def _add(record: OfMeasure, ts: int, value: int) -> None:
    if record.count == 0:
        record.minimum = record.maximum = record.first = value
        record.first_ms = ts
    record.count += 1
    record.total += value
    record.squares = min(record.squares + value * value, INT64_MAX)
    record.minimum, record.maximum = min(record.minimum, value), max(record.maximum, value)
    record.last, record.last_ms = value, ts


def _joined(line: Sequence[Point], gap_ms: int) -> list[tuple[Point, Point]]:
    """Pairs of neighbours at most so far apart that reach into the quarter-hour."""
    return [
        (begin, end)
        for begin, end in pairwise(line)
        if end[0] - begin[0] <= gap_ms and end[0] > 0 and begin[0] < QUARTER_MS
    ]


def _turned(point: Point) -> Point:
    return point[0], -point[1]


def _inside(begin: Point, end: Point) -> int:
    return min(end[0], QUARTER_MS) - max(begin[0], 0)


def _nearest(numerator: int, denominator: int) -> int:
    """The quotient rounded to the nearest whole number, halves upwards; the denominator is positive."""
    return (2 * numerator + denominator) // (2 * denominator)


def _part(begin: Point, end: Point, area: Area) -> int:
    """What the quarter-hour gets of a line: the difference of the rounded areas from the line's start on."""
    low, high, lasts = begin[1], end[1], end[0] - begin[0]
    until = area(low, high, lasts, min(end[0], QUARTER_MS) - begin[0])
    return until - (area(low, high, lasts, -begin[0]) if begin[0] < 0 else 0)


def _twice_area(low: int, high: int, lasts: int, until: int) -> int:
    """Twice the integral of the line up to `until`, rounded."""
    return _nearest(until * (2 * low * lasts + (high - low) * until), lasts)


def _twice_area_above(low: int, high: int, lasts: int, until: int) -> int:
    """Twice the integral of the line where it is above zero, up to `until`, rounded."""
    if low >= 0 and high >= 0:
        return _twice_area(low, high, lasts, until)
    if low <= 0 and high <= 0:
        return 0
    reached = low * lasts + (high - low) * until  # the value at `until`, times `lasts`
    if low < 0:
        return _nearest(reached * reached, lasts * (high - low)) if reached > 0 else 0
    if reached >= 0:
        return _twice_area(low, high, lasts, until)
    return _nearest(low * low * lasts, low - high)
