"""Whether windows equal a recount of the readings of the same snapshot (rules E13 to E16)."""

import math
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import psycopg

from domain.clock import from_ms, to_ms
from domain.measures import MEASURE_NAMES
from tests.faults.engine_process import POLL_S, EngineProcess, EngineStuckError
from tests.faults.load import HISTORY_S
from tests.faults.recount import Readings
from tests.faults.saying import said
from tests.stored import plain

QUARTER_MS = 900_000
STEPS_MS = {"PT15M": QUARTER_MS, "P1D": 86_400_000}
_TRIES_MAX = 500

_MARKS = """
    SELECT next, closed_before, counted_before, gap_s_max,
        (SELECT count(*) FROM window_notes), (SELECT count(*) FROM corrections WHERE status <> 'done')
    FROM partitions, window_marks, installation
"""
_READINGS = f"""
    SELECT tenure_no, ts, {", ".join(f"round(({name} * 1000.0::float8))::int" for name in MEASURE_NAMES)}
    FROM readings JOIN tenures USING (tenant_id, pack_id) WHERE held_from <= ts AND ts < held_to
"""
_TENURES = "SELECT tenure_no, external_id FROM tenures JOIN packs USING (tenant_id, pack_id)"
_NOTED = "SELECT DISTINCT tenure_no, starts FROM window_notes JOIN tenures USING (tenant_id, pack_id)"

Quarter = tuple[int, int]
"""Tenure and start, in milliseconds."""


@dataclass(slots=True)
class Snapshot:
    """What one transaction saw. position: moves with everything that changes readings. Times in milliseconds."""

    position: int
    closed_before_ms: int
    counted_before_ms: int
    gap_ms: int
    notes: int
    corrections: int
    packs: dict[int, str] = field(default_factory=dict)
    moments: dict[int, dict[int, dict[str, int]]] = field(default_factory=dict)
    quarters: dict[Quarter, bytes] = field(default_factory=dict)
    noted: set[Quarter] = field(default_factory=set)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is left to be counted or corrected."""
        counted = self.counted_before_ms == self.closed_before_ms
        return counted and self.notes == 0 and self.corrections == 0

    def waiting(self) -> int:
        """How many closed quarter-hours with readings are still to be counted, or to be counted again."""
        below_ms, above_ms = self.counted_before_ms, self.closed_before_ms
        uncounted = {
            (tenure, ts_ms - ts_ms % QUARTER_MS)
            for tenure, moments in self.moments.items()
            for ts_ms in moments
            if below_ms <= ts_ms < above_ms
        }
        return len(uncounted | self.noted)


@contextmanager
def _reading(conninfo: str) -> Iterator[psycopg.Connection[Any]]:
    options = "-c timezone=UTC -c search_path=bpm -c default_transaction_isolation=repeatable\\ read"
    with psycopg.connect(conninfo, options=options) as connection:
        yield connection


def _marks(connection: psycopg.Connection[Any]) -> Snapshot:
    row = connection.execute(_MARKS).fetchone()
    assert row is not None
    position, closed_before, counted_before, gap_s, notes, corrections = row
    return Snapshot(position, to_ms(closed_before), to_ms(counted_before), gap_s * 1000, notes, corrections)


def read_marks(conninfo: str) -> Snapshot:
    """The position and marks alone."""
    with _reading(conninfo) as connection:
        return _marks(connection)


def read_snapshot(conninfo: str) -> Snapshot:
    """Readings, quarter-hours, notes and marks, read by the administrator in one snapshot."""
    with _reading(conninfo) as connection:
        found = _marks(connection)
        found.packs = dict(connection.execute(_TENURES).fetchall())
        for tenure, ts, *values in connection.execute(_READINGS):
            given = {
                name: value for name, value in zip(MEASURE_NAMES, values, strict=True) if value is not None
            }
            found.moments.setdefault(tenure, {}).setdefault(to_ms(ts), {}).update(given)
        for tenure, starts, record in connection.execute("SELECT tenure_no, starts, record FROM quarters"):
            found.quarters[tenure, to_ms(starts)] = record
        found.noted = {(tenure, to_ms(starts)) for tenure, starts in connection.execute(_NOTED)}
    return found


def stored_contradictions(snapshot: Snapshot) -> list[str]:
    """Where the quarter-hours that count (below the mark, without a note) aren't what the readings give."""
    expected: dict[Quarter, dict[str, Any]] = {}
    for tenure, moments in snapshot.moments.items():
        readings = Readings(moments)
        for starts_ms in sorted({ts_ms - ts_ms % QUARTER_MS for ts_ms in moments}):
            key = tenure, starts_ms
            if starts_ms < snapshot.counted_before_ms and key not in snapshot.noted:
                record = readings.window(starts_ms, starts_ms + QUARTER_MS, snapshot.gap_ms)
                assert record is not None
                expected[key] = record
    counting = {
        key: plain(record)
        for key, record in snapshot.quarters.items()
        if key[1] < snapshot.counted_before_ms and key not in snapshot.noted
    }
    different = [
        f"{snapshot.packs[tenure]} at {from_ms(starts_ms).isoformat()}: {_difference(counting, expected, (tenure, starts_ms))}"
        for tenure, starts_ms in sorted(counting.keys() | expected.keys())
        if counting.get((tenure, starts_ms)) != expected.get((tenure, starts_ms))
    ]
    above = [
        key for key in snapshot.quarters if key[1] >= snapshot.counted_before_ms and key not in snapshot.noted
    ]
    found = [
        said("stored quarter-hours that differ from a recount", different),
        said("quarter-hours stored above the mark", above),
    ]
    return [one for one in found if one is not None]


