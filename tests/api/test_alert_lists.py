"""Filters, history and statistics of alerts over HTTP."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest

from storage.cursors import Cursors
from tests.running import RunningApi

Row = dict[str, Any]

ALL = {"from": "2026-01-01T00:00:00Z", "to": "2026-12-31T00:00:00Z"}
HOT = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45}


@pytest.fixture(scope="module")
def client(api: RunningApi) -> Iterator[httpx.Client]:
    """P-1 at North is over its alert, P-2 at South has one that somebody is on, P-3 one that nobody has seen."""
    with api.client(api.tenant("lists")) as made:
        for site in ("North", "South"):
            made.post("/v1/sites", json={"name": site, "zone": "UTC"}).raise_for_status()
        for pack, at in (("P-1", "North"), ("P-2", "South"), ("P-3", None)):
            made.post("/v1/packs", json={"pack": pack, "site": at}).raise_for_status()
        rule = {"name": "hot", "scope": {"kind": "tenant"}, "severity": "critical", "condition": HOT}
        made.post("/v1/rules", json=rule).raise_for_status()
        for pack, temperature_c in (("P-1", 60), ("P-2", 61), ("P-3", 62), ("P-1", 20)):
            body = {"pack": pack, "ts": datetime.now(UTC).isoformat(), "temperature_c": temperature_c}
            made.post("/v1/telemetry", json=body).raise_for_status()
        (second,) = made.get("/v1/alerts", params={"pack": "P-2"}).json()["items"]
        made.post(f"/v1/alerts/{second['id']}/acknowledge").raise_for_status()
        made.post(f"/v1/alerts/{second['id']}/assign", json={"assignee": "=workshop"}).raise_for_status()
        yield made


def packs(client: httpx.Client, **asked: Any) -> list[str]:
    answer = client.get("/v1/alerts", params=asked)
    assert answer.status_code == 200, answer.text
    return [one["pack"] for one in answer.json()["items"]]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["P-3", "P-2", "P-1"]),
        ({"site": "North"}, ["P-1"]),
        ({"acknowledged": True}, ["P-2"]),
        ({"acknowledged": False, "state": "open"}, ["P-3"]),
        ({"assigned_to": "=workshop"}, ["P-2"]),
        ({"severity": ["critical", "info"]}, ["P-3", "P-2", "P-1"]),
        ({"severity": ["warning", "info"]}, []),
        ({"flapping": False, "muted": False}, ["P-3", "P-2", "P-1"]),
        ({"muted": True}, []),
        (ALL, ["P-3", "P-2", "P-1"]),
        (ALL | {"to": "2026-01-02T00:00:00Z"}, []),
        (ALL | {"site": "South", "state": "open"}, ["P-2"]),
        ({"site": "nowhere"}, []),
    ],
)
def test_filters_add_up(client: httpx.Client, asked: Row, expected: list[str]) -> None:
    assert packs(client, **asked) == expected


@pytest.mark.parametrize("more", [{}, ALL])
def test_pages_follow_each_other_without_a_gap(client: httpx.Client, more: Row) -> None:
    found: list[str] = []
    cursor: str | None = None
    while True:
        asked = more | {"limit": 1} | ({} if cursor is None else {"cursor": cursor})
        answer = client.get("/v1/alerts", params=asked).json()
        found += [one["pack"] for one in answer["items"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert found == ["P-3", "P-2", "P-1"]


@pytest.mark.parametrize(
    "asked",
    [
        {"severity": "grave"},
        {"from": "yesterday"},
        {"from": ALL["to"], "to": ALL["from"]},
        {"acknowledged": "perhaps"},
        {"cursor": "x"},
        {"from": ALL["from"], "cursor": "MTI="},
    ],
)
def test_filter_that_makes_no_sense_is_refused(client: httpx.Client, asked: Row) -> None:
    assert client.get("/v1/alerts", params=asked).status_code == 422


def test_history_tells_what_rules_and_people_did(client: httpx.Client) -> None:
    newest = client.get("/v1/alerts/history", params=ALL).json()["items"]
    oldest = client.get("/v1/alerts/history", params=ALL | {"order": "oldest"}).json()["items"]
    assert newest == oldest[::-1]
    told = [(one["kind"], one["pack"]) for one in oldest]
    assert told == [
        ("raised", "P-1"),
        ("raised", "P-2"),
        ("raised", "P-3"),
        ("cleared", "P-1"),
        ("acknowledged", "P-2"),
        ("assigned", "P-2"),
    ]
    assert (oldest[0]["value"], oldest[0]["unit"], oldest[0]["site"]) == (60.0, "°C", "North")
    chosen = client.get("/v1/alerts/history", params=ALL | {"kind": ["cleared", "assigned"]}).json()["items"]
    assert [one["kind"] for one in chosen] == ["assigned", "cleared"]


def test_history_is_a_file_for_spreadsheets_and_lines_of_json(client: httpx.Client) -> None:
    asked = ALL | {"kind": "assigned"}
    (item,) = client.get("/v1/alerts/history", params=asked).json()["items"]
    text = client.get("/v1/alerts/history", params=asked, headers={"Accept": "text/csv"}).text
    (row,) = csv.DictReader(io.StringIO(text))
    assert list(row) == list(item)
    assert row["assignee"] == "'=workshop"
    lines = client.get("/v1/alerts/history", params=asked, headers={"Accept": "application/x-ndjson"}).content
    assert [orjson.loads(line) for line in lines.splitlines()] == [item]


def test_statistics_count_what_became_of_alerts(client: httpx.Client) -> None:
    found = client.get("/v1/alerts/statistics", params=ALL | {"by": "pack", "limit": 2}).json()
    total = found["total"]
    assert (total["raised"], total["open"], total["cleared"], total["acknowledged"]) == (3, 2, 1, 1)
    assert total["time_to_clear"]["mean_s"] == total["time_to_clear"]["p99_s"] > 0
    assert [one["key"] for one in found["groups"]] == ["P-1", "P-2"]
    assert found["more"] is True
    by_site = client.get("/v1/alerts/statistics", params=ALL | {"by": "site"}).json()["groups"]
    assert [(one["key"], one["raised"]) for one in by_site] == [("North", 1), ("South", 1), (None, 1)]
    nothing = client.get(
        "/v1/alerts/statistics", params={"from": "2020-01-01T00:00:00Z", "to": "2020-02-01T00:00:00Z"}
    )
    assert nothing.json()["total"]["time_to_clear"] == {
        "mean_s": None,
        "p50_s": None,
        "p90_s": None,
        "p99_s": None,
    }
    assert nothing.json()["groups"] == []


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"from": ALL["from"]},
        ALL | {"by": "colour"},
        ALL | {"from": "2020-01-01T00:00:00Z"},
        ALL | {"limit": 0},
    ],
)
def test_statistics_that_make_no_sense_or_cost_too_much_are_refused(client: httpx.Client, asked: Row) -> None:
    assert client.get("/v1/alerts/statistics", params=asked).status_code == 422


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_cursor_beyond_all_times_is_refused(client: httpx.Client, moment: str) -> None:
    for path, of, place in (
        ("/v1/alerts", "alerts by time", "1"),
        ("/v1/alerts/history", "alert history", "0 1"),
    ):
        cursor = Cursors(of).encode(f"{moment} {place}")
        answer = client.get(path, params=ALL | {"cursor": cursor})
        assert (answer.status_code, answer.json()["field"]) == (422, "cursor")


def test_event_stream_is_never_answered_as_unchanged(client: httpx.Client) -> None:
    with client.stream("GET", "/v1/alerts/stream", headers={"If-None-Match": "*"}) as answer:
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
        assert "etag" not in answer.headers
