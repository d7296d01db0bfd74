"""What is refused is counted, shown to the tenant alone, an alert when it is too much, and costs no more than what is
allowed.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from websockets.sync.client import ClientConnection

from api.database_access import DatabaseAccess
from api.security_events.recorder import RecorderLimits, SecurityRecorder
from domain.security import SecurityKind, Thresholds
from domain.tenancy import Actor, Role, TenantId
from tests.api.test_live_alerts import HOT, Tenant, event_of, received
from tests.running import RunningApi, running_api, until

GUESSED = "00000000-0000-4000-8000-000000000000"
THRESHOLD = 6


@pytest.fixture(scope="module")
def watched(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    folder = tmp_path_factory.mktemp("watched")
    with running_api(database, folder, security_denied_per_minute_max=THRESHOLD) as running:
        yield running


def events(client: httpx.Client, **asked: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = (
        client.get("/v1/security-events", params=asked).raise_for_status().json()["items"]
    )
    return found


def test_refusals_are_listed_with_whom_from_where_and_how_often(watched: RunningApi) -> None:
    tenant = watched.tenant("listed")
    with watched.client(tenant) as admin, watched.client(tenant, Role.ANALYST) as analyst:
        for _ in range(3):
            assert analyst.post("/v1/sites", json={"name": "S", "zone": "UTC"}).status_code == 403
        assert analyst.get(f"/v1/packs/{GUESSED}").status_code == 404
        until(lambda: sum(int(str(event["times"])) for event in events(admin)) == 4)
        (missed,) = events(admin, kind="not_found")
        assert {name: missed[name] for name in ("subject", "address_prefix", "route", "times")} == {
            "subject": "development-analyst",
            "address_prefix": "127.0.0.0/24",
            "route": "/v1/packs/{id}",
            "times": 1,
        }
        denied = events(admin, kind="denied", subject="development-analyst", route="/v1/sites")
        assert sum(int(str(event["times"])) for event in denied) == 3
        table = admin.get("/v1/security-events", headers={"Accept": "text/csv"}).text.splitlines()
        assert table[0] == "at,kind,subject,address_prefix,route,times"
        assert len(table) == len(events(admin)) + 1
        with watched.client(watched.tenant("onlooker"), Role.AUDITOR) as other:
            assert events(other) == []


def deny(client: httpx.Client, times: int) -> None:
    for _ in range(times):
        assert client.post("/v1/sites", json={"name": "S", "zone": "UTC"}).status_code == 403


def alerts(client: httpx.Client, **asked: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/alerts", params=asked).raise_for_status().json()["items"]
    return found


def raised(admin: httpx.Client, analyst: httpx.Client) -> dict[str, Any]:
    """The open alert of denied accesses, of which there are so many until it is there."""

    def denied() -> list[dict[str, Any]]:
        deny(analyst, 2)
        return alerts(admin, state="open")

    (found,) = until(denied)
    return dict(found)


def test_many_denials_within_a_minute_are_an_event_and_one_alert(watched: RunningApi) -> None:
    tenant = Tenant(watched, watched.tenant("probed"), watched.client("probed"))
    hidden = {"name": "hot", "scope": {"kind": "tenant"}, "severity": "critical", "condition": HOT}
    with tenant.client as admin, watched.client("probed", Role.ANALYST) as analyst:
        admin.post("/v1/rules", json=hidden).raise_for_status()
        with tenant.socket() as seeing, tenant.socket(client=analyst) as blind:
            assert [received(one)["data"]["alerts"] for one in (seeing, blind)] == [[], []]
            alert = raised(admin, analyst)
            assert event_of(received_alert(seeing)) == ("raised", alert["id"])
            deny(analyst, 3 * THRESHOLD)
            until(lambda: events(admin, kind="threshold_exceeded"))
            told = admin.post(f"/v1/alerts/{alert['id']}/acknowledge").raise_for_status().json()
            assert told["acknowledged_by"] == "development-tenant_admin"
            assert event_of(received_alert(seeing)) == ("acknowledged", alert["id"])
            # What the other socket gets first is of a pack.
            tenant.send(60)
            assert received_alert(blind)["data"]["alert"]["pack"] == "P-1"
    expected = {
        "security_kind": "denied",
        "rule": "Denied accesses",
        "pack": None,
        "site": None,
        "unit": "times/min",
    }
    assert {name: alert[name] for name in expected} == expected
    assert alert["value"] >= THRESHOLD
    with watched.client("probed") as admin, watched.client("probed", Role.OPERATOR) as operator:
        (shown,) = [one for one in alerts(admin, state="open") if one["security_kind"] is not None]
        assert shown["id"] == alert["id"]
        assert [one["pack"] for one in alerts(operator)] == ["P-1"]
        hiding(operator, admin, alert)
        left_alone_by_operators_of_the_installation(watched, admin, alert)
        comment = {"comment": "a script with an old role"}
        admin.post(f"/v1/alerts/{alert['id']}/comments", json=comment).raise_for_status()
        cleared = admin.post(f"/v1/alerts/{alert['id']}/clear").raise_for_status().json()
        assert (cleared["state"], cleared["clear_reason"]) == ("cleared", "by_hand")
        assert [one["kind"] for one in cleared["actions"]] == ["acknowledged", "commented"]
        assert admin.post(f"/v1/alerts/{alert['id']}/clear").status_code == 409
        entries = admin.get("/v1/audit", params={"resource": "alerts"}).json()["items"]
        assert {one["action"] for one in entries} >= {
            "alerts.acknowledged",
            "alerts.commented",
            "alerts.cleared",
        }


def received_alert(socket: ClientConnection) -> dict[str, Any]:
    while (frame := received(socket))["type"] != "alert":
        pass
    return frame


def left_alone_by_operators_of_the_installation(
    watched: RunningApi, admin: httpx.Client, alert: dict[str, Any]
) -> None:
    """The alert may be about the one who is let in."""
    given = {"hours": 1, "reason": "a look", "roles": [Role.TENANT_ADMIN]}
    grant = admin.post("/v1/access-grants", json=given).raise_for_status().json()["id"]
    with watched.operator_client() as operator:
        entered = operator.post(f"/v1/platform/grants/{grant}/token").raise_for_status().json()
    with watched.client_of(entered["access_token"]) as inside:
        for what, sent in (
            ("acknowledge", {}),
            ("comments", {"json": {"comment": "it was me"}}),
            ("clear", {}),
        ):
            assert inside.post(f"/v1/alerts/{alert['id']}/{what}", **sent).status_code == 403
        assert inside.get(f"/v1/alerts/{alert['id']}").json()["state"] == "open"


def hiding(operator: httpx.Client, admin: httpx.Client, alert: dict[str, Any]) -> None:
    """Whoever may not read security events isn't shown the alert, nor its rule, anywhere."""
    for path in ("", "/acknowledge", "/clear"):
        ask = operator.get if path == "" else operator.post
        assert ask(f"/v1/alerts/{alert['id']}{path}").status_code == 404
    for client in (operator, admin):
        assert [rule["name"] for rule in client.get("/v1/rules").json()["items"]] == ["hot"]
        assert client.get(f"/v1/rules/{alert['rule_id']}").status_code == 404
    span = {"from": "2026-01-01T00:00:00Z", "to": "2200-01-01T00:00:00Z"}
    seen = [client.get("/v1/alerts/history", params=span).json()["items"] for client in (operator, admin)]
    assert [alert["id"] in {one["alert"] for one in items} for items in seen] == [False, True]
    span["from"] = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    span["to"] = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    sums = [client.get("/v1/alerts/statistics", params=span).json()["total"] for client in (operator, admin)]
    assert [one["raised"] for one in sums] == [1, 2]
    live = admin.get("/v1/aggregates/live").json()
    assert sum(sum(one["open_alerts"].values()) for one in live["items"]) == 1


