"""Quarantine: listed, exported, judged again after a fix, discarded, and kept small."""

import csv
import io
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pyarrow as pa
import pytest

from domain.quarantine import is_cut
from tests.both import BOTH
from tests.running import RunningApi

RUNNERS = BOTH


Reading = dict[str, Any]
DAY_S = 86_400

_given_ms: set[int] = set()


def moment(seconds: float = 0) -> str:
    """A time of about that many seconds from now that no other reading has."""
    at_ms = int((time.time() + seconds) * 1000)
    while at_ms in _given_ms:
        at_ms -= 1
    _given_ms.add(at_ms)
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Tenant:
    """A tenant of a test's own, that registers no pack by itself."""

    name: str
    client: httpx.Client
    database: psycopg.Connection[Any]

    def send(self, body: Any, **more: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/telemetry", json=body, **more)
        assert answer.status_code in (200, 207), answer.text
        return dict(answer.json())

    def register(self, pack: str, **more: Any) -> None:
        self.client.post("/v1/packs", json={"pack": pack} | more).raise_for_status()

    def items(self, **asked: Any) -> list[dict[str, Any]]:
        answer = self.client.get("/v1/quarantine", params={"limit": 1000} | asked)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    def redrive(self, **asked: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/quarantine/redrive", json=asked or {"filter": {}})
        assert answer.status_code in (200, 207), answer.text
        found = dict(answer.json())
        assert (answer.status_code == 200) == (not found["items"])
        counted = ("accepted", "duplicate", "quarantined", "skipped")
        assert found["selected"] == sum(found[name] for name in counted)
        return found

    def stored(self, pack: str) -> list[float]:
        asked = {"pack": pack, "measure": "voltage_v", "from": "1990-01-01T00:00:00Z", "to": moment(DAY_S)}
        return list(self.client.get("/v1/trends", params=asked).json()["columns"]["voltage_v"])

    def set(self, item_id: str, **columns: Any) -> None:
        """Change an item in the database, as time would have."""
        for name, value in columns.items():
            self.database.execute(f"UPDATE quarantine SET {name} = %s WHERE uid = %s", (value, item_id))


@pytest.fixture
def tenant(api: RunningApi) -> Iterator[Tenant]:
    name = f"t-{uuid.uuid4().hex[:12]}"
    options = "-c search_path=bpm"
    with (
        psycopg.connect(api.access.admin, options=options, autocommit=True) as database,
        api.client(api.tenant(name, register_unknown_packs=False)) as client,
    ):
        yield Tenant(name, client, database)


def unknown(pack: str = "P-1", seconds: float = -10, voltage_v: Any = 350) -> Reading:
    return {"pack": pack, "ts": moment(seconds), "voltage_v": voltage_v}


def test_unknown_pack_goes_in_once_it_is_registered_and_leaves_quarantine(tenant: Tenant) -> None:
    sent = [unknown(), unknown(), unknown("P-2")]
    tenant.send(sent)
    first_at = [item["first_at"] for item in tenant.items()]
    tenant.send(sent)
    assert {item["times"] for item in tenant.items()} == {2}
    assert [item["first_at"] for item in tenant.items()] == first_at
    assert all(item["last_at"] > item["first_at"] for item in tenant.items())
    tenant.register("P-1")
    found = tenant.redrive()
    assert (found["accepted"], found["quarantined"]) == (2, 1)
    assert tenant.stored("P-1") == [350, 350]
    (left,) = tenant.items()
    assert (left["pack"], left["times"], left["reason"]) == ("P-2", 2, "unknown_pack")
    assert [item["id"] for item in found["items"]] == [left["id"]]
    (batch,) = found["batches"]
    receipt = tenant.client.get(f"/v1/receipts/{batch}").json()
    assert (receipt["accepted"], receipt["quarantined"]) == (2, 1)


def test_items_that_fail_again_stay_as_they_were_and_can_be_tried_again(tenant: Tenant) -> None:
    tenant.send([unknown()])
    before = tenant.items()
    first, second = tenant.redrive(), tenant.redrive()
    assert (first["quarantined"], second["quarantined"]) == (1, 1)
    assert first["batches"] != second["batches"], "an earlier try's receipt must not answer a later one"
    assert tenant.items() == before
    tenant.register("P-1")
    assert tenant.redrive()["accepted"] == 1
    assert tenant.items() == []


def test_item_beyond_a_models_limit_goes_in_once_the_limit_is_widened(tenant: Tenant) -> None:
    limits = {"voltage_v": {"maximum": 300}}
    model = {"name": "M", "chemistry": "LFP", "rated_capacity_ah": 5, "limits": limits}
    made = tenant.client.post("/v1/models", json=model)
    tenant.register("P-1", model="M")
    tenant.send([unknown()])
    assert [item["reason"] for item in tenant.items()] == ["out_of_range"]
    headers = {"If-Match": made.headers["ETag"]}
    path = f"/v1/models/{made.json()['id']}"
    wider = {"limits": {"voltage_v": {"maximum": 400}}}
    tenant.client.patch(path, json=wider, headers=headers).raise_for_status()
    assert tenant.redrive(filter={"reason": "out_of_range"})["accepted"] == 1
    assert (tenant.items(), tenant.stored("P-1")) == ([], [350])


def test_key_that_was_unknown_is_read_once_it_has_an_alias(tenant: Tenant) -> None:
    tenant.register("P-1")
    tenant.send([{"pack": "P-1", "ts": moment(-5), "mV": 351_000}])
    (item,) = tenant.items(reason="no_measure")
    aliases = {"aliases": [{"alias": "mV", "key": "voltage_v", "factor": 0.001}]}
    headers = {"If-Match": tenant.client.get("/v1/key-aliases").headers["ETag"]}
    tenant.client.put("/v1/key-aliases", json=aliases, headers=headers).raise_for_status()
    assert tenant.redrive(ids=[item["id"]])["accepted"] == 1
    assert tenant.stored("P-1") == [351]


BODIES: dict[str, tuple[str, str, bytes]] = {
    "ndjson": ("/v1/telemetry", "application/x-ndjson", b'{"pack":"P-1","ts":%d,"voltage_v":350}'),
    "csv": ("/v1/telemetry", "text/csv", b'note,pack,ts,voltage_v\n"a\nb",P-1,%d,350\nx,P-1,soon,350\n'),
    "thingsboard": (
        "/v1/telemetry/thingsboard?pack=P-1",
        "application/json",
        b'{"ts":%d,"values":{"voltage_v":"350"}}',
    ),
    "gateway": (
        "/v1/telemetry/thingsboard/gateway",
        "application/json",
        b'{"P-1":[{"ts":%d,"values":{"voltage_v":"350"}}]}',
    ),
}


@pytest.mark.parametrize("body", BODIES)
def test_items_of_every_body_are_judged_again(tenant: Tenant, body: str) -> None:
    path, content_type, content = BODIES[body]
    sent = content.replace(b"%d", str(int(time.time() * 1000) - 5000).encode())
    receipt = tenant.client.post(path, content=sent, headers={"Content-Type": content_type}).json()
    assert receipt["quarantined"] == receipt["received"]
    assert {item["pack"] for item in tenant.items()} == {"P-1"}
    tenant.register("P-1")
    assert tenant.redrive()["accepted"] == 1
    assert tenant.stored("P-1") == [350]


def test_items_of_arrow_are_judged_again(tenant: Tenant) -> None:
    now_ms = int(time.time() * 1000)
    columns = {
        "pack": ["P-1"] * 3,
        "ts": [now_ms - 2, None, now_ms],
        "voltage_v": [350.0, 350.0, float("nan")],
    }
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
    tenant.client.post("/v1/telemetry", content=sink.getvalue().to_pybytes(), headers=headers)
    assert [item["pack"] for item in tenant.items()] == ["P-1"] * 3
    tenant.register("P-1")
    assert (tenant.redrive()["accepted"], len(tenant.items())) == (1, 2)


def test_bare_values_keep_the_time_of_their_first_arrival(tenant: Tenant) -> None:
    before_ms = int(time.time() * 1000)
    tenant.client.post("/v1/telemetry/thingsboard?pack=P-1", json={"voltage_v": 350})
    (item,) = tenant.items()
    assert before_ms <= json.loads(item["raw"])["ts"] <= time.time() * 1000
    tenant.register("P-1")
    assert tenant.redrive()["accepted"] == 1


def test_lateness_is_judged_by_the_first_arrival(tenant: Tenant) -> None:
    tenant.send([unknown()])
    (item,) = tenant.items()
    raw = json.dumps(unknown(seconds=-45 * DAY_S))
    tenant.set(item["id"], raw=raw, first_at=datetime.now(UTC) - timedelta(days=40))
    tenant.register("P-1")
    assert tenant.redrive()["accepted"] == 1, "it was five days old when it first came"


def test_late_is_counted_by_the_first_arrival(tenant: Tenant) -> None:
    tenant.send([unknown()])
    (item,) = tenant.items()
    raw = json.dumps(unknown(seconds=-3600))
    tenant.set(item["id"], raw=raw, first_at=datetime.now(UTC) - timedelta(seconds=3600))
    tenant.register("P-1")
    found = tenant.redrive()
    assert (found["accepted"], found["late"]) == (1, 0), "it came at its own time"


def test_future_is_judged_by_the_first_arrival(tenant: Tenant) -> None:
    tenant.register("P-1")
    tenant.send([unknown(seconds=600)])
    (item,) = tenant.items(reason="too_far_in_future")
    raw = json.dumps(unknown(seconds=-600))
    tenant.set(item["id"], raw=raw, first_at=datetime.now(UTC) - timedelta(seconds=3600))
    found = tenant.redrive()
    assert [item["reason"] for item in found["items"]] == ["too_far_in_future"]
    assert tenant.stored("P-1") == []


def test_items_of_an_import_are_judged_as_an_import(tenant: Tenant) -> None:
    import_id = tenant.client.post("/v1/imports", json={"source": "archive"}).json()["id"]
    tenant.send([unknown(seconds=-4000 * DAY_S)], params={"import": import_id})
    (item,) = tenant.items(source=f"import {import_id}")
    assert item["mode"] == "import"
    tenant.register("P-1")
    assert tenant.redrive()["accepted"] == 1
    assert tenant.client.get(f"/v1/imports/{import_id}").json()["accepted"] == 1


def test_items_of_an_import_that_was_undone_are_not_tried(tenant: Tenant) -> None:
    import_id = tenant.client.post("/v1/imports", json={"source": "archive"}).json()["id"]
    tenant.send([unknown(seconds=-4000 * DAY_S)], params={"import": import_id})
    tenant.client.delete(f"/v1/imports/{import_id}").raise_for_status()
    tenant.register("P-1")
    found = tenant.redrive()
    assert (found["skipped"], found["accepted"]) == (1, 0)
    assert len(tenant.items()) == 1


def test_conflict_stays_one_until_the_stored_value_is_put_right(tenant: Tenant) -> None:
    tenant.register("P-1")
    first = unknown()
    tenant.send([first])
    tenant.send([first | {"voltage_v": 351, "current_a": 1}])
    (item,) = tenant.items(reason="conflict")
    assert item["pack"] == "P-1"
    found = tenant.redrive()
    assert [(left["outcome"], left["field"]) for left in found["items"]] == [("conflict", "voltage_v")]
    right = {"kind": "correct", "pack": "P-1", "ts": first["ts"], "values": {"voltage_v": 351}}
    tenant.client.post("/v1/corrections", json=right | {"reason": "wrong"}).raise_for_status()
    assert tenant.redrive()["duplicate"] == 1
    assert (tenant.items(), tenant.stored("P-1")) == ([], [351])


def test_try_whose_end_is_unknown_is_repeated_without_counting_twice(tenant: Tenant) -> None:
    """The engine may end between the commit of the readings and the leaving of the items."""
    tenant.send([unknown(), unknown("P-2")])
    copied = "INSERT INTO quarantine OVERRIDING SYSTEM VALUE SELECT * FROM kept ON CONFLICT DO NOTHING"
    tenant.database.execute("DROP TABLE IF EXISTS kept; CREATE TEMP TABLE kept AS SELECT * FROM quarantine")
    tenant.register("P-1")
    first = tenant.redrive()
    tenant.database.execute("DELETE FROM quarantine USING kept WHERE quarantine.uid = kept.uid")
    tenant.database.execute(copied)
    again = tenant.redrive()
    assert again == first
    assert tenant.stored("P-1") == [350]
    assert [item["pack"] for item in tenant.items()] == ["P-2"]


def test_two_who_redrive_the_same_store_it_once(tenant: Tenant) -> None:
    tenant.send([unknown() for _ in range(20)])
    tenant.register("P-1")
    with ThreadPoolExecutor(4) as together:
        answers = list(
            together.map(
                lambda _: tenant.client.post("/v1/quarantine/redrive", json={"filter": {}}).status_code,
                range(4),
            )
        )
    assert set(answers) <= {200, 409}
    tenant.redrive()
    assert (len(tenant.stored("P-1")), tenant.items()) == (20, [])


def test_items_that_another_request_judges_answer_409_which_names_no_key(
    api: RunningApi, tenant: Tenant
) -> None:
    tenant.send([unknown()])
    (item,) = tenant.items()
    row = tenant.database.execute("SELECT tenant_id FROM tenants WHERE name = %s", (tenant.name,)).fetchone()
    assert row is not None
    tried = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:bpm:redrive:{tenant.name}:{item['id']}/0")
    api.engine.runner.reserve(row[0], tried)
    answer = tenant.client.post("/v1/quarantine/redrive", json={"filter": {}})
    api.engine.runner.release(row[0], tried)
    assert (answer.status_code, answer.json()["code"]) == (409, "in_flight")
    assert "key" not in answer.text.lower()
    assert tenant.redrive()["selected"] == 1


def test_dry_run_says_what_would_go_in_and_changes_nothing(tenant: Tenant) -> None:
    tenant.send([unknown(), unknown("P-2")])
    tenant.register("P-1")
    before = tenant.items()
    found = tenant.redrive(filter={}, dry_run=True)
    assert (found["dry_run"], found["accepted"], found["quarantined"], found["batches"]) == (True, 1, 1, [])
    assert (tenant.items(), tenant.stored("P-1")) == (before, [])


def test_dry_run_registers_no_pack(api: RunningApi) -> None:
    name = api.tenant(f"t-{uuid.uuid4().hex[:12]}", register_unknown_packs=True)
    with api.client(name, "device", pack="P-own") as device, api.client(name) as admin:
        device.post("/v1/telemetry", json=unknown("P-other"))
        admin.post("/v1/quarantine/redrive", json={"filter": {}, "dry_run": True}).raise_for_status()
        assert admin.get("/v1/packs").json()["items"] == []


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"ids": [], "dry_run": True},
        {"ids": [str(uuid.uuid4())], "filter": {}},
        {"ids": ["1"]},
        {"ids": [str(uuid.uuid4())] * 1001},
        {"filter": {"reason": "mood"}},
        {"filter": {"from": "yesterday"}},
        {"filter": {"colour": "red"}},
        {"filter": {}, "cursor": "?"},
        {"filter": {}, "dry_run": "true"},
    ],
)
def test_redrive_that_says_nothing_clear_answers_422(tenant: Tenant, asked: dict[str, Any]) -> None:
    assert tenant.client.post("/v1/quarantine/redrive", json=asked).status_code == 422


