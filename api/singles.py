"""Single readings of a topic, judged as those of a request are."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final
from uuid import UUID

import psycopg
from psycopg_pool import PoolTimeout

from api.bootstrap import DatabaseAccess, body_limits, open_pools, time_limits
from api.key_aliases.cache import AliasCache
from api.packs.cache import PackCache
from api.settings import Settings
from api.telemetry.service import known_packs, marks_of
from domain.cells import Placement
from domain.clock import AnchoredClock
from domain.errors import MessageMisdirectedError, MessageUnreadableError, UnavailableError
from domain.quarantine import ItemOrigin
from domain.readings import IncomingBatch
from domain.receipts import Mode
from domain.tenancy import Actor, TenantState
from ingest.bodies.native import decode_strictly, read_json
from ingest.columns import CutItems, PacksOfItems
from ingest.validate import Sender, judge
from storage.registry import Registry, Tenant
from storage.transactions import Transaction, Transactions

SOURCE: Final = "topic"
"""What readings of the topic say of where they came from, and who registers packs that they name."""


class SinglesJudge:
    """Makes batches of single readings. Whoever may publish in the topic may send for every tenant."""

    def __init__(self, settings: Settings, access: DatabaseAccess, clock: AnchoredClock) -> None:
        self._settings = settings
        self._clock = clock
        requests, directory = self._pools = open_pools(settings, access)
        self._registry = Registry(directory)
        self._packs = PackCache(self._registry)
        self._aliases = AliasCache(self._registry)
        self._transactions = Transactions(requests)
        self._tenants: dict[str, tuple[float, Tenant]] = {}

    async def open(self) -> None:
        """Begin to connect."""
        for pool in self._pools:
            await pool.open(wait=False)

    async def close(self) -> None:
        """Let go of the database."""
        for pool in self._pools:
            await pool.close()

    def read(self, value: bytes) -> None:
        """Raises BodyUnreadableError or MessageUnreadableError when this isn't a JSON object."""
        if not isinstance(decode_strictly(value), dict):
            raise MessageUnreadableError("the message isn't a JSON object")

    async def batch(self, tenant: str, batch_id: UUID, values: Sequence[bytes]) -> IncomingBatch:
        """The batch of some JSON objects, by their order.

        Raises UnavailableError while the store is away, MessageMisdirectedError for a tenant that isn't there.
        """
        try:
            return await self._batch(await self._tenant(tenant), batch_id, b"[" + b",".join(values) + b"]")
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise UnavailableError(
                "the database is away", retry_after_s=self._settings.retry_after_s
            ) from error

    async def _tenant(self, name: str) -> Tenant:
        cached = self._tenants.get(name)
        if cached is not None and time.monotonic() - cached[0] < self._settings.tenant_cache_s:
            return cached[1]
        found = await self._registry.tenant(name)
        if found is None:
            self._tenants.pop(name, None)
            raise MessageMisdirectedError("the message is for a tenant that is not in this database")
        if found.place.placement in (Placement.SEALED, Placement.MOVED):
            raise MessageMisdirectedError(
                f"the tenant is on the cell {found.place.cell}, or on its way there"
            )
        if found.place.state is not TenantState.ACTIVE:
            raise MessageMisdirectedError(f"the tenant is {found.place.state}")
        self._tenants[name] = (time.monotonic(), found)
        return found

    async def _batch(self, tenant: Tenant, batch_id: UUID, body: bytes) -> IncomingBatch:
        settings = self._settings
        actor = Actor(SOURCE, tenant.tenant_id, tenant.name, frozenset())
        version = await self._registry.version(tenant.tenant_id)
        aliases = await self._aliases.of(tenant.tenant_id, version.version)
        limits = body_limits(settings, settings.json_readings_max)
        raw = await asyncio.to_thread(read_json, body, limits, aliases)
        raw = replace(raw, raw_of=CutItems(raw.raw_of, settings.quarantine_raw_bytes_max))

        def begin() -> AbstractAsyncContextManager[Transaction]:
            return self._transactions.begin(actor, str(batch_id))

        packs = await known_packs(self._packs, begin, actor, version, raw.readable_pack_names())
        arrived_at_ms = self._clock.now_ms()
        bounds = replace(time_limits(settings), archived_before_ms=version.archived_before_ms)
        judged = await asyncio.to_thread(
            judge, raw, packs, Sender(tenant.tenant_id, None), Mode.LIVE, arrived_at_ms, bounds
        )
        return IncomingBatch(
            id=batch_id,
            tenant_id=tenant.tenant_id,
            subject=SOURCE,
            source=SOURCE,
            mode=Mode.LIVE,
            import_id=None,
            arrived_at_ms=arrived_at_ms,
            body_hash=None,
            registry_version=version.version,
            body_bytes=len(body),
            received=raw.received,
            readings=judged.readings,
            quarantined=judged.quarantined,
            ahead=judged.ahead,
            ignored_keys=raw.ignored_keys,
            raw_of=raw.raw_of,
            marks=marks_of(packs),
            origin=ItemOrigin(pack_of=PacksOfItems(raw.pack_names, raw.item_pack)),
        )
