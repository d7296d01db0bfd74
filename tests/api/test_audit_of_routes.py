"""Each route that changes something writes an audit entry, or is named here with the reason why it writes none."""

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from tests.acceptance.test_isolation import OWN_VOLTAGE_V, ROUTES, Holding, call_route, hold, named
from tests.running import RunningApi

CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
NO_ENTRY = {
    ("POST", "/v1/telemetry"): "its receipt says who sent what",
    ("POST", "/v1/telemetry/thingsboard"): "its receipt says who sent what",
    ("POST", "/v1/telemetry/thingsboard/gateway"): "its receipt says who sent what",
    ("POST", "/v1/tickets"): "it holds for half a minute",
    ("POST", "/v1/auth/token"): "signing in changes no record",
    ("POST", "/v1/auth/exchange"): "it changes no record",
    ("POST", "/v1/auth/refresh"): "it changes no record",
    ("POST", "/v1/auth/revoke"): "it changes no record",
    ("POST", "/v1/packs/latest"): "it changes nothing",
    ("POST", "/v1/rules/preview"): "it changes nothing",
    ("POST", "/v1/alerts/{id}/clear"): "refused for the alert there; in test_alert_actions.py",
    ("POST", "/v1/deliveries/{id}/replay"): "refused for the delivery there; in test_webhooks.py",
}
BY_ITSELF = {("POST", "/v1/auth/invitation"): "user:", ("POST", "/v1/auth/password"): "user:"}
"""Routes that write an entry of the subject that they are about, which begins so."""


def is_changing(route: tuple[str, str]) -> bool:
    return route[0] in CHANGING and route[1].startswith("/v1/")


@pytest.fixture(scope="module")
def holding(api: RunningApi) -> Iterator[Holding]:
    found = hold(api, "alpha", "alpha", OWN_VOLTAGE_V)
    yield found
    found.admin.close()


def entries(api: RunningApi, request_id: str) -> list[Any]:
    with psycopg.connect(api.access.admin) as connection:
        return connection.execute(
            "SELECT subject, client_address FROM bpm.audit_log WHERE request_id = %s", (request_id,)
        ).fetchall()


def called(holding: Holding, route: tuple[str, str]) -> httpx.Response:
    call = ROUTES[route]
    sent = call.sent(holding)
    if "dry_run" in sent.get("params", {}):
        sent["params"] |= {"dry_run": "false"}
    answer = call_route(holding.admin, route, holding.ids[call.of] if call.of else "", sent)
    assert answer.status_code == call.status, answer.text
    return answer


@pytest.mark.parametrize("route", sorted(filter(is_changing, ROUTES)), ids=named)
def test_route_that_changes_something_writes_who_did_it_and_from_where(
    api: RunningApi, holding: Holding, route: tuple[str, str]
) -> None:
    written = entries(api, called(holding, route).headers["X-Request-ID"])
    if route in NO_ENTRY:
        assert written == [], f"it writes an entry: {NO_ENTRY[route]} is no reason any more"
    elif route in BY_ITSELF:
        ((subject, address),) = written
        assert (subject.startswith(BY_ITSELF[route]), address) == (True, "127.0.0.1")
    else:
        assert set(written) == {("development-tenant_admin", "127.0.0.1")}


def test_routes_without_an_entry_exist() -> None:
    assert set(NO_ENTRY) <= set(filter(is_changing, ROUTES))
