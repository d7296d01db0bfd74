"""The native JSON body: an object, an array of objects, or a line each.

{"pack": "P-1", "ts": "2026-01-01T00:00:00Z", "voltage_v": 357.2, …}
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from domain.errors import BodyTooLargeError, BodyUnreadableError
from domain.measures import MEASURE_NAMES
from domain.readings import BoolArray, Float64Array, Int32Array, Int64Array, RawItems
from domain.receipts import QuarantineReason
from ingest.bodies import moments
from ingest.columns import BodyLimits, Problem, RawReadings, ignored_keys
from kernels.jsontext import members_of

_DECODER = msgspec.json.Decoder()


def read_json(body: bytes, limits: BodyLimits) -> RawReadings:
    """The readings of a JSON object or array of objects.

    Raises BodyUnreadableError when it isn't JSON or repeats a name, BodyTooLargeError for too many readings.
    """
    decoded = decode_strictly(body)
    if not isinstance(decoded, list | dict):
        raise BodyUnreadableError("the body is neither a JSON object nor an array")
    items = decoded if isinstance(decoded, list) else [decoded]
    return read_items(items, limits, DecodedItems(items, body, _decode_items))


def read_ndjson(body: bytes, limits: BodyLimits) -> RawReadings:
    """The readings of newline-delimited JSON; empty lines are passed over. Raises as `read_json`."""
    items = _decoded(_DECODER.decode_lines, body)
    _refuse_repeated_names(body, items)
    return read_items(items, limits, DecodedItems(items, body, _DECODER.decode_lines))


def decode_strictly(body: bytes) -> Any:
    """Decoded JSON in which no object repeats a name, no number is beyond all floats, no text is half a letter.

    Raises BodyUnreadableError; with `unreadable=True` among its facts where it isn't UTF-8 or nests too deeply.
    """
    decoded = _decoded(_DECODER.decode, body)
    _refuse_repeated_names(body, decoded)
    return decoded


def _decoded(decode: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        body.decode()
        return decode(body)
    except (UnicodeDecodeError, RecursionError) as error:
        raise BodyUnreadableError(
            "the body is not UTF-8 or nests too deeply to be read", unreadable=True
        ) from error
    except (msgspec.DecodeError, ValueError) as error:
        raise BodyUnreadableError(f"the body is not valid JSON: {error}") from error


def _refuse_repeated_names(body: bytes, decoded: Any) -> None:
    members = members_of(body)
    if _only_dicts(decoded) and members == sum(map(len, decoded)):
        return
    if members != _count_members(decoded):
        raise BodyUnreadableError("an object in the body has the same name twice")


def _only_dicts(decoded: Any) -> bool:
    return isinstance(decoded, list) and set(map(type, decoded)) <= {dict}


def _count_members(decoded: Any) -> int:
    """Members of all objects in decoded JSON; a loop with its own stack, since bodies may nest deeply."""
    total = 0
    stack = [decoded]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            total += len(node)
            stack.extend(value for value in node.values() if type(value) in (dict, list))
        elif isinstance(node, list):
            objects = [value for value in node if type(value) in (dict, list)]
            stack.extend(objects)
    return total


class DecodedItems:
    """The items of a body; decoded again when they are asked for after their release."""

    def __init__(self, items: list[Any], body: bytes, decode: Callable[[bytes], list[Any]]) -> None:
        self._items: list[Any] | None = items
        self._body = body
        self._decode = decode

    def __call__(self, index: int) -> str:
        if self._items is None:
            self._items = self._decode(self._body)
        return _raw(self._items[index])

    def release(self) -> None:
        self._items = None


def _decode_items(body: bytes) -> list[Any]:
    decoded = _DECODER.decode(body)
    return decoded if isinstance(decoded, list) else [decoded]


def read_items(items: Sequence[Any], limits: BodyLimits, raw_of: RawItems) -> RawReadings:
    """Columns of decoded objects. Raises BodyTooLargeError for more than `limits.readings_max`."""
    if len(items) > limits.readings_max:
        raise BodyTooLargeError(
            f"{len(items)} readings in one body, at most {limits.readings_max}", limit=limits.readings_max
        )
    problems: dict[int, Problem] = {}
    objects = items if _only_dicts(items) else _only_objects(items, problems)
    pack_names, pack_code = _packs(objects, problems, limits)
    ts_ms = _times([item.get("ts") for item in objects], problems)
    values = np.empty((len(MEASURE_NAMES), len(objects)))
    for row, name in enumerate(MEASURE_NAMES):
        values[row] = _numbers(name, [item.get(name) for item in objects], problems)
    kept = _without(len(objects), problems)
    return RawReadings(
        received=len(items),
        index=kept.astype(np.int32),
        pack_names=pack_names,
        pack_code=pack_code[kept],
        ts_ms=ts_ms[kept],
        values=values[:, kept],
        problems=tuple(problems[index] for index in sorted(problems)),
        ignored_keys=ignored_keys(set().union(*objects), limits),
        raw_of=raw_of,
    )


def _raw(item: Any) -> str:
    try:
        return orjson.dumps(item).decode()
    except (TypeError, orjson.JSONEncodeError):
        return msgspec.json.encode(item).decode()


def _only_objects(items: Sequence[Any], problems: dict[int, Problem]) -> list[dict[str, Any]]:
    objects = []
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            problems[index] = Problem(index, QuarantineReason.NOT_AN_OBJECT)
        objects.append(item if isinstance(item, dict) else {})
    return objects


def _without(count: int, problems: dict[int, Problem]) -> Int64Array:
    kept: BoolArray = np.ones(count, np.bool_)
    kept[list(problems)] = False
    return np.flatnonzero(kept)


def _packs(
    objects: Sequence[dict[str, Any]], problems: dict[int, Problem], limits: BodyLimits
) -> tuple[tuple[str, ...], Int32Array]:
    given: list[Any] = [item.get("pack") for item in objects]
    if set(map(type, given)) != {str} or not all(map(limits.allows_pack_name, dict.fromkeys(given))):
        given = [_name_or_problem(index, name, problems, limits) for index, name in enumerate(given)]
    names: list[str] = given
    codes = {name: code for code, name in enumerate(dict.fromkeys(names))}
    return tuple(codes), np.fromiter(map(codes.__getitem__, names), np.int32, len(names))


def _name_or_problem(index: int, name: Any, problems: dict[int, Problem], limits: BodyLimits) -> str:
    """The name, or the empty text beside a problem."""
    if name is None:
        problem = Problem(index, QuarantineReason.MISSING_FIELD, "pack")
    elif not isinstance(name, str):
        problem = Problem(index, QuarantineReason.INVALID_TYPE, "pack")
    elif limits.allows_pack_name(name):
        return name
    else:
        problem = Problem(index, QuarantineReason.OUT_OF_RANGE, "pack", limits.pack_name_characters_max)
    problems.setdefault(index, problem)
    return ""


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


def _numbers(name: str, column: list[Any], problems: dict[int, Problem]) -> Float64Array:
    """Float64 of a column of numbers and None; anything else is a problem of its reading."""
    kinds = set(map(type, column))
    if kinds <= {type(None)}:
        return np.full(len(column), np.nan)
    if not kinds <= {int, float, type(None)}:
        for index, value in enumerate(column):
            if type(value) not in (int, float, type(None)):
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