def test_items_that_are_not_there_are_none(tenant: Tenant) -> None:
    assert tenant.redrive(ids=[str(uuid.uuid4())])["selected"] == 0


def test_filters_pick_items(tenant: Tenant) -> None:
    tenant.register("P-1")
    tenant.send([unknown("A"), unknown("A"), unknown("B"), unknown(voltage_v="x")])
    assert {item["pack"] for item in tenant.items(reason="unknown_pack")} == {"A", "B"}
    assert len(tenant.items(pack="A")) == 2
    assert len(tenant.items(pack="A", reason="invalid_type")) == 0
    assert len(tenant.items(source="http")) == 4
    assert tenant.items(source="elsewhere") == []
    assert (len(tenant.items(to=moment(-60))), len(tenant.items(**{"from": moment(-60)}))) == (0, 4)
    assert tenant.redrive(filter={"pack": "B", "to": moment(60)}, dry_run=True)["selected"] == 1


def test_item_is_read_and_discarded_and_the_audit_log_keeps_it(tenant: Tenant) -> None:
    tenant.send([unknown()])
    (item,) = tenant.items()
    path = f"/v1/quarantine/{item['id']}"
    assert tenant.client.get(path).json() == item
    assert tenant.client.delete(path).status_code == 204
    assert [tenant.client.get(path).status_code, tenant.client.delete(path).status_code] == [404, 404]
    kept = tenant.database.execute(
        "SELECT before ->> 'raw' FROM audit_log WHERE action = 'quarantine.discarded' AND resource_id = %s",
        (item["id"],),
    ).fetchone()
    assert kept == (item["raw"],)