def test_channel_tells_of_refusals_only_when_it_is_to(watched: RunningApi) -> None:
    tenant = watched.tenant("told")
    with watched.client(tenant) as admin, watched.client(tenant, Role.FLEET_MANAGER) as manager:
        webhook = {"kind": "webhook", "url": "https://localhost/"}
        plain = manager.post("/v1/channels", json=webhook | {"name": "plain"}).raise_for_status()
        told = webhook | {"name": "told", "security_alerts": True}
        assert manager.post("/v1/channels", json=told).status_code == 403
        made = admin.post("/v1/channels", json=told).raise_for_status()
        path, match = f"/v1/channels/{made.json()['id']}", {"If-Match": made.headers["ETag"]}
        assert manager.patch(path, json={"url": "https://[::1]/"}, headers=match).status_code == 403
        assert manager.patch(path, json={"security_alerts": False}, headers=match).status_code == 403
        assert manager.delete(path).status_code == 403
        off = {"If-Match": plain.headers["ETag"]}
        path = f"/v1/channels/{plain.json()['id']}"
        assert manager.patch(path, json={"security_alerts": True}, headers=off).status_code == 403
        with watched.client(tenant, Role.ANALYST) as analyst:
            alert = raised(admin, analyst)
        (delivery,) = until(lambda: admin.get("/v1/deliveries").json()["items"])
        assert delivery["channel"] == "told"
        path = f"/v1/deliveries/{delivery['id']}"
        (message,) = admin.get(path).json()["messages"]
        assert message["data"]["alert"]["id"] == alert["id"]
        assert manager.get(path).json()["messages"] == []


