"""Columns of decoded JSON objects, whichever body they stood in."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from domain.errors import BodyTooLargeError
from domain.key_aliases import NATIVE_KEYS, KeyAliases
from domain.measures import MEASURE_NAMES
from domain.readings import Float64Array, Int32Array, Int64Array, RawItems
from domain.receipts import QuarantineReason
from ingest.bodies import moments
from ingest.columns import (
    BodyLimits,
    Problem,
    RawReadings,
    converted,
    ignored_keys,
    kept_rows,
    merged,
)

JSON_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,15})")
"""Whole milliseconds, as far as they can be a time."""

JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""A number as JSON writes it; Python's float would also read 1_000, nan and other alphabets' digits."""


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The items of a body: for each its pack, its time, and the object with its measures, empty where there is none.

    keys: all keys that stand in the items. native: those of them that need no alias.
    numeric_texts: whether a number may stand as text.
    """

    packs: list[Any]
    times: list[Any]
    measures: Sequence[dict[str, Any]]
    keys: Iterable[str]
    native: frozenset[str] = NATIVE_KEYS
    numeric_texts: bool = False


def refuse_too_many(count: int, limits: BodyLimits) -> None:
    """Raises BodyTooLargeError for more readings than a body may have."""
    if count > limits.readings_max:
        raise BodyTooLargeError(
            f"{count} readings in one body, at most {limits.readings_max}", limit=limits.readings_max
        )


def columns_of(
    objects: Objects, problems: dict[int, Problem], limits: BodyLimits, aliases: KeyAliases, raw_of: RawItems
) -> RawReadings:
    """The readings of items; `problems` are those found before, by index."""
    count = len(objects.packs)
    pack_names, pack_code = _packs(objects.packs, problems, limits)
    ts_ms = _times(objects.times, problems)
    values = np.empty((len(MEASURE_NAMES), count))
    for row, name in enumerate(MEASURE_NAMES):
        values[row] = _measure(name, objects, problems, aliases)
    kept = kept_rows(count, problems)
    return RawReadings(
        received=count,
        index=kept.astype(np.int32),
        pack_names=pack_names,
        pack_code=pack_code[kept],
        ts_ms=ts_ms[kept],
        values=values[:, kept],
        problems=tuple(problems[index] for index in sorted(problems)),
        ignored_keys=ignored_keys(objects.keys, limits, aliases, objects.native),
        raw_of=raw_of,
        item_pack=pack_code,
    )


def only_one(
    name: str, items: Sequence[dict[str, Any]], aliases: KeyAliases, problems: dict[int, Problem]
) -> list[Any]:
    """What stands under a key or one of its aliases; two of them in one item are a problem."""
    column = [item.get(name) for item in items]
    for alias in aliases.of(name):
        for index, item in enumerate(items):
            given = item.get(alias.alias)
            if given is None:
                continue
            if column[index] is not None:
                problems.setdefault(index, Problem(index, QuarantineReason.AMBIGUOUS_KEY, name))
            column[index] = given
    return column


def _measure(name: str, objects: Objects, problems: dict[int, Problem], aliases: KeyAliases) -> Float64Array:
    def read(key: str) -> Float64Array:
        column = [item.get(key) for item in objects.measures]
        return _numbers(name, column, problems, numeric_texts=objects.numeric_texts)

    others = [converted(read(alias.alias), alias) for alias in aliases.of(name)]
    return merged(name, [read(name), *others], problems)


def _packs(
    given: list[Any], problems: dict[int, Problem], limits: BodyLimits
) -> tuple[tuple[str, ...], Int32Array]:
    if set(map(type, given)) != {str} or not all(map(limits.allows_pack_name, dict.fromkeys(given))):
        given = [_name_or_problem(index, name, problems, limits) for index, name in enumerate(given)]
    names: list[str] = given
    codes = {name: code for code, name in enumerate(dict.fromkeys(names))}
    return tuple(codes), np.fromiter(map(codes.__getitem__, names), np.int32, len(names))


def _name_or_problem(index: int, name: Any, problems: dict[int, Problem], limits: BodyLimits) -> str:
    """The name, or the empty text beside a problem."""
    if isinstance(name, str) and limits.allows_pack_name(name):
        return name
    problems.setdefault(index, pack_problem(index, name, limits))
    return ""


def pack_problem(index: int, name: Any, limits: BodyLimits) -> Problem:
    """What is wrong with what stands where a pack's name belongs; None is nothing."""
    if name is None:
        return Problem(index, QuarantineReason.MISSING_FIELD, "pack")
    if not isinstance(name, str):
        return Problem(index, QuarantineReason.INVALID_TYPE, "pack")
    return Problem(index, QuarantineReason.OUT_OF_RANGE, "pack", limits.pack_name_characters_max)


def _times(column: list[Any], problems: dict[int, Problem]) -> Int64Array:
    kinds = set(map(type, column))
    if kinds == {str}:
        parsed = moments.parse_all(column)
        if parsed is not None:
            return parsed
    if kinds == {int}:
        try:
            as_integers: Int64Array = np.array(column, np.int64)
        except OverflowError:
            pass
        else:
            if np.abs(as_integers).max() < moments.LARGEST_MS:
                return as_integers
    return _times_one_by_one(column, problems)


def _times_one_by_one(column: list[Any], problems: dict[int, Problem]) -> Int64Array:
    result = np.zeros(len(column), np.int64)
    for index, value in enumerate(column):
        found: int | QuarantineReason
        if value is None:
            found = QuarantineReason.MISSING_FIELD
        elif type(value) is str:
            found = moments.parse_one(value)
        elif type(value) in (int, float):
            found = moments.from_number(value)
        else:
            found = QuarantineReason.INVALID_TYPE
        if isinstance(found, QuarantineReason):
            problems.setdefault(index, Problem(index, found, "ts"))
        else:
            result[index] = found
    return result


def _numbers(
    name: str, column: list[Any], problems: dict[int, Problem], *, numeric_texts: bool
) -> Float64Array:
    """Float64 of a column of numbers and None; anything else is a problem of its reading."""
    kinds = set(map(type, column))
    if kinds <= {type(None)}:
        return np.full(len(column), np.nan)
    if not kinds <= {int, float, type(None)}:
        for index, value in enumerate(column):
            if numeric_texts and type(value) is str and JSON_NUMBER.fullmatch(value):
                column[index] = float(value)
            elif type(value) not in (int, float, type(None)):
                problems.setdefault(index, Problem(index, QuarantineReason.INVALID_TYPE, name))
                column[index] = None
    try:
        return np.array(column, np.float64)
    except OverflowError:
        # An integer beyond every float: out of any measure's range, which the caller finds out.
        return np.array([_float(value) for value in column], np.float64)


def _float(value: Any) -> float:
    try:
        return float("nan") if value is None else float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
