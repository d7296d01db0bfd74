"""Where ingest is measured: an engine, a registered fleet, a pre-filled table, readings never sent before."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import psycopg

from benchmarks.copying import copy_from_server_file, write_server_file
from benchmarks.fleet import FleetReadings, Registered, arrow_body, copy_rows, make_readings, pack_name
from benchmarks.senders import accepted, senders
from benchmarks.served import ServedEngine, served_engine
from domain.clock import to_ms
from domain.measures import MEASURE_NAMES
from domain.readings import to_thousandths

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
TENANT = "benchmark"
STEP_MS = 100
LATE_AFTER_S = 7 * 86_400
"""Yesterday's readings count as live here, so that all runs fall into one day's partition at any hour.

Its quarter-hours stay open as long, as those of live readings are.
"""
RULES = 20

_PREFILL_ROWS = 1_000_000
_PREFILL_BATCH_NO = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """What one body holds: `readings_per_pack` readings of each of `packs` packs.

    Bodies go round `groups` groups of packs. With as many clients, or a divisor, no two report for one pack:
    else a body that overtakes another makes the engine look its readings up in the store.
    """

    name: str
    packs: int
    readings_per_pack: int
    groups: int = 1

    @property
    def fleet_packs(self) -> int:
        return self.packs * self.groups

    @property
    def readings(self) -> int:
        return self.packs * self.readings_per_pack


@dataclass(slots=True)
class Field:
    """A running engine with a fleet. `fresh` gives bodies' readings with times that nobody has sent."""

    engine: ServedEngine
    token: str
    fleet: Registered
    first_ms: int
    _next_step: int = 0
    _values: dict[Shape, FleetReadings] = field(default_factory=dict)

    def fresh(self, shape: Shape, bodies: int) -> list[FleetReadings]:
        """Readings newer than all before, for so many bodies."""
        if shape not in self._values:
            self._values[shape] = make_readings(
                shape.packs, shape.readings_per_pack, self.first_ms, STEP_MS, seed=shape.packs
            )
        base, made = self._values[shape], []
        for number in range(bodies):
            position = base.position + np.int32(shape.packs * (number % shape.groups))
            made.append(replace(base, position=position, ts_ms=base.ts_ms + self._next_step * STEP_MS))
            self._next_step += shape.readings_per_pack
        return made

    def writer(self) -> psycopg.Connection[Any]:
        """A connection with the rights of the engine's own writer."""
        return psycopg.connect(self.engine.writer_conninfo(), autocommit=True)

    def admin(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.engine.admin_conninfo(), autocommit=True)

    def stored_rows(self) -> int:
        with self.admin() as connection:
            (count,) = connection.execute("SELECT count(*) FROM readings").fetchone() or (0,)
        return int(count)


@contextmanager
def ingest_field(packs: int, prefill_rows: int = _PREFILL_ROWS) -> Iterator[Field]:
    """An engine whose table holds about `prefill_rows` rows of `packs` packs, written and checkpointed."""
    late_after_s = str(LATE_AFTER_S)
    with served_engine({"BPM_LATE_AFTER_S": late_after_s, "BPM_CLOSE_AFTER_S": late_after_s}) as engine:
        token = engine.tenant_token(TENANT)
        yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        with psycopg.connect(engine.admin_conninfo(), autocommit=True) as connection:
            # A new installation has closed all that lies before its first start.
            closed_before = yesterday - timedelta(hours=1)
            connection.execute("UPDATE window_marks SET counted_before = %s", [closed_before])
            connection.execute("UPDATE partitions SET closed_before = %s", [closed_before])
        made = Field(engine, token, Registered(0, np.empty(0, np.int32)), to_ms(yesterday))
        register = Shape("register", packs, 1)
        with senders(1, engine.port, token, ARROW) as clients:
            posted = clients.post([arrow_body(readings) for readings in made.fresh(register, 1)])
        if accepted(posted) != packs:
            raise RuntimeError(f"registering {packs} packs was answered with {posted[0].receipts[0]}")
        made.fleet = _registered(made, packs)
        _make_rules(made)
        _prefill(made, Shape("pre-fill", packs, max(1, prefill_rows // packs)))
        yield made


def _registered(field_: Field, packs: int) -> Registered:
    with field_.admin() as connection:
        rows = connection.execute("SELECT external_id, pack_id, tenant_id FROM packs").fetchall()
    numbers = {name: number for name, number, _ in rows}
    return Registered(
        rows[0][2], np.array([numbers[pack_name(position)] for position in range(packs)], np.int32)
    )


def _make_rules(field_: Field) -> None:
    """Rules that no reading of the fleet breaches, and that hold for yesterday's readings too."""
    with httpx.Client(
        base_url=f"http://127.0.0.1:{field_.engine.port}", headers={"Authorization": f"Bearer {field_.token}"}
    ) as client:
        for number in range(RULES):
            condition = {"kind": "threshold", "measure": "temperature_c", "side": "above"}
            limits = {"limit": 50 + number, "clear_limit": 50, "duration_s": 0 if number % 2 else 60}
            rule = {"name": f"hot {number}", "scope": {"kind": "tenant"}, "severity": "warning"}
            client.post("/v1/rules", json=rule | {"condition": condition | limits}).raise_for_status()
    with field_.admin() as connection:
        connection.execute("UPDATE rule_versions SET effective_from = '2000-01-01'")
        connection.execute("UPDATE tenants SET rules_version = rules_version + 1")


def _prefill(field_: Field, shape: Shape) -> None:
    (readings,) = field_.fresh(shape, 1)
    path = write_server_file(
        field_.engine.data_dir, "prefill", copy_rows(readings, field_.fleet, _PREFILL_BATCH_NO)
    )
    with field_.admin() as connection:
        copy_from_server_file(connection, path)
        connection.execute("VACUUM (ANALYZE) readings")
        connection.execute("CHECKPOINT")
    path.unlink()


@dataclass(frozen=True, slots=True)
class Digest:
    """What tells apart sets of rows: their number, sums of thousandths by measure, and a sum of hashes."""

    rows: int
    thousandths: tuple[int, ...]
    hashes: int


def digest_of(connection: psycopg.Connection[Any], batch_numbers: Sequence[int]) -> Digest:
    """The digest of the stored rows of some batches, without their batch number."""
    sums = ", ".join(f"sum(round({name}::numeric * 1000))" for name in MEASURE_NAMES)
    row = ", ".join(("tenant_id", "pack_id", "ts", *MEASURE_NAMES))
    found = connection.execute(
        f"SELECT count(*), {sums}, sum(hashtextextended(ROW({row})::text, 0)::numeric) "
        "FROM readings WHERE batch_no = ANY(%s)",
        [list(batch_numbers)],
    ).fetchone()
    if found is None:
        raise RuntimeError("the database didn't answer")
    count, *thousandths, hashes = found
    return Digest(count, tuple(int(one or 0) for one in thousandths), int(hashes or 0))


def sums_of(readings: FleetReadings) -> tuple[int, ...]:
    """What `Digest.thousandths` must be for these readings, rounded as 32-bit numbers are."""
    as_stored = to_thousandths(readings.values().astype(np.float32))
    return tuple(int(one) for one in as_stored.astype(np.int64).sum(axis=1))