def test_tenant_chooses_thresholds_of_its_own_within_limits(watched: RunningApi) -> None:
    tenant = watched.tenant("choosing")
    path = "/v1/security-thresholds"
    with watched.client(tenant) as admin, watched.client(tenant, Role.AUDITOR) as auditor:
        first = auditor.get(path)
        assert first.json()["own"] == dict.fromkeys(first.json()["own"])
        assert first.json()["holding"]["denied_per_minute_max"] == THRESHOLD
        match = {"If-Match": first.headers["ETag"]}
        assert auditor.patch(path, json={"quiet_s": 60}, headers=match).status_code == 403
        for wrong in ({"quiet_s": 59}, {"denied_per_minute_max": 0}, {"not_found_per_minute_max": 10**6 + 1}):
            assert admin.patch(path, json=wrong, headers=match).status_code == 422
        assert admin.patch(path, json={"quiet_s": 60}).status_code == 428
        chosen = {"denied_per_minute_max": 1, "quiet_s": 120}
        changed = admin.patch(path, json=chosen, headers=match).raise_for_status()
        assert changed.json()["holding"] == first.json()["holding"] | chosen
        assert admin.patch(path, json=chosen, headers=match).status_code == 412
        match = {"If-Match": changed.headers["ETag"]}
        for same in ({}, {"quiet_s": 120}):
            unchanged = admin.patch(path, json=same, headers=match).raise_for_status()
            assert (unchanged.json(), unchanged.headers["ETag"]) == (changed.json(), match["If-Match"])
        (entry,) = admin.get("/v1/audit", params={"resource": "security_thresholds"}).json()["items"]
        assert (entry["before"]["quiet_s"], entry["after"]["quiet_s"]) == (None, 120)
        with watched.client(tenant, Role.ANALYST) as analyst:
            deny(analyst, 1)
            (alert,) = until(lambda: alerts(admin))
            assert alert["value"] < THRESHOLD


def test_bad_credentials_of_strangers_are_kept_for_the_platform_alone(watched: RunningApi) -> None:
    for _ in range(2):
        bad = {"Authorization": "Bearer planted-token"}
        assert httpx.get(f"{watched.url}/v1/packs", headers=bad, trust_env=False).status_code == 401

    def kept() -> int:
        with psycopg.connect(watched.access.admin) as connection:
            (times,) = connection.execute(
                "SELECT coalesce(sum(times), 0) FROM bpm.platform_security_events"
                " WHERE kind = 'bad_credential' AND route = '/v1/packs' AND address_prefix = '127.0.0.0/24'"
            ).fetchone() or (0,)
        return int(times)

    until(lambda: kept() == 2)


def test_what_is_told_apart_within_a_second_is_bounded(watched: RunningApi) -> None:
    engine = watched.engine

    async def ignored() -> None:
        pass

    limits = RecorderLimits(10, 1, Thresholds({}, 60))
    recorder = SecurityRecorder(engine.directory, engine.clock, engine.metrics, limits, ignored)
    for number in range(1000):
        actor = Actor(f"s{number}", TenantId(1), "t", frozenset())
        recorder.note(SecurityKind.DENIED, actor, f"203.0.{number % 256}.1", "/v1/packs")
    assert len(recorder._counted) == 11
    assert recorder._counted.total() == 1000


def test_refusing_costs_no_more_than_allowing(watched: RunningApi) -> None:
    tenant = watched.tenant("compared")
    requests = 300

    def took_s(client: httpx.Client, expected: int) -> float:
        began_s = time.perf_counter()
        for _ in range(requests):
            assert client.get("/v1/audit", params={"limit": 1}).status_code == expected
        return time.perf_counter() - began_s

    with watched.client(tenant) as admin, watched.client(tenant, Role.ANALYST) as analyst:
        took_s(admin, 200)
        allowed_s, denied_s = took_s(admin, 200), took_s(analyst, 403)
    assert denied_s < 2 * allowed_s
