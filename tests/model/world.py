"""The real engine on a real database, moved on step by step in one thread: its time, its writer, its clients."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import dict_row

from api.database_access import DatabaseAccess
from api.settings import Settings
from domain.clock import AnchoredClock, from_ms
from domain.errors import FencedError, RegistryChangedError
from domain.measures import MEASURE_INDEX, MEASURE_NAMES, MEASURES
from domain.packs import KnownPack
from domain.readings import IncomingBatch
from domain.receipts import Mode
from domain.receipts import Receipt as EngineReceipt
from domain.tenancy import PARTITION_ZERO, Actor, Role, TenantId
from ingest.columns import RawReadings
from ingest.validate import Sender, TimeLimits, judge
from storage import packs
from storage.counting import CountingLimits, CountingStore
from storage.database import APP_ROLE, INGEST_ROLE, adapt_columns
from storage.partition import PartitionStore
from storage.registry import Registry
from storage.tenants import create as create_tenant
from storage.transactions import Transactions
from streams.embedded import EmbeddedRunner
from streams.limits import OwnerLimits, RunnerLimits
from streams.pipeline import PipelineLimits
from streams.ports import Stage
from tests.model.model import Batch, Rules

GAP_S = 300
CLOSE_AFTER_S = 60
BULK_SLICE = 5
TURNS_MAX = 200
ASKED_MAX = 100
COUNT_NOTES = 5
COUNT_PACKS = 2
ZONES = ("Europe/Zurich", "Asia/Kathmandu")
BEGINS_MS = 1_774_483_200_000  # 2026-03-26, some days before Zurich changes its clocks

SETTINGS = Settings(close_after_s=CLOSE_AFTER_S)
RULES = Rules(
    measures=MEASURE_NAMES,
    low=tuple(round(measure.minimum * 1000) for measure in MEASURES),
    high=tuple(round(measure.maximum * 1000) for measure in MEASURES),
    voltage=MEASURE_INDEX["voltage_v"],
    current=MEASURE_INDEX["current_a"],
    gap_ms=GAP_S * 1000,
    future_ms=SETTINGS.future_s_max * 1000,
    late_ms=SETTINGS.late_s_max * 1000,
    late_after_ms=SETTINGS.late_after_s * 1000,
)
LIMITS = RunnerLimits(
    owner=OwnerLimits(
        close_after_s=CLOSE_AFTER_S,
        correction_slice_readings=3,
        silent_after_s=900,
        skew_s_max=60,
        save_state_s=30.0,
        retry_after_s=1,
    ),
    queue_readings_max=100_000,
    queue_bytes_max=1 << 30,
    bulk_readings_min=10,
    group_readings_max=100_000,
    recover_s_max=1.0,
    bulk_slice_readings=BULK_SLICE,
    stop_s_max=10.0,
)


class Trouble(Exception):  # noqa: N818 - what a store might raise
    """Raised at a named point, as a store that fails would raise."""


class Crash(BaseException):
    """The process ends here: nothing of the engine catches it."""


class Stuck(BaseException):
    """The writer doesn't get the store back."""


@dataclass(slots=True)
class Fault:
    """Something that happens from the n-th passing of a point on: before or after a COMMIT of the writer."""

    point: str
    passings: int
    times: int
    act: Callable[[], None]


