"""ThingsBoard's telemetry: {"ts", "values"}, arrays of it, bare values, and the gateway's form by device name.

As its documentation has it (HTTP and gateway API, "telemetry"): ts is milliseconds since 1970, values without one
were measured when they arrived, and a number may stand as text, which ThingsBoard casts by default
(transport.json.type_cast_enabled).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from domain.errors import BodyUnreadableError
from domain.key_aliases import NO_ALIASES, KeyAliases
from domain.measures import MEASURE_NAMES
from domain.receipts import QuarantineReason
from ingest.bodies.native import decode_strictly, raw_json
from ingest.bodies.objects import JSON_INTEGER, Objects, columns_of, refuse_too_many
from ingest.columns import BodyLimits, Problem, RawReadings

_NATIVE: Final = frozenset(MEASURE_NAMES)
_OF_ITEM: Final = frozenset({"ts", "values"})
_NAME_CHARACTERS_MAX: Final = 1000

Named = tuple[str, Any]
"""A device's name and an item of its telemetry."""


def read_thingsboard(
    body: bytes, pack: str, arrived_at_ms: int, limits: BodyLimits, aliases: KeyAliases = NO_ALIASES
) -> RawReadings:
    """The readings of one device's telemetry: an item, or an array of items.

    Raises BodyUnreadableError when it isn't JSON or repeats a name, BodyTooLargeError for too many readings.
    """
    decoded = decode_strictly(body)
    if not isinstance(decoded, list | dict):
        raise BodyUnreadableError("the body is neither a JSON object nor an array")
    items = decoded if isinstance(decoded, list) else [decoded]
    return read_named([(pack, item) for item in items], arrived_at_ms, limits, aliases)


def read_gateway(
    body: bytes, arrived_at_ms: int, limits: BodyLimits, aliases: KeyAliases = NO_ALIASES
) -> RawReadings:
    """The readings of a gateway's telemetry, in the order of the body: devices, and the items of each.

    Raises as `read_thingsboard`.
    """
    decoded = decode_strictly(body)
    if not isinstance(decoded, dict):
        raise BodyUnreadableError("the body is not a JSON object of devices' names")
    named = [
        (name, item)
        for name, items in decoded.items()
        for item in (items if isinstance(items, list) else [items])
    ]
    return read_named(named, arrived_at_ms, limits, aliases)


def read_kept(
    kept: Sequence[dict[str, Any]], limits: BodyLimits, aliases: KeyAliases = NO_ALIASES
) -> RawReadings:
    """The readings of raw texts, decoded again."""
    named = [
        (item.get("pack", ""), {key: value for key, value in item.items() if key != "pack"}) for item in kept
    ]
    return read_named(named, 0, limits, aliases)


@dataclass(frozen=True, slots=True)
class NamedItems:
    """Items as JSON text, each with its device's name, cut, and with its time when that was the arrival."""

    named: Sequence[Named]
    arrived_at_ms: int

    def __call__(self, index: int) -> str:
        name, item = self.named[index]
        pack = {"pack": name[:_NAME_CHARACTERS_MAX]}
        if not isinstance(item, dict):
            return raw_json(pack | {"values": item})
        if "values" not in item and "ts" not in item:
            item = {"ts": self.arrived_at_ms, "values": item}
        given = {key: value for key, value in item.items() if key != "pack"}
        return raw_json(pack | {"ts": self.arrived_at_ms} | given)

    def release(self) -> None:
        """Nothing to do: a device's name is needed with each item."""


def read_named(
    named: Sequence[Named], arrived_at_ms: int, limits: BodyLimits, aliases: KeyAliases
) -> RawReadings:
    """The readings of items with their devices' names. Raises BodyTooLargeError."""
    refuse_too_many(len(named), limits)
    problems: dict[int, Problem] = {}
    times: list[Any] = []
    values: list[dict[str, Any]] = []
    keys: set[str] = set()
    for index, (_, item) in enumerate(named):
        ts, measured = _parts(index, item, arrived_at_ms, problems)
        times.append(int(ts) if type(ts) is str and JSON_INTEGER.fullmatch(ts) else ts)
        values.append(measured)
        if isinstance(item, dict) and measured is not item:
            keys.update(_beside(item))
        keys.update(measured)
    objects = Objects([name for name, _ in named], times, values, keys, _NATIVE, numeric_texts=True)
    return columns_of(objects, problems, limits, aliases, NamedItems(named, arrived_at_ms))


def _beside(item: dict[str, Any]) -> Iterable[str]:
    return item.keys() - _OF_ITEM


def _parts(
    index: int, item: Any, arrived_at_ms: int, problems: dict[int, Problem]
) -> tuple[Any, dict[str, Any]]:
    """The time and the values of an item; both are there for one with a problem too."""
    if not isinstance(item, dict):
        problems[index] = Problem(index, QuarantineReason.NOT_AN_OBJECT)
    elif "values" in item and isinstance(item["values"], dict):
        return item.get("ts", arrived_at_ms), item["values"]
    elif "values" in item:
        problems[index] = Problem(index, QuarantineReason.INVALID_TYPE, "values")
    elif "ts" in item:
        problems[index] = Problem(index, QuarantineReason.MISSING_FIELD, "values")
    else:
        return arrived_at_ms, item
    return arrived_at_ms, {}
