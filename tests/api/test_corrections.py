"""Corrections over HTTP: what is deleted stays deleted, what is put right is right, and the old stays for audit."""

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from tests.running import RunningApi

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def client(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(api.tenant(f"t-{uuid.uuid4().hex[:12]}")) as client:
        yield client


def at(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


def send(client: httpx.Client, *readings: dict[str, Any], **params: str) -> dict[str, Any]:
    answer = client.post("/v1/telemetry", json=list(readings), params=params)
    assert answer.status_code in (200, 207), answer.text
    receipt: dict[str, Any] = answer.json()
    return receipt


def reading(seconds: float, pack: str = "P", **values: float) -> dict[str, Any]:
    return {"pack": pack, "ts": at(seconds), **values}


def stored(client: httpx.Client, measure: str = "voltage_v", pack: str = "P") -> dict[int, float | None]:
    """Values by seconds from NOW."""
    params = {"pack": pack, "measure": measure, "from": at(-86_400 * 40), "to": at(86_400)}
    columns = client.get("/v1/trends", params=params).raise_for_status().json()["columns"]
    start_ms = int(NOW.timestamp() * 1000)
    return {
        (ts - start_ms) // 1000: value
        for ts, value in zip(columns["ts"], columns[measure], strict=True)
        if value is not None
    }


def latest(client: httpx.Client, pack: str = "P") -> dict[str, float]:
    found = {one["pack"]: one["id"] for one in client.get("/v1/packs").json()["items"]}
    values = client.get(f"/v1/packs/{found[pack]}/latest").raise_for_status().json()["latest"]
    return {name: one["value"] for name, one in values.items()}


def correct(client: httpx.Client, kind: str, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/corrections", json={"kind": kind, "reason": "a test", **more})
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()
    assert done["status"] == "done"
    assert client.get(f"/v1/corrections/{done['id']}").json() == done
    return done


def test_deleted_range_is_gone_and_a_resend_does_not_bring_it_back(client: httpx.Client) -> None:
    sent = [reading(-s, voltage_v=300 + s, current_a=s) for s in range(10)]
    send(client, *sent)
    done = correct(client, "delete_range", pack="P", **{"from": at(-5), "to": at(0)}, measures=["voltage_v"])
    assert (done["readings"], done["measures"]) == (5, ["voltage_v"])
    assert set(stored(client)) == {0, -6, -7, -8, -9}
    assert len(stored(client, "current_a")) == 10
    again = send(client, *sent)
    assert (again["accepted"], again["duplicate"], again["quarantined"]) == (0, 5, 5)
    assert {(item["index"], item["reason"], item["field"]) for item in again["items"]} == {
        (n, "deleted", "voltage_v") for n in range(1, 6)
    }
    assert set(stored(client)) == {0, -6, -7, -8, -9}
    # Another value under a deleted identity is a new reading.
    assert send(client, reading(-3, voltage_v=111))["accepted"] == 1
    assert stored(client)[-3] == 111
    # And the deleted one contradicts nothing any more: it stays what it was, deleted.
    assert send(client, sent[3])["conflicting"] == 0
    assert stored(client)[-3] == 111


def test_wholly_deleted_reading_is_quarantined_when_it_comes_again(client: httpx.Client) -> None:
    send(client, reading(-3, voltage_v=300))
    correct(client, "delete_range", pack="P", **{"from": at(-3), "to": at(-2)})
    receipt = send(client, reading(-3, voltage_v=300))
    assert (receipt["accepted"], receipt["duplicate"], receipt["quarantined"]) == (0, 0, 1)
    assert [item["reason"] for item in receipt["items"]] == ["deleted"]
    assert stored(client) == {}


def test_latest_values_are_computed_again(client: httpx.Client) -> None:
    send(client, *(reading(-s, voltage_v=300 + s) for s in range(5)), reading(-1, current_a=7))
    assert latest(client) == {"voltage_v": 300, "current_a": 7}
    correct(client, "delete_range", pack="P", **{"from": at(-2), "to": at(1)})
    assert latest(client) == {"voltage_v": 303}
    correct(client, "delete_range", pack="P", **{"from": at(-20), "to": at(1)})
    assert latest(client) == {}
    # Older than what was there once, so it must be looked up; and it is the latest now.
    assert send(client, reading(-10, voltage_v=290))["accepted"] == 1
    assert latest(client) == {"voltage_v": 290}


def test_corrected_value_supersedes_and_the_old_one_is_kept(api: RunningApi, client: httpx.Client) -> None:
    send(client, reading(-1, voltage_v=300, current_a=5), reading(-2, voltage_v=300))
    done = correct(client, "correct", pack="P", ts=at(-1), values={"voltage_v": 310.5})
    assert (done["readings"], done["values"]) == (1, {"voltage_v": 310.5})
    assert stored(client) == {-1: 310.5, -2: 300}
    assert stored(client, "current_a") == {-1: 5}
    assert latest(client) == {"voltage_v": 310.5, "current_a": 5}
    # The device doesn't know, and sends it once more: nothing contradicts, nothing changes.
    assert send(client, reading(-1, voltage_v=300, current_a=5))["duplicate"] == 1
    assert send(client, reading(-1, voltage_v=310.5))["duplicate"] == 1
    assert send(client, reading(-1, voltage_v=299))["conflicting"] == 1
    assert stored(client)[-1] == 310.5
    with psycopg.connect(api.access.admin) as connection:
        kept = connection.execute(
            "SELECT voltage_v, current_a, deleted FROM bpm.superseded_readings JOIN bpm.corrections"
            " USING (correction_no) WHERE corrections.id = %s",
            (done["id"],),
        ).fetchall()
    assert kept == [(300.0, None, False)]


def test_deleted_value_can_be_put_back_by_a_correction(client: httpx.Client) -> None:
    send(client, reading(-1, voltage_v=300))
    correct(client, "delete_range", pack="P", **{"from": at(-1), "to": at(0)})
    correct(client, "correct", pack="P", ts=at(-1), values={"voltage_v": 300})
    assert stored(client) == {-1: 300}
    assert send(client, reading(-1, voltage_v=300))["duplicate"] == 1


def test_undone_import_is_gone_and_takes_no_more(client: httpx.Client) -> None:
    import_id = client.post("/v1/imports", json={"source": "s"}).json()["id"]
    for start in range(3):
        send(
            client,
            *(reading(-1000 - s, f"P{s % 3}", voltage_v=s) for s in range(start * 10, start * 10 + 10)),
            **{"import": import_id},
        )
    send(client, reading(-1, "P0", voltage_v=1))
    answer = client.delete(f"/v1/imports/{import_id}")
    assert (answer.status_code, answer.json()["readings"], answer.json()["status"]) == (200, 30, "done")
    assert stored(client, pack="P0") == {-1: 1}
    assert stored(client, pack="P1") == {}
    refused = client.post("/v1/telemetry", json=[reading(-5000, voltage_v=1)], params={"import": import_id})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    again = client.delete(f"/v1/imports/{import_id}")
    assert (again.status_code, again.json()["readings"]) == (200, 0)


def test_deleted_batch_takes_its_own_readings_and_its_retry_gets_the_first_receipt(
    client: httpx.Client,
) -> None:
    body = [reading(-1, voltage_v=300), reading(-2, voltage_v=301)]
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = client.post("/v1/telemetry", json=body, headers=headers).json()
    send(client, reading(-3, voltage_v=302))
    assert correct(client, "delete_batch", batch=first["id"])["readings"] == 2
    assert stored(client) == {-3: 302}
    assert client.post("/v1/telemetry", json=body, headers=headers).json() == first
    assert stored(client) == {-3: 302}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"kind": "delete_range", "pack": "P", "from": at(0), "to": at(0)}, 422, "to"),
        ({"kind": "delete_range", "pack": "?", "from": at(-1), "to": at(0)}, 404, None),
        ({"kind": "delete_range", "pack": "P", "from": at(-1), "to": at(0), "measures": ["x"]}, 422, "measures"),
        ({"kind": "delete_batch", "batch": str(uuid.uuid4())}, 404, "batch"),
        ({"kind": "delete_import", "import": str(uuid.uuid4())}, 404, "import"),
        ({"kind": "correct", "pack": "P", "ts": at(-9), "values": {"voltage_v": 1}}, 404, "values.voltage_v"),
        ({"kind": "correct", "pack": "P", "ts": at(-1), "values": {"current_a": 1}}, 404, "values.current_a"),
        ({"kind": "correct", "pack": "P", "ts": at(-1), "values": {"voltage_v": 9999}}, 422, "values.voltage_v"),
        ({"kind": "correct", "pack": "P", "ts": at(-1), "values": {"x": 1}}, 422, "values"),
    ],
)  # fmt: skip
def test_correction_that_can_not_be_done_says_why(
    client: httpx.Client, body: dict[str, Any], status: int, field: str | None
) -> None:
    send(client, reading(-1, voltage_v=300))
    answer = client.post("/v1/corrections", json=body | {"reason": "a test"})
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text
    assert client.get("/v1/corrections").json()["items"] == []


