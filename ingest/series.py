"""Series from CSV tables: one value or more in each row, with a time column or a fixed distance in time."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from domain.clock import to_ms
from domain.errors import DecodeError
from domain.measures import MEASURE_INDEX, MEASURE_NAMES, MEASURES
from ingest.map_file import Section, load_map_file
from ingest.recorded import RecordedReadings

BATCH_ROWS_MAX: Final = 20_000
TIME_MS_MIN: Final = 0
TIME_MS_MAX: Final = 253_402_300_799_999

DURATION: Final = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d{1,3})?)S)?)?",
    re.ASCII,
)
SECONDS_OF: Final = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


class TimeFormat(StrEnum):
    """How a time column is written."""

    RFC_3339 = "rfc3339"
    EPOCH_MS = "epoch_ms"
    EPOCH_S = "epoch_s"


class RowDropped(StrEnum):
    """Why a row of a table gave no reading."""

    BAD_TIME = "bad_time"
    BAD_VALUE = "bad_value"
    NO_VALUE = "no_value"


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """Each row's time stands in a column."""

    column: str
    format: TimeFormat


@dataclass(frozen=True, slots=True)
class EveryInterval:
    """The rows are `interval_ms` apart; the first row's time is given with the command."""

    interval_ms: int


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """value = cell / divide_by · factor + offset; an empty cell is no value."""

    measure: str
    column: str
    divide_by: float = 1.0
    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class SeriesMap:
    """A whole map file of a table."""

    time: TimeColumn | EveryInterval
    measures: tuple[ColumnRule, ...]


def parse_duration_ms(text: str) -> int | None:
    """Milliseconds of an ISO 8601 duration of weeks to seconds, None when it is none or nothing.

    >>> parse_duration_ms("P1D"), parse_duration_ms("PT0.5S"), parse_duration_ms("P1M")
    (86400000, 500, None)
    """
    match = DURATION.fullmatch(text)
    if match is None:
        return None
    return (
        round(sum(float(match[unit] or 0) * seconds for unit, seconds in SECONDS_OF.items()) * 1_000) or None
    )


def load_series_map(path: Path) -> SeriesMap:
    """The map in a YAML file.

    Raises DecodeError naming the file and the key that is wrong.
    """
    section = Section(load_map_file(path), path.name)
    section.only({"time", "measures"})
    return SeriesMap(
        time=_time(section.section("time")),
        measures=tuple(_column(key, part) for key, part in section.sections("measures", required=True)),
    )


def _time(section: Section) -> TimeColumn | EveryInterval:
    if "every" in section.content:
        section.only({"every"})
        interval_ms = parse_duration_ms(section.value("every", (str,)))
        if interval_ms is None:
            raise section.wrong(
                "every", "must be an ISO 8601 duration of weeks to seconds, such as P1D or PT15M"
            )
        return EveryInterval(interval_ms)
    section.only({"column", "format"})
    written = section.value("format", (str,), TimeFormat.RFC_3339.value)
    if written not in set(TimeFormat):
        raise section.wrong("format", f"must be one of {', '.join(TimeFormat)}")
    return TimeColumn(section.value("column", (str,)), TimeFormat(written))


def _column(key: str | int, section: Section) -> ColumnRule:
    section.only({"column", "divide_by", "factor", "offset"})
    if key not in MEASURE_NAMES:
        raise section.wrong(None, f"is no measure; the measures are {', '.join(MEASURE_NAMES)}")
    rule = ColumnRule(
        measure=str(key),
        column=section.value("column", (str,)),
        divide_by=section.number("divide_by", 1.0),
        factor=section.number("factor", 1.0),
        offset=section.number("offset", 0.0),
    )
    if rule.divide_by == 0.0:
        raise section.wrong("divide_by", "must not be 0")
    return rule


