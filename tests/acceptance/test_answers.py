"""What holds for every answer that is read: formats by Accept, entity tags, 304, and what caches may do."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.acceptance.test_isolation import ROUTES, Holding, call_route, named
from tests.both import BOTH
from tests.running import RunningApi

RUNNERS = BOTH


ENDLESS = ("GET", "/v1/alerts/stream")
READS = [
    route
    for route, call in ROUTES.items()
    if route[0] == "GET" and call.action is not None and route != ENDLESS
]
STREAMED = {("/v1/quarantine", "text/csv"), ("/v1/quarantine", "application/x-ndjson")}
"""Exports, which have no tag."""
TRIES_MAX = 20


@pytest.fixture(scope="module")
def described(api: RunningApi) -> dict[str, Any]:
    paths: dict[str, Any] = httpx.get(f"{api.url}/openapi.json", trust_env=False, timeout=60).json()["paths"]
    return paths


def asking(own: Holding, route: tuple[str, str]) -> Callable[[dict[str, str]], httpx.Response]:
    """Asks the same again with other headers."""
    call = ROUTES[route]
    sent = call.sent(own)
    if route[1] == "/v1/aggregates":
        sent["params"] |= {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "step": "PT1H"}
    return lambda headers: call_route(
        own.admin, route, own.ids.get(call.of or "", ""), sent | {"headers": headers}
    )


def check_not_modified(read: Callable[[dict[str, str]], httpx.Response]) -> httpx.Response:
    """An answer that was told by its tag to be unchanged, as long as it was; what is live may change meanwhile."""
    for _ in range(TRIES_MAX):
        answer = read({})
        tag = answer.headers["ETag"]
        told = [read({"If-None-Match": given}) for given in (tag, f'"other", W/{tag}', "*")]
        other = read({"If-None-Match": '"other"'})
        if read({}).content == answer.content:
            break
    else:
        raise AssertionError("the answer is never twice the same")
    assert tag.startswith('"')
    for same in told:
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["ETag"] == tag
        assert same.headers["Vary"] == "Accept"
        assert same.headers["Cache-Control"] == "private, no-cache"
    assert (other.status_code, other.content) == (200, answer.content)
    return answer


@pytest.mark.parametrize("route", READS, ids=named)
def test_every_format_that_is_described_is_given_with_a_tag_of_its_own_and_304(
    own: Holding, described: dict[str, Any], route: tuple[str, str]
) -> None:
    read = asking(own, route)
    told = described[route[1]]["get"]["responses"]["200"]["content"]
    tags = set()
    for kind in told:
        answer = read({"Accept": kind})
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].partition(";")[0] == kind
        assert answer.headers["Vary"] == "Accept"
        assert answer.headers["Cache-Control"] == "private, no-cache"
        if (route[1], kind) in STREAMED:
            assert "ETag" not in answer.headers
            continue
        answer = check_not_modified(lambda headers, kind=kind: read({"Accept": kind} | headers))
        tags.add(answer.headers["ETag"])
    assert len(tags) == len(told) - len({one for one in STREAMED if one[0] == route[1]})


@pytest.mark.parametrize("route", READS, ids=named)
def test_format_that_is_not_offered_is_refused(own: Holding, route: tuple[str, str]) -> None:
    answer = asking(own, route)({"Accept": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert answer.headers["Cache-Control"] == "no-store"


def test_list_is_the_same_in_every_format_and_goes_on(own: Holding) -> None:
    for name in ("=1+1", "+1", "-1", "@SUM(A1)", "a,b", 'a"b'):
        own.admin.post("/v1/packs", json={"pack": name}).raise_for_status()
    params = {"limit": 5}
    page = own.admin.get("/v1/packs", params=params).json()
    lines = own.admin.get("/v1/packs", params=params, headers={"Accept": "application/x-ndjson"})
    table = own.admin.get("/v1/packs", params=params, headers={"Accept": "text/csv"})
    assert lines.headers["Next-Cursor"] == table.headers["Next-Cursor"] == page["next_cursor"]
    assert list(map(json.loads, lines.text.splitlines())) == page["items"]
    cells = list(csv.DictReader(io.StringIO(table.text)))
    assert [cell["pack"] for cell in cells] == [
        f"'{item['pack']}" if item["pack"][0] in "=+@" else item["pack"] for item in page["items"]
    ]
    assert [cell["id"] for cell in cells] == [item["id"] for item in page["items"]]
    assert list(cells[0]) == list(page["items"][0])


def test_empty_list_as_csv_has_its_header(api: RunningApi) -> None:
    with api.client(api.tenant("empty")) as client:
        for path, first in (("packs", "id"), ("alerts", "id"), ("imports", "id")):
            table = client.get(f"/v1/{path}", headers={"Accept": "text/csv"})
            assert table.text.splitlines()[0].partition(",")[0] == first
            assert len(table.text.splitlines()) == 1


def test_page_whose_list_went_on_is_another_answer(api: RunningApi) -> None:
    with api.client(api.tenant("growing")) as client:
        client.post("/v1/sites", json={"name": "A", "zone": "UTC"}).raise_for_status()
        headers = {"Accept": "text/csv"}
        before = client.get("/v1/sites?limit=1", headers=headers)
        client.post("/v1/sites", json={"name": "B", "zone": "UTC"}).raise_for_status()
        after = client.get("/v1/sites?limit=1", headers=headers | {"If-None-Match": before.headers["ETag"]})
        assert (after.status_code, after.content) == (200, before.content)
        assert after.headers["Next-Cursor"]


def test_record_that_looks_different_without_a_new_version_has_another_tag(own: Holding) -> None:
    path = f"/v1/packs/{own.ids['pack']}"
    before = own.admin.get(path)
    site = f"/v1/sites/{own.ids['site']}"
    renamed = own.admin.patch(
        site, json={"region": "elsewhere"}, headers={"If-Match": own.admin.get(site).headers["ETag"]}
    )
    assert renamed.status_code == 200
    after = own.admin.get(path, headers={"If-None-Match": before.headers["ETag"]})
    assert (after.status_code, after.json()["version"]) == (200, before.json()["version"])
    assert after.json()["region"] == "elsewhere"


def test_tag_of_any_answer_that_shows_a_record_is_taken_by_an_edit(own: Holding) -> None:
    made = own.admin.post("/v1/sites", json={"name": "edited", "zone": "UTC"})
    path = f"/v1/sites/{made.json()['id']}"
    assert made.headers["ETag"] == own.admin.get(path).headers["ETag"]
    changed = own.admin.patch(path, json={"region": "r"}, headers={"If-Match": made.headers["ETag"]})
    assert changed.headers["ETag"] == own.admin.get(path).headers["ETag"]
    stale = own.admin.patch(path, json={"region": "s"}, headers={"If-Match": made.headers["ETag"]})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    for wrong in ('W/"2"', '"x"', '"2-"', '"2-xyz"', '"-2"', "*", '"9999999999"'):
        refused = own.admin.patch(path, json={"region": "s"}, headers={"If-Match": wrong})
        assert (refused.status_code, refused.json()["field"]) == (422, "If-Match")
