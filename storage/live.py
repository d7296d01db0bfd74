"""What the live picture reads: where packs are, when they last reported, what alerts are open, and names."""

from typing import Any, Final
from uuid import UUID

import numpy as np
from psycopg.rows import DictRow

from domain.alert_rules import Severity
from domain.alerts import OpenAlert, Subject
from domain.packs import ALWAYS_MS, Place
from domain.readings import Holders, Int32Array, LastArrivals
from domain.tenancy import TenantId
from storage.database import int4s, int4s_from, query
from storage.partition_queries import PartitionQueries
from storage.transactions import Transaction

_NOWHERE: Final = str(UUID(int=0))


def holders(queries: PartitionQueries) -> tuple[Holders, str]:
    """Where all packs are now, and the snapshot that said so."""
    return _holders(queries, b"true", {})


def holders_since(queries: PartitionQueries, snapshot: str) -> tuple[Int32Array, Holders, str]:
    """The packs of which a tenure changed after a snapshot, where they are now, and the snapshot for the next look."""
    later, changed = queries.columns("live.changed_packs", {"snapshot": snapshot})
    if changed is None:
        return np.empty(0, np.int32), Holders.none(), later
    # These may be newer than the snapshot; what changed in between is read once more.
    found, _ = _holders(queries, b"pack_id = ANY(%(packs)s::int4[])", {"packs": int4s(changed)})
    return changed, found, later


def _holders(queries: PartitionQueries, which: bytes, parameters: dict[str, Any]) -> tuple[Holders, str]:
    text = query("live.holders").replace(b"{which}", which)
    snapshot, pack, place, former, until_ms, tenants, sites, models = queries.columns_of(text, parameters)
    if pack is None:
        return Holders.none(), snapshot
    packs = int4s_from(pack)
    since_ms = np.full(len(packs), ALWAYS_MS, np.int64)
    if former is not None:
        order = np.argsort(packs)
        since_ms[order[np.searchsorted(packs, former, sorter=order)]] = until_ms
    places = tuple(
        Place(TenantId(tenant), _id_of(site), _id_of(model))
        for tenant, site, model in zip(tenants.tolist(), sites, models, strict=True)
    )
    return Holders(packs, int4s_from(place), since_ms, places), snapshot


def _id_of(text: str) -> UUID | None:
    return None if text == _NOWHERE else UUID(text)


def last_arrivals(queries: PartitionQueries) -> LastArrivals:
    """The last live arrivals as they were saved."""
    pack, tenant, arrived_ms, newest_ts_ms, skew_ms = queries.columns("live.last_arrivals")
    return (
        LastArrivals.none() if pack is None else LastArrivals(pack, tenant, arrived_ms, newest_ts_ms, skew_ms)
    )


def open_alerts(queries: PartitionQueries) -> list[OpenAlert]:
    """All alerts that are open."""
    return [
        OpenAlert(
            tenant_id=TenantId(row["tenant_id"]),
            rule=row["rule_no"],
            version=row["rule_version"],
            subject=Subject(row["pack_id"], row["source"]),
            onset_ms=row["onset_ms"],
            severity=Severity(row["severity"]),
            muted=row["muted"],
            tenure=row["tenure_no"],
        )
        for row in queries.rows("live.open_alerts")
    ]


async def site_names(transaction: Transaction, limit: int | None) -> list[DictRow]:
    """Id, name and region of the sites that the actor sees, by name; so many at most."""
    return await transaction.rows("live.site_names", {"limit": limit})


async def model_names(transaction: Transaction, limit: int) -> list[DictRow]:
    """Id and name of the tenant's models, by name; so many at most."""
    return await transaction.rows("live.model_names", {"limit": limit})


async def pack_names(transaction: Transaction, packs: list[int]) -> dict[int, str]:
    """External ids of packs by their numbers."""
    rows = await transaction.rows("live.pack_names", {"numbers": packs})
    return {row["pack_id"]: row["pack"] for row in rows}