class UnreliableStore(PartitionStore):
    """The real store, in which a fault may happen around any COMMIT of the writer."""

    fault: Fault | None = None
    await_lock: Callable[[], None]

    def take_over(self) -> None:
        try:
            super().take_over()
        except FencedError:
            # The server takes a moment to notice that the connection before has ended.
            self.await_lock()
            super().take_over()

    @contextmanager
    def _owned(self) -> Iterator[int]:
        with super()._owned() as closed_before_ms:
            yield closed_before_ms
            self._pass("before")
        self._pass("after")

    def _pass(self, point: str) -> None:
        fault = self.fault
        if fault is not None and fault.point == point:
            fault.passings -= 1
            if fault.passings <= 0:
                fault.times -= 1
                if fault.times == 0:
                    self.fault = None
                fault.act()

    def hang_up(self) -> None:
        """End the connection on this side."""
        if self._queries is not None:
            self._queries.connection.close()

    def cut(self) -> None:
        """End the connection under its feet."""
        if self._queries is not None:
            with socket.socket(fileno=os.dup(self._queries.connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)


def at_no_stage(stage: Stage) -> None:
    """Nothing else happens at a stage of a group's way."""


def at_once(turn: Callable[[], None]) -> None:
    """A turn of the writer with nothing around it."""
    turn()


class MeetingCounter(CountingStore):
    """The real counter, which something else may meet: between its look at the notes and its reading of readings, or
    before it stores what it counted."""

    before_reading: Callable[[], None] | None = None
    before_storing: Callable[[], None] | None = None

    def _count_closed(self, *given: Any) -> None:
        self._meet("before_reading")
        super()._count_closed(*given)

    def _count_noted(self, *given: Any) -> None:
        self._meet("before_reading")
        super()._count_noted(*given)

    def _store(self, *given: Any) -> None:
        self._meet("before_storing")
        super()._store(*given)

    def _meet(self, point: str) -> None:
        met = getattr(self, point)
        if met is not None:
            setattr(self, point, None)
            met()


@dataclass(slots=True)
class OneConnection:
    """Stands for a pool: one request at a time."""

    held: psycopg.AsyncConnection[Any]

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        yield self.held


@dataclass(slots=True)
class Tenant:
    id: int
    name: str
    actor: Actor


@dataclass(frozen=True, slots=True)
class Texts:
    """Raw items that are kept as texts."""

    texts: tuple[str, ...]

    def __call__(self, index: int) -> str:
        return self.texts[index]

    def release(self) -> None:
        """Nothing that could be decoded again."""


@dataclass(eq=False)
class World:
    """One installation: two tenants, some packs, a clock, and a writer that works when it is told to."""

    access: DatabaseAccess
    now_ms: int = BEGINS_MS
    tenants: list[Tenant] = field(default_factory=list)
    names: tuple[str, ...] = ()
    waiting: int = 0
    asked: int = 0
    at_stage: Callable[[Stage], None] = at_no_stage
    around_turn: Callable[[Callable[[], None]], object] = at_once
    _known: dict[int, tuple[int, dict[str, KnownPack]]] = field(default_factory=dict)

    async def open(self, packs_of: dict[str, list[str]]) -> None:
        """Make the tenants with their packs and sites, and take the partition over."""
        self.ingest = self.access.as_role(INGEST_ROLE, SETTINGS)
        self.sql = psycopg.connect(
            self.access.admin, autocommit=True, options="-c search_path=bpm -c timezone=UTC"
        )
        begins = from_ms(BEGINS_MS)
        # Few daily partitions: planning takes its time over each; what is older shares monthly and yearly ones.
        self.sql.execute("UPDATE installation SET first_day = %s", (begins.date() - timedelta(days=2),))
        app = await psycopg.AsyncConnection.connect(
            self.access.as_role(APP_ROLE, SETTINGS), autocommit=True, row_factory=dict_row
        )
        adapt_columns(app)
        self._app = app
        self.transactions = Transactions(OneConnection(app))  # type: ignore[arg-type]
        directory = await psycopg.AsyncConnection.connect(self.ingest, autocommit=True, row_factory=dict_row)
        self._directory = directory
        self.registry = Registry(OneConnection(directory))  # type: ignore[arg-type]
        self.store = UnreliableStore(self.ingest, PARTITION_ZERO)
        self.store.await_lock = self._await_lock
        self.store.take_over()
        self.store.close()
        self.sql.execute("UPDATE partitions SET closed_before = %s", (begins,))
        self.sql.execute("UPDATE window_marks SET counted_before = %s", (begins,))
        self.names = tuple(name for names in packs_of.values() for name in names)
        self.counting = MeetingCounter(self.ingest, PARTITION_ZERO, CountingLimits(COUNT_NOTES, COUNT_PACKS))
        for name, names in packs_of.items():
            await self._make_tenant(name, names)
        for tenant in self.tenants:
            await self.refresh(tenant.id)
        self.runner = self._new_runner()

    async def _make_tenant(self, name: str, names: list[str]) -> None:
        create_tenant(self.ingest, name, register_unknown_packs=False)
        found = await self.registry.tenant(name)
        assert found is not None
        tenant = Tenant(
            found.tenant_id,
            name,
            Actor("tester", TenantId(found.tenant_id), name, frozenset({Role.TENANT_ADMIN})),
        )
        self.tenants.append(tenant)
        for zone in ZONES:
            self.sql.execute(
                "INSERT INTO sites (tenant_id, name, zone) VALUES (%s, %s, %s)", (tenant.id, zone, zone)
            )
        async with self.transactions.begin(tenant.actor, "") as transaction:
            await packs.register(transaction, [packs.NewPack(pack, site=ZONES[0]) for pack in names])

    async def close(self) -> None:
        self.store.close()
        self.counting.close()
        await self._app.close()
        await self._directory.close()
        self.sql.close()

    def _await_lock(self) -> None:
        for act in ("pg_advisory_lock", "pg_advisory_unlock"):
            self.sql.execute(f"SELECT {act}(hashtext('bpm.partition'), {PARTITION_ZERO})".encode())

    # The writer

    def _new_runner(self) -> EmbeddedRunner:
        self.store.fault = None
        self.asked = 0
        runner = EmbeddedRunner(
            self.store,
            LIMITS,
            PipelineLimits(SETTINGS.late_after_s, SETTINGS.receipt_items_max),
            AnchoredClock(lambda: self.now_ms, lambda: self.now_ms - BEGINS_MS),
            self._monotonic_s,
            lambda stage: self.at_stage(stage),  # noqa: PLW0108 - a step may put another in its place
        )
        if not runner.owner.take_over_until(self.now_ms / 1000):
            raise Stuck(runner.trouble)
        return runner

    def _monotonic_s(self) -> float:
        """Time stands still within a step, so a writer that waits for the store would wait for ever."""
        self.asked += 1
        if self.asked > ASKED_MAX:
            raise Stuck
        return self.now_ms / 1000

    def turn(self) -> None:
        """Let the writer commit what waits, and do one piece of what is due between groups."""
        self.asked = 0
        self.runner._intake.wake()
        self.around_turn(lambda: self.runner._turn() and None)

    def stop(self) -> None:
        """End the writer in good order."""
        self.runner._intake.stop()
        while self.runner._turn():
            pass
        self.runner._end()

    def restart(self) -> None:
        """Another writer in a new process: whatever the last one remembered is lost."""
        self.store.close()
        self.runner = self._new_runner()

    # Clients

    def transaction(self, tenant: int, *, read_only: bool = False) -> Any:
        """A transaction of a tenant's administrator."""
        return self.transactions.begin(self.tenant(tenant).actor, "", read_only=read_only)

    def tenant(self, number: int) -> Tenant:
        return next(one for one in self.tenants if one.id == number)

    async def send(self, batch: Batch) -> EngineReceipt:
        """The receipt of a body, judged again when packs changed meanwhile. Raises BpmError as a client is told."""
        arrived_ms = self.now_ms
        while True:
            self.runner.reserve(TenantId(batch.tenant), batch.id)
            incoming = self._judged(batch, arrived_ms)
            self.waiting += 1
            try:
                return await self.runner.submit(incoming)
            except RegistryChangedError:
                self.waiting -= 1
                await self.refresh(batch.tenant)
                self.waiting += 1
            finally:
                self.waiting -= 1

    async def refresh(self, tenant: int) -> None:
        """Read the tenant's packs and tenures again."""
        version = await self.registry.version(TenantId(tenant))
        self._known[tenant] = version.version, await self.registry.packs(TenantId(tenant), self.names)

    def _judged(self, batch: Batch, arrived_ms: int) -> IncomingBatch:
        version, known = self._known[batch.tenant]
        mode = Mode.LIVE if batch.import_id is None else Mode.IMPORT
        raw = raw_of(batch)
        limits = TimeLimits(SETTINGS.future_s_max, SETTINGS.late_s_max, 0)
        judged = judge(raw, known, Sender(TenantId(batch.tenant), batch.device), mode, arrived_ms, limits)
        return IncomingBatch(
            id=batch.id,
            tenant_id=TenantId(batch.tenant),
            subject="tester",
            source=batch.source,
            mode=mode,
            import_id=batch.import_id,
            arrived_at_ms=arrived_ms,
            body_hash=None if batch.body is None else sha256(batch.body).digest(),
            registry_version=version,
            body_bytes=10,
            received=raw.received,
            readings=judged.readings,
            quarantined=judged.quarantined,
            ignored_keys=(),
            raw_of=raw.raw_of,
        )


def raw_of(batch: Batch) -> RawReadings:
    """A batch's readings as a body's decoder gives them."""
    names = tuple(dict.fromkeys(reading.pack for reading in batch.readings))
    values = np.full((len(MEASURES), len(batch.readings)), np.nan)
    for index, reading in enumerate(batch.readings):
        for measure, value in reading.values:
            values[measure, index] = value / 1000
    return RawReadings(
        received=len(batch.readings),
        index=np.arange(len(batch.readings), dtype=np.int32),
        pack_names=names,
        pack_code=np.array([names.index(reading.pack) for reading in batch.readings], np.int32),
        ts_ms=np.array([reading.ts for reading in batch.readings], np.int64),
        values=values,
        problems=(),
        ignored_keys=(),
        raw_of=Texts(batch.raw),
    )
