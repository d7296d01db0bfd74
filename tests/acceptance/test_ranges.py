"""Ranges, zones, steps, cursors and limits are read in one way by every route of OpenAPI that has them."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.acceptance.test_answers import READS
from tests.acceptance.test_isolation import ROUTES, Holding, call_route, correction, silence
from tests.both import BOTH
from tests.running import RunningApi

RUNNERS = BOTH


FROM, TO = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
NO_MOMENTS = [
    "",
    "2026-01-01",
    "2026-01-01T00:00:00",
    "2026-13-01T00:00:00Z",
    "1767225600000",
    "yesterday",
    "\0",
]
NO_CURSORS = ["garbage!", "\u00e9", base64.urlsafe_b64encode(b"a\0b").decode(), base64.b64encode(b"\xff").decode(), "A" * 2001, base64.urlsafe_b64encode(b"5").decode(), base64.urlsafe_b64encode(b"another list\n5").decode()]  # fmt: skip
WRONG: dict[str, list[str]] = {
    "from": NO_MOMENTS,
    "to": NO_MOMENTS,
    "zone": ["", "Mars/Olympus", "../UTC", "UTC+1", "\0", "x" * 101],
    "step": ["", "1h", "PT0S", "P1Y1D", "-P1D", "PT1.5S", "P1000Y"],
    "cursor": NO_CURSORS,
    "limit": ["0", "-1", "1001", "x", "1e2", "", "9" * 30],
}
TEXT_OF_AN_EMPTY_RANGE = "`from` is not before `to`"


@pytest.fixture(scope="module")
def parameters(api: RunningApi) -> dict[tuple[str, str], set[str]]:
    """The names of the parameters of each route that is read."""
    paths = httpx.get(f"{api.url}/openapi.json", trust_env=False, timeout=60).json()["paths"]
    return {
        (method, path): {one["name"] for one in paths[path][method.lower()].get("parameters", ())}
        for method, path in READS
    }


def asking(own: Holding, route: tuple[str, str]) -> Callable[[dict[str, str]], httpx.Response]:
    call = ROUTES[route]
    sent = call.sent(own)
    given = dict(sent.pop("params", {}))
    if "from" in given:
        given |= {"from": FROM, "to": TO}
    id_ = own.ids.get(call.of or "", "")
    return lambda wrong: call_route(own.admin, route, id_, sent | {"params": given | wrong})


@pytest.mark.parametrize("name", WRONG)
def test_wrong_value_is_refused_in_the_same_words_by_every_route_that_has_the_parameter(
    own: Holding, parameters: dict[tuple[str, str], set[str]], name: str
) -> None:
    having = [route for route, names in parameters.items() if name in names]
    assert having
    for value in WRONG[name]:
        told = set()
        for route in having:
            answer = asking(own, route)({name: value})
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), (route, value)
            assert answer.json()["field"] == name, (route, value)
            told.add(answer.json()["detail"])
        # A list whose cursors are numbers says so in the same words as one whose cursors are names.
        assert len(told) == 1, (value, told)


def test_range_that_holds_no_moment_is_refused_in_the_same_words(
    own: Holding, parameters: dict[tuple[str, str], set[str]]
) -> None:
    ranges = [route for route, names in parameters.items() if {"from", "to"} <= names]
    assert len(ranges) >= 3
    for empty in ({"from": TO, "to": FROM}, {"from": FROM, "to": FROM}):
        for route in ranges:
            answer = asking(own, route)(empty)
            assert (answer.status_code, answer.json()["field"]) == (422, "to"), route
            assert answer.json()["detail"] == TEXT_OF_AN_EMPTY_RANGE


BODIES: dict[str, dict[str, Any]] = {
    "/v1/corrections": correction("r"),
    "/v1/silences": silence("r"),
    "/v1/rules/preview": {"scope": {"kind": "tenant"}, "condition": {"kind": "missing_data", "after_s": 60}},
}


@pytest.mark.parametrize("path", BODIES)
def test_range_in_a_body_is_read_in_the_same_way(own: Holding, path: str) -> None:
    for empty in ({"from": TO, "to": FROM}, {"from": FROM, "to": FROM}):
        answer = own.admin.post(path, json=BODIES[path] | empty)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert (answer.json()["field"], answer.json()["detail"]) == ("to", TEXT_OF_AN_EMPTY_RANGE)
    told: dict[str, set[str]] = {}
    for name in ("from", "to"):
        for value in NO_MOMENTS:
            answer = own.admin.post(path, json=BODIES[path] | {"from": FROM, "to": TO, name: value})
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
            assert answer.json()["field"].rpartition(".")[2] == name
            told.setdefault(name, set()).add(answer.json()["detail"].partition(": ")[2])
    assert told["from"] == told["to"]
    assert len(told["from"]) == 1


def test_range_of_a_filter_in_a_body_is_read_in_the_same_way(own: Holding) -> None:
    answer = own.admin.post("/v1/quarantine/redrive", json={"filter": {"from": TO, "to": FROM}})
    assert (answer.status_code, answer.json()["detail"]) == (422, TEXT_OF_AN_EMPTY_RANGE)


def test_cursor_is_taken_by_the_list_that_gave_it_alone(
    own: Holding, parameters: dict[tuple[str, str], set[str]]
) -> None:
    for name in ("a-1", "a-2"):
        own.admin.post("/v1/packs", json={"pack": name}).raise_for_status()
    cursor = own.admin.get("/v1/packs", params={"limit": 1}).raise_for_status().json()["next_cursor"]
    for route in [route for route, names in parameters.items() if "cursor" in names]:
        answer = asking(own, route)({"cursor": cursor})
        assert answer.status_code == (200 if route == ("GET", "/v1/packs") else 422), route
