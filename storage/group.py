"""One transaction of a partition's writer: what it reads, and what it writes (rule E9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import psycopg

from domain.alert_rules import Rule, Silence, TenureScope
from domain.alerts import AlertAction, AlertChanges, ClearByHand, SetAside
from domain.clock import from_ms
from domain.errors import FencedError
from domain.packs import ALWAYS_MS, FOREVER_MS
from domain.readings import (
    FormerReadings,
    Found,
    HeldTenures,
    Int32Array,
    Int64Array,
    LookUps,
    NewReadings,
    Outcome,
    PackMarks,
    ReadingKeys,
    StoredReadings,
    to_thousandths,
    to_values,
)
from domain.receipts import Receipt
from domain.tenancy import TenantId, TenantVersions
from domain.windows import QUARTER_MS
from kernels import pgcopy
from kernels.identity import sorted_order
from kernels.touched import touched_windows
from storage import quarantine
from storage.alert_actions import answer_clearance, audit, write_action
from storage.alerting import quarantined_since, rules_of, scopes_of, write_changes
from storage.database import int4s, int8s, query, times
from storage.days import class_table
from storage.hypertables import DIRECT_COMPRESS_ROWS_MIN
from storage.known_marks import KnownMarks
from storage.partition_queries import PartitionQueries
from storage.receipts import items_to_json, receipt_of

COPY_CHUNK_BYTES = 1 << 20
COMMITS_CHANNEL = "bpm_commits"
"""Of notifications that the position of a partition of a topic has moved."""

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class CommittedBatch:
    """What is known of a batch that was committed before."""

    body_hash: bytes | None
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class NoteRule:
    """Which changes leave a note (rule E15): those that reach a quarter-hour before the closing mark."""

    closed_before_ms: int
    gap_ms: int

    def leave(
        self,
        queries: PartitionQueries,
        tenant: Int32Array,
        pack: Int32Array,
        ts_ms: Int64Array,
        batch: Int32Array,
        numbers: npt.NDArray[np.int64],
    ) -> None:
        """Write the notes of readings that are inserted, corrected or deleted, sorted by (pack, ts_ms).

        The days in which they lie have changed: no answer about them that was kept is right any more.
        batch int32[n] is the position of each reading's batch number in `numbers`.
        """
        row, starts = touched_windows(
            tenant,
            pack,
            ts_ms,
            batch,
            reach_ms=self.gap_ms,
            window_ms=QUARTER_MS,
            before_ms=self.closed_before_ms,
        )
        if len(row):
            notes = {
                "tenant": int4s(tenant[row]),
                "pack": int4s(pack[row]),
                "starts": times(starts),
                "batch_no": int8s(numbers[batch[row]]),
            }
            queries.rows("partition.insert_notes", notes)
            days = np.unique(np.stack([tenant[row].astype(np.int64), starts // _DAY_MS * _DAY_MS]), axis=1)
            touched = {"tenant": int4s(days[0]), "day_starts": times(days[1])}
            queries.rows("partition.raise_closed_changes", touched)


class GroupTransaction:
    """What a group may do inside its transaction."""

    def __init__(
        self,
        queries: PartitionQueries,
        known_marks: KnownMarks,
        epoch: int,
        position: int,
        notes: NoteRule,
        until: int | None = None,
    ) -> None:
        self._queries = queries
        self._known_marks = known_marks
        self._epoch = epoch
        self._position = position
        self._notes = notes
        self._until = until
        self._numbers: npt.NDArray[np.int64] | None = None
        self.moved_to: tuple[int, int] | None = None
        """Position and last batch number, once they are written."""

    def tenant_versions(self, tenants: Sequence[TenantId]) -> dict[TenantId, TenantVersions]:
        """The versions of each tenant's registry and rules, held still until commit."""
        return _versions(self._queries.rows("partition.tenant_versions", {"tenants": list(tenants)}))

    def erased(self, tenants: Sequence[TenantId]) -> set[TenantId]:
        """Those of the tenants that were erased, or are being erased."""
        if not tenants:
            return set()
        return {
            row["tenant_no"] for row in self._queries.rows("partition.erased", {"tenants": list(tenants)})
        }

    def is_home_of(self, tenant_id: TenantId) -> bool:
        """Whether what belongs to the tenant and to no pack belongs to this partition."""
        return tenant_id % self._queries.partitions == self._queries.partition_no

    def versions_with_rules(self) -> dict[TenantId, TenantVersions]:
        """The same of every tenant that has ever had rules."""
        return _versions(self._queries.rows("alerting.tenants"))

    def rules_of(self, tenants: Sequence[TenantId]) -> tuple[list[Rule], list[Silence]]:
        """The rules and silences of some tenants."""
        return rules_of(self._queries, tenants)

    def scopes_of(self, tenures: Int32Array) -> list[TenureScope]:
        """Where the packs of some tenures stand."""
        return scopes_of(self._queries, tenures)

    def quarantined_since(self, moment_ms: int, tenants: Sequence[TenantId]) -> list[SetAside]:
        """What live batches that arrived later brought that was set aside, as it was committed."""
        return quarantined_since(self._queries, moment_ms, tenants)

    def write_alerts(self, changes: AlertChanges) -> None:
        """What rules changed; after `write`, when batches of the group brought it."""
        write_changes(self._queries, changes, self._numbers)

    def write_action(self, action: AlertAction, now_ms: int) -> None:
        """What somebody did with an alert. Raises NotFoundError."""
        write_action(self._queries, action, from_ms(now_ms))

    def note_cleared(self, asked: ClearByHand) -> None:
        """Write who cleared an alert into the audit log."""
        audit(self._queries, asked, "cleared")
        answer_clearance(self._queries, asked, was_open=True)

    def committed(self, keys: Sequence[tuple[TenantId, UUID]]) -> dict[tuple[TenantId, UUID], CommittedBatch]:
        """Those of the batches that were committed before, with their receipts."""
        if not keys:
            return {}
        parameters = {"tenants": [tenant for tenant, _ in keys], "ids": [batch for _, batch in keys]}
        rows = self._queries.rows("batches.find", parameters)
        return {
            (row["tenant_id"], row["id"]): CommittedBatch(row["body_hash"], receipt_of(row)) for row in rows
        }

    def undone_imports(self, imports: Sequence[UUID]) -> set[UUID]:
        """Those of the imports that take no more readings; the others can't be undone until commit."""
        if not imports:
            return set()
        rows = self._queries.rows("batches.lock_imports", {"imports": list(imports)})
        return {row["id"] for row in rows if row["undone_at"] is not None}

    def tenures_of(self, packs: Int32Array, tenant_id: TenantId) -> HeldTenures:
        """All tenures of some packs, and the tenant's line; held still until commit by `tenant_versions`."""
        columns = self._queries.columns("windows.tenures_of", {"packs": int4s(packs)})
        (before,) = self._queries.columns("partition.archived_before", {"tenant_id": tenant_id})
        if columns[0] is None:
            nothing, never = np.empty(0, np.int32), np.empty(0, np.int64)
            return HeldTenures(nothing, nothing, never, never, nothing, ALWAYS_MS)
        tenant, pack, from_ms, to_ms, number = columns
        return HeldTenures(tenant, pack, from_ms, to_ms, number, ALWAYS_MS if before is None else int(before))

    def source_positions(self, sources: Sequence[str]) -> dict[str, int]:
        """Up to where this partition has what came from some sources; one that is new is left out."""
        rows = self._queries.rows("partition.source_positions", {"sources": list(sources)})
        return {row["source"]: row["next"] for row in rows}

    def move_sources(self, positions: Mapping[str, int]) -> None:
        """Up to where this partition has now what came from some sources."""
        given = {"sources": list(positions), "next": int8s(list(positions.values()))}
        self._queries.rows("partition.move_sources", given)

    def others(self, tenant_id: TenantId, marks: PackMarks) -> Int32Array:
        """The numbers under which a tenant has other packs here than those marked, or none."""
        unknown = self._known_marks.unknown(marks)
        if len(unknown.pack) == 0:
            return unknown.pack
        asked = {"tenant_id": tenant_id, "packs": int4s(unknown.pack), "marks": int8s(unknown.mark)}
        (found,) = self._queries.columns("partition.packs_marked_so", asked)
        same = np.isin(unknown.pack, np.empty(0, np.int32) if found is None else found)
        self._known_marks.learn(PackMarks(unknown.pack[same], unknown.mark[same]))
        return unknown.pack[~same]

    def find(self, look_ups: LookUps) -> Found:
        """The stored readings of these identities, several rows when measures came one by one; and former ones."""
        return Found(self._find_stored(look_ups.stored), self._find_former(look_ups.former))

    def _find_stored(self, keys: ReadingKeys) -> StoredReadings:
        if len(keys) == 0:
            return StoredReadings.none()
        bounds = {"from": from_ms(int(keys.ts_ms.min())), "to": from_ms(int(keys.ts_ms.max()))}
        return stored_of(self._queries.columns("readings.find", _keys(keys) | bounds))

    def _find_former(self, keys: ReadingKeys) -> FormerReadings:
        if len(keys) == 0:
            return FormerReadings.none()
        pack, ts_ms, deleted, *values = self._queries.columns("readings.find_former", _keys(keys))
        if pack is None:
            return FormerReadings.none()
        return FormerReadings(pack, ts_ms, deleted, to_thousandths(np.stack(values)))

    def write(self, outcome: Outcome) -> None:
        """Readings, receipts, what was set aside, and the position."""
        queries, results = self._queries, outcome.results
        (numbers,) = queries.columns("partition.batch_numbers", {"count": len(results)})
        self._numbers = numbers
        rows = outcome.rows
        _copy_readings(queries, rows, numbers)
        self._notes.leave(queries, rows.tenant, rows.pack, rows.ts_ms, rows.batch, numbers)
        _insert_batches(queries.connection, outcome, numbers, queries.partition_no, self._position)
        quarantine.insert(queries.connection, results)
        count_ingest(queries, outcome)
        self._advance(int(numbers[-1]))

    def write_correction(self, tenant: Int32Array, gone: StoredReadings, added: NewReadings) -> None:
        """What a correction puts in place of what it took out, the notes of both, and the position.

        tenant int32[n], whose the n readings were that are gone.
        """
        queries = self._queries
        (numbers,) = queries.columns("partition.batch_numbers", {"count": 1})
        _copy_readings(queries, added, numbers)
        tenant = np.concatenate([tenant, added.tenant])
        pack = np.concatenate([gone.pack, added.pack])
        ts_ms = np.concatenate([gone.ts_ms, added.ts_ms])
        order = sorted_order(pack, ts_ms)
        batch = np.zeros(len(pack), np.int32)
        self._notes.leave(queries, tenant[order], pack[order], ts_ms[order], batch, numbers)
        self._advance(int(numbers[-1]))

    def pass_over(self, last_batch_no: int) -> None:
        """Move the position behind a group of which nothing is left to be written."""
        self._advance(last_batch_no)

    def _advance(self, last_batch_no: int) -> None:
        """Move the position: compared and set, in the transaction of what it stands for (rule E7)."""
        queries = self._queries
        moved = queries.rows(
            "partition.advance",
            {
                "epoch": self._epoch,
                "next": self._position,
                "after": self._position_after(),
                "last_batch_no": last_batch_no,
            },
        )
        if not moved:
            raise FencedError(f"partition {queries.partition_no} has been taken over by another process")
        if self._until is not None:
            queries.rows("partition.notify_commit", {"channel": COMMITS_CHANNEL})
        self.moved_to = self._position_after(), last_batch_no

    def _position_after(self) -> int:
        return self._position + 1 if self._until is None else self._until


