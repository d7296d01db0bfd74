"""Operators of the installation: they belong to no tenant, do what they do by name, and see what a tenant lets them."""

import base64
import json
import secrets
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from api.database_access import DatabaseAccess
from api.timer import monotonic_ms, wall_ms
from domain.clock import AnchoredClock
from domain.operators import subject_of
from storage import operators, tenants
from storage.database import INGEST_ROLE
from storage.sessions import OPERATORS, digest
from storage.users import Invitation
from tests.api.people import CHEAP, PASSWORD, ask, bearer, person
from tests.running import RunningApi, running_api, until

GRANT_HOURS_MAX, GRANTS_MAX = 8, 2
GUESSED = "00000000-0000-4000-8000-000000000000"
GRANTED = {"hours": 4, "reason": "ticket 4711"}


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    limits = {"access_grant_hours_max": GRANT_HOURS_MAX, "access_grants_max": GRANTS_MAX}
    folder = tmp_path_factory.mktemp("data")
    with running_api(database, folder, revocation_poll_s=0.3, live_heartbeat_s=0.5, **limits, **CHEAP) as api:
        yield api


@pytest.fixture(scope="module")
def conninfo(api: RunningApi) -> str:
    return api.access.as_role(INGEST_ROLE, api.engine.settings)


@dataclass
class Runner:
    """An operator who is signed in."""

    api: RunningApi
    login: str
    subject: str
    tokens: dict[str, Any]

    def ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        return ask(self.api, method, path, headers=bearer(self.tokens["access_token"]), **sent)

    def refresh(self, token: str) -> httpx.Response:
        return ask(self.api, "POST", "/v1/auth/refresh", json={"refresh_token": token})

    def sign_in(self, password: str = PASSWORD) -> httpx.Response:
        given = {"login": self.login, "password": password}
        return ask(self.api, "POST", "/v1/auth/token", json=given)

    def entries(self, **asked: str) -> list[dict[str, Any]]:
        found = self.ask("GET", "/v1/platform/log", params=asked | {"limit": "100"})
        return list(found.json()["items"])


@pytest.fixture
def runner(api: RunningApi, conninfo: str) -> Runner:
    login = f"{uuid.uuid4().hex[:12]}@example.com"
    secret = OPERATORS.prefix + secrets.token_urlsafe(32)
    invitation = Invitation(digest(secret), datetime.now(UTC) + timedelta(hours=1))
    made = operators.invite(conninfo, login, invitation)
    chosen = {"invitation": secret, "password": PASSWORD}
    accepted = ask(api, "POST", "/v1/auth/invitation", json=chosen)
    assert accepted.status_code == 200, accepted.text
    return Runner(api, login, subject_of(made["id"]), accepted.json())


