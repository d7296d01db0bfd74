"""The native JSON body: an object, an array of objects, or a line each.

{"pack": "P-1", "ts": "2026-01-01T00:00:00Z", "voltage_v": 357.2, …}
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import orjson

from domain.errors import BodyUnreadableError
from domain.key_aliases import NO_ALIASES, KeyAliases
from domain.readings import RawItems
from domain.receipts import QuarantineReason
from ingest.bodies.objects import Objects, columns_of, only_one, refuse_too_many
from ingest.columns import BodyLimits, Problem, RawReadings
from kernels.jsontext import members_of

_DECODER = msgspec.json.Decoder()


def read_json(body: bytes, limits: BodyLimits, aliases: KeyAliases = NO_ALIASES) -> RawReadings:
    """The readings of a JSON object or array of objects.

    Raises BodyUnreadableError when it isn't JSON or repeats a name, BodyTooLargeError for too many readings.
    """
    decoded = decode_strictly(body)
    if not isinstance(decoded, list | dict):
        raise BodyUnreadableError("the body is neither a JSON object nor an array")
    items = decoded if isinstance(decoded, list) else [decoded]
    return read_items(items, limits, DecodedItems(items, body, _decode_items), aliases)


def read_ndjson(body: bytes, limits: BodyLimits, aliases: KeyAliases = NO_ALIASES) -> RawReadings:
    """The readings of newline-delimited JSON; empty lines are passed over. Raises as `read_json`."""
    items = _decoded(_DECODER.decode_lines, body)
    _refuse_repeated_names(body, items)
    return read_items(items, limits, DecodedItems(items, body, _DECODER.decode_lines), aliases)


def decode_strictly(body: bytes) -> Any:
    """Decoded JSON in which no object repeats a name, no number is beyond all floats, no text is half a letter.

    Raises BodyUnreadableError; with `unreadable=True` among its facts where it isn't UTF-8 or nests too deeply.
    """
    decoded = _decoded(_DECODER.decode, body)
    _refuse_repeated_names(body, decoded)
    return decoded


def decode_each(texts: Sequence[bytes]) -> list[Any]:
    """What each of some texts says, read by itself as `decode_strictly` reads it, or its BodyUnreadableError."""
    try:
        # Each by itself, because two halves of an object would be one when they were joined.
        decoded = list(map(_DECODER.decode, texts))
        together = b",".join(texts)
        together.decode()
        if _only_dicts(decoded) and members_of(together) == sum(map(len, decoded)):
            return decoded
    except (RecursionError, msgspec.DecodeError, ValueError):
        pass
    return [_decoded_or_error(text) for text in texts]


def _decoded_or_error(text: bytes) -> Any:
    try:
        return decode_strictly(text)
    except BodyUnreadableError as error:
        return error


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
        return raw_json(self._items[index])

    def release(self) -> None:
        self._items = None


def _decode_items(body: bytes) -> list[Any]:
    decoded = _DECODER.decode(body)
    return decoded if isinstance(decoded, list) else [decoded]


class _Kept:
    """Decoded items, which are all that is left of a body."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def __call__(self, index: int) -> str:
        return raw_json(self._items[index])

    def release(self) -> None:
        """Nothing that could be decoded again."""


def read_objects(
    objects: Sequence[dict[str, Any]], limits: BodyLimits, aliases: KeyAliases = NO_ALIASES
) -> RawReadings:
    """The readings of decoded objects. Raises BodyTooLargeError."""
    return read_items(objects, limits, _Kept(objects), aliases)


def read_items(
    items: Sequence[Any], limits: BodyLimits, raw_of: RawItems, aliases: KeyAliases = NO_ALIASES
) -> RawReadings:
    """Columns of decoded objects. Raises BodyTooLargeError for more than `limits.readings_max`."""
    refuse_too_many(len(items), limits)
    problems: dict[int, Problem] = {}
    objects = items if _only_dicts(items) else _only_objects(items, problems)
    packs = only_one("pack", objects, aliases, problems)
    times = only_one("ts", objects, aliases, problems)
    keys: set[str] = set().union(*objects)
    return columns_of(Objects(packs, times, objects, keys), problems, limits, aliases, raw_of)


def raw_json(item: Any) -> str:
    """Decoded JSON as text again."""
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