def _difference(stored: Mapping[Quarter, Any], expected: Mapping[Quarter, Any], key: Quarter) -> str:
    if key not in stored:
        return "not stored"
    if key not in expected:
        return "stored, and there are no readings"
    differing = [name for name in stored[key] if stored[key][name] != expected[key][name]]
    return f"{', '.join(differing)} differ"


def answered_contradictions(
    conninfo: str, engine: EngineProcess, token: str, step: str, packs_max: int = 100
) -> list[str]:
    """Where the windows of UTC that are answered aren't those of the readings at that moment.

    packs_max: how many packs are asked for, chosen at random. The writers must be paused: it is tried until nothing
    moved between before and after the answers. Raises EngineStuckError when that doesn't come.
    """
    for _ in range(_TRIES_MAX):
        before = read_marks(conninfo)
        time.sleep(POLL_S)
        if read_marks(conninfo).position != before.position:
            continue
        with _reading(conninfo) as connection:
            packs = sorted(name for (name,) in connection.execute("SELECT external_id FROM packs"))
        answers = _answers(engine, token, random.sample(packs, min(packs_max, len(packs))), step)
        snapshot = read_snapshot(conninfo)
        if snapshot.position == before.position and snapshot.corrections == before.corrections:
            return _compared(answers, snapshot, step)
    raise EngineStuckError(f"readings were written during each of {_TRIES_MAX} answers, without a writer")


def _span(step: str) -> tuple[datetime, datetime]:
    """All that the load writes about, from the start of a window to the end of one."""
    width_ms, now_ms = STEPS_MS[step], time.time_ns() // 1_000_000
    starts_ms = now_ms - 1000 * HISTORY_S - 2 * QUARTER_MS
    return from_ms(starts_ms - starts_ms % width_ms), from_ms(now_ms - now_ms % width_ms + width_ms)


def _answers(engine: EngineProcess, token: str, packs: list[str], step: str) -> list[dict[str, Any]] | str:
    starts, ends = _span(step)
    asked = {"step": step, "from": starts.isoformat(), "to": ends.isoformat()}
    parameters = urlencode(
        [*asked.items(), *(("pack", p) for p in packs), *(("measure", m) for m in MEASURE_NAMES)]
    )
    status, body = engine.request("GET", f"/v1/aggregates?{parameters}", token=token)
    if status != HTTPStatus.OK:
        return f"windows were answered with {status}: {body}"
    # One pack alone is answered as it is.
    items: list[dict[str, Any]] = body.get("items", [body])
    return items


def _compared(answers: list[dict[str, Any]] | str, snapshot: Snapshot, step: str) -> list[str]:
    if isinstance(answers, str):
        return [answers]
    tenures = {pack: tenure for tenure, pack in snapshot.packs.items()}
    different: list[str] = []
    for answer in answers:
        columns = answer["columns"]
        readings = Readings(snapshot.moments.get(tenures[answer["pack"]], {}))
        for place, starts_ms in enumerate(columns["ts"]):
            record = readings.window(starts_ms, starts_ms + STEPS_MS[step], snapshot.gap_ms)
            expected = _NOTHING if record is None else _told(record, starts_ms)
            told = {name: columns[name][place] for name in expected}
            wrong = [name for name in expected if not _is_same(told[name], expected[name])]
            if wrong:
                examples = [f"{name} {told[name]}, not {expected[name]}" for name in wrong[:3]]
                moment = from_ms(starts_ms).isoformat()
                different.append(f"{answer['pack']} at {moment}: {', '.join(examples)}")
    one = said(f"answered windows of {step} that differ from a recount", different)
    return [] if one is None else [one]


Told = dict[str, float | int | None]


def _told(record: Mapping[str, Any], starts_ms: int) -> Told:
    """A record as answers tell it; each number is the float nearest to the exact one."""
    told: Told = {"covered_s": record["covered_ms"] / 1000}
    for name, found in zip(MEASURE_NAMES, record["measures"], strict=True):
        told |= {f"{name}_{column}": value for column, value in _told_of(found, starts_ms).items()}
    current = dict(zip(MEASURE_NAMES, record["measures"], strict=True))["current_a"]
    for names, some in (
        (("charged_ah", "discharged_ah"), current["covered_ms"] > 0),
        (("charged_wh", "discharged_wh"), record["energy_covered_ms"] > 0),
    ):
        for name in names:
            flow = record[name.replace("_ah", "").replace("_wh", "_energy")]
            told[name] = flow / 7_200_000_000 if some else None
    return told


def _told_of(found: Mapping[str, int], starts_ms: int) -> Told:
    count, covered_ms = found["count"], found["covered_ms"]
    told: Told = {
        "count": count,
        "covered_s": covered_ms / 1000,
        "time_weighted_mean": found["area"] / (2000 * covered_ms) if covered_ms else None,
    }
    if count == 0:
        return told | dict.fromkeys(
            ("min", "max", "mean", "standard_deviation", "first", "first_ts", "last", "last_ts")
        )
    variance = Fraction(found["squares"], count) - Fraction(found["sum"], count) ** 2
    return told | {
        "min": found["minimum"] / 1000,
        "max": found["maximum"] / 1000,
        "mean": found["sum"] / (count * 1000),
        "standard_deviation": math.sqrt(variance) / 1000,
        "first": found["first"] / 1000,
        "first_ts": starts_ms + found["first_ms"],
        "last": found["last"] / 1000,
        "last_ts": starts_ms + found["last_ms"],
    }


_NOTHING: Told = {"covered_s": 0} | {f"{name}_count": 0 for name in MEASURE_NAMES}


def _is_same(told: float | None, expected: float | None) -> bool:
    """Roots are taken of the nearest float, so they may differ by a few units of the last place."""
    if told is None or expected is None:
        return told is expected
    return math.isclose(told, expected, rel_tol=1e-12)
