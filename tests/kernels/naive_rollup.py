"""The slow, obvious twin of the rollup: a dictionary of readings, fractions, and the definitions."""

from collections import defaultdict
from fractions import Fraction
from itertools import pairwise
from math import floor
from typing import Any

Rows = list[tuple[int, int, list[int | None]]]
INT64_MAX = 2**63 - 1


def nearest(number: Fraction) -> int:
    return floor(number + Fraction(1, 2))


def value_on_line(first: tuple[int, int], last: tuple[int, int], moment: Fraction) -> Fraction:
    (began, low), (ended, high) = first, last
    return low + Fraction(high - low) * (moment - began) / (ended - began)


def twice_integral(first: tuple[int, int], last: tuple[int, int], until: int) -> Fraction:
    """Twice the integral of the line from its start."""
    return (value_on_line(first, last, Fraction(first[0])) + value_on_line(first, last, Fraction(until))) * (
        until - first[0]
    )


def twice_integral_above(first: tuple[int, int], last: tuple[int, int], until: int) -> Fraction:
    """Twice the integral of max(line, 0) from its start: cut at the zero, each part by the trapezoid."""
    cuts = [Fraction(first[0]), Fraction(until)]
    if first[1] * last[1] < 0:
        zero = first[0] + Fraction(-first[1] * (last[0] - first[0]), last[1] - first[1])
        if zero < until:
            cuts.insert(1, zero)
    total = Fraction(0)
    for begins, ends in pairwise(cuts):
        one, other = (max(value_on_line(first, last, cut), Fraction(0)) for cut in (begins, ends))
        total += (one + other) * (ends - begins)
    return total


def parts(first: tuple[int, int], last: tuple[int, int], bounds: list[int], integral: Any) -> dict[int, int]:
    """What each window gets of a line: differences of the rounded integral at the ends of windows."""
    found = {}
    for window, (begins, ends) in enumerate(pairwise(bounds)):
        low, high = max(begins, first[0]), min(ends, last[0])
        if low < high:
            found[window] = nearest(integral(first, last, high)) - nearest(integral(first, last, low))
    return found


def turned(point: tuple[int, int]) -> tuple[int, int]:
    return point[0], -point[1]


def new_record(measures: int) -> dict[str, Any]:
    empty = {"count": 0, "sum": 0, "squares": 0, "area": 0, "covered_ms": 0}
    flows = dict.fromkeys(("charged", "discharged", "charged_energy", "discharged_energy"), 0)
    times = {"covered_ms": 0, "energy_covered_ms": 0}
    return {"measures": [dict(empty) for _ in range(measures)]} | flows | times


def rollup(
    rows: Rows, bounds: list[int], gap_ms: int, measures: int, voltage: int, current: int
) -> dict[tuple[int, int], dict[str, Any]]:
    """Records by (series, window): `measures` is a list of dictionaries, the others are whole numbers."""
    kept: dict[int, dict[int, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    for series, ts_ms, values in rows:
        kept[series][ts_ms].update({m: value for m, value in enumerate(values) if value is not None})
    records: dict[tuple[int, int], dict[str, Any]] = defaultdict(lambda: new_record(measures))
    for series, moments in kept.items():
        of = {window: (series, window) for window in range(-1, len(bounds))}
        add_values(records, of, moments, bounds)
        lines = {measure: points(moments, measure) for measure in range(measures)}
        for measure, line in lines.items():
            for first, last in joined(line, gap_ms):
                for window, part in parts(first, last, bounds, twice_integral).items():
                    records[of[window]]["measures"][measure]["area"] += part
                for window, part in shares(first, last, bounds).items():
                    records[of[window]]["measures"][measure]["covered_ms"] += part
        powers = [
            (ts_ms, floor(Fraction(values[voltage] * values[current], 1000) + Fraction(1, 2)))
            for ts_ms, values in sorted(moments.items())
            if voltage in values and current in values
        ]
        add_flows(records, of, lines[current], bounds, gap_ms, "")
        add_flows(records, of, powers, bounds, gap_ms, "_energy")
        for line, name in (
            (powers, "energy_covered_ms"),
            ([(ts_ms, 0) for ts_ms in sorted(moments)], "covered_ms"),
        ):
            for first, last in joined(line, gap_ms):
                for window, part in shares(first, last, bounds).items():
                    records[of[window]][name] += part
    return dict(records)


def add_values(records: Any, of: Any, moments: dict[int, dict[int, int]], bounds: list[int]) -> None:
    for ts_ms in sorted(moments):
        for window, (begins, ends) in enumerate(pairwise(bounds)):
            if begins <= ts_ms < ends:
                found = records[of[window]]
                for measure, value in moments[ts_ms].items():
                    add_value(found["measures"][measure], value, ts_ms - begins)


def add_flows(records: Any, of: Any, line: Any, bounds: list[int], gap_ms: int, suffix: str) -> None:
    for first, last in joined(line, gap_ms):
        for window, part in parts(first, last, bounds, twice_integral_above).items():
            records[of[window]]["charged" + suffix] += part
        for window, part in parts(turned(first), turned(last), bounds, twice_integral_above).items():
            records[of[window]]["discharged" + suffix] += part


def points(moments: dict[int, dict[int, int]], measure: int) -> list[tuple[int, int]]:
    return [(ts_ms, values[measure]) for ts_ms, values in sorted(moments.items()) if measure in values]


def joined(line: list[tuple[int, int]], gap_ms: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    return [pair for pair in pairwise(line) if pair[1][0] - pair[0][0] <= gap_ms]


def add_value(found: dict[str, int], value: int, offset_ms: int) -> None:
    if found["count"] == 0:
        found |= {"minimum": value, "maximum": value, "first": value, "first_ms": offset_ms}
    found["minimum"] = min(found["minimum"], value)
    found["maximum"] = max(found["maximum"], value)
    found["last"], found["last_ms"] = value, offset_ms
    found["count"] += 1
    found["sum"] += value
    found["squares"] = min(found["squares"] + value * value, INT64_MAX)


def shares(first: tuple[int, int], last: tuple[int, int], bounds: list[int]) -> dict[int, int]:
    """What each window gets of a line's time."""
    found = {}
    for window, (begins, ends) in enumerate(pairwise(bounds)):
        low, high = max(begins, first[0]), min(ends, last[0])
        if low < high:
            found[window] = high - low
    return found
