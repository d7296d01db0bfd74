"""From a body to its receipt."""

import hashlib
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from api.call import Call
from api.idempotency import id_under_key
from api.telemetry.bodies import Body, BodyShape, decode, off_loop
from api.telemetry.judging import Arrival, batch_of, known_packs
from domain.errors import (
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RegistryChangedError,
    UnavailableError,
)
from domain.key_aliases import KeyAliases
from domain.policy import Action, decide, sees_only_own_batches
from domain.readings import IncomingBatch
from domain.receipts import Receipt
from domain.tenancy import Actor
from ingest.columns import CutItems, RawReadings
from storage import telemetry as stored
from storage.registry import RegistryVersion

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
    await call.engine.rates.take_readings(call.actor, raw.received)
    return replace(raw, raw_of=CutItems(raw.raw_of, call.engine.settings.quarantine_raw_bytes_max))


async def _judged(
    call: Call,
    body: Body,
    raw: RawReadings,
    version: RegistryVersion,
    batch_id: UUID,
    arrived_at_ms: int,
) -> IncomingBatch:
    packs = await known_packs(
        call.engine.packs, call.transaction, call.actor, version, raw.readable_pack_names()
    )
    arrival = Arrival(
        id=batch_id,
        actor=call.actor,
        source="http" if body.import_id is None else f"import {body.import_id}",
        import_id=body.import_id,
        arrived_at_ms=arrived_at_ms,
        body_bytes=len(body.content),
        body_hash=None if body.idempotency_key is None else await off_loop(body, _hash_of, body),
        form=body.form,
    )
    return await batch_of(arrival, raw, packs, version, call.engine.time_limits, partial(off_loop, body))


def _hash_of(body: Body) -> bytes:
    """SHA-256 of what was sent, before any compression: a retry may be compressed in another way."""
    digest = hashlib.sha256(f"{body.content_type} {body.import_id}\n".encode())
    if body.shape is not BodyShape.NATIVE:
        digest.update(f"{body.shape} {body.pack}\n".encode())
    digest.update(body.content)
    return digest.digest()


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
