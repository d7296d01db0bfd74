"""Readings of a body or of a topic, judged, as the batch that is committed."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from uuid import UUID

from api.packs.cache import PackCache
from domain.errors import PackQuotaError
from domain.packs import KnownPack
from domain.policy import sends_for_own_pack_only
from domain.quarantine import ItemOrigin, RawForm
from domain.readings import IncomingBatch, PackMarks
from domain.receipts import Mode
from domain.tenancy import Actor
from ingest.columns import PacksOfItems, RawReadings
from ingest.validate import Judged, Sender, TimeLimits, judge
from storage import packs as stored_packs
from storage.registry import RegistryVersion
from storage.transactions import Transaction


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a batch beside its readings.

    actor: who sent it. import_id: of the import that it is part of; None for live readings. body_hash: None when no
    retry can name it. form: how the raw text of one of its readings is written.
    """

    id: UUID
    actor: Actor
    source: str
    import_id: UUID | None
    arrived_at_ms: int
    body_bytes: int
    body_hash: bytes | None
    form: RawForm


async def batch_of(
    arrival: Arrival,
    raw: RawReadings,
    packs: Mapping[str, KnownPack],
    version: RegistryVersion,
    limits: TimeLimits,
    off_loop: Callable[..., Awaitable[Judged]],
) -> IncomingBatch:
    """The batch of some readings. packs: those that the actor may report for. off_loop: where to judge them."""
    actor = arrival.actor
    mode = Mode.LIVE if arrival.import_id is None else Mode.IMPORT
    own_device = sends_for_own_pack_only(actor)
    judged = await off_loop(
        judge,
        raw,
        packs,
        Sender(actor.tenant_id, actor.device_pack if own_device else None),
        mode,
        arrival.arrived_at_ms,
        replace(limits, archived_before_ms=version.archived_before_ms),
    )
    return IncomingBatch(
        id=arrival.id,
        tenant_id=actor.tenant_id,
        subject=actor.subject,
        source=arrival.source,
        mode=mode,
        import_id=arrival.import_id,
        arrived_at_ms=arrival.arrived_at_ms,
        body_hash=arrival.body_hash,
        registry_version=version.version,
        body_bytes=arrival.body_bytes,
        received=raw.received,
        readings=judged.readings,
        quarantined=judged.quarantined,
        ahead=judged.ahead,
        ignored_keys=raw.ignored_keys,
        raw_of=raw.raw_of,
        marks=marks_of(packs),
        origin=ItemOrigin(
            arrival.form,
            pack_limit=actor.device_pack,
            own_device=own_device,
            site_limit=None if actor.sites is None else tuple(sorted(actor.sites)),
            pack_of=PacksOfItems(raw.pack_names, raw.item_pack),
        ),
    )


def marks_of(packs: Mapping[str, KnownPack]) -> PackMarks:
    """Which packs are meant by their numbers."""
    return PackMarks.of({pack.number: pack.mark for pack in packs.values()})


async def known_packs(
    cache: PackCache,
    begin: Callable[[], AbstractAsyncContextManager[Transaction]],
    actor: Actor,
    version: RegistryVersion,
    names: tuple[str, ...],
    *,
    register: bool = True,
) -> dict[str, KnownPack]:
    """The packs that an actor may report for; unknown ones register themselves where the tenant allows it.

    begin: a transaction in which they do.
    """
    packs = await cache.lookup(actor.tenant_id, version.version, names)
    unknown = [name for name in names if name and name not in packs]
    unlimited = actor.sites is None and actor.device_pack is None
    if unknown and register and version.register_unknown_packs and unlimited:
        # Packs beyond the tenant's quota stay unknown: their readings are set aside, those of others go in.
        with suppress(PackQuotaError):
            await _register(begin, unknown)
        packs = await cache.lookup(actor.tenant_id, version.version, names)
    return {name: pack for name, pack in packs.items() if _may_report(actor, name, pack)}


async def _register(begin: Callable[[], AbstractAsyncContextManager[Transaction]], names: list[str]) -> None:
    async with begin() as transaction:
        await stored_packs.register(transaction, [stored_packs.NewPack(name) for name in names])


def _may_report(actor: Actor, name: str, pack: KnownPack) -> bool:
    if actor.device_pack is not None and name != actor.device_pack:
        return False
    # From the last on, because a body may name thousands of packs, and nearly all are still the tenant's.
    for tenure in reversed(pack.tenures):
        if tenure.tenant_id == actor.tenant_id:
            return actor.sees_site(tenure.site)
    return False
