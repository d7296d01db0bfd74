"""Rules and silences as requests see them; each change raises the tenant's version of rules first."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from psycopg.rows import DictRow, tuple_row
from psycopg.types.json import Jsonb

from domain.alert_rules import Condition, Flapping, Scope, Severity, SilenceKind, TenureScope, condition_facts
from domain.alerts import SetAside
from domain.clock import from_ms
from domain.errors import ConflictError, NotFoundError
from domain.packs import FOREVER_MS
from domain.readings import LiveReadings, to_thousandths
from domain.tenancy import TenantId
from storage.alerting import scopes_from
from storage.cursors import Cursors
from storage.database import int4s, query
from storage.records import require_version
from storage.transactions import Transaction

_RULES, _SILENCES = Cursors("rules"), Cursors("silences")

Clock = Callable[[], int]
"""Milliseconds since 1970 as the engine sees them; asked for once the tenant's row is held."""


_ALL_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What a version of a rule says."""

    enabled: bool
    severity: Severity
    condition: Condition
    flapping: Flapping


async def create(
    transaction: Transaction, name: str, scope: Scope, said: NewVersion, now_ms: Clock, rules_max: int
) -> DictRow:
    """The new rule, which applies from now on. Raises ConflictError: the name is taken, or there are too many."""
    moment = await _changing(transaction, now_ms)
    count = await transaction.one("rules.count")
    if count is not None and count["count"] >= rules_max:
        raise ConflictError(f"there are {rules_max} rules already", limit=rules_max)
    of_site = {"site_id": scope.id if scope.kind == "site" else None}
    of_model = {"model_id": scope.id if scope.kind == "model" else None}
    values = {"name": name, "scope": str(scope.kind), "pack_id": scope.pack} | of_site | of_model
    try:
        made = await transaction.one("rules.insert", values)
    except psycopg.errors.UniqueViolation as error:
        raise ConflictError("the name is taken in rules", field="name") from error
    assert made is not None  # noqa: S101 - INSERT … RETURNING
    await _add_version(transaction, made["rule_no"], 1, said, moment)
    after = await get(transaction, made["id"])
    await transaction.audit("rules.created", "rules", str(made["id"]), None, after)
    return after


async def _changing(transaction: Transaction, now_ms: Clock) -> datetime:
    """The time of a change of rules: no group that ran the ones before can have readings that arrive later."""
    await transaction.rows("rules.raise_version")
    return from_ms(now_ms())


async def _add_version(
    transaction: Transaction, rule_no: int, number: int, said: NewVersion, moment: datetime
) -> None:
    await transaction.rows(
        "rules.insert_version",
        {
            "rule_no": rule_no,
            "number": number,
            "effective_from": moment,
            "enabled": said.enabled,
            "severity": str(said.severity),
            "condition": Jsonb(condition_facts(said.condition)),
            "flap_raises_max": said.flapping.raises_max,
            "flap_window_s": said.flapping.window_s,
            "created_by": transaction.actor.subject,
        },
    )


async def get(transaction: Transaction, rule_id: UUID) -> DictRow:
    """The rule with its newest version. Raises NotFoundError."""
    row = await transaction.one("rules.list", {"id": rule_id, "after": None, "limit": 1})
    if row is None:
        raise NotFoundError("there is no such rule")
    return row


async def every(transaction: Transaction) -> list[DictRow]:
    """All rules by name, as far as the actor sees them."""
    return await transaction.rows("rules.list", {"id": None, "after": None, "limit": _ALL_MAX})


async def hold(transaction: Transaction) -> None:
    """Let nobody else change rules until commit."""
    await transaction.rows("rules.raise_version")


async def page(transaction: Transaction, cursor: str | None, limit: int) -> tuple[list[DictRow], str | None]:
    """Rules by name, and the cursor of the next page."""
    asked = {"id": None, "after": _RULES.decode(cursor), "limit": limit + 1}
    return _RULES.page(await transaction.rows("rules.list", asked), limit, "name")


async def change(
    transaction: Transaction,
    rule_id: UUID,
    version: int,
    decide: Callable[[DictRow], tuple[str, NewVersion | None]],
    now_ms: Clock,
) -> DictRow:
    """The changed rule. `decide` gives its name and, when it is to judge otherwise, its next version.

    Raises NotFoundError, PreconditionFailedError (stale version), ConflictError (the name is taken).
    """
    moment = await _changing(transaction, now_ms)
    locked = await transaction.one("rules.lock", {"id": rule_id})
    if locked is None:
        raise NotFoundError("there is no such rule")
    require_version(locked["version"], version)
    before = await get(transaction, rule_id)
    name, said = decide(before)
    if said is not None:
        await _add_version(transaction, before["rule_no"], before["number"] + 1, said, moment)
    try:
        await transaction.rows("rules.rename", {"id": rule_id, "name": name})
    except psycopg.errors.UniqueViolation as error:
        raise ConflictError("the name is taken in rules", field="name") from error
    after = await get(transaction, rule_id)
    await transaction.audit("rules.changed", "rules", str(rule_id), before, after)
    return after


async def versions(
    transaction: Transaction, rule_id: UUID, cursor: str | None, limit: int
) -> tuple[list[DictRow], str | None]:
    """A rule's versions, oldest first. Raises NotFoundError."""
    rule = await get(transaction, rule_id)
    cursors = Cursors(f"versions of rule {rule_id}")
    asked = {"rule_no": rule["rule_no"], "after": cursors.decode_number(cursor), "limit": limit + 1}
    return cursors.page(await transaction.rows("rules.versions", asked), limit, "number")