def test_list_goes_on_where_the_page_before_ended(tenant: Tenant) -> None:
    tenant.send([unknown(f"P-{number}") for number in range(5)])
    seen: list[str] = []
    asked: dict[str, Any] = {"limit": 2}
    while True:
        page = tenant.client.get("/v1/quarantine", params=asked).json()
        seen += [item["pack"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        asked["cursor"] = page["next_cursor"]
    assert seen == [f"P-{number}" for number in range(5)]


def exported(tenant: Tenant, asked: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    answer = tenant.client.get("/v1/quarantine", params=asked or {}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def test_export_gives_all_items_as_lines_of_json(tenant: Tenant) -> None:
    tenant.send([unknown(f"P-{number}") for number in range(1200)])
    listed = tenant.items() + tenant.items(
        cursor=tenant.client.get("/v1/quarantine?limit=1000").json()["next_cursor"]
    )
    for answer in (exported(tenant, Accept="application/x-ndjson"), exported(tenant, {"format": "ndjson"})):
        assert answer.headers["Content-Type"].startswith("application/x-ndjson")
        assert [json.loads(line) for line in answer.text.splitlines()] == listed
    page = exported(tenant, {"limit": 10}, Accept="application/x-ndjson")
    assert (len(page.text.splitlines()), page.headers["Next-Cursor"] != "") == (10, True)


def test_export_as_csv_holds_nothing_that_a_spreadsheet_runs(tenant: Tenant) -> None:
    names = ["=1+1", "+1", "-1+1", "@SUM(A1)", 'plain, "quoted"', "P-1"]
    tenant.send([unknown(name) for name in names])
    tenant.register("P-2")
    tenant.send([unknown("P-2", voltage_v=-1), unknown("P-2") | {"temperature_c": -61}])
    for answer in (exported(tenant, Accept="text/csv"), exported(tenant, {"format": "csv"})):
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["pack"] for row in rows] == [
            "'=1+1", "'+1", "'-1+1", "'@SUM(A1)", 'plain, "quoted"', "P-1", "P-2", "P-2"
        ]  # fmt: skip
        assert [row["limit_value"] for row in rows[-2:]] == ["0.0", "-60.0"]
        cells = [cell for row in rows for cell in row.values()]
        assert not any(cell[:1] in "=+@\t\r" for cell in cells if cell)
    page = exported(tenant, {"limit": 2, "format": "csv"})
    assert len(list(csv.DictReader(io.StringIO(page.text)))) == 2
    assert page.headers["Next-Cursor"]


def test_format_that_is_not_offered_is_refused(tenant: Tenant) -> None:
    assert tenant.client.get("/v1/quarantine?format=xml").status_code == 422
    assert tenant.client.get("/v1/quarantine", headers={"Accept": "text/html"}).status_code == 406


def test_long_raw_text_is_cut_with_a_mark_and_not_tried_again(tenant: Tenant) -> None:
    sent = [unknown() | {"note": letter * 20_000} for letter in "ab"]
    tenant.send(sent)
    tenant.send(sent)
    items = tenant.items()
    assert [(item["times"], item["whole"]) for item in items] == [(2, False), (2, False)]
    assert all(is_cut(item["raw"]) and len(item["raw"]) < 17_000 for item in items)
    tenant.register("P-1")
    found = tenant.redrive()
    assert (found["skipped"], len(tenant.items())) == (2, 2)