def _versions(rows: Sequence[dict[str, Any]]) -> dict[TenantId, TenantVersions]:
    return {row["tenant_id"]: TenantVersions(row["registry_version"], row["rules_version"]) for row in rows}


def _keys(keys: ReadingKeys) -> dict[str, Any]:
    return {"pack": int4s(keys.pack), "ts": times(keys.ts_ms)}


def stored_of(columns: tuple[Any, ...]) -> StoredReadings:
    """Readings from columns gathered as arrays: pack, ts, and each measure."""
    pack, ts_ms, *values = columns
    if pack is None:
        return StoredReadings.none()
    return StoredReadings(pack, ts_ms, to_thousandths(np.stack(values)))


def _copy_readings(queries: PartitionQueries, rows: NewReadings, numbers: npt.NDArray[np.int64]) -> None:
    if len(rows) == 0:
        return
    classes = queries.classes_of(rows.tenant)
    for class_no, tenants in classes.items():
        own = rows if len(classes) == 1 else rows.of(np.isin(rows.tenant, tenants))
        _copy_into(queries, class_table(class_no), own, numbers)


def _copy_into(
    queries: PartitionQueries, table: str, rows: NewReadings, numbers: npt.NDArray[np.int64]
) -> None:
    if queries.compresses:
        is_large = len(rows) >= DIRECT_COMPRESS_ROWS_MIN
        queries.rows("hypertables.compress_directly" if is_large else "hypertables.copy_as_usual")
    values = to_values(rows.thousandths).astype(np.float32)
    encoded = pgcopy.encode_rows(
        rows.tenant, rows.pack, rows.ts_ms, numbers[rows.batch], rows.index, values
    ).data
    with queries.connection.cursor().copy(
        query("readings.copy").replace(b"{readings}", table.encode())
    ) as copy:
        copy.write(pgcopy.HEADER)
        for start in range(0, len(encoded), COPY_CHUNK_BYTES):
            copy.write(encoded[start : start + COPY_CHUNK_BYTES])
        copy.write(pgcopy.TRAILER)


