"""Security events as they are kept and listed, and leases of the buckets of rates."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.rows import DictRow, dict_row

from domain.security import WATCHED, SecurityKey, SecurityKind, Thresholds
from domain.tenancy import TenantId
from storage.connections import connect
from storage.cursors import Cursors
from storage.database import query
from storage.records import require_version
from storage.transactions import Pool, Transaction

_EVENTS = Cursors("security")

OWN_NAMES: Final = (*(f"{kind}_per_minute_max" for kind in WATCHED), "quiet_s")
"""What a tenant may choose."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: those of starts <= at < ends that have all that is named."""

    starts: datetime | None = None
    ends: datetime | None = None
    kind: str | None = None
    subject: str | None = None
    address_prefix: str | None = None
    route: str | None = None


async def page(
    transaction: Transaction, wanted: Wanted, cursor: str | None, limit: int
) -> tuple[list[DictRow], str | None]:
    """Events, the newest first, and the cursor of the next page."""
    asked = asdict(wanted) | {"before_no": _EVENTS.decode_number(cursor), "limit": limit + 1}
    return _EVENTS.page(await transaction.rows("security.list", asked), limit, "event_no")


def events_of_platform(conninfo: str, wanted: Wanted, limit: int) -> list[DictRow]:
    """Events of those who have not shown whose they are, the newest first; on a connection of the ingest role."""
    asked = asdict(wanted) | {"limit": limit}
    with connect(conninfo, row_factory=dict_row) as connection:
        return connection.execute(query("security.list_of_platform"), asked).fetchall()


@dataclass(frozen=True, slots=True)
class Kept:
    """passed: thresholds that were passed just now, with the refusals of the minute so far.

    too_many: whether a minute has as many as a threshold, or more.
    """

    passed: dict[SecurityKey, int]
    too_many: bool


async def keep(pool: Pool, at: datetime, counted: Mapping[SecurityKey, int], usual: Thresholds) -> Kept:
    """Write what was counted within a second, in all and within its minute; of those without a tenant no subject.

    usual: the thresholds of tenants that have chosen none.
    """
    of_tenants = {key: times for key, times in counted.items() if key.tenant_id is not None}
    of_platform = {key: times for key, times in counted.items() if key.tenant_id is None}
    async with pool.connection() as connection, connection.transaction():
        kept = await _count(connection, at, of_tenants, usual)
        for name, rows in (("insert", of_tenants | kept.passed), ("insert_of_platform", of_platform)):
            if rows:
                columns: dict[str, Any] = {
                    "tenant_id": [key.tenant_id for key in rows],
                    "kind": [str(key.kind) for key in rows],
                    "subject": [key.subject for key in rows],
                    "address_prefix": [key.address_prefix for key in rows],
                    "route": [key.route or None for key in rows],
                    "times": list(rows.values()),
                }
                await connection.execute(query(f"security.{name}"), columns | {"at": at})
    return kept


async def _count(
    connection: psycopg.AsyncConnection[DictRow],
    at: datetime,
    of_tenants: Mapping[SecurityKey, int],
    usual: Thresholds,
) -> Kept:
    added: Counter[tuple[TenantId, str]] = Counter()
    foremost: dict[tuple[TenantId, str], SecurityKey] = {}
    for key, times in of_tenants.items():
        if key.tenant_id is not None and key.kind in usual.per_minute_max:
            of = key.tenant_id, str(key.kind)
            added[of] += times
            if of not in foremost or times > of_tenants[foremost[of]]:
                foremost[of] = key
    if not added:
        return Kept({}, too_many=False)
    asked = {
        "tenant_id": [tenant for tenant, _ in added],
        "kind": [kind for _, kind in added],
        "times": list(added.values()),
        "minute": at.replace(second=0, microsecond=0),
    }
    totals = await (await connection.execute(query("security.count"), asked)).fetchall()
    tenants = {"tenants": sorted({tenant for tenant, _ in added})}
    rows = await (await connection.execute(query("security.own_thresholds"), tenants)).fetchall()
    own = {row["tenant_id"]: usual.with_own(row) for row in rows}
    passed: dict[SecurityKey, int] = {}
    too_many = False
    for row in totals:
        of, times = (row["tenant_id"], row["kind"]), row["times"]
        limit = own.get(row["tenant_id"], usual).per_minute_max[SecurityKind(row["kind"])]
        too_many |= times >= limit
        if times - added[of] < limit <= times:
            passed[replace(foremost[of], kind=SecurityKind.THRESHOLD_EXCEEDED)] = times
    return Kept(passed, too_many)


async def drop_old(pool: Pool, before: datetime, counts_before: datetime) -> None:
    """Drop events of before, counts of minutes, and buckets that nobody has used for a day."""
    async with pool.connection() as connection:
        given = {"before": before, "counts_before": counts_before}
        await connection.execute(query("security.drop_old"), given)
        await connection.execute(query("security.drop_idle_buckets"))


async def own_thresholds(transaction: Transaction) -> DictRow:
    """What the actor's tenant has chosen, NULL where nothing, with its version: 0 before anything was."""
    row = await transaction.one("security.thresholds")
    return dict.fromkeys(OWN_NAMES) | {"version": 0} if row is None else row


async def change_thresholds(
    transaction: Transaction, version: int, changes: Mapping[str, int | None]
) -> DictRow:
    """What it has chosen from now on; nothing is written when that is what it had chosen.

    Raises PreconditionFailedError for a stale version.
    """
    await transaction.rows("security.make_thresholds")
    before = await transaction.one("security.hold_thresholds")
    assert before is not None  # noqa: S101 - it was made
    require_version(before["version"], version)
    if before == before | dict(changes):
        return before
    await transaction.rows("security.change_thresholds", before | dict(changes))
    after = await own_thresholds(transaction)
    await transaction.audit("security_thresholds.changed", "security_thresholds", "all", before, after)
    return after


class RateStore:
    """The buckets that all processes share."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def lease(
        self, tenant_id: TenantId, kind: str, subject: str, *, wanted: float, per_s: float, burst: float
    ) -> float:
        """How much of what is wanted the bucket gave; it is taken out."""
        asked = {
            "tenant_id": tenant_id,
            "kind": kind,
            "subject": subject,
            "wanted": wanted,
            "per_s": per_s,
            "burst": burst,
        }
        async with self._pool.connection() as connection:
            row = await (await connection.execute(query("security.lease"), asked)).fetchone()
        return 0.0 if row is None else float(row["granted"])
