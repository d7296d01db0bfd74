"""Single readings of a topic, judged as those of a request are."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg_pool import PoolTimeout

from api.database_access import DatabaseAccess, open_pools
from api.key_aliases.cache import AliasCache
from api.limits import body_limits, time_limits
from api.packs.cache import PackCache
from api.settings import Settings
from api.telemetry.judging import Arrival, batch_of, known_packs
from domain.cells import Placement
from domain.clock import AnchoredClock
from domain.errors import BpmError, MessageMisdirectedError, MessageUnreadableError, UnavailableError
from domain.key_aliases import KeyAliases
from domain.quarantine import RawForm
from domain.readings import IncomingBatch
from domain.tenancy import Actor, TenantState
from ingest.bodies.native import decode_each, read_objects
from ingest.columns import CutItems, RawReadings
from storage.registry import Registry, Tenant
from storage.transactions import Transaction, Transactions
from streams.singles import Readables

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

    def read(self, values: Sequence[bytes]) -> Sequence[dict[str, Any] | BpmError]:
        """The JSON object of each text, or why it is none."""
        return [one if isinstance(one, dict | BpmError) else _no_object() for one in decode_each(values)]

    async def batch(self, tenant: str, batch_id: UUID, readables: Readables) -> IncomingBatch:
        """The batch of some messages, by their order.

        Raises UnavailableError while the store is away, MessageMisdirectedError for a tenant that isn't there.
        """
        try:
            return await self._batch(await self._tenant(tenant), batch_id, readables)
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

    async def _batch(self, tenant: Tenant, batch_id: UUID, readables: Readables) -> IncomingBatch:
        settings = self._settings
        actor = Actor(SOURCE, tenant.tenant_id, tenant.name, frozenset())
        version = await self._registry.version(tenant.tenant_id)
        aliases = await self._aliases.of(tenant.tenant_id, version.version)
        raw = await asyncio.to_thread(self._columns, readables.objects, aliases)

        def begin() -> AbstractAsyncContextManager[Transaction]:
            return self._transactions.begin(actor, str(batch_id))

        arrival = Arrival(
            id=batch_id,
            actor=actor,
            source=SOURCE,
            import_id=None,
            arrived_at_ms=self._clock.now_ms(),
            body_bytes=readables.size_bytes,
            body_hash=None,
            form=RawForm.JSON,
        )
        packs = await known_packs(self._packs, begin, actor, version, raw.readable_pack_names())
        return await batch_of(arrival, raw, packs, version, time_limits(settings), asyncio.to_thread)

    def _columns(self, objects: Sequence[dict[str, Any]], aliases: KeyAliases) -> RawReadings:
        settings = self._settings
        limits = body_limits(settings, settings.singles_max)
        raw = read_objects(objects, limits, aliases)
        return replace(raw, raw_of=CutItems(raw.raw_of, settings.quarantine_raw_bytes_max))


def _no_object() -> MessageUnreadableError:
    return MessageUnreadableError("the message isn't a JSON object")
