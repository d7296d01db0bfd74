"""What must be stored of the packs that one writer alone reports for, as its own requests made it."""

import random
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.clock import to_ms

Identity = tuple[str, int, str]
"""Pack, milliseconds since 1970, measure: what may be stored once."""

VALUES_THOUSANDTHS = {
    "cell_voltage_max_v": (0, 4_200),
    "current_a": (-500_000, 500_000),
    "state_of_charge_pct": (0, 100_000),
    "temperature_c": (0, 90_000),
    "voltage_v": (0, 800_000),
}

SHARED = "shared-"
"""Begins the names of packs for which all writers report."""


def original(identity: Identity) -> int:
    """The only right value of an identity, in thousandths."""
    pack, ts_ms, measure = identity
    least, largest = VALUES_THOUSANDTHS[measure]
    return least + zlib.crc32(f"{pack} {ts_ms} {measure}".encode()) % (largest - least + 1)


@dataclass(frozen=True, slots=True)
class Held:
    """A value that is stored, in thousandths, and the batch and import that brought it; None once it was corrected."""

    value: int
    batch: str | None
    imported: str | None


class Truth:
    """Follows the requests of one writer in their order, each of which is answered before the next."""

    def __init__(self) -> None:
        self.held: dict[Identity, Held] = {}
        # Of an identity whose original value isn't stored any more, whether that was deleted, or else replaced.
        self._deleted: dict[Identity, bool] = {}

    def sent(self, key: str, imported: str | None, readings: Iterable[list[Identity]]) -> Counter[str]:
        """How many readings are accepted, duplicates, and set aside; and how many values were deleted before."""
        outcomes: Counter[str] = Counter()
        for identities in readings:
            new = [one for one in identities if one not in self.held and one not in self._deleted]
            self.held |= {one: Held(original(one), key, imported) for one in new}
            deleted = sum(self._deleted.get(one, False) for one in identities)
            if deleted:
                outcomes["deleted"] += deleted
            if new:
                outcomes["accepted"] += 1
            elif deleted:
                outcomes["quarantined"] += 1
            else:
                outcomes["duplicate"] += 1
        return outcomes

    def corrected(self, body: Mapping[str, Any]) -> None:
        """Take a correction into account that is done."""
        for identity in self.touched(body):
            held = self.held.pop(identity)
            if held.value == original(identity):
                self._deleted[identity] = body["kind"] != "correct"
            if body["kind"] == "correct":
                value = round(body["values"][identity[2]] * 1000)
                self.held[identity] = Held(value, None, None)

    def touched(self, body: Mapping[str, Any]) -> list[Identity]:
        """The identities of which a correction takes out what is stored."""
        if body["kind"] == "delete_import":
            return [one for one, held in self.held.items() if held.imported == body["import"]]
        if body["kind"] == "delete_batch":
            return [one for one, held in self.held.items() if held.batch == body["batch"]]
        if body["kind"] == "correct":
            ts_ms = _ms(body["ts"])
            asked = [(body["pack"], ts_ms, measure) for measure in body["values"]]
            return [one for one in asked if one in self.held]
        starts_ms, ends_ms = _ms(body["from"]), _ms(body["to"])
        return [
            (pack, ts_ms, measure)
            for pack, ts_ms, measure in self.held
            if pack == body["pack"]
            and starts_ms <= ts_ms < ends_ms
            and measure in body.get("measures", [measure])
        ]

    def gone(self) -> set[Identity]:
        """The identities that were stored and are not any more."""
        return self._deleted.keys() - self.held.keys()

    def any_held(self, chance: random.Random) -> Identity | None:
        """An identity that is stored, of a pack that has no alert rule."""
        found = [one for one in self.held if not one[0].startswith("alarm-")]
        return chance.choice(found) if found else None


def _ms(text: str) -> int:
    return to_ms(datetime.fromisoformat(text))


def is_own(pack: str) -> bool:
    """Whether only one writer reports for a pack."""
    return not pack.startswith(SHARED)
