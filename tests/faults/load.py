"""What the writers send: every value follows from pack, time and measure, so that it can be checked alone."""

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from domain.clock import from_ms
from tests.faults.truth import Identity, Truth, original

HISTORY_S = 24 * 3600
"""How far back the readings about the past lie: so many quarter-hours are open, closing, counted, or noted."""

ALARM_MEASURE = "cell_voltage_max_v"
"""Only packs that are there for alerts send it, so that a rule on it concerns them alone."""

ORDINARY = ("current_a", "state_of_charge_pct", "temperature_c", "voltage_v")
OWN_PACKS = 3
SHARED_PACKS = 4
STEP_MS = 20
_PAST_STEP_MS = 10_000
_ALARM_STEP_MS = 50
_OWN_OFFSETS_MS = (13, 0, 7)
_LOOK_BACK = 50
_REPEATED_SHARE = 0.1
_IMPORTED_SHARE = 0.1
_PAST_SHARE = 0.4
_LATE_ALARM_SHARE = 0.2
_IMPORTED_READINGS = 8
_PAST_READINGS = 4
_DELETED_MS_MAX = 600_000
_BATCHES_KEPT = 20


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


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings to send together, live or under an import."""

    readings: Sequence[Reading]
    imported: bool = False


def corrected_value(identity: Identity) -> int:
    """The value by which an identity's only right one is replaced, in thousandths."""
    pack, ts_ms, measure = identity
    value = zlib.crc32(f"{pack} {ts_ms} {measure} corrected".encode()) % 80_000
    return value if value != original(identity) else value + 1


def reading(pack: str, ts_ms: int, chance: random.Random) -> Reading:
    """A reading with some of the measures."""
    return _with(pack, ts_ms, chance.sample(ORDINARY, chance.randint(1, len(ORDINARY))))


def _with(pack: str, ts_ms: int, measures: Sequence[str]) -> Reading:
    return Reading(pack, ts_ms, tuple((name, original((pack, ts_ms, name))) for name in measures))


class Load:
    """The batches and corrections of one writer.

    Readings are of now, of the past day, and, for packs with an alert rule, of this moment; of the writer's own packs,
    and of packs for which all writers report. The shared ones make duplicates between writers, and rows of one time
    with different measures. Some batches bring an older one's readings again, under a key of their own. Corrections
    concern the writer's own packs, so that what must be stored follows from its journal alone.
    """

    def __init__(self, writer: int, seed: int, start_ms: int) -> None:
        self._writer = writer
        self._chance = random.Random(f"{seed} {writer}")
        self._start_ms = start_ms
        self._number = 0
        self._previous: Sequence[Reading] = []
        self._alarms_ms: list[int] = []
        self._own_batches: list[str] = []

    def next_batch(self, now_ms: int) -> Batch:
        """now_ms: the moment of readings that rules are to see."""
        self._number += 1
        kind = self._chance.random()
        if kind < _IMPORTED_SHARE:
            batch = Batch(self._past(_IMPORTED_READINGS), imported=True)
        elif kind < _IMPORTED_SHARE + _PAST_SHARE:
            batch = Batch(self._past(_PAST_READINGS))
        else:
            batch = Batch(self._own() + self._shared() + self._alarms(now_ms))
        repeated = self._previous if self._chance.random() < _REPEATED_SHARE else []
        self._previous = batch.readings
        # What may have started an alert is not repeated under an import, which runs no rules.
        return batch if batch.imported else Batch([*batch.readings, *repeated])

    def _own(self) -> list[Reading]:
        moment_ms = self._start_ms + self._number * STEP_MS
        return [
            reading(
                f"own-{self._writer}-{self._chance.randrange(OWN_PACKS)}", moment_ms + offset_ms, self._chance
            )
            for offset_ms in _OWN_OFFSETS_MS
        ]

    def _shared(self) -> list[Reading]:
        numbers = (max(0, self._number - back) for back in (0, self._chance.randint(0, _LOOK_BACK)))
        return [
            reading(f"shared-{number % SHARED_PACKS}", self._start_ms + number * STEP_MS, self._chance)
            for number in numbers
        ]

    def _past(self, count: int) -> list[Reading]:
        latest = self._start_ms // _PAST_STEP_MS
        back = HISTORY_S * 1000 // _PAST_STEP_MS
        steps = [latest - self._chance.randint(1, back) for _ in range(count)]
        return [reading(f"past-{self._writer}", step * _PAST_STEP_MS, self._chance) for step in steps]

    def _alarms(self, now_ms: int) -> list[Reading]:
        """A reading that moves the rule clock on, or one that comes too late for it; seldom enough never to flap."""
        made, newest_ms = self._alarms_ms, max(self._alarms_ms, default=0)
        if now_ms - newest_ms < _ALARM_STEP_MS:
            return []
        moment_ms = now_ms
        if made and self._chance.random() < _LATE_ALARM_SHARE:
            moment_ms = self._chance.randint(min(made), newest_ms)
            if moment_ms in made:
                return []
        made.append(moment_ms)
        return [_with(f"alarm-{self._writer}", moment_ms, [ALARM_MEASURE])]

    def sent(self, key: str, batch: Batch) -> None:
        """Remember a batch that was acknowledged; those of the writer's own packs alone may be deleted whole."""
        if batch.imported:
            self._own_batches = [*self._own_batches[1 - _BATCHES_KEPT :], key]

    def next_correction(self, truth: Truth, imported: str | None) -> dict[str, Any] | None:
        """The body of a correction of what was acknowledged; None when there is nothing to correct.

        imported: the import under way, which may be undone.
        """
        chance = self._chance
        kind = chance.choice(
            ["delete_range", "delete_range", "correct", "correct", "delete_batch", "delete_import"]
        )
        found = self._corrected(kind, truth, imported)
        return None if found is None else {"kind": kind, "reason": "fault runs"} | found

    def _corrected(self, kind: str, truth: Truth, imported: str | None) -> dict[str, Any] | None:
        chance = self._chance
        if kind == "delete_import":
            return None if imported is None else {"import": imported}
        if kind == "delete_batch":
            return {"batch": chance.choice(self._own_batches)} if self._own_batches else None
        identity = truth.any_held(chance)
        if identity is None:
            return None
        pack, ts_ms, measure = identity
        if kind == "correct":
            return {
                "pack": pack,
                "ts": from_ms(ts_ms).isoformat(),
                "values": {measure: corrected_value(identity) / 1000},
            }
        ends_ms = ts_ms + 1 + chance.choice([0, chance.randint(0, _DELETED_MS_MAX)])
        some = {"measures": [measure]} if chance.random() < 0.5 else {}
        bounds = {"from": from_ms(ts_ms).isoformat(), "to": from_ms(ends_ms).isoformat()}
        return {"pack": pack} | bounds | some