async def number_of(transaction: Transaction, rule_id: UUID | None) -> int | None:
    """The number of a rule; None for None. Raises NotFoundError."""
    if rule_id is None:
        return None
    row = await transaction.one("rules.by_id", {"id": rule_id})
    if row is None:
        raise NotFoundError("there is no such rule", field="rule")
    return int(row["rule_no"])


async def tenures_in(transaction: Transaction, scope: Scope) -> list[TenureScope]:
    """The tenures for which a scope holds."""
    asked = {
        "pack_id": scope.pack,
        "site_id": scope.id if scope.kind == "site" else None,
        "model_id": scope.id if scope.kind == "model" else None,
        "forever_ms": FOREVER_MS,
    }
    return scopes_from(await transaction.rows("rules.scopes_in", asked))


@dataclass(frozen=True, slots=True)
class Heard:
    """Which readings a preview runs over: live ones as they arrived, or those of imports too, each at its time."""

    imports: bool

    def fill(self, name: str) -> bytes:
        """A query with what stands in it for these readings."""
        parts = {
            b"{arrival}": b"CASE mode WHEN 'live' THEN batches.arrived_at ELSE ts END",
            b"{chosen}": b"true",
            b"{order}": b"CASE mode WHEN 'live' THEN batches.arrived_at ELSE ts END, ",
        }
        live = {b"{arrival}": b"batches.arrived_at", b"{chosen}": b"mode = 'live'", b"{order}": b""}
        text = query(name)
        for place, part in (parts if self.imports else live).items():
            text = text.replace(place, part)
        return text


async def live_readings(
    transaction: Transaction, packs: set[int], starts: datetime, ends: datetime, limit: int, heard: Heard
) -> LiveReadings:
    """The readings of some packs in starts <= t < ends in their order of arrival; at most `limit`."""
    parameters = _span(transaction, packs, starts, ends, limit)
    return await _live_of(transaction, heard.fill("rules.live_readings"), parameters)


async def newest_from(
    transaction: Transaction, packs: set[int], starts: datetime, ends: datetime, limit: int, heard: Heard
) -> datetime:
    """The first moment, `starts` or later, from which these are at most `limit`."""
    parameters = _span(transaction, packs, starts, ends, limit)
    cursor = await transaction.connection.execute(heard.fill("rules.newest_live_readings"), parameters)
    beyond = await cursor.fetchone()
    return starts if beyond is None else beyond["ts"] + timedelta(milliseconds=1)


