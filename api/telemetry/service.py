"""From a body to its receipt."""

import hashlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any
from uuid import UUID

from api.call import Call
from api.idempotency import id_under_key
from api.packs.cache import PackCache
from api.telemetry.bodies import Body, BodyShape, decode, off_loop
from domain.errors import (
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RegistryChangedError,
    UnavailableError,
)
from domain.key_aliases import KeyAliases
from domain.packs import KnownPack
from domain.policy import Action, decide, sees_only_own_batches
from domain.quarantine import ItemOrigin
from domain.readings import IncomingBatch, PackMarks
from domain.receipts import Mode, Receipt
from domain.tenancy import Actor, Role
from ingest.columns import CutItems, PacksOfItems, RawReadings
from ingest.validate import Sender, judge
from storage import packs as stored_packs
from storage import telemetry as stored
from storage.registry import RegistryVersion
from storage.transactions import Transaction

_JUDGE_TRIES_MAX = 10


async def take_in(call: Call, body: Body) -> Receipt:
    """The receipt of a body whose readings are committed, or were before under the same key.

    Raises BodyUnreadableError, BodyTooLargeError, ForbiddenError, NotFoundError (import), InFlightError,
    KeyReusedError, BusyError, UnavailableError, DiskLowError.
    """
    if body.import_id is not None:
        await _check_import(call, body.import_id)
    else:
        require_clock(call)
    arrived_at_ms = call.engine.clock.now_ms()
    key = body.idempotency_key
    batch_id = uuid.uuid4() if key is None else id_under_key(call.actor, "batch", key)
    read: tuple[KeyAliases, RawReadings] | None = None

    async def judged() -> IncomingBatch:
        nonlocal read
        version = await settled_version(call)
        aliases = await call.engine.aliases.of(call.actor.tenant_id, version.version)
        if read is None or read[0] != aliases:
            read = aliases, await _read(call, body, arrived_at_ms, aliases)
        batch = await _judged(call, body, read[1], version, batch_id, arrived_at_ms)
        batch.raw_of.release()
        return batch

    return await commit(call, batch_id, judged)


def require_clock(call: Call) -> None:
    """Raises UnavailableError while a jump of the clock is unconfirmed: nothing can be told to be late."""
    if call.engine.clock.now_ms() and call.engine.clock.jumped_by_ms is not None:
        raise UnavailableError(
            f"the clock jumped by {call.engine.clock.jumped_by_ms} ms: confirm it with `bpm clock confirm`",
            retry_after_s=call.engine.settings.retry_after_s,
        )


async def settled_version(call: Call) -> RegistryVersion:
    """The state of the tenant's registry, as it is now. Raises what says that nothing is taken in for it any more."""
    version = await call.engine.registry.version(call.actor.tenant_id)
    version.place.require_settled(call.actor.tenant_name, call.engine.settings.retry_after_s)
    return version


async def commit(call: Call, batch_id: UUID, judged: Callable[[], Awaitable[IncomingBatch]]) -> Receipt:
    """The receipt of a batch, judged as often as packs change meanwhile.

    Raises DiskLowError, InFlightError, KeyReusedError, BusyError, UnavailableError.
    """
    call.engine.disk.require_room()
    for _ in range(_JUDGE_TRIES_MAX):
        call.engine.runner.reserve(call.actor.tenant_id, batch_id)
        try:
            batch = await judged()
        except BaseException:
            call.engine.runner.release(call.actor.tenant_id, batch_id)
            raise
        try:
            receipt = await call.engine.runner.submit(batch)
        except RegistryChangedError:
            continue
        call.engine.metrics.count(receipt)
        return receipt
    raise UnavailableError("packs keep changing", retry_after_s=call.engine.settings.retry_after_s)


def pack_of_device(call: Call, pack: str | None) -> str:
    """The pack that a request names, or the own one of its device. Raises InvalidRequestError without either."""
    whose = call.actor.device_pack if pack is None else pack
    if whose is None:
        raise InvalidRequestError("say whose values these are", field="pack")
    return whose


async def _check_import(call: Call, import_id: UUID) -> None:
    decision = decide(call.actor, Action.TELEMETRY_IMPORT)
    if not decision.allowed:
        raise ForbiddenError(decision.reason)
    if not await call.engine.registry.import_exists(
        call.actor.tenant_id, import_id, _only_subject(call.actor)
    ):
        raise NotFoundError("there is no such import", field="import")


