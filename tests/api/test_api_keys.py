"""Service accounts, devices and their API keys: what a key may do, and when it ends."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from api.database_access import DatabaseAccess
from domain import api_keys
from tests.running import RunningApi, running_api, until

TENANT = "keys"
CACHE_S = 0.2


@pytest.fixture(scope="module")
def brisk(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An engine that looks at keys often."""
    settings = {"api_key_cache_s": CACHE_S, "tenant_cache_s": 0.1, "api_keys_max": 3, "api_key_used_s": 3600}
    with running_api(database, tmp_path_factory.mktemp("brisk"), **settings) as running:
        running.tenant(TENANT, register_unknown_packs=False)
        yield running


@pytest.fixture(scope="module")
def admin(brisk: RunningApi) -> Iterator[httpx.Client]:
    with brisk.client(TENANT) as client:
        for name in ("north", "south"):
            site = {"name": name, "zone": "UTC", "region": f"{name}ern"}
            client.post("/v1/sites", json=site).raise_for_status()
            client.post("/v1/packs", json={"pack": f"P-{name}", "site": name}).raise_for_status()
        yield client


def account(admin: httpx.Client, name: str, *roles: str, **more: Any) -> str:
    answer = admin.post("/v1/service-accounts", json={"name": name, "roles": roles} | more)
    assert answer.status_code == 201, answer.text
    return f"/v1/service-accounts/{answer.json()['id']}"


def device(admin: httpx.Client, name: str, pack: str = "P-north") -> str:
    answer = admin.post("/v1/devices", json={"pack": pack, "name": name})
    assert answer.status_code == 201, answer.text
    return f"/v1/devices/{answer.json()['id']}"