def _insert_batches(
    connection: psycopg.Connection[Any],
    outcome: Outcome,
    numbers: npt.NDArray[np.int64],
    partition_no: int,
    position: int,
) -> None:
    results = outcome.results
    spans = _spans(outcome.rows, len(results))
    counts = ("received", "accepted", "duplicate", "quarantined", "late", "conflicting", "items_omitted")
    connection.cursor().executemany(
        query("batches.insert"),
        [
            {
                "tenant_id": result.batch.tenant_id,
                "id": result.batch.id,
                "batch_no": int(number),
                "partition_no": partition_no,
                "position": position,
                "mode": result.batch.mode,
                "source": result.batch.source,
                "import_id": result.batch.import_id,
                "subject": result.batch.subject,
                "arrived_at": from_ms(result.batch.arrived_at_ms),
                "body_hash": result.batch.body_hash,
                "items": items_to_json(result.receipt),
                "ignored_keys": list(result.receipt.ignored_keys),
                "part_of": result.batch.part_of,
                "parts": result.batch.parts,
                "first_ts": span[0],
                "last_ts": span[1],
            }
            | {name: getattr(result.receipt, name) for name in counts}
            for result, number, span in zip(results, numbers, spans, strict=True)
        ],
    )


def count_ingest(queries: PartitionQueries, outcome: Outcome) -> None:
    """Count what a group stores, of each tenant and day of arrival, in its transaction: once, whatever is sent again.

    A body that was committed in parts stores nothing by itself, and has been counted with them.
    """
    stored = np.bincount(outcome.rows.batch, minlength=len(outcome.results)).tolist()
    counted: dict[tuple[TenantId, date], list[int]] = {}
    for result, readings in zip(outcome.results, stored, strict=True):
        batch = result.batch
        if len(batch.readings) + len(batch.quarantined) != result.receipt.received:
            continue
        sums = counted.setdefault((batch.tenant_id, from_ms(batch.arrived_at_ms).date()), [0, 0, 0])
        for place, count in enumerate((1, readings, 0 if batch.redriven else batch.body_bytes)):
            sums[place] += count
    if counted:
        batches, readings_, bytes_ = zip(*counted.values(), strict=True)
        given = {"batches": list(batches), "readings": list(readings_), "bytes": list(bytes_)}
        given |= {"tenant": [tenant for tenant, _ in counted], "day": [day for _, day in counted]}
        queries.rows("usage.count_ingest", given)


def _spans(rows: NewReadings, batches: int) -> list[tuple[datetime | None, datetime | None]]:
    """The smallest and largest time of each batch's rows; None for a batch without rows."""
    first, last = np.full(batches, FOREVER_MS), np.full(batches, ALWAYS_MS)
    np.minimum.at(first, rows.batch, rows.ts_ms)
    np.maximum.at(last, rows.batch, rows.ts_ms)
    return [
        (None, None) if starts > ends else (from_ms(starts), from_ms(ends))
        for starts, ends in zip(first.tolist(), last.tolist(), strict=True)
    ]