class Series:
    """A table read by a map. `rows` counts its rows, `dropped()` those that gave no reading.

    start: the time of the first row when the map says how far rows are apart.
    """

    def __init__(self, path: Path, series_map: SeriesMap, start: datetime | None) -> None:
        """Raises DecodeError with the field `start` when a start is needed."""
        if isinstance(series_map.time, EveryInterval) and start is None:
            raise DecodeError(
                f"{path.name} has no times; say when its first row was measured with --start.", field="start"
            )
        self.path = path
        self.rows = 0
        self.position_bytes = 0
        self._dropped: Counter[RowDropped] = Counter()
        self._map = series_map
        self._start_ms = 0 if start is None else to_ms(start)

    @property
    def size_bytes(self) -> int:
        """Bytes of the table."""
        return self.path.stat().st_size

    def counts(self) -> dict[str, int]:
        """Rows seen."""
        return {"rows": self.rows}

    def dropped(self) -> dict[str, int]:
        """Rows that gave nothing, by reason."""
        return {reason.value: self._dropped[reason] for reason in RowDropped if self._dropped[reason]}

    def batches(self) -> Iterator[RecordedReadings]:
        """The readings of the table in its order, at most 20,000 at a time.

        Raises DecodeError when the file can't be read or lacks a column of the map.
        """
        try:
            with self.path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
                yield from self._read(csv.DictReader(file))
                self.position_bytes = self.size_bytes
        except OSError as error:
            raise DecodeError(f"{self.path.name} can't be read: {error.strerror}.", field="series") from error
        except csv.Error as error:
            raise DecodeError(f"{self.path.name} is no CSV table: {error}.", field="series") from error

    def _read(self, table: "csv.DictReader[str]") -> Iterator[RecordedReadings]:
        wanted = [rule.column for rule in self._map.measures]
        if isinstance(self._map.time, TimeColumn):
            wanted.append(self._map.time.column)
        for column in wanted:
            if column not in (table.fieldnames or ()):
                raise DecodeError(f"{self.path.name} has no column {column}.", field="series")
        times: list[int] = []
        values: list[list[float]] = []
        for row in table:
            reading = self._reading(row)
            self.rows += 1
            if isinstance(reading, RowDropped):
                self._dropped[reading] += 1
                continue
            times.append(reading[0])
            values.append(reading[1])
            if len(times) == BATCH_ROWS_MAX:
                yield _columns(times, values)
                times, values = [], []
        if times:
            yield _columns(times, values)

    def _reading(self, row: dict[str, str]) -> tuple[int, list[float]] | RowDropped:
        time_ms = self._time_ms(row)
        if time_ms is None or not TIME_MS_MIN <= time_ms <= TIME_MS_MAX:
            return RowDropped.BAD_TIME
        values = [np.nan] * len(MEASURES)
        for rule in self._map.measures:
            cell = (row.get(rule.column) or "").strip()
            if not cell:
                continue
            try:
                value = float(cell) / rule.divide_by * rule.factor + rule.offset
            except ValueError:
                return RowDropped.BAD_VALUE
            if not np.isfinite(value):
                return RowDropped.BAD_VALUE
            values[MEASURE_INDEX[rule.measure]] = value
        return RowDropped.NO_VALUE if np.isnan(values).all() else (time_ms, values)

    def _time_ms(self, row: dict[str, str]) -> int | None:
        if isinstance(self._map.time, EveryInterval):
            return self._start_ms + self.rows * self._map.time.interval_ms
        cell = (row.get(self._map.time.column) or "").strip()
        return _parse_time_ms(cell, self._map.time.format)


def _columns(times: list[int], values: list[list[float]]) -> RecordedReadings:
    return RecordedReadings(np.array(times, np.int64), np.array(values, np.float64).T)


def _parse_time_ms(cell: str, written: TimeFormat) -> int | None:
    """Milliseconds since 1970, floored, or None; a time without an offset says nothing about when it was."""
    try:
        if written is TimeFormat.EPOCH_MS:
            return int(cell)
        if written is TimeFormat.EPOCH_S:
            return int(np.rint(float(cell) * 1e6)) // 1_000
        moment = datetime.fromisoformat(cell)
    except (ValueError, OverflowError):
        return None
    return None if moment.tzinfo is None else to_ms(moment.astimezone(UTC))
