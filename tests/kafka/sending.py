"""Readings for the tests of workers, their receipts, and what was stored of them."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg

from api.database_access import DatabaseAccess
from tests.running import until

TENANT = "topical"
STALE_S = 2.0
HOT = {
    "name": "hot",
    "severity": "warning",
    "scope": {"kind": "tenant"},
    "condition": {
        "kind": "threshold",
        "measure": "temperature_c",
        "side": "above",
        "limit": 60,
        "clear_limit": 50,
    },
}
"""A rule for all packs of a tenant."""


def reading(pack: str, volts: float = 350.0, back_s: float = 60.0) -> dict[str, Any]:
    moment = datetime.now(UTC) - timedelta(seconds=back_s)
    return {"pack": pack, "ts": moment.isoformat(), "voltage_v": volts}


def committed(client: httpx.Client, receipt_id: str) -> dict[str, Any]:
    def answer() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(f"/v1/receipts/{receipt_id}").json()
        return found if found["status"] == "committed" else None

    found: dict[str, Any] = until(answer)
    return found


def stored(access: DatabaseAccess, tenant: str) -> Counter[tuple[str, float]]:
    with psycopg.connect(access.admin, options="-c search_path=bpm") as connection:
        rows = connection.execute(
            "SELECT external_id, voltage_v FROM readings JOIN packs USING (tenant_id, pack_id)"
            " JOIN tenants USING (tenant_id) WHERE tenants.name = %s",
            (tenant,),
        ).fetchall()
    return Counter((pack, round(float(voltage_v), 3)) for pack, voltage_v in rows)


def taken_in(access: DatabaseAccess, tenant: str) -> tuple[int, int, int]:
    """Accepted, duplicate and quarantined items of all batches."""
    with psycopg.connect(access.admin, options="-c search_path=bpm") as connection:
        row = connection.execute(
            "SELECT coalesce(sum(accepted), 0), coalesce(sum(duplicate), 0), coalesce(sum(quarantined), 0)"
            " FROM batches JOIN tenants USING (tenant_id) WHERE name = %s",
            (tenant,),
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])
