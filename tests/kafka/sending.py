"""Readings for the tests of workers, and their receipts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

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