@pytest.fixture
def name(api: RunningApi) -> str:
    return api.tenant(f"t-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def admin(api: RunningApi, name: str) -> Iterator[httpx.Client]:
    with api.client(name) as client:
        yield client


def told(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    return answer.status_code, {key: value for key, value in answer.json().items() if key != "request_id"}


def test_operator_signs_in_without_a_tenant_and_its_refresh_token_is_good_once(runner: Runner) -> None:
    signed_in = runner.sign_in()
    tokens = signed_in.json()
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert (claims["sub"], claims["platform"], claims["roles"]) == (runner.subject, True, ["platform_admin"])
    assert "tenant" not in claims
    first = tokens["refresh_token"]
    following = runner.refresh(first).json()["refresh_token"]
    assert first.startswith("operator.")
    assert runner.refresh(first).status_code == 401, "it comes again: the session ends"
    assert runner.refresh(following).status_code == 401


def test_operator_and_user_of_the_same_login_are_two(api: RunningApi, runner: Runner, name: str) -> None:
    assert told(runner.sign_in("another password")) == told(
        ask(api, "POST", "/v1/auth/token", json={"login": "nobody", "password": PASSWORD})
    )
    in_tenant = {"tenant": name, "login": runner.login, "password": PASSWORD}
    assert ask(api, "POST", "/v1/auth/token", json=in_tenant).status_code == 401
    somebody = person(api, name, "somebody")
    without = {"login": somebody.login, "password": PASSWORD}
    assert ask(api, "POST", "/v1/auth/token", json=without).status_code == 401


def test_operator_changes_the_own_password_and_all_sessions_before_end(
    api: RunningApi, runner: Runner, conninfo: str
) -> None:
    former, secret = runner.tokens, OPERATORS.prefix + secrets.token_urlsafe(32)
    invitation = Invitation(digest(secret), datetime.now(UTC) + timedelta(hours=1))
    operators.invite_again(conninfo, runner.login, invitation)
    given = {"login": runner.login, "password": PASSWORD, "new_password": "five other words are too"}
    runner.tokens = ask(api, "POST", "/v1/auth/password", json=given).raise_for_status().json()
    assert ask(api, "GET", "/v1/platform/grants", headers=bearer(former["access_token"])).status_code == 401
    assert runner.refresh(former["refresh_token"]).status_code == 401
    assert runner.sign_in().status_code == 401
    assert runner.ask("GET", "/v1/platform/grants").status_code == 200
    chosen = {"invitation": secret, "password": PASSWORD}
    assert ask(api, "POST", "/v1/auth/invitation", json=chosen).status_code == 401, "it ends with the change"
    (entry,) = runner.entries(subject=runner.subject, action="operators.password_changed")
    assert (entry["resource_id"], entry["client_address"]) == (runner.subject.partition(":")[2], "127.0.0.1")


def test_suspended_operator_is_signed_out_within_seconds(runner: Runner, conninfo: str) -> None:
    assert runner.ask("GET", "/v1/platform/tenants").status_code == 200
    operators.suspend(conninfo, runner.login)
    until(lambda: runner.ask("GET", "/v1/platform/tenants").status_code == 401)
    assert runner.ask("GET", "/v1/packs").status_code == 401, "what has ended is no credential for anything"
    assert runner.sign_in().status_code == 401
    operators.resume(conninfo, runner.login)
    assert runner.sign_in().status_code == 200
    operators.delete(conninfo, runner.login)
    assert runner.sign_in().status_code == 401


def test_life_of_a_tenant_by_routes_is_in_its_log_and_in_that_of_the_platform(
    api: RunningApi, runner: Runner
) -> None:
    tenant = f"t-{uuid.uuid4().hex[:12]}"
    path = f"/v1/platform/tenants/{tenant}"
    assert runner.ask("GET", path).status_code == 404
    made = runner.ask("POST", "/v1/platform/tenants", json={"name": tenant})
    assert (made.status_code, made.json()["state"], made.json()["packs"]) == (201, "active", 0)
    assert runner.ask("POST", "/v1/platform/tenants", json={"name": tenant}).status_code == 409
    with api.client(tenant) as admin:
        assert admin.get("/v1/packs").status_code == 200
        suspended = runner.ask("POST", f"{path}/suspend", json={"reason": "invoice 17"})
        assert (suspended.json()["state"], suspended.json()["suspended_for"]) == ("suspended", "invoice 17")
        assert admin.get("/v1/packs").json()["code"] == "tenant_suspended"
        assert runner.ask("POST", f"{path}/resume").json()["state"] == "active"
        assert admin.get("/v1/packs").status_code == 200
        deleting = runner.ask("DELETE", path, params={"grace_days": 90}).json()
        left = datetime.fromisoformat(deleting["erased_from"]) - datetime.now(UTC)
        assert (deleting["state"], round(left / timedelta(days=1))) == ("deleting", 90)
        assert runner.ask("POST", f"{path}/suspend", json={"reason": "x"}).status_code == 409
        assert runner.ask("POST", f"{path}/undelete").json()["state"] == "active"
        quotas = {
            "packs_max": 1,
            "day_readings_max": None,
            "day_requests_max": 10**6,
            "day_received_bytes_max": 10**9,
        }
        assert runner.ask("PUT", f"{path}/quotas", json=quotas).json()["packs_max"] == 1
        admin.post("/v1/packs", json={"pack": "P-1"}).raise_for_status()
        assert admin.post("/v1/packs", json={"pack": "P-2"}).json()["code"] == "quota_exceeded"
        own = admin.get("/v1/audit", params={"resource": "tenants"}).json()["items"]
    actions = [
        f"tenants.{what}"
        for what in ("quotas_set", "undeleted", "deleting", "resumed", "suspended", "created")
    ]
    platform = runner.entries(resource_id=tenant)
    for log in (own, platform):
        assert [entry["action"] for entry in log] == actions
        assert {(entry["subject"], entry["client_address"]) for entry in log} == {
            (runner.subject, "127.0.0.1")
        }
    assert [one["request_id"] for one in own] == [one["request_id"] for one in platform]
    assert platform[-1]["request_id"] == made.headers["X-Request-Id"]
    assert platform[0]["after"] == quotas


def test_what_a_command_does_is_in_the_log_of_the_platform(runner: Runner, conninfo: str, name: str) -> None:
    tenants.suspend(conninfo, name, "invoice 18")
    (newest, *_) = runner.entries(resource_id=name)
    assert (newest["subject"], newest["action"], newest["after"]) == (
        "installation",
        "tenants.suspended",
        {"reason": "invoice 18"},
    )


def test_operator_sees_counts_of_a_tenant_and_nothing_that_it_holds(
    api: RunningApi, runner: Runner, name: str, admin: httpx.Client
) -> None:
    reading = {"pack": "P-secret", "ts": datetime.now(UTC).isoformat(), "voltage_v": 300}
    assert admin.post("/v1/telemetry", json=reading).json()["accepted"] == 1
    (day,) = runner.ask("GET", f"/v1/platform/tenants/{name}/usage").json()["items"]
    assert (day["readings"], day["packs"]) == (1, 1)
    assert runner.ask("GET", "/v1/platform/tenants/nobody/usage").status_code == 404
    api.tenant(f"{name}-too")
    listed = runner.ask("GET", "/v1/platform/tenants", params={"limit": 1})
    assert len(listed.json()["items"]) == 1
    after = {"cursor": listed.json()["next_cursor"], "limit": 1000}
    rest = runner.ask("GET", "/v1/platform/tenants", params=after).json()["items"]
    names = [one["name"] for one in (*listed.json()["items"], *rest)]
    assert names == sorted(names)
    (own,) = [one for one in (*listed.json()["items"], *rest) if one["name"] == name]
    assert own["packs"] == 1
    assert "P-secret" not in json.dumps(rest)


def test_first_administrator_is_invited_while_nobody_and_nothing_is_there(
    api: RunningApi, runner: Runner, name: str
) -> None:
    path = f"/v1/platform/tenants/{name}/administrator"
    lost = runner.ask("POST", path, json={"login": "Ann@example.com"})
    again = runner.ask("POST", path, json={"login": "ann@example.com"})
    assert (lost.status_code, again.status_code) == (201, 201)
    chosen = {"invitation": lost.json()["invitation"], "password": PASSWORD}
    assert ask(api, "POST", "/v1/auth/invitation", json=chosen).status_code == 401
    chosen["invitation"] = again.json()["invitation"]
    tokens = ask(api, "POST", "/v1/auth/invitation", json=chosen).raise_for_status().json()
    audit = ask(api, "GET", "/v1/audit", headers=bearer(tokens["access_token"])).json()["items"]
    invited = [(one["action"], one["subject"]) for one in audit if one["action"].startswith("users.invited")]
    assert invited == [(f"users.{what}", runner.subject) for what in ("invited_again", "invited")]
    refused = runner.ask("POST", path, json={"login": "operator@example.com"})
    assert refused.status_code == 409
    logged = runner.entries(resource_id=name, action="tenants.administrator_invited")
    assert [(one["subject"], one["request_id"]) for one in logged] == [
        (runner.subject, answer.headers["X-Request-Id"]) for answer in (again, lost)
    ]
    other = api.tenant(f"t-{uuid.uuid4().hex[:12]}")
    with api.client(other) as admin:
        admin.post("/v1/packs", json={"pack": "P-1"}).raise_for_status()
    refused = runner.ask("POST", f"/v1/platform/tenants/{other}/administrator", json={"login": "me"})
    assert refused.status_code == 409, "else an operator lets itself in"


@pytest.mark.parametrize("done", ["threshold", "site", "role", "grant", "quarantined"])
def test_no_administrator_is_invited_where_anybody_has_done_anything(
    runner: Runner, name: str, admin: httpx.Client, done: str
) -> None:
    if done == "quarantined":
        receipt = admin.post("/v1/telemetry", json={"pack": "P-1", "ts": "x", "voltage_v": 1}).json()
        assert receipt["quarantined"] == 1, receipt
    elif done == "threshold":
        changed = admin.patch("/v1/security-thresholds", json={"quiet_s": 60}, headers={"If-Match": '"0"'})
        changed.raise_for_status()
    else:
        path, sent = {
            "site": ("/v1/sites", {"name": "Hamburg", "zone": "Europe/Berlin"}),
            "role": ("/v1/roles", {"name": "looks", "actions": ["pack:read"]}),
            "grant": ("/v1/access-grants", GRANTED),
        }[done]
        admin.post(path, json=sent).raise_for_status()
    refused = runner.ask("POST", f"/v1/platform/tenants/{name}/administrator", json={"login": "me"})
    assert refused.status_code == 409


def give(admin: httpx.Client, **more: Any) -> str:
    return str(admin.post("/v1/access-grants", json=GRANTED | more).raise_for_status().json()["id"])


def enter(runner: Runner, grant: str) -> str:
    """An access token of the tenant that gave the grant."""
    answer = runner.ask("POST", f"/v1/platform/grants/{grant}/token")
    assert answer.status_code == 201, answer.text
    return str(answer.json()["access_token"])


def test_grant_that_is_not_for_the_operator_is_answered_like_one_that_there_is_not(
    api: RunningApi, runner: Runner, admin: httpx.Client
) -> None:
    for_another = give(admin, subject="operator:another")
    revoked = give(admin)
    admin.post(f"/v1/access-grants/{revoked}/revoke").raise_for_status()
    answers = [
        told(runner.ask("POST", f"/v1/platform/grants/{grant}/token"))
        for grant in (GUESSED, for_another, revoked)
    ]
    assert answers[0][0] == 404
    assert answers == [answers[0]] * 3
    ours = runner.ask("GET", "/v1/platform/grants").json()
    assert ours["subject"] == runner.subject
    assert not {for_another, revoked} & {one["id"] for one in ours["grants"]}


def test_granted_operator_reads_as_the_role_says_and_the_tenant_sees_who_looked_at_what(
    api: RunningApi, runner: Runner, name: str, admin: httpx.Client
) -> None:
    admin.post("/v1/packs", json={"pack": "P-1"}).raise_for_status()
    grant = give(admin, subject=runner.subject)
    (ours,) = [one for one in runner.ask("GET", "/v1/platform/grants").json()["grants"] if one["id"] == grant]
    assert (ours["tenant"], ours["roles"], ours["reason"]) == (name, ["read_only"], "ticket 4711")
    with api.client_of(enter(runner, grant)) as client:
        first = client.get("/v1/packs", params={"search": "P-1"})
        assert [one["pack"] for one in first.json()["items"]] == ["P-1"]
        assert client.get("/v1/packs", params={"search": "P-1"}).status_code == 200
        assert client.post("/v1/packs", json={"pack": "P-2"}).status_code == 403
        assert client.get("/v1/platform/tenants").status_code == 403, "it is a token of the tenant now"
    found = admin.get("/v1/audit", params={"resource": "access_grants", "resource_id": grant}).json()["items"]
    told_of = [(one["action"], one["subject"]) for one in found]
    assert told_of == [
        ("access_grants.used", runner.subject),
        ("access_grants.token_issued", runner.subject),
        ("access_grants.given", "development-tenant_admin"),
    ], "the same request is noted once a minute"
    assert found[0]["after"] == {"method": "GET", "path": "/v1/packs?search=P-1"}
    assert (found[0]["client_address"], found[0]["request_id"]) == (
        "127.0.0.1",
        first.headers["X-Request-Id"],
    )
    (entry,) = runner.entries(resource_id=grant)
    assert (entry["subject"], entry["after"]) == (runner.subject, {"tenant": name})


def test_long_requests_by_a_grant_are_told_as_a_whole_and_apart(
    api: RunningApi, runner: Runner, admin: httpx.Client
) -> None:
    grant = give(admin)
    asked = [f"/v1/packs?search={'0' * 2000}%2f{pack}" for pack in ("P-1", "P-2")]
    asked += [f"/v1/packs/P{slash}latest" for slash in ("/", "%2F")]
    with api.client_of(enter(runner, grant)) as client:
        for path in (*asked, asked[0]):
            client.get(path)
    found = admin.get("/v1/audit", params={"action": "access_grants.used"}).json()["items"]
    assert [one["after"]["path"] for one in reversed(found)] == asked


def test_what_a_granted_operator_changes_is_audited_as_its_own_and_nothing_outlasts_the_grant(
    api: RunningApi, runner: Runner, admin: httpx.Client
) -> None:
    grant = give(admin, roles=["tenant_admin"])
    until_2099 = {"from": "2026-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"}
    with api.client_of(enter(runner, grant)) as client:
        made = client.post("/v1/packs", json={"pack": "P-1"}).raise_for_status()
        for path, sent in (
            ("/v1/access-grants", GRANTED),
            ("/v1/users", {"login": "me", "roles": ["analyst"]}),
            ("/v1/service-accounts", {"name": "me", "roles": ["analyst"]}),
            ("/v1/silences", {"kind": "maintenance", "pack": "P-1", "reason": "r"} | until_2099),
        ):
            assert client.post(path, json=sent).status_code == 403
        match = {"If-Match": client.get("/v1/security-thresholds").headers["ETag"]}
        louder = {"denied_per_minute_max": 10**6}
        assert client.patch("/v1/security-thresholds", json=louder, headers=match).status_code == 403
    entries = admin.get("/v1/audit", params={"request_id": made.headers["X-Request-Id"]}).json()["items"]
    assert {(one["action"], one["subject"]) for one in entries} == {
        ("packs.created", runner.subject),
        ("access_grants.used", runner.subject),
    }


def test_nobody_grants_an_operator_what_it_does_not_hold(
    api: RunningApi, name: str, admin: httpx.Client
) -> None:
    actions = ["access-grant:write", "pack:read"]
    admin.post("/v1/roles", json={"name": "lets-in", "actions": actions}).raise_for_status()
    with api.client(name, "lets-in") as client:
        refused = client.post("/v1/access-grants", json=GRANTED)
        assert (refused.status_code, "read_only grants" in refused.json()["detail"]) == (403, True)
        assert client.post("/v1/access-grants", json=GRANTED | {"roles": ["lets-in"]}).status_code == 201
        assert client.get("/v1/access-grants").status_code == 403
    assert admin.post("/v1/access-grants", json=GRANTED | {"roles": ["platform_admin"]}).status_code == 403
    assert admin.post("/v1/access-grants", json=GRANTED | {"roles": ["no-such-role"]}).status_code == 422


def test_limits_of_grants_are_named(admin: httpx.Client) -> None:
    long = admin.post("/v1/access-grants", json=GRANTED | {"hours": GRANT_HOURS_MAX + 1})
    assert (long.status_code, long.json()["field"], long.json()["limit"]) == (422, "hours", GRANT_HOURS_MAX)
    first = give(admin)
    give(admin)
    many = admin.post("/v1/access-grants", json=GRANTED)
    assert (many.status_code, many.json()["limit"]) == (409, GRANTS_MAX)
    assert admin.post(f"/v1/access-grants/{first}/revoke").json()["is_open"] is False
    third = give(admin)
    listed = admin.get("/v1/access-grants").json()["items"]
    assert [one["is_open"] for one in listed] == [True, True, False]
    (newest, *_), cursor = paged(admin, None)
    rest, end = paged(admin, cursor)
    assert ([newest["id"], rest[0]["id"]], end is None) == ([third, listed[1]["id"]], False)
    assert paged(admin, end) == ([listed[2]], None)
    _, key = base64.urlsafe_b64decode(cursor).decode().split("\n")
    given_at, last = key.split(" ")
    assert (datetime.fromisoformat(given_at), last) == (datetime.fromisoformat(newest["granted_at"]), third)
    for odd in ("7", f"{given_at} 7", f"soon {third}"):
        made = base64.urlsafe_b64encode(f"access grants\n{odd}".encode()).decode()
        refused = admin.get("/v1/access-grants", params={"cursor": made})
        assert (refused.status_code, refused.json()["field"]) == (422, "cursor"), odd


def paged(admin: httpx.Client, cursor: str | None) -> tuple[list[dict[str, Any]], str]:
    asked = {"limit": "1"} | ({"cursor": cursor} if cursor else {})
    found = admin.get("/v1/access-grants", params=asked).raise_for_status().json()
    return found["items"], found["next_cursor"]


@contextmanager
def listening(api: RunningApi, token: str, **asked: Any) -> Iterator[Any]:
    """A live socket of alerts that has had its snapshot."""
    ticket = ask(api, "POST", "/v1/tickets", headers=bearer(token)).json()["ticket"]
    with connect(api.url.replace("http", "ws") + "/v1/alerts/live", proxy=None) as socket:
        socket.send(json.dumps({"ticket": ticket} | asked))
        assert json.loads(socket.recv(20))["type"] == "snapshot"
        yield socket


def close_code(socket: Any) -> int | None:
    """With what a socket is closed, within some seconds."""
    ends_s = time.monotonic() + 20
    try:
        while True:
            socket.recv(ends_s - time.monotonic())
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else int(closed.rcvd.code)


ENDS = ["grant revoked", "credentials revoked", "operator suspended", "operator signed out"]


@pytest.mark.parametrize("end", ENDS)
def test_tokens_and_sockets_by_a_grant_end_with_it_and_with_the_operator(
    api: RunningApi, runner: Runner, conninfo: str, admin: httpx.Client, end: str
) -> None:
    grant = give(admin)
    token = enter(runner, grant)
    with listening(api, token) as socket:
        if end == "grant revoked":
            admin.post(f"/v1/access-grants/{grant}/revoke").raise_for_status()
        elif end == "credentials revoked":
            admin.post("/v1/revocations", json={"subject": runner.subject}).raise_for_status()
        elif end == "operator suspended":
            operators.suspend(conninfo, runner.login)
        else:
            ask(api, "POST", "/v1/auth/revoke", json={"refresh_token": runner.tokens["refresh_token"]})
        assert close_code(socket) == 4401
    assert ask(api, "GET", "/v1/packs", headers=bearer(token)).status_code == 401
    looks = admin.get("/v1/audit", params={"action": "access_grants.used"}).json()["items"]
    paths = [one["after"]["path"] for one in looks]
    assert paths == ["/v1/alerts/live", "/v1/tickets"]


def test_what_an_operator_asks_of_sockets_is_told(
    api: RunningApi, runner: Runner, admin: httpx.Client
) -> None:
    token = enter(runner, give(admin))
    wanted = [{"filter": {"packs": [pack]}} for pack in ("P-1", "P-2")]
    for asked in wanted:
        with listening(api, token, **asked):
            pass
    ticket = ask(api, "POST", "/v1/tickets", headers=bearer(token)).json()["ticket"]
    with connect(api.url.replace("http", "ws") + "/v1/alerts/live", proxy=None) as socket:
        socket.send(json.dumps({"ticket": ticket, "cursor": "\0"}))
        assert close_code(socket) == 4400
    looks = admin.get("/v1/audit", params={"action": "access_grants.used"}).json()["items"]
    frames = [json.loads(one["after"]["frame"]) for one in reversed(looks) if "frame" in one["after"]]
    assert frames == [*wanted, {"cursor": "\0"}]


def test_grant_ends_by_itself(
    api: RunningApi, runner: Runner, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = give(admin, hours=0.1)
    token = enter(runner, grant)
    assert (
        jwt.decode(token, options={"verify_signature": False})["exp"] <= datetime.now(UTC).timestamp() + 360
    )
    assert ask(api, "GET", "/v1/packs", headers=bearer(token)).status_code == 200

    def later_by(ms: int) -> AnchoredClock:
        return AnchoredClock(lambda: wall_ms() + ms, lambda: monotonic_ms() + ms)

    with listening(api, token) as socket:
        monkeypatch.setattr(api.engine, "clock", later_by(361_000))
        assert close_code(socket) == 4401
    assert ask(api, "GET", "/v1/packs", headers=bearer(token)).status_code == 401
    assert runner.ask("POST", f"/v1/platform/grants/{grant}/token").status_code == 404
    assert grant not in runner.ask("GET", "/v1/platform/grants").text
    assert admin.get(f"/v1/access-grants/{grant}").json()["is_open"] is False


def test_suspended_tenant_is_not_entered(
    api: RunningApi, runner: Runner, conninfo: str, name: str, admin: httpx.Client
) -> None:
    grant = give(admin)
    token = enter(runner, grant)
    runner.ask("POST", f"/v1/platform/tenants/{name}/suspend", json={"reason": "x"}).raise_for_status()
    assert ask(api, "GET", "/v1/packs", headers=bearer(token)).json()["code"] == "tenant_suspended"
    assert runner.ask("POST", f"/v1/platform/grants/{grant}/token").status_code == 404, "it has ended"
    assert runner.entries(resource_id=grant, action="access_grants.token_issued")[1:] == []


def test_grants_end_when_their_tenant_is_suspended_or_deleted(
    api: RunningApi, runner: Runner, conninfo: str, name: str, admin: httpx.Client
) -> None:
    path = f"/v1/platform/tenants/{name}"
    for ends, begins in (("suspend", "resume"), ("", "undelete")):
        grant = give(admin)
        token = enter(runner, grant)
        if ends:
            runner.ask("POST", f"{path}/{ends}", json={"reason": "x"}).raise_for_status()
        else:
            tenants.delete(conninfo, name, grace_days=30)
        runner.ask("POST", f"{path}/{begins}").raise_for_status()
        # As soon as it is served again, before anybody of it could do anything.
        assert runner.ask("POST", f"/v1/platform/grants/{grant}/token").status_code == 404
        until(lambda: ask(api, "GET", "/v1/me/permissions", headers=bearer(admin_token(admin))).is_success)
        until(lambda token=token: ask(api, "GET", "/v1/packs", headers=bearer(token)).status_code == 401)
        shown = admin.get(f"/v1/access-grants/{grant}").json()
        assert (shown["is_open"], shown["revoked_by"] is not None) == (False, True)
        (entry,) = admin.get(
            "/v1/audit", params={"resource_id": grant, "action": "access_grants.revoked"}
        ).json()["items"]
        assert entry["subject"] == shown["revoked_by"]


def admin_token(client: httpx.Client) -> str:
    return client.headers["Authorization"].removeprefix("Bearer ")


def test_bodies_of_what_an_operator_asks_are_told(
    api: RunningApi, runner: Runner, admin: httpx.Client
) -> None:
    grant = give(admin, roles=["tenant_admin"])
    named = [f"P-{number:04}" for number in range(9_000)]
    asked = [{"packs": ["P-1", "P-2"]}, {"packs": ["P-3"]}, {"packs": ["P-1", "P-2"]}, {"packs": named}]
    with api.client_of(enter(runner, grant)) as client:
        for body in asked:
            client.post("/v1/packs/latest", json=body)
        client.post("/v1/telemetry", json={"pack": "P-9", "ts": "2026-01-01T00:00:00Z"})
        client.post("/v1/packs", json={"pack": "P-1"})
    found = admin.get("/v1/audit", params={"action": "access_grants.used"}).json()["items"]
    told_of = [
        {key: value for key, value in one["after"].items() if key.startswith("body")}
        for one in reversed(found)
    ]
    assert told_of[:2] == [{"body": asked[0]}, {"body": asked[1]}]
    assert told_of[2]["body_bytes"] > 9_000
    assert len(told_of[2]["body_sha256"]) == 64
    assert told_of[3:] == [{}, {"body": {"pack": "P-1"}}]


def test_bodies_with_what_the_database_does_not_keep_are_told_and_answered(
    runner: Runner, api: RunningApi, admin: httpx.Client
) -> None:
    grant = give(admin, roles=["tenant_admin"])
    bodies = [rb'{"packs": ["P\u0000"]}', rb'{"packs": ["P\\\u0000"]}', rb'{"packs": ["P\\u0000"]}']
    with api.client_of(enter(runner, grant)) as client:
        for body in bodies:
            answer = client.post(
                "/v1/packs/latest", content=body, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code < 500
    found = admin.get("/v1/audit", params={"action": "access_grants.used"}).json()["items"]
    told = [one["after"]["body"]["packs"][0] for one in reversed(found)]
    assert told == ["P\ufffd", "P\\\ufffd", "P\\u0000"]