async def _read(call: Call, body: Body, arrived_at_ms: int, aliases: KeyAliases) -> RawReadings:
    raw = await decode(call, body, arrived_at_ms, aliases)
    return replace(raw, raw_of=CutItems(raw.raw_of, call.engine.settings.quarantine_raw_bytes_max))


async def _judged(
    call: Call,
    body: Body,
    raw: RawReadings,
    version: RegistryVersion,
    batch_id: UUID,
    arrived_at_ms: int,
) -> IncomingBatch:
    mode = Mode.LIVE if body.import_id is None else Mode.IMPORT
    packs = await known_packs(
        call.engine.packs, call.transaction, call.actor, version, raw.readable_pack_names()
    )
    own_device = call.actor.device_pack is not None and Role.DEVICE in call.actor.roles
    sender = Sender(call.actor.tenant_id, call.actor.device_pack if own_device else None)
    limits = replace(call.engine.time_limits, archived_before_ms=version.archived_before_ms)
    judged = await off_loop(body, judge, raw, packs, sender, mode, arrived_at_ms, limits)
    body_hash = None if body.idempotency_key is None else await off_loop(body, _hash_of, body)
    sites = call.actor.sites
    return IncomingBatch(
        id=batch_id,
        tenant_id=call.actor.tenant_id,
        subject=call.actor.subject,
        source="http" if body.import_id is None else f"import {body.import_id}",
        mode=mode,
        import_id=body.import_id,
        arrived_at_ms=arrived_at_ms,
        body_hash=body_hash,
        registry_version=version.version,
        body_bytes=len(body.content),
        received=raw.received,
        readings=judged.readings,
        quarantined=judged.quarantined,
        ahead=judged.ahead,
        ignored_keys=raw.ignored_keys,
        raw_of=raw.raw_of,
        marks=marks_of(packs),
        origin=ItemOrigin(
            body.form,
            pack_limit=call.actor.device_pack,
            own_device=own_device,
            site_limit=None if sites is None else tuple(sorted(sites)),
            pack_of=PacksOfItems(raw.pack_names, raw.item_pack),
        ),
    )


def _hash_of(body: Body) -> bytes:
    """SHA-256 of what was sent, before any compression: a retry may be compressed in another way."""
    digest = hashlib.sha256(f"{body.content_type} {body.import_id}\n".encode())
    if body.shape is not BodyShape.NATIVE:
        digest.update(f"{body.shape} {body.pack}\n".encode())
    digest.update(body.content)
    return digest.digest()


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
        async with begin() as transaction:
            await stored_packs.register(transaction, [stored_packs.NewPack(name) for name in unknown])
        packs = await cache.lookup(actor.tenant_id, version.version, names)
    return {name: pack for name, pack in packs.items() if _may_report(actor, name, pack)}


def _may_report(actor: Actor, name: str, pack: KnownPack) -> bool:
    if actor.device_pack is not None and name != actor.device_pack:
        return False
    # From the last on, because a body may name thousands of packs, and nearly all are still the tenant's.
    for tenure in reversed(pack.tenures):
        if tenure.tenant_id == actor.tenant_id:
            return actor.sees_site(tenure.site)
    return False


async def create_import(call: Call, source: str, expected: int | None) -> dict[str, Any]:
    async with call.transaction() as transaction:
        return await stored.create_import(transaction, source, expected)


def _only_subject(actor: Actor) -> str | None:
    """Whose batches the actor sees: its own subject's, or None for all of the tenant."""
    return actor.subject if sees_only_own_batches(actor) else None


async def get_import(call: Call, import_id: UUID) -> dict[str, Any]:
    async with call.snapshot() as transaction:
        return await stored.get_import(transaction, import_id, _only_subject(call.actor))


async def list_imports(call: Call, cursor: str | None, limit: int) -> tuple[list[dict[str, Any]], str | None]:
    async with call.snapshot() as transaction:
        return await stored.page_of_imports(transaction, _only_subject(call.actor), cursor, limit)


async def get_receipt(call: Call, receipt_id: UUID) -> Receipt:
    """A committed batch's receipt. Raises NotFoundError, also for one that isn't the actor's to see."""
    async with call.snapshot() as transaction:
        return await stored.get_receipt(transaction, receipt_id, _only_subject(call.actor))