def test_archived_day_answers_409_and_takes_no_readings(api: RunningApi, client: httpx.Client) -> None:
    import_id = client.post("/v1/imports", json={"source": "s"}).json()["id"]
    old = 40 * 86_400
    first = send(client, reading(-old, voltage_v=300), **{"import": import_id})
    with psycopg.connect(api.access.admin) as connection:
        connection.execute("UPDATE bpm.retention_classes SET archived_before = %s", (at(-old + 86_400),))
    try:
        for body in (
            {"kind": "delete_range", "pack": "P", "from": at(-old), "to": at(0)},
            {"kind": "delete_batch", "batch": first["id"]},
            {"kind": "delete_import", "import": import_id},
            {"kind": "correct", "pack": "P", "ts": at(-old), "values": {"voltage_v": 1}},
        ):
            answer = client.post("/v1/corrections", json=body | {"reason": "a test"})
            assert (answer.status_code, answer.json()["code"]) == (409, "archived"), body
        receipt = send(client, reading(-old - 5, voltage_v=300), **{"import": import_id})
        assert [item["reason"] for item in receipt["items"]] == ["archived"]
    finally:
        with psycopg.connect(api.access.admin) as connection:
            connection.execute("UPDATE bpm.retention_classes SET archived_before = '-infinity'")


