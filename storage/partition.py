"""The store of one partition, for its only writer (rules E7 to E9, E12)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import dict_row

from domain.alert_rules import TenureScope
from domain.alerts import ClearByHand, OpenAlert, SavedRuleState
from domain.clock import from_ms, to_ms
from domain.corrections import Correction, Reached
from domain.errors import DatabaseRefusedError, FencedError, StateOutdatedError
from domain.measures import MEASURES
from domain.readings import (
    NEVER_MS,
    Holders,
    Int32Array,
    Int64Array,
    LastArrivals,
    LatestValues,
    LiveReadings,
    NewReadings,
    PackStates,
    RuleClocks,
    StoredReadings,
)
from domain.windows import quarter_of
from storage import live
from storage.alert_actions import answer_clearance, clearances
from storage.alerting import live_after, load_clocks, load_states, scopes_of
from storage.connections import connect
from storage.correcting import corrected_reading, held_then, latest_of, next_unfinished, replace_slice
from storage.database import adapt_columns, int4s, int8s
from storage.days import partition_of
from storage.group import GroupTransaction, NoteRule, stored_of
from storage.known_marks import KnownMarks
from storage.partition_queries import PartitionQueries

DAY_MS = 86_400_000
DAYS_AHEAD = 3


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedSlice:
    """What a slice of a correction took out and put in, and how far it came; None at the end."""

    gone: StoredReadings
    added: NewReadings
    reached: Reached | None


class PartitionStore:
    """One connection that writes a partition's groups; embedded, it holds the partition's writer lock.

    log: the topic that the partition's readings come from; None where the engine's own process takes them in.
    Not thread-safe: it belongs to the writer's thread, but for `position` and `cancel`.
    """

    def __init__(self, conninfo: str, partition_no: int, *, log: str | None = None) -> None:
        self._conninfo = conninfo
        self._partition_no = partition_no
        self._log = log
        self._queries: PartitionQueries | None = None
        self._epoch = 0
        self._next = 0
        self._arrivals = 0
        self._applied_batch_no = 0
        self._last_batch_no = 0
        self._known_partitions: set[str] = set()
        self._first_day = date.max
        self._gap_ms = 0
        self._known_marks = KnownMarks(1)

    def take_over(self) -> None:
        """Become the partition's writer: connect anew, take the writer lock, raise the epoch.

        Raises FencedError when another process holds the lock, psycopg.Error when the database is away.
        """
        queries = self._connect()
        # Where a log has owners, one that hangs must not keep the next one off: the epoch fences it.
        if self._log is None and not queries.one("partition.try_writer_lock")["pg_try_advisory_lock"]:
            self.close()
            raise FencedError(f"another process ingests into partition {self._partition_no} of this database")
        self._begin(queries, queries.one("partition.take_over"))

    def come_back(self) -> None:
        """Connect anew under the epoch that this owner has, wherever the position is by now.

        Raises FencedError when another owner has raised it, psycopg.Error when the database is away.
        """
        queries = self._connect()
        found = queries.one("partition.owned")
        if found["epoch"] != self._epoch:
            raise self._fenced()
        self._begin(queries, found)

    def is_ours(self) -> bool:
        """Whether epoch and position are those of this owner still. Raises psycopg.Error when the database is away."""
        found = self._required().one("partition.owned")
        return (found["epoch"], found["next"], found["arrivals"]) == (self._epoch, self._next, self._arrivals)

    @property
    def position(self) -> int:
        """The position of what comes next."""
        return self._next

    @staticmethod
    def is_about_data(error: Exception) -> bool:
        """Whether an error comes of what was to be written, and not of the store."""
        return not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)

    def _connect(self) -> PartitionQueries:
        self.close()
        connection = connect(self._conninfo, autocommit=True, row_factory=dict_row)
        adapt_columns(connection)
        connection.prepare_threshold = None
        queries = self._queries = PartitionQueries(connection, self._partition_no)
        self._check_layout(queries)
        return queries

    def _begin(self, queries: PartitionQueries, found: dict[str, Any]) -> None:
        self._epoch, self._next, self._arrivals = found["epoch"], found["next"], found["arrivals"]
        self._applied_batch_no, self._last_batch_no = found["applied_batch_no"], found["last_batch_no"]
        installation = queries.one("readings.first_day")
        self._first_day, self._gap_ms = installation["first_day"], installation["gap_s_max"] * 1000
        with queries.connection.transaction():
            if queries.rows("partition.make_marks"):
                queries.rows("partition.note_everything")
        self._known_partitions = {row["relname"] for row in queries.rows("readings.partition_names")}

    def _check_layout(self, queries: PartitionQueries) -> None:
        """Raises DatabaseRefusedError when the readings of this installation come from elsewhere."""
        layout = queries.one("partition.layout")
        if layout["topic"] != self._log:
            self.close()
            comes_from = "its own process" if layout["topic"] is None else f"the topic {layout['topic']}"
            what_to_do = "; start the engine with --kafka" if self._log is None else ""
            raise DatabaseRefusedError(
                f"the readings of this installation come from {comes_from}{what_to_do}"
            )
        queries.partitions = layout["partitions"]
        if layout["hypertables"]:
            queries.rows("hypertables.decompress_without_limit")
            queries.compresses = queries.one("hypertables.has_direct_compress")["has"]
        self._known_marks = KnownMarks(queries.partitions)

    def close(self) -> None:
        """Let go of the connection, and with it of the lock and of anything uncommitted."""
        if self._queries is not None:
            self._queries.connection.close()
            self._queries = None

    def cancel(self, wait_s_max: float) -> None:
        """From any thread: have the server end the statement that it works on, if there is one.

        Raises psycopg.Error when the server doesn't take that in within so long.
        """
        queries = self._queries
        if queries is not None:
            queries.connection.cancel_safe(timeout=wait_s_max)

    def load(self) -> tuple[PackStates, StoredReadings]:
        """The saved state, and the readings committed after it was saved."""
        saved = self._required().columns("partition.load_state")
        states = (
            PackStates.none() if saved[0] is None else PackStates(saved[0], saved[1], saved[2].T, saved[3].T)
        )
        with self._required().connection.transaction():
            # Without statistics of its newest rows the planner would read whole partitions instead of their BRIN.
            self._required().connection.execute("SET LOCAL enable_seqscan = off")
            later = self._required().columns("partition.readings_after", {"batch_no": self._applied_batch_no})
        return states, stored_of(later)

    def load_rules(self) -> tuple[RuleClocks, list[SavedRuleState], LiveReadings]:
        """Rule clocks as saved, where the rules stand, and the live readings committed after the clocks were saved."""
        queries = self._required()
        return load_clocks(queries), load_states(queries), live_after(queries, self._applied_batch_no)

    def holders(self) -> tuple[Holders, str]:
        """Where all packs are now, and the snapshot that said so."""
        return live.holders(self._required())

    def holders_since(self, snapshot: str) -> tuple[Int32Array, Holders, str]:
        """The packs of which a tenure changed after a snapshot, where they are now, and the snapshot of this look."""
        return live.holders_since(self._required(), snapshot)

    def last_arrivals(self) -> LastArrivals:
        """The last live arrivals as they were saved."""
        return live.last_arrivals(self._required())

    def open_alerts(self) -> list[OpenAlert]:
        """All alerts that are open."""
        return live.open_alerts(self._required())

    def tenure_scopes(self, tenures: Sequence[int]) -> list[TenureScope]:
        """Where the packs of some tenures stand."""
        return scopes_of(self._required(), np.array(tenures, np.int32))

    def corrected_packs(self) -> Int32Array:
        """The packs that have superseded readings."""
        (pack,) = self._required().columns("corrections.corrected_packs")
        return np.empty(0, np.int32) if pack is None else pack

    def next_correction(self) -> Correction | None:
        """The oldest correction that isn't done."""
        return next_unfinished(self._required())

    def correct_slice(self, correction: Correction, reached: Reached, readings_max: int) -> "CorrectedSlice":
        """Carry out a part of a correction, in one transaction of the owner (rules E7 and E15)."""
        queries = self._required()
        with self._owned() as closed_before_ms:
            notes = NoteRule(closed_before_ms, self._gap_ms)
            stays = None if self._log is None else self._next
            transaction = GroupTransaction(queries, self._known_marks, self._epoch, self._next, notes, stays)
            replaced, after = replace_slice(queries, correction, reached, readings_max)
            gone = replaced.readings
            added = corrected_reading(correction) if held_then(queries, correction) else NewReadings.none()
            if len(gone) or len(added):
                transaction.write_correction(replaced.tenant, gone, added)
                done = {"correction_no": correction.number, "readings": max(len(gone), len(added))}
                queries.rows("corrections.proceed", done)
            if len(added):
                # In the same transaction, so that it is never put in place twice.
                queries.rows("corrections.finish", {"correction_no": correction.number})
                after = None
        self._moved_on(transaction)
        return CorrectedSlice(gone, added, after)

    def packs_touched_by(self, correction: Correction) -> Int32Array:
        """The packs of which the correction has taken readings out."""
        found = self._required().columns("corrections.touched_packs", {"correction_no": correction.number})
        return np.empty(0, np.int32) if found[0] is None else found[0]

    def latest_of(self, pack: Int32Array) -> LatestValues:
        """The latest values of some packs, from what is stored."""
        return latest_of(self._required(), pack)

    def clearances(self) -> list[ClearByHand]:
        """The alerts that people clear, of which this owner has been asked by other processes."""
        return clearances(self._required())

    def answer_clearance(self, asked: ClearByHand) -> None:
        """Say that an alert was not open."""
        with self._owned():
            answer_clearance(self._required(), asked, was_open=False)

    def finish_correction(self, correction: Correction) -> None:
        """Say that the correction is done."""
        with self._owned():
            self._required().rows("corrections.finish", {"correction_no": correction.number})

    def latest_arrival_ms(self) -> int | None:
        """The last `arrived_at` that was given, as milliseconds since 1970; None in a new database."""
        (latest,) = self._required().one("partition.latest_arrival").values()
        return None if latest is None else to_ms(latest)

    def prepare_days(self, tenant: Int32Array, ts_ms: Int64Array) -> None:
        """Make the partitions that readings of these tenants and times need. Outside of any group.

        tenant int32[n] and ts_ms int64[n], of n readings.
        """
        classes = self._required().classes_of(tenant)
        for class_no, tenants in classes.items():
            own = ts_ms if len(classes) == 1 else ts_ms[np.isin(tenant, tenants)]
            for day in np.unique(own // DAY_MS):
                self._make_partition(datetime.fromtimestamp(int(day) * DAY_MS // 1000, UTC).date(), class_no)

    def prepare_days_ahead(self, now_ms: int) -> None:
        """Make the daily partitions of all classes of retention up to some days from now."""
        last = from_ms(now_ms).date() + timedelta(days=DAYS_AHEAD)
        for row in self._required().rows("partition.classes"):
            day = self._first_day
            while day <= last:
                self._make_partition(day, row["class_no"])
                day += timedelta(days=1)

    def _make_partition(self, day: date, class_no: int) -> None:
        wanted = partition_of(day, self._first_day, class_no)
        if wanted.name in self._known_partitions:
            return
        bounds = {"starts": wanted.starts, "ends": wanted.ends}
        at_midnight = {name: datetime.combine(value, time(), UTC) for name, value in bounds.items()}
        self._required().rows(
            "readings.make_partition", {"class_no": class_no, "name": wanted.name} | at_midnight
        )
        self._known_partitions.add(wanted.name)

    @contextmanager
    def group(self, until: int | None = None) -> Iterator["GroupTransaction"]:
        """One transaction of the owner: locks the row, checks epoch and position; commits when left cleanly.

        until: the position behind the group, where it is given by a log; None where the engine counts its groups.
        Raises FencedError when another owner has taken over.
        """
        with self._owned() as closed_before_ms:
            notes = NoteRule(closed_before_ms, self._gap_ms)
            transaction = GroupTransaction(
                self._required(), self._known_marks, self._epoch, self._next, notes, until
            )
            yield transaction
            if until is not None and transaction.moved_to is None:
                transaction.pass_over(self._last_batch_no)
        self._moved_on(transaction)

    def _moved_on(self, transaction: GroupTransaction) -> None:
        """The position moves in memory only now, after COMMIT was confirmed."""
        if transaction.moved_to is not None:
            self._next, self._last_batch_no = transaction.moved_to

    @contextmanager
    def _owned(self) -> Iterator[int]:
        """A transaction that begins with the partition's row (rule E7); gives the closing mark."""
        connection = self._required().connection
        with connection.transaction():
            locked = self._required().one("partition.lock")
            if (locked["epoch"], locked["next"]) != (self._epoch, self._next):
                raise self._fenced()
            self._require_known(locked)
            yield locked["closed_before_ms"]
        if connection.closed:
            # psycopg leaves a transaction without COMMIT, and without a word, when the connection has ended.
            raise psycopg.OperationalError("the connection ended before COMMIT was confirmed")

    def close_quarters(self, now_ms: int, close_after_s: int) -> None:
        """Close the quarter-hours that ended long enough ago, and so far that no line reaches them any more."""
        before_ms = quarter_of(now_ms - max(close_after_s * 1000, self._gap_ms))
        with self._owned() as closed_before_ms:
            if before_ms > closed_before_ms:
                self._required().rows("partition.close_quarters", {"before": from_ms(before_ms)})

    def check(self) -> None:
        """Raises psycopg.Error when the database is away, FencedError when another process has taken over.

        Raises StateOutdatedError when packs arrived with their history, or left with it.
        """
        found = self._required().one("partition.epoch")
        if found["epoch"] != self._epoch:
            raise self._fenced()
        self._require_known(found)

    def _require_known(self, found: dict[str, Any]) -> None:
        """Raises StateOutdatedError when packs arrived that what is remembered doesn't know, or were erased."""
        if found["arrivals"] != self._arrivals:
            raise StateOutdatedError(
                "packs arrived from another cell or were erased; the state is loaded again"
            )

    def _fenced(self) -> FencedError:
        return FencedError(f"partition {self._partition_no} has been taken over by another process")

    def save_state(self, states: PackStates, clocks: RuleClocks, arrivals: LastArrivals) -> None:
        """Save packs' states, which hold every reading committed so far, and of some of them clocks and last arrivals.

        The arrivals are of the same packs as the clocks, NEVER_MS where there was none.
        """
        with self._owned():
            parameters = {
                "pack": int4s(states.pack),
                "watermark_ms": int8s(states.watermark_ms),
                "latest_ts_ms": int8s(states.latest_ts_ms.T.ravel()),
                "latest": int4s(states.latest.T.ravel()),
                "clock": int4s(_places(states.pack, clocks.pack) + 1),
                "rule_tenant": int4s(clocks.tenant),
                "rule_tenure": int4s(clocks.tenure),
                "rule_clock_ms": int8s(clocks.clock_ms),
                "rule_last_ts_ms": int8s(clocks.last_ts_ms.T.ravel()),
                "rule_last": int4s(clocks.last.T.ravel()),
                "live_tenant": int4s(arrivals.tenant),
                "live_arrived_ms": int8s(arrivals.arrived_ms),
                "live_newest_ts_ms": int8s(arrivals.newest_ts_ms),
                "live_skew_ms": int8s(arrivals.skew_ms),
                "never_ms": NEVER_MS,
                "measures": len(MEASURES),
            }
            self._required().rows("partition.save_state", parameters)
            self._required().rows("partition.mark_applied", {"batch_no": self._last_batch_no})
        self._applied_batch_no = self._last_batch_no

    def clock_confirmed_at_ms(self) -> int | None:
        """When the operator last confirmed the wall clock."""
        (moment,) = self._required().one("partition.clock_confirmed_at").values()
        return None if moment is None else to_ms(moment)

    def _required(self) -> PartitionQueries:
        if self._queries is None:
            raise psycopg.OperationalError("not connected")
        return self._queries


def _places(pack: Int32Array, among: Int32Array) -> Int32Array:
    """Where each pack stands among ascending others, -1 for nowhere. All of the others are among the packs."""
    places = np.full(len(pack), -1, np.int32)
    found = np.flatnonzero(np.isin(pack, among, assume_unique=True))
    if len(found) != len(among):
        raise ValueError("a rule clock of a pack whose state is not saved with it")
    places[found] = np.searchsorted(among, pack[found])
    return places
