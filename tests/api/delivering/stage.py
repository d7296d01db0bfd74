"""Alerts put straight into the store, a clock that a test moves, and the parts that deliver, one step at a time."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from api.database_access import DatabaseAccess
from api.delivering.outside import Outside, make_outside
from api.delivering.signing import new_secret
from api.disk import DiskGuard
from api.metrics import Metrics
from api.settings import Environment, Settings
from domain.channels import ChannelKind, QuietHours
from domain.clock import AnchoredClock, from_ms, to_ms
from domain.tenancy import Actor, Role, TenantId
from storage import channels as stored
from storage import deliveries
from storage.database import APP_ROLE, INGEST_ROLE
from storage.partition import PartitionStore
from storage.transactions import Transactions, open_pool

Result = TypeVar("Result")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
DEFAULT_EVENTS = ("raised", "provisional", "cleared", "withdrawn")


@dataclass
class HandClock:
    """A clock that stands until it is moved."""

    now: datetime = NOON
    clock: AnchoredClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = AnchoredClock(lambda: to_ms(self.now), lambda: to_ms(self.now))

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass(frozen=True)
class ChannelMade:
    id: uuid.UUID
    secret: str


@dataclass
class Stage:
    """One process that delivers, on a database of its own."""

    access: DatabaseAccess
    settings: Settings
    hand: HandClock
    outside: Outside
    transactions: Transactions
    tenant: int
    metrics: Metrics
    _alerts: int = 0

    def connect(self) -> psycopg.Connection[dict[str, Any]]:
        return psycopg.connect(
            self.access.admin,
            autocommit=True,
            row_factory=dict_row,
            options="-c search_path=bpm -c timezone=UTC",
        )

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def deliveries(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM deliveries ORDER BY delivery_no")

    def states(self) -> list[str]:
        return [row["state"] for row in self.deliveries()]

    def channel_row(self, made: ChannelMade) -> dict[str, Any]:
        (row,) = self.rows("SELECT * FROM channels WHERE id = %s", made.id)
        return row

    async def channel(
        self,
        url: str | None = None,
        *,
        to: tuple[str, ...] | None = None,
        tenant: int | None = None,
        events: tuple[str, ...] = DEFAULT_EVENTS,
        severities: tuple[str, ...] | None = None,
        rules: tuple[uuid.UUID, ...] | None = None,
        sites: tuple[uuid.UUID, ...] | None = None,
        muted: bool = False,
        quiet: QuietHours | None = None,
    ) -> ChannelMade:
        channel_id, secret = uuid.uuid4(), new_secret()
        tenant_id = TenantId(self.tenant if tenant is None else tenant)
        facts = stored.ChannelFacts(
            str(channel_id), True, url, to, events, severities, rules, sites, muted, quiet
        )
        kind = ChannelKind.WEBHOOK if to is None else ChannelKind.EMAIL
        sealed = None if to is not None else self.outside.sealer.seal(secret, tenant_id, channel_id)
        async with self.transactions.begin(self.actor(tenant_id), "request") as transaction:
            await stored.create(transaction, channel_id, kind, facts, sealed, self.hand.now, 100)
        return ChannelMade(channel_id, secret)

    def actor(self, tenant: int | None = None) -> Actor:
        tenant_id = TenantId(self.tenant if tenant is None else tenant)
        return Actor("tester", tenant_id, "tenant", frozenset({Role.TENANT_ADMIN}))

    async def edit(self, made: ChannelMade, **changes: Any) -> None:
        """Change what a channel is."""
        now = from_ms(self.hand.clock.now_ms())
        version = self.channel_row(made)["version"]

        def decide(before: dict[str, Any]) -> stored.ChannelFacts:
            names = {field.name for field in fields(stored.ChannelFacts)} - {"quiet"}
            return stored.ChannelFacts(**({name: before[name] for name in names} | {"quiet": None} | changes))

        async with self.transactions.begin(self.actor(), "request") as transaction:
            await stored.change(transaction, made.id, version, decide, now)

    async def replay(self, delivery_id: uuid.UUID) -> None:
        now = from_ms(self.hand.clock.now_ms())
        async with self.transactions.begin(self.actor(), "request") as transaction:
            await deliveries.replay(transaction, delivery_id, now)

    def new_tenant(self, name: str) -> int:
        return int(
            self.rows("INSERT INTO tenants (name) VALUES (%s) RETURNING tenant_id", name)[0]["tenant_id"]
        )

    def site(self, name: str, tenant: int | None = None) -> uuid.UUID:
        statement = "INSERT INTO sites (tenant_id, name, zone) VALUES (%s, %s, 'UTC') RETURNING id"
        return uuid.UUID(str(self.rows(statement, tenant or self.tenant, name)[0]["id"]))

    def rule(self, name: str, tenant: int | None = None) -> int:
        tenant = self.tenant if tenant is None else tenant
        found = self.rows("SELECT rule_no FROM rules WHERE tenant_id = %s AND name = %s", tenant, name)
        if not found:
            found = self.rows(
                "INSERT INTO rules (tenant_id, name, scope) VALUES (%s, %s, 'tenant') RETURNING rule_no",
                tenant,
                name,
            )
            self.rows(
                "INSERT INTO rule_versions VALUES (%s, %s, 1, 'epoch', true, 'info', %s, 5, 3600, 'tester')",
                tenant,
                found[0]["rule_no"],
                '{"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 50,'
                ' "duration_s": 0}',
            )
        return int(found[0]["rule_no"])

    def happen(
        self,
        kind: str = "raised",
        *,
        severity: str = "warning",
        rule: str = "too hot",
        site: uuid.UUID | None = None,
        tenant: int | None = None,
        pack: str | None = None,
        silence: uuid.UUID | None = None,
    ) -> int:
        """An alert of its own, to which something happens; gives the number in the log."""
        self._alerts += 1
        tenant = self.tenant if tenant is None else tenant
        rule_no = self.rule(rule, tenant)
        at = self.hand.now
        onset = at + timedelta(milliseconds=self._alerts)
        with self.connect() as connection, connection.transaction():
            pack_id = tenure_no = None
            if pack is not None or site is not None:
                name = pack or f"P-{self._alerts}"
                (made,) = connection.execute(
                    "INSERT INTO packs (tenant_id, external_id) VALUES (%s, %s) RETURNING pack_id",
                    (tenant, name),
                ).fetchall()
                pack_id = made["pack_id"]
                (held,) = connection.execute(
                    "INSERT INTO tenures (tenant_id, pack_id, site_id, held_from, held_to)"
                    " VALUES (%s, %s, %s, '-infinity', 'infinity') RETURNING tenure_no",
                    (tenant, pack_id, site),
                ).fetchall()
                tenure_no = held["tenure_no"]
            (row,) = connection.execute(
                "UPDATE partitions SET alert_seq = alert_seq + 1 WHERE partition_no = 0 RETURNING alert_seq AS seq"
            ).fetchall()
            connection.execute(
                "INSERT INTO alerts (tenant_id, rule_no, rule_version, pack_id, tenure_no, onset, raised_at, state,"
                " severity, value, flapping, late, provisional, silence_id, maintenance, partition_no, seq)"
                " VALUES (%s, %s, 1, %s, %s, %s, %s, 'open', %s, 61, false, false, false, %s, false, 0, %s)",
                (tenant, rule_no, pack_id, tenure_no, onset, at, severity, silence, row["seq"]),
            )
            connection.execute(
                "INSERT INTO rule_transitions (tenant_id, partition_no, seq, rule_no, rule_version, pack_id, kind,"
                " reason, rule_time, onset, value, flapping, tenure_no)"
                " VALUES (%s, 0, %s, %s, 1, %s, %s, 'measured', %s, %s, 61, false, %s)",
                (tenant, row["seq"], rule_no, pack_id, kind, at, onset, tenure_no),
            )
        return int(row["seq"])

    async def turn(self) -> None:
        """Dispatch what happened, and send what is due, once."""
        await self.outside.dispatcher.look()
        await self.outside.sender.look()
        await self.outside.sender.settle()

    async def turn_until(self, count: int, state: str = "delivered", turns_max: int = 100) -> None:
        """Turn, moving the clock by what is waited for, until so many deliveries are in a state."""
        for _ in range(turns_max):
            await self.turn()
            if self.states().count(state) >= count:
                return
            waits = self.rows(
                "SELECT greatest(next_due_at, busy_until) AS at FROM channels WHERE next_due_at IS NOT NULL"
            )
            later = [row["at"] for row in waits if row["at"] > self.hand.now]
            if later:
                # The engine's clock counts whole milliseconds.
                self.hand.now = min(later) + timedelta(milliseconds=1)
        raise AssertionError(self.deliveries())


def metrics_of(data_dir: Path) -> Metrics:
    """Metrics of an engine that does nothing else."""
    return Metrics(lambda: 0, lambda: False, lambda: 0, DiskGuard(data_dir, 0, 1))


@asynccontextmanager
async def staged(
    access: DatabaseAccess,
    data_dir: Path,
    hand: HandClock | None = None,
    tenant: int | None = None,
    **settings: Any,
) -> AsyncIterator[Stage]:
    """A stage until the end. With `tenant`: another process beside one that is there."""
    settings = {"webhook_http_allowed": True, "webhook_networks_allowed": ("127.0.0.0/8",)} | settings
    given = Settings(env=Environment.DEVELOPMENT, data_dir=data_dir, **settings)
    hand = hand or HandClock()
    metrics = metrics_of(data_dir)
    conninfo = access.as_role(INGEST_ROLE, given)
    outside = make_outside(given, conninfo, hand.clock, metrics, lambda _: None)
    pool = open_pool(access.as_role(APP_ROLE, given), connections_max=2, wait_s_max=10)
    await pool.open()
    await outside.pool.open()
    stage = Stage(access, given, hand, outside, Transactions(pool), 0, metrics)
    if tenant is None:
        store = PartitionStore(conninfo, 0)
        store.take_over()
        store.close()
        stage.tenant = stage.new_tenant(f"t-{uuid.uuid4().hex[:12]}")
        stage.rows("DELETE FROM delivery_events")
        stage.rows("DELETE FROM deliveries")
        stage.rows("DELETE FROM channels")
        await outside.dispatcher.look()
    else:
        stage.tenant = tenant
    try:
        yield stage
    finally:
        await outside.pool.close()
        await pool.close()


def run(steps: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(steps)
