"""What the writers send: every value follows from pack, time and measure, so that it can be checked alone."""

import random
import zlib
from dataclasses import dataclass
from typing import Any

Identity = tuple[str, int, str]
"""Pack, milliseconds since 1970, measure: what may be stored once."""

SPANS_THOUSANDTHS = {"voltage_v": 800_001, "temperature_c": 90_001, "state_of_charge_pct": 100_001}
OWN_PACKS = 3
SHARED_PACKS = 4
STEP_MS = 20
_OWN_OFFSETS_MS = (13, 0, 7)
_LOOK_BACK = 50
_REPEATED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading to send; values in thousandths of the unit."""

    pack: str
    ts_ms: int
    thousandths: tuple[tuple[str, int], ...]

    def as_json(self) -> dict[str, Any]:
        return {"pack": self.pack, "ts": self.ts_ms} | {
            name: value / 1000 for name, value in self.thousandths
        }

    def identities(self) -> list[tuple[Identity, int]]:
        return [((self.pack, self.ts_ms, name), value) for name, value in self.thousandths]


def value_of(pack: str, ts_ms: int, measure: str) -> int:
    """The only right value of an identity, in thousandths."""
    return zlib.crc32(f"{pack} {ts_ms} {measure}".encode()) % SPANS_THOUSANDTHS[measure]


def reading(pack: str, ts_ms: int, chance: random.Random) -> Reading:
    """A reading with some of the measures."""
    measures = chance.sample(sorted(SPANS_THOUSANDTHS), chance.randint(1, len(SPANS_THOUSANDTHS)))
    return Reading(pack, ts_ms, tuple((name, value_of(pack, ts_ms, name)) for name in measures))


class Load:
    """The batches of one writer: readings of its own packs, and of packs for which all writers report.

    The shared ones make duplicates between writers, and rows of one time with different measures. Some
    batches bring an older one's readings again, under a key of their own.
    """

    def __init__(self, writer: int, seed: int, start_ms: int) -> None:
        self._writer = writer
        self._chance = random.Random(f"{seed} {writer}")
        self._start_ms = start_ms
        self._number = 0
        self._previous: list[Reading] = []

    def next_batch(self) -> list[Reading]:
        chance, moment_ms = self._chance, self._start_ms + self._number * STEP_MS
        own = [
            reading(f"own-{self._writer}-{chance.randrange(OWN_PACKS)}", moment_ms + offset_ms, chance)
            for offset_ms in _OWN_OFFSETS_MS
        ]
        shared = []
        for back in (0, chance.randint(0, _LOOK_BACK)):
            number = max(0, self._number - back)
            shared.append(
                reading(f"shared-{number % SHARED_PACKS}", self._start_ms + number * STEP_MS, chance)
            )
        batch = own + shared
        repeated = self._previous if chance.random() < _REPEATED_SHARE else []
        self._number += 1
        self._previous = batch
        return batch + repeated
