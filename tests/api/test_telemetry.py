"""Telemetry in over HTTP and out again, as its users do it."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.running import RunningApi


def now(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_reading_comes_back_in_the_trend(api: RunningApi) -> None:
    with api.client(api.tenant("trend")) as client:
        sent = [{"pack": "P-1", "ts": now(-second), "voltage_v": 350 + second / 10} for second in range(5)]
        receipt = client.post("/v1/telemetry", json=sent)
        assert (receipt.status_code, receipt.json()["accepted"]) == (200, 5)
        asked = {"pack": "P-1", "measure": "voltage_v", "from": now(-60), "to": now(60)}
        trend = client.get("/v1/trends", params=asked).json()
        assert trend["columns"]["voltage_v"] == [350.4, 350.3, 350.2, 350.1, 350.0]


def test_retry_under_the_same_key_gets_the_first_receipt(api: RunningApi) -> None:
    with api.client(api.tenant("retry")) as client:
        sent = {"pack": "P-1", "ts": now(), "voltage_v": 350}
        first = client.post("/v1/telemetry", json=sent, headers={"Idempotency-Key": "order 66"})
        again = client.post("/v1/telemetry", json=sent, headers={"Idempotency-Key": "order 66"})
        other = client.post(
            "/v1/telemetry", json=sent | {"voltage_v": 1}, headers={"Idempotency-Key": "order 66"}
        )
        assert first.json() == again.json()
        assert again.json()["accepted"] == 1
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("dry_run", [True, False])
def test_packs_are_registered_from_csv(api: RunningApi, dry_run: bool) -> None:
    with api.client(api.tenant(f"csv-{dry_run}".lower())) as client:
        answer = client.post(
            "/v1/packs/import",
            params={"dry_run": dry_run},
            content=b"pack,model,site\nP-1,,\nP-2,,\n",
            headers={"Content-Type": "text/csv"},
        )
        assert (answer.status_code, answer.json()["created"]) == (200, 2)
        assert len(client.get("/v1/packs").json()["items"]) == (0 if dry_run else 2)
