"""A small fleet in which every view has something to show."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

HOT = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45}


def reading(pack: str, **values: Any) -> dict[str, Any]:
    return {"pack": pack, "ts": datetime.now(UTC).isoformat()} | values


def fill(client: httpx.Client) -> None:
    """Twelve packs at two sites, a day of history of one with an alert in it, and what is wrong with some."""
    for model, chemistry in (("NX-90", "LFP"), ("VT-60", "NMC")):
        _post(client, "/v1/models", {"name": model, "chemistry": chemistry, "rated_capacity_ah": 90})
    for site, zone in (("Bern", "Europe/Zurich"), ("Osaka", "Asia/Tokyo")):
        _post(client, "/v1/sites", {"name": site, "zone": zone, "region": f"around {site}"})
    packs = [(f"NX-{number}", "NX-90", ("Bern", "Osaka")[number % 2]) for number in range(12)]
    table = "pack,model,site\n" + "".join(f"{','.join(pack)}\n" for pack in packs)
    client.post("/v1/packs/import", content=table, headers={"Content-Type": "text/csv"}).raise_for_status()
    scope = {"kind": "tenant"}
    _post(client, "/v1/rules", {"name": "hot", "scope": scope, "severity": "critical", "condition": HOT})
    warm = {
        "name": "warm",
        "scope": scope,
        "severity": "warning",
        "condition": HOT | {"limit": 40, "clear_limit": 35},
    }
    _post(client, "/v1/rules", warm)
    begun = _post(client, "/v1/imports", {"source": "yard logger"})
    old = [
        {
            "pack": "NX-2",
            "ts": (datetime.now(UTC) - timedelta(days=3, minutes=step)).isoformat(),
            "voltage_v": 350,
        }
        for step in range(30)
    ]
    client.post("/v1/telemetry", params={"import": begun["id"]}, json=old).raise_for_status()
    _post(client, "/v1/telemetry", [row for pack, _, _ in packs[1:9] for row in [_now(pack)]])
    _post(client, "/v1/telemetry", list(_day("NX-0")))
    _post(client, "/v1/telemetry", [reading("NX-0", temperature_c=55), reading("NX-4", temperature_c=42)])
    wrong = [reading("NX-0", temperature_c=900), {"pack": "NX-0", "ts": "yesterday", "voltage_v": 3}]
    _post(client, "/v1/telemetry", wrong)


def _post(client: httpx.Client, path: str, body: Any) -> Any:
    return client.post(path, json=body).raise_for_status().json()


def _now(pack: str) -> dict[str, Any]:
    number = int(pack.rpartition("-")[2])
    return reading(
        pack,
        state_of_charge_pct=40 + 4 * number,
        state_of_health_pct=99 - number,
        temperature_c=20 + number,
        voltage_v=340 + number,
        current_a=-12.5,
        cell_voltage_min_v=3.21,
        cell_voltage_max_v=3.29,
    )


def _day(pack: str) -> Any:
    """Twenty hours of a pack at ten minutes, in which it was too hot for an hour."""
    began = datetime.now(UTC) - timedelta(hours=20)
    for step in range(120):
        too_hot = 30 if 60 <= step < 66 else 0
        yield {
            "pack": pack,
            "ts": (began + timedelta(minutes=10 * step)).isoformat(),
            "temperature_c": round(25 + 4 * math.sin(step / 9) + too_hot, 1),
            "state_of_charge_pct": round(50 + 40 * math.sin(step / 20), 1),
        }
