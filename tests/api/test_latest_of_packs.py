"""The latest values of many packs in one look-up: what each pack's own route answers, in every format."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pytest

from domain.measures import MEASURE_NAMES
from storage.database import INGEST_ROLE
from storage.registry import hand_over
from tests.running import RunningApi

ARROW = "application/vnd.apache.arrow.stream"
TENANT = "looked-up"
PACKS = {"=1+1": "A", "P-2": "A", "P-3": "B", "silent": None}


def moment(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.fixture(scope="module")
def client(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(api.tenant(TENANT, register_unknown_packs=False)) as client:
        for site in ("A", "B"):
            client.post("/v1/sites", json={"name": site, "zone": "UTC"}).raise_for_status()
        model = {"name": "M", "chemistry": "LFP", "rated_capacity_ah": 1}
        client.post("/v1/models", json=model).raise_for_status()
        for pack, at in PACKS.items():
            client.post("/v1/packs", json={"pack": pack, "site": at, "model": "M"}).raise_for_status()
        sent = [
            {"pack": "=1+1", "ts": moment(-20), "voltage_v": 350.125, "current_a": -3},
            {"pack": "=1+1", "ts": moment(-10), "voltage_v": 351},
            {"pack": "P-2", "ts": moment(-30), "temperature_c": -5.5, "state_of_charge_pct": 80},
            {"pack": "P-3", "ts": moment(-5), "voltage_v": 300},
        ]
        assert client.post("/v1/telemetry", json=sent).json()["accepted"] == len(sent)
        yield client


def one_by_one(client: httpx.Client) -> dict[str, Any]:
    return {
        pack["pack"]: client.get(f"/v1/packs/{pack['id']}/latest").raise_for_status().json()["latest"]
        for pack in client.get("/v1/packs").json()["items"]
    }


def as_items(columns: dict[str, list[Any]]) -> dict[str, dict[str, tuple[float, int]]]:
    return {
        pack: {
            name: (columns[name][place], columns[f"{name}_ts"][place])
            for name in MEASURE_NAMES
            if columns[name][place] is not None
        }
        for place, pack in enumerate(columns["pack"])
    }


def expected(client: httpx.Client) -> dict[str, dict[str, tuple[float, int]]]:
    return {
        pack: {
            name: (value["value"], round(datetime.fromisoformat(value["ts"]).timestamp() * 1000))
            for name, value in latest.items()
        }
        for pack, latest in one_by_one(client).items()
    }


def test_values_are_those_of_each_pack_and_unknown_ones_are_named(client: httpx.Client) -> None:
    asked = ["P-3", "nobody", "=1+1", "silent", "P-2", "P-3", "nothing"]
    answer = client.post("/v1/packs/latest", json={"packs": asked})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["columns"]["pack"] == ["P-3", "=1+1", "silent", "P-2"]
    assert told["unknown"] == ["nobody", "nothing"]
    assert answer.headers["Unknown-Packs"] == "2"
    assert as_items(told["columns"]) == expected(client)
    assert told["units"]["voltage_v"] == "V"
    assert told["units"]["voltage_v_ts"] == "ms"


def test_every_format_says_the_same(client: httpx.Client) -> None:
    def told(accept: str) -> httpx.Response:
        answer = client.post("/v1/packs/latest", json={"group": "all"}, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (200, accept)
        return answer

    wanted = expected(client)
    assert as_items(told("application/json").json()["columns"]) == wanted
    lines = [json.loads(line) for line in told("application/x-ndjson").text.splitlines()]
    assert {line["pack"]: line["latest"] for line in lines} == one_by_one(client)
    table = pa.ipc.open_stream(told(ARROW).content).read_all()
    assert json.loads(table.schema.metadata[b"units"])["current_a"] == "A"
    arrow = {
        name: [
            round(one.timestamp() * 1000) if isinstance(one, datetime) else one
            for one in table.column(name).to_pylist()
        ]
        for name in table.column_names
    }
    assert as_items(arrow) == wanted
    rows = list(csv.DictReader(io.StringIO(told("text/csv").text)))
    assert {row["pack"] for row in rows} == {"'=1+1", "P-2", "P-3", "silent"}
    for row in rows:
        for name, (value, ts_ms) in wanted[row["pack"].removeprefix("'")].items():
            assert float(row[name]) == value
            assert round(datetime.fromisoformat(row[f"{name}_ts"]).timestamp() * 1000) == ts_ms


@pytest.mark.parametrize(
    ("group", "packs"),
    [
        ("all", ["=1+1", "P-2", "P-3", "silent"]),
        ("site:A", ["=1+1", "P-2"]),
        ("model:M", ["=1+1", "P-2", "P-3", "silent"]),
    ],
)
def test_group_is_its_packs_as_they_are_now(client: httpx.Client, group: str, packs: list[str]) -> None:
    assert client.post("/v1/packs/latest", json={"group": group}).json()["columns"]["pack"] == packs


def test_packs_elsewhere_and_of_other_tenants_are_unknown(api: RunningApi, client: httpx.Client) -> None:
    asked = {"packs": ["=1+1", "P-3", "silent", "nobody"]}
    with api.client(TENANT, "analyst", sites=["A"]) as limited:
        told = limited.post("/v1/packs/latest", json=asked).json()
        assert told["columns"]["pack"] == ["=1+1"]
        assert told["unknown"] == ["P-3", "silent", "nobody"]
        assert limited.post("/v1/packs/latest", json={"group": "all"}).json()["columns"]["pack"] == [
            "=1+1",
            "P-2",
        ]
        assert limited.post("/v1/packs/latest", json={"group": "site:B"}).status_code == 404
    with api.client(api.tenant("stranger")) as stranger:
        told = stranger.post("/v1/packs/latest", json=asked).json()
        assert (told["columns"]["pack"], told["unknown"]) == ([], asked["packs"])


def test_pack_that_changed_hands_shows_each_tenant_its_own_values(
    api: RunningApi, client: httpx.Client
) -> None:
    giver, taker = api.tenant("giver", register_unknown_packs=False), api.tenant("taker")
    with api.client(giver) as gives, api.client(taker) as takes:
        gives.post("/v1/packs", json={"pack": "given"}).raise_for_status()
        sent = {"pack": "given", "ts": moment(-60), "voltage_v": 311, "current_a": 1}
        assert gives.post("/v1/telemetry", json=sent).json()["accepted"] == 1
        conninfo = api.access.as_role(INGEST_ROLE, api.engine.settings)
        hand_over(conninfo, "given", giver, taker, "taken", datetime.now(UTC) - timedelta(seconds=30))
        received = {"pack": "taken", "ts": moment(-1), "voltage_v": 322}
        assert takes.post("/v1/telemetry", json=received).json()["accepted"] == 1
        for tenant, pack in ((gives, "given"), (takes, "taken")):
            told = tenant.post("/v1/packs/latest", json={"packs": [pack]}).json()
            assert as_items(told["columns"]) == expected(tenant)
        told = gives.post("/v1/packs/latest", json={"group": "all"}).json()["columns"]
        assert (told["voltage_v"], told["current_a"]) == ([311], [1])
        told = takes.post("/v1/packs/latest", json={"group": "all"}).json()["columns"]
        assert (told["voltage_v"], told["current_a"]) == ([322], [None])


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, None),
        ({"packs": ["P-2"], "group": "all"}, None),
        ({"packs": "P-2"}, "packs"),
        ({"packs": [1]}, "packs.0"),
        ({"packs": ["a\0"]}, "packs.0"),
        ({"packs": [str(number) for number in range(10_001)]}, "packs"),
    ],
)
def test_wrong_question_is_refused(client: httpx.Client, asked: dict[str, Any], field: str | None) -> None:
    answer = client.post("/v1/packs/latest", json=asked)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json().get("field") == field


def test_no_packs_are_a_right_question(client: httpx.Client) -> None:
    for accept in ("application/json", "application/x-ndjson", "text/csv", ARROW):
        asked = client.post("/v1/packs/latest", json={"packs": []}, headers={"Accept": accept})
        assert asked.status_code == 200