def key(admin: httpx.Client, path: str, **more: Any) -> dict[str, Any]:
    answer = admin.post(f"{path}/keys", json={"name": "first"} | more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def asked(api: RunningApi, made: dict[str, Any], path: str = "/v1/packs", **sent: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {made['api_key']}"}
    method = "POST" if "json" in sent else "GET"
    return httpx.request(method, f"{api.url}{path}", headers=headers, trust_env=False, timeout=60, **sent)


def packs(api: RunningApi, made: dict[str, Any]) -> list[str]:
    return [pack["pack"] for pack in asked(api, made).raise_for_status().json()["items"]]


def reading(pack: str) -> dict[str, Any]:
    return {"pack": pack, "ts": datetime.now(UTC).isoformat(), "voltage_v": 350}


def assert_refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), answer.text


def closing_code(socket: ClientConnection) -> int | None:
    """With which code the engine ends the connection."""
    try:
        while True:
            socket.recv(20)
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else closed.rcvd.code


def test_key_does_what_its_account_may_and_is_never_shown_again(
    brisk: RunningApi, admin: httpx.Client
) -> None:
    path = account(admin, "reports", "analyst")
    made = key(admin, path)
    assert packs(brisk, made) == ["P-north", "P-south"]
    assert asked(brisk, made, json={"pack": "P-9"}).status_code == 403
    told = asked(brisk, made, "/v1/me/permissions").json()
    assert (told["subject"], told["roles"]) == (f"service-account:{path.rpartition('/')[2]}", ["analyst"])
    secret = made["api_key"].removeprefix(f"bpm_{made['id']}_")
    audited = admin.get("/v1/audit", params={"resource": "api_keys"}).text
    for shown in (admin.get(f"{path}/keys").text, audited):
        assert made["id"] in shown
        assert secret not in shown
    with psycopg.connect(brisk.access.admin) as connection:
        rows = connection.execute("SELECT api_keys::text FROM bpm.api_keys").fetchall()
    assert secret not in str(rows)


def test_wrong_secret_unknown_id_and_typing_errors_are_refused(
    brisk: RunningApi, admin: httpx.Client
) -> None:
    made = key(admin, account(admin, "typed", "analyst"))
    wrong = {"api_key": api_keys.compose(made["id"], "a" * 43)}
    unknown = {"api_key": api_keys.compose("a" * 12, "a" * 43)}
    refused = [asked(brisk, one) for one in (wrong, unknown)]
    for answer in refused:
        assert_refused(answer)
    assert len({answer.json()["detail"] for answer in refused}) == 1
    cut = asked(brisk, {"api_key": made["api_key"][:-1]})
    assert_refused(cut)
    assert "wrong or missing" in cut.json()["detail"]


def test_two_keys_let_an_account_change_them_without_a_gap(brisk: RunningApi, admin: httpx.Client) -> None:
    path = account(admin, "rotating", "analyst")
    old, new = key(admin, path), key(admin, path, name="second")
    assert packs(brisk, old) == packs(brisk, new)
    assert admin.delete(f"{path}/keys/{old['id']}").status_code == 204
    assert_refused(asked(brisk, old))
    assert packs(brisk, new)
    assert admin.delete(f"{path}/keys/{old['id']}").status_code == 204
    assert admin.delete(f"{path}/keys/{'a' * 12}").status_code == 404
    shown = {one["id"]: one for one in admin.get(f"{path}/keys").json()["items"]}
    assert shown[old["id"]]["revoked_at"] is not None
    assert shown[new["id"]]["revoked_at"] is None


def test_revocation_reaches_other_processes_and_live_streams(brisk: RunningApi, admin: httpx.Client) -> None:
    path = account(admin, "listener", "analyst")
    made = key(admin, path)
    ticket = asked(brisk, made, "/v1/tickets", json={}).json()["ticket"]
    with connect(brisk.url.replace("http", "ws") + "/v1/alerts/live", proxy=None) as socket:
        socket.send(json.dumps({"ticket": ticket}))
        assert json.loads(socket.recv(20))["type"] == "snapshot"
        assert packs(brisk, made)
        unused = asked(brisk, made, "/v1/tickets", json={}).json()["ticket"]
        # As another process does it, which can't tell this one.
        with psycopg.connect(brisk.access.admin) as connection:
            connection.execute("UPDATE bpm.api_keys SET revoked_at = now() WHERE key_id = %s", (made["id"],))
        revoked_s = time.monotonic()
        until(lambda: asked(brisk, made).status_code == 401)
        assert closing_code(socket) == 4401
        assert time.monotonic() - revoked_s < 10
    with connect(brisk.url.replace("http", "ws") + "/v1/alerts/live", proxy=None) as late:
        late.send(json.dumps({"ticket": unused}))
        assert closing_code(late) == 4401


def test_event_stream_of_a_revoked_key_ends(brisk: RunningApi, admin: httpx.Client) -> None:
    path = account(admin, "events", "analyst")
    made = key(admin, path)
    headers = {"Authorization": f"Bearer {made['api_key']}"}
    with httpx.stream("GET", f"{brisk.url}/v1/alerts/stream", headers=headers, trust_env=False, timeout=20) as stream:  # fmt: skip
        lines = stream.iter_lines()
        assert next(lines)
        admin.delete(f"{path}/keys/{made['id']}").raise_for_status()
        revoked_s = time.monotonic()
        for _ in lines:
            assert time.monotonic() - revoked_s < 10, "it goes on"


def test_suspended_and_deleted_accounts_are_refused_and_come_back(
    brisk: RunningApi, admin: httpx.Client
) -> None:
    path = account(admin, "coming", "analyst")
    made = key(admin, path)

    def etag() -> dict[str, str]:
        return {"If-Match": admin.get(path).headers["ETag"]}

    assert admin.patch(path, json={"state": "suspended"}).status_code == 428
    assert admin.patch(path, json={"state": "suspended"}, headers=etag()).json()["state"] == "suspended"
    assert_refused(asked(brisk, made))
    assert admin.patch(path, json={"state": "active"}, headers=etag()).json()["state"] == "active"
    assert packs(brisk, made)
    assert admin.post(f"{path}/restore").status_code == 409
    assert admin.delete(path).status_code == 204
    assert_refused(asked(brisk, made))
    assert admin.get(path).json()["state"] == "deleted"
    assert admin.patch(path, json={"name": "x"}, headers=etag()).status_code == 409
    assert admin.post(f"{path}/keys", json={"name": "x"}).status_code == 409
    assert admin.post(f"{path}/restore").json()["state"] == "active"
    assert packs(brisk, made)


def test_account_is_gone_when_its_grace_has_passed(brisk: RunningApi, admin: httpx.Client) -> None:
    path = account(admin, "fading", "analyst")
    key(admin, path)
    admin.delete(path).raise_for_status()
    assert (
        admin.post("/v1/service-accounts", json={"name": "fading", "roles": ["analyst"]}).status_code == 409
    )
    with psycopg.connect(brisk.access.admin) as connection:
        connection.execute(
            "UPDATE bpm.service_accounts SET deleted_at = now() - interval '30 days' WHERE name = 'fading'"
        )
    assert admin.get(path).status_code == 404
    assert admin.post(f"{path}/restore").status_code == 404
    account(admin, "fading", "analyst")
    with psycopg.connect(brisk.access.admin) as connection:
        row = connection.execute(
            "SELECT count(*) FROM bpm.service_accounts JOIN bpm.api_keys ON account_id = id WHERE service_accounts.name = 'fading'"
        ).fetchone()
    assert row == (0,)


def test_key_is_refused_from_its_expiry_on(brisk: RunningApi, admin: httpx.Client) -> None:
    path = account(admin, "expiring", "analyst")
    soon = datetime.now(UTC) + timedelta(seconds=2)
    made = key(admin, path, expires_at=soon.isoformat())
    assert packs(brisk, made)
    until(lambda: asked(brisk, made).status_code == 401)
    assert datetime.now(UTC) >= soon - timedelta(seconds=1)
    past = {"name": "x", "expires_at": "2020-01-01T00:00:00Z"}
    refused = admin.post(f"{path}/keys", json=past)
    assert (refused.status_code, refused.json()["field"]) == (422, "expires_at")


def test_key_of_a_device_has_an_expiry_too(admin: httpx.Client) -> None:
    path = device(admin, "expiring")
    made = admin.post(f"{path}/keys", json={"name": "x", "expires_at": "2100-01-01T00:00:00Z"})
    assert (made.status_code, made.json()["expires_at"]) == (201, "2100-01-01T00:00:00+00:00")
    past = admin.post(f"{path}/keys", json={"name": "x", "expires_at": "0375-10-17T00:20:00Z"})
    assert (past.status_code, past.json()["field"]) == (422, "expires_at")


def test_number_of_keys_in_use_has_a_limit(brisk: RunningApi, admin: httpx.Client) -> None:
    path = account(admin, "many", "analyst")
    made = [key(admin, path) for _ in range(3)]
    refused = admin.post(f"{path}/keys", json={"name": "x"})
    assert (refused.status_code, refused.json()["limit"]) == (409, 3)
    admin.delete(f"{path}/keys/{made[0]['id']}").raise_for_status()
    key(admin, path)
    page = admin.get(f"{path}/keys", params={"limit": 3}).json()
    rest = admin.get(f"{path}/keys", params={"cursor": page["next_cursor"]}).json()
    assert len(page["items"]) + len(rest["items"]) == 4


@pytest.mark.parametrize(
    ("of_account", "of_key", "seen"),
    [
        ({}, {"sites": ["south"]}, ["P-south"]),
        ({"sites": ["north"]}, {}, ["P-north"]),
        ({"regions": ["southern"]}, {}, ["P-south"]),
        ({"regions": ["southern"], "sites": ["north"]}, {}, ["P-north", "P-south"]),
        ({"regions": ["southern"]}, {"sites": ["north"]}, []),
        ({"sites": []}, {}, []),
    ],
)
def test_sites_of_a_key_lie_within_those_of_its_account(
    brisk: RunningApi, admin: httpx.Client, of_account: Any, of_key: Any, seen: list[str]
) -> None:
    path = account(admin, f"limited-{time.monotonic_ns()}", "analyst", **of_account)
    assert packs(brisk, key(admin, path, **of_key)) == seen


def test_roles_of_a_key_lie_within_those_of_its_account_also_afterwards(
    brisk: RunningApi, admin: httpx.Client
) -> None:
    path = account(admin, "narrow", "analyst", "logistics")
    made = key(admin, path, roles=["logistics"])
    assert asked(brisk, made, "/v1/me/permissions").json()["roles"] == ["logistics"]
    beyond = admin.post(f"{path}/keys", json={"name": "x", "roles": ["operator"]})
    assert (beyond.status_code, beyond.json()["field"]) == (422, "roles")
    headers = {"If-Match": admin.get(path).headers["ETag"]}
    admin.patch(path, json={"roles": ["analyst"]}, headers=headers).raise_for_status()
    assert asked(brisk, made).status_code == 403


def test_nobody_gives_an_account_what_it_may_not_do(brisk: RunningApi, admin: httpx.Client) -> None:
    actions = ["service-account:read", "service-account:write", "pack:read"]
    admin.post("/v1/roles", json={"name": "clerk", "actions": actions}).raise_for_status()
    admin.post("/v1/roles", json={"name": "looker", "actions": ["pack:read"]}).raise_for_status()
    wide, unknown = account(admin, "wide", "tenant_admin"), {"name": "u", "roles": ["ghost"]}
    with brisk.client(TENANT, "clerk") as clerk:
        path = account(clerk, "small", "looker")
        assert packs(brisk, key(clerk, path))
        more = {"name": "big", "roles": ["analyst"]}
        assert clerk.post("/v1/service-accounts", json=more).status_code == 403
        headers = {"If-Match": clerk.get(path).headers["ETag"]}
        assert clerk.patch(path, json={"roles": ["analyst"]}, headers=headers).status_code == 403
        assert clerk.post(f"{wide}/keys", json={"name": "mine"}).status_code == 403
    refused = admin.post("/v1/service-accounts", json=unknown)
    assert (refused.status_code, refused.json()["field"]) == (422, "roles")


def test_device_sends_for_its_own_pack_alone(brisk: RunningApi, admin: httpx.Client) -> None:
    made = key(admin, device(admin, "bms-1"))
    own = asked(brisk, made, "/v1/telemetry", json=reading("P-north"))
    assert (own.status_code, own.json()["accepted"]) == (200, 1), own.text
    other = asked(brisk, made, "/v1/telemetry", json=reading("P-south"))
    assert (other.status_code, other.json()["quarantined"]) == (207, 1)
    assert asked(brisk, made).status_code == 403
    with brisk.client(TENANT, "technician") as technician:
        path = device(technician, "bms-2")
        assert asked(brisk, key(technician, path), "/v1/telemetry", json=reading("P-north")).is_success
        assert technician.get("/v1/service-accounts").status_code == 403
    unknown = admin.post("/v1/devices", json={"pack": "P-none"})
    assert (unknown.status_code, unknown.json()["field"]) == (404, "pack")


def test_use_is_noted_coarsely(brisk: RunningApi, admin: httpx.Client) -> None:
    path = account(admin, "used", "analyst")
    made = key(admin, path)

    def last_used_at() -> str | None:
        (shown,) = admin.get(f"{path}/keys").json()["items"]
        return None if shown["last_used_at"] is None else str(shown["last_used_at"])

    assert last_used_at() is None
    packs(brisk, made)
    first = last_used_at()
    assert first is not None
    time.sleep(CACHE_S * 2)
    packs(brisk, made)
    assert last_used_at() == first


def test_key_of_one_tenant_opens_no_other(brisk: RunningApi, admin: httpx.Client) -> None:
    path = account(admin, "ours", "analyst")
    made = key(admin, path)
    with brisk.client(brisk.tenant("strangers")) as stranger:
        assert stranger.get(f"{path}/keys").status_code == 404
        assert stranger.delete(f"{path}/keys/{made['id']}").status_code == 404
        own = account(stranger, "theirs", "analyst")
        assert stranger.delete(f"{own}/keys/{made['id']}").status_code == 404
    assert packs(brisk, made)
