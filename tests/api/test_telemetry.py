"""Telemetry in over HTTP and out again, as its users do it."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
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


def test_import_needs_no_body(api: RunningApi) -> None:
    with api.client(api.tenant("import")) as client:
        made = client.post("/v1/imports")
        assert (made.status_code, made.json()["source"]) == (201, "unnamed")
        named = client.post("/v1/imports", json={"source": "archive"})
        assert named.json()["source"] == "archive"


def test_import_says_how_far_it_has_come(api: RunningApi) -> None:
    with api.client(api.tenant("how-far")) as client:
        begun = client.post("/v1/imports", json={"source": "archive", "expected": 3}).json()
        assert (begun["expected"], begun["undone_at"]) == (3, None)
        path = f"/v1/imports/{begun['id']}"
        assert client.get(path).json()["last_arrived_at"] is None
        body = [{"pack": "P-1", "ts": f"2020-01-01T00:00:0{second}Z", "voltage_v": 1} for second in range(2)]
        client.post("/v1/telemetry", params={"import": begun["id"]}, json=body).raise_for_status()
        found = client.get(path).json()
        assert (found["received"], found["expected"]) == (2, 3)
        assert found["last_arrived_at"] > begun["created_at"]
        client.delete(path).raise_for_status()
        assert client.get(path).json()["undone_at"] > found["last_arrived_at"]


@pytest.mark.parametrize("expected", [0, -1, 2**63, 1.5, "7", True])
def test_import_of_no_number_is_refused(api: RunningApi, expected: object) -> None:
    with api.client(api.tenant("no-number")) as client:
        answer = client.post("/v1/imports", json={"expected": expected})
        assert (answer.status_code, answer.json()["field"]) == (422, "expected")


def test_imports_are_listed_the_newest_first_and_each_once(api: RunningApi) -> None:
    with api.client(api.tenant("many-imports")) as client:
        made = [client.post("/v1/imports", json={"source": f"file {number}"}).json() for number in range(7)]
        found: list[str] = []
        asked: dict[str, Any] = {"limit": 3}
        while asked.get("cursor", "") is not None:
            page = client.get("/v1/imports", params=asked).json()
            found += [item["source"] for item in page["items"]]
            asked["cursor"] = page["next_cursor"]
        assert found == [one["source"] for one in reversed(made)]


def test_repeated_name_of_an_arrow_dictionary_registers_once(api: RunningApi) -> None:
    twice = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["D-1", "D-1"]))
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    table = pa.table({"pack": twice, "ts": pa.array([now_ms, now_ms - 1]), "voltage_v": [1.0, 2.0]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with api.client(api.tenant("twice")) as client:
        headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
        assert client.post("/v1/telemetry", content=sink.getvalue(), headers=headers).json()["accepted"] == 2
        assert len(client.get("/v1/packs").json()["items"]) == 1


def test_reading_with_several_conflicts_is_set_aside_once(api: RunningApi) -> None:
    with api.client(api.tenant("conflicts")) as client:
        first = {"pack": "P-1", "ts": now(), "voltage_v": 1, "current_a": 1}
        client.post("/v1/telemetry", json=first)
        client.post("/v1/telemetry", json=first | {"voltage_v": 2, "current_a": 2})
        (item,) = client.get("/v1/quarantine").json()["items"]
        assert (item["times"], item["field"]) == (1, "voltage_v, current_a")


def test_trend_beyond_the_limit_is_refused_and_never_cut(
    api: RunningApi,
) -> None:
    moments = [now(-second) for second in range(10)]
    asked = {"pack": "P-1", "measure": ["voltage_v", "current_a"], "from": now(-60), "to": now(60)}
    with api.client(api.tenant("cut")) as client:
        for measure in ("voltage_v", "current_a"):
            client.post("/v1/telemetry", json=[{"pack": "P-1", "ts": ts, measure: 5} for ts in moments])
        assert len(client.get("/v1/trends", params=asked).json()["columns"]["ts"]) == 10
        api.engine.settings = api.engine.settings.model_copy(update={"trend_points_max": 19})
        refused = client.get("/v1/trends", params=asked)
        api.engine.settings = api.engine.settings.model_copy(update={"trend_points_max": 20})
        answered = client.get("/v1/trends", params=asked)
    assert (refused.status_code, refused.json()["limit"]) == (422, 19)
    assert answered.status_code == 200