def test_correction_is_for_those_who_may_and_for_the_own_tenant(
    api: RunningApi, client: httpx.Client
) -> None:
    send(client, reading(-1, voltage_v=300))
    done = correct(client, "delete_range", pack="P", **{"from": at(-1), "to": at(0)})
    with api.client(api.tenant("others")) as other:
        assert other.get(f"/v1/corrections/{done['id']}").status_code == 404
        assert other.get("/v1/corrections").json()["items"] == []
    for role in ("operator", "analyst", "device", "importer"):
        with api.client("others", role) as limited:
            body = {"kind": "delete_batch", "batch": str(uuid.uuid4()), "reason": "r"}
            assert limited.post("/v1/corrections", json=body).status_code == 403


def test_e15_deleted_and_corrected_readings_leave_notes_for_closed_quarters(
    api: RunningApi, client: httpx.Client
) -> None:
    def notes() -> set[float]:
        with psycopg.connect(api.access.admin) as connection:
            rows = connection.execute(
                "DELETE FROM bpm.window_notes RETURNING extract(epoch FROM starts)::float8"
            ).fetchall()
        return {seconds for (seconds,) in rows}

    # The counter would take the notes away within a second.
    api.engine.counter.stop()
    moment = (int(NOW.timestamp()) - 7200) // 900 * 900 + 100
    seconds = moment - int(NOW.timestamp())
    notes()
    send(client, reading(seconds, voltage_v=300))
    assert notes() == {moment - 100.0, moment - 1000.0}
    correct(client, "correct", pack="P", ts=at(seconds), values={"voltage_v": 301})
    assert notes() == {moment - 100.0, moment - 1000.0}
    correct(client, "delete_range", pack="P", **{"from": at(seconds), "to": at(seconds + 1)})
    assert notes() == {moment - 100.0, moment - 1000.0}


def test_corrections_of_more_than_a_slice_leave_time_for_live_readings(
    api: RunningApi, client: httpx.Client
) -> None:
    import_id = client.post("/v1/imports", json={"source": "s"}).json()["id"]
    for part in range(5):
        body = [
            reading(-100_000 - s, f"P{s % 7}", voltage_v=300)
            for s in range(part * 10_000, part * 10_000 + 10_000)
        ]
        send(client, *body, **{"import": import_id})
    began_s = time.monotonic()
    done = client.delete(f"/v1/imports/{import_id}")
    assert done.json()["readings"] == 50_000
    assert time.monotonic() - began_s < 30
    assert stored(client, pack="P3") == {}
    assert latest(client, "P3") == {}