def _span(
    transaction: Transaction, packs: set[int], starts: datetime, ends: datetime, limit: int
) -> dict[str, Any]:
    return {
        "tenant_id": transaction.actor.tenant_id,
        "packs": int4s(np.fromiter(packs, np.int32)),
        "from": starts,
        "to": ends,
        "limit": limit,
    }


async def last_live_readings(
    transaction: Transaction, packs: set[int], before: datetime, heard: Heard
) -> LiveReadings:
    """The reading of each pack with the largest time before a moment."""
    parameters = {
        "tenant_id": transaction.actor.tenant_id,
        "packs": int4s(np.fromiter(packs, np.int32)),
        "before": before,
    }
    return await _live_of(transaction, heard.fill("rules.last_live_readings"), parameters)


async def _live_of(transaction: Transaction, text: bytes, parameters: dict[str, Any]) -> LiveReadings:
    async with transaction.connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(text, parameters, binary=True, prepare=False)
        tenant, tenure, pack, ts_ms, arrived_ms, *values = await cursor.fetchone() or (None,) * 6
    if tenant is None:
        return LiveReadings.none()
    none = np.zeros(len(pack), np.int32)
    return LiveReadings(tenant, tenure, pack, ts_ms, arrived_ms, none, to_thousandths(np.stack(values)))


async def set_aside(transaction: Transaction, starts: datetime, ends: datetime, limit: int) -> list[SetAside]:
    """What the live batches that arrived in starts <= t < ends had set aside; at most `limit`."""
    asked = {"from": starts, "to": ends, "limit": limit}
    tenant = TenantId(transaction.actor.tenant_id)
    return [
        SetAside(tenant, row["source"], row["arrived_ms"], row["quarantined"])
        for row in await transaction.rows("rules.set_aside", asked)
    ]


async def pack_names(transaction: Transaction, packs: set[int]) -> dict[int, str]:
    """External ids by number."""
    rows = await transaction.rows("rules.pack_names", {"packs": sorted(packs)})
    return {row["pack_id"]: row["pack"] for row in rows}


async def silence(
    transaction: Transaction, kind: SilenceKind, values: dict[str, Any], now_ms: Clock, silences_max: int
) -> DictRow:
    """The new silence. values: pack_id, site_id, rule_no, starts, ends, reason. Raises ConflictError: too many."""
    await _changing(transaction, now_ms)
    count = await transaction.one("silences.count")
    if count is not None and count["count"] >= silences_max:
        raise ConflictError(f"there are {silences_max} silences already", limit=silences_max)
    made = await transaction.one(
        "silences.insert", values | {"kind": str(kind), "created_by": transaction.actor.subject}
    )
    assert made is not None  # noqa: S101 - INSERT … RETURNING
    after = await get_silence(transaction, made["id"])
    await transaction.audit("silences.created", "silences", str(made["id"]), None, after)
    return after


async def get_silence(transaction: Transaction, silence_id: UUID) -> DictRow:
    """The silence. Raises NotFoundError."""
    row = await transaction.one("silences.list", {"id": silence_id, "after": None, "limit": 1})
    if row is None:
        raise NotFoundError("there is no such silence")
    return row


async def page_of_silences(
    transaction: Transaction, cursor: str | None, limit: int
) -> tuple[list[DictRow], str | None]:
    """Silences, oldest first, and the cursor of the next page."""
    asked = {"id": None, "after": _SILENCES.decode_number(cursor), "limit": limit + 1}
    return _SILENCES.page(await transaction.rows("silences.list", asked), limit, "silence_no")


async def end_silence(transaction: Transaction, silence_id: UUID, now_ms: Clock) -> None:
    """Let a silence hide nothing more, once and for all; alerts that it hid keep saying so. Raises NotFoundError."""
    await _changing(transaction, now_ms)
    before = await get_silence(transaction, silence_id)
    if await transaction.one("silences.delete", {"id": silence_id}) is not None:
        after = await get_silence(transaction, silence_id)
        await transaction.audit("silences.ended", "silences", str(silence_id), before, after)
