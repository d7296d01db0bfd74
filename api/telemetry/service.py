"""From a body to its receipt."""

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from api.call import Call
from api.routing import ARROW, JSON, NDJSON
from domain.errors import (
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RegistryChangedError,
    UnavailableError,
    UnsupportedFormatError,
)
from domain.packs import KnownPack
from domain.policy import Action, decide, sees_only_own_batches
from domain.readings import IncomingBatch
from domain.receipts import Mode, Receipt
from domain.tenancy import Actor, Role
from ingest.bodies.arrow import read_arrow
from ingest.bodies.native import read_json, read_ndjson
from ingest.columns import RawReadings
from ingest.validate import Sender, judge
from storage import packs as stored_packs
from storage import telemetry as stored
from storage.registry import RegistryVersion

_JUDGE_TRIES_MAX = 10
_IN_THREAD_BYTES_MIN = 65_536
_KEY_CHARACTERS_MAX = 200

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Body:
    """A body as it was sent, with what its headers and parameters say."""

    content: bytes
    content_type: str
    idempotency_key: str | None
    import_id: UUID | None


def bytes_max_of(call: Call, content_type: str) -> int:
    """The largest body of a type. Raises UnsupportedFormatError for other types."""
    sizes = {
        JSON: call.engine.settings.json_body_bytes_max,
        NDJSON: call.engine.settings.json_body_bytes_max,
        ARROW: call.engine.settings.arrow_body_bytes_max,
    }
    if content_type not in sizes:
        raise UnsupportedFormatError(f"send {JSON}, {NDJSON} or {ARROW}", field="Content-Type")
    return sizes[content_type]


async def take_in(call: Call, body: Body) -> Receipt:
    """The receipt of a body whose readings are committed, or were before under the same key.

    Raises BodyUnreadableError, BodyTooLargeError, ForbiddenError, NotFoundError (import), InFlightError,
    KeyReusedError, BusyError, UnavailableError.
    """
    if body.import_id is not None:
        await _check_import(call, body.import_id)
    elif call.engine.clock.now_ms() and call.engine.clock.jumped_by_ms is not None:
        raise UnavailableError(
            f"the clock jumped by {call.engine.clock.jumped_by_ms} ms: confirm it with `bpm clock confirm`",
            retry_after_s=call.engine.settings.retry_after_s,
        )
    arrived_at_ms = call.engine.clock.now_ms()
    raw = await _decode(call, body)
    batch_id = uuid.uuid4() if body.idempotency_key is None else batch_id_of(call.actor, body.idempotency_key)
    for _ in range(_JUDGE_TRIES_MAX):
        call.engine.runner.reserve(call.actor.tenant_id, batch_id)
        try:
            batch = await _judged(call, body, raw, batch_id, arrived_at_ms)
        except BaseException:
            call.engine.runner.release(call.actor.tenant_id, batch_id)
            raise
        raw.raw_of.release()
        try:
            receipt = await call.engine.runner.submit(batch)
        except RegistryChangedError:
            continue
        call.engine.metrics.count(receipt)
        return receipt
    raise UnavailableError("packs keep changing", retry_after_s=call.engine.settings.retry_after_s)


def batch_id_of(actor: Actor, key: str) -> UUID:
    """The batch's id under an Idempotency-Key: the key itself when it is a UUID, else one derived from it.

    Raises InvalidRequestError.
    """
    if not (0 < len(key) <= _KEY_CHARACTERS_MAX and key.isascii() and key.isprintable()):
        raise InvalidRequestError(
            "expected up to 200 printable ASCII characters",
            field="Idempotency-Key",
            limit=_KEY_CHARACTERS_MAX,
        )
    try:
        return UUID(key)
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"urn:bpm:batch:{actor.tenant_name}:{key}")


async def _check_import(call: Call, import_id: UUID) -> None:
    decision = decide(call.actor, Action.TELEMETRY_IMPORT)
    if not decision.allowed:
        raise ForbiddenError(decision.reason)
    if not await call.engine.registry.import_exists(
        call.actor.tenant_id, import_id, _only_subject(call.actor)
    ):
        raise NotFoundError("there is no such import", field="import")


async def _decode(call: Call, body: Body) -> RawReadings:
    if body.content_type == ARROW:
        read, limits = read_arrow, call.engine.body_limits_arrow
    else:
        read = read_ndjson if body.content_type == NDJSON else read_json
        limits = call.engine.body_limits_json
    return await _off_loop(body, read, body.content, limits)


async def _off_loop(
    body: Body, work: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """What work on a body gives; in a thread when the body is so large that other requests would wait."""
    if len(body.content) < _IN_THREAD_BYTES_MIN:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


async def _judged(
    call: Call,
    body: Body,
    raw: RawReadings,
    batch_id: UUID,
    arrived_at_ms: int,
) -> IncomingBatch:
    mode = Mode.LIVE if body.import_id is None else Mode.IMPORT
    version, packs = await _known_packs(call, raw.readable_pack_names())
    sender = Sender(call.actor.tenant_id, call.actor.device_pack if Role.DEVICE in call.actor.roles else None)
    limits = replace(call.engine.time_limits, archived_before_ms=version.archived_before_ms)
    judged = await _off_loop(body, judge, raw, packs, sender, mode, arrived_at_ms, limits)
    body_hash = None if body.idempotency_key is None else await _off_loop(body, _hash_of, body)
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
        ignored_keys=raw.ignored_keys,
        raw_of=raw.raw_of,
    )


def _hash_of(body: Body) -> bytes:
    digest = hashlib.sha256(f"{body.content_type} {body.import_id}\n".encode())
    digest.update(body.content)
    return digest.digest()


async def _known_packs(call: Call, names: tuple[str, ...]) -> tuple[RegistryVersion, dict[str, KnownPack]]:
    """The packs that the actor may report for; unknown ones register themselves where the tenant allows it."""
    version = await call.engine.registry.version(call.actor.tenant_id)
    packs = await call.engine.packs.lookup(call.actor.tenant_id, version.version, names)
    unknown = [name for name in names if name and name not in packs]
    if (
        unknown
        and version.register_unknown_packs
        and call.actor.sites is None
        and call.actor.device_pack is None
    ):
        async with call.transaction() as transaction:
            await stored_packs.register(transaction, [stored_packs.NewPack(name) for name in unknown])
        packs = await call.engine.packs.lookup(call.actor.tenant_id, version.version, names)
    return version, {name: pack for name, pack in packs.items() if _may_report(call.actor, name, pack)}


def _may_report(actor: Actor, name: str, pack: KnownPack) -> bool:
    if actor.device_pack is not None and name != actor.device_pack:
        return False
    # From the last on, because a body may name thousands of packs, and nearly all are still the tenant's.
    for tenure in reversed(pack.tenures):
        if tenure.tenant_id == actor.tenant_id:
            return actor.sees_site(tenure.site)
    return False


async def create_import(call: Call, source: str) -> dict[str, Any]:
    async with call.transaction() as transaction:
        return await stored.create_import(transaction, source)


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


async def list_quarantined(
    call: Call, reason: str | None, cursor: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    async with call.snapshot() as transaction:
        rows, after = await stored.page_of_quarantined(transaction, reason, cursor, limit)
    return [row | {"id": str(row["id"])} for row in rows], after
