"""Users: invited, active, suspended, deleted, purged; and what the audit log keeps of them."""

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from api.database_access import DatabaseAccess, open_pools
from storage.users import purge
from tests.api.people import CHEAP, PASSWORD, ask, person, sign_in
from tests.running import RunningApi, running_api

TENANT = "people"
USERS_MAX = 100


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    with running_api(database, tmp_path_factory.mktemp("data"), users_max=USERS_MAX, **CHEAP) as running:
        running.tenant(TENANT)
        yield running


@pytest.fixture
def admin(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(TENANT) as client:
        yield client


def new_login() -> str:
    return f"{uuid.uuid4().hex[:12]}@example.com"


def invite(admin: httpx.Client, **more: Any) -> dict[str, Any]:
    new = {"login": new_login(), "roles": ["analyst"]} | more
    answer = admin.post("/v1/users", json=new)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return dict(answer.json())


def accept(api: RunningApi, invitation: str, password: str = PASSWORD) -> httpx.Response:
    return ask(api, "POST", "/v1/auth/invitation", json={"invitation": invitation, "password": password})


def state_of(admin: httpx.Client, user_id: str) -> str:
    return str(admin.get(f"/v1/users/{user_id}").json()["state"])


def rows(access: DatabaseAccess, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(access.admin, options="-c search_path=bpm") as connection:
        return connection.execute(text, parameters).fetchall()


def test_invited_user_chooses_a_password_once_and_is_signed_in(api: RunningApi, admin: httpx.Client) -> None:
    invited = invite(admin, login="Ann.Muster@Example.com", roles=["operator"])
    assert (invited["login"], invited["state"], invited["sites"]) == (
        "ann.muster@example.com",
        "invited",
        None,
    )
    assert sign_in(api, TENANT, invited["login"]).status_code == 401
    tokens = accept(api, invited["invitation"])
    assert tokens.status_code == 200
    assert state_of(admin, invited["id"]) == "active"
    assert sign_in(api, TENANT, "ANN.muster@example.com").status_code == 200
    again = accept(api, invited["invitation"])
    assert (again.status_code, again.json()["code"]) == (401, "unauthenticated")


def test_secret_of_an_invitation_is_kept_as_a_hash_and_shown_once(
    api: RunningApi, admin: httpx.Client
) -> None:
    invited = invite(admin)
    assert "invitation" not in admin.get(f"/v1/users/{invited['id']}").json()
    (row,) = rows(api.access, "SELECT users::text FROM users WHERE id = %s", invited["id"])
    assert invited["invitation"] not in row[0]
    (audited,) = rows(
        api.access, "SELECT audit_log::text FROM audit_log WHERE resource_id = %s", invited["id"]
    )
    assert invited["invitation"] not in audited[0]


def test_invitation_expires(api: RunningApi, admin: httpx.Client) -> None:
    invited = invite(admin)
    with psycopg.connect(api.access.admin, options="-c search_path=bpm") as connection:
        expired = "UPDATE users SET invitation_expires_at = now() WHERE id = %s"
        connection.execute(expired, (invited["id"],))
    assert accept(api, invited["invitation"]).status_code == 401


@pytest.mark.parametrize("password", ["short", "a" * 40, "my login is bob@example.com", "x" * 257])
def test_weak_password_is_refused_and_the_invitation_stays_good(
    api: RunningApi, admin: httpx.Client, password: str
) -> None:
    login = f"bob@example.com.{uuid.uuid4().hex[:6]}" if "bob" in password else new_login()
    weak = password.replace("bob@example.com", login)
    invited = invite(admin, login=login)
    refused = accept(api, invited["invitation"], weak)
    assert (refused.status_code, refused.json()["field"]) == (422, "password")
    assert accept(api, invited["invitation"]).status_code == 200


def test_second_invitation_ends_the_first_and_replaces_a_password(
    api: RunningApi, admin: httpx.Client
) -> None:
    somebody = person(api, TENANT, new_login())
    first, second = (
        admin.post(f"/v1/users/{somebody.id}/invite").raise_for_status().json()["invitation"]
        for _ in range(2)
    )
    assert somebody.sign_in().status_code == 200
    assert accept(api, first).status_code == 401
    assert accept(api, second, "another four words").status_code == 200
    assert somebody.sign_in().status_code == 401
    assert somebody.get().status_code == 401
    assert somebody.refresh().status_code == 401
    assert somebody.sign_in("another four words").status_code == 200


def test_login_is_unique_in_the_tenant_alone(api: RunningApi, admin: httpx.Client) -> None:
    invited = invite(admin)
    taken = admin.post("/v1/users", json={"login": invited["login"].upper(), "roles": ["analyst"]})
    assert (taken.status_code, taken.json()["field"]) == (409, "login")
    with api.client(api.tenant("others")) as other:
        assert (
            other.post("/v1/users", json={"login": invited["login"], "roles": ["analyst"]}).status_code == 201
        )


@pytest.mark.parametrize("login", ["", "two words", "tab\there", "a" * 201, "no\u200bwidth"])
def test_login_is_a_word(admin: httpx.Client, login: str) -> None:
    refused = admin.post("/v1/users", json={"login": login, "roles": ["analyst"]})
    assert (refused.status_code, refused.json()["field"]) == (422, "login")


@pytest.mark.parametrize("roles", [[], ["king"], ["analyst", "analyst"]])
def test_roles_are_roles(admin: httpx.Client, roles: list[str]) -> None:
    assert admin.post("/v1/users", json={"login": new_login(), "roles": roles}).status_code == 422


def test_suspended_user_can_not_sign_in_until_it_is_resumed(api: RunningApi, admin: httpx.Client) -> None:
    somebody = person(api, TENANT, new_login())
    assert somebody.get().status_code == 200
    suspended = admin.post(f"/v1/users/{somebody.id}/suspend")
    assert (suspended.status_code, suspended.json()["state"]) == (200, "suspended")
    assert [somebody.get().status_code, somebody.refresh().status_code, somebody.sign_in().status_code] == [
        401
    ] * 3
    assert admin.post(f"/v1/users/{somebody.id}/suspend").json()["version"] == suspended.json()["version"]
    assert admin.post(f"/v1/users/{somebody.id}/invite").status_code == 409
    assert admin.post(f"/v1/users/{somebody.id}/resume").json()["state"] == "active"
    assert somebody.sign_in().status_code == 200
    assert somebody.get().status_code == 200


def test_other_roles_end_the_access_token_and_stand_in_the_next_one(
    api: RunningApi, admin: httpx.Client
) -> None:
    somebody = person(api, TENANT, new_login())
    path = f"/v1/users/{somebody.id}"
    headers = {"If-Match": admin.get(path).headers["ETag"]}
    assert admin.patch(path, json={"roles": ["operator"]}).status_code == 428
    changed = admin.patch(path, json={"roles": ["operator"]}, headers=headers)
    assert (changed.status_code, changed.json()["roles"]) == (200, ["operator"])
    assert admin.patch(path, json={"roles": ["analyst"]}, headers=headers).status_code == 412
    assert somebody.get().status_code == 401
    assert somebody.refresh().status_code == 200
    assert somebody.get("/v1/me/permissions").json()["roles"] == ["operator"]


def test_user_is_limited_to_sites_and_a_renamed_site_stays_the_same(
    api: RunningApi, admin: httpx.Client
) -> None:
    site = admin.post("/v1/sites", json={"name": f"S-{uuid.uuid4().hex}", "zone": "UTC"}).json()
    somebody = person(api, TENANT, new_login(), "tenant_admin", sites=[site["name"]])
    told = somebody.get("/v1/me/permissions").json()
    assert told["sites"] == [site["name"]]
    assert somebody.get("/v1/users").status_code == 403
    renamed = f"S-{uuid.uuid4().hex}"
    etag = {"If-Match": f'"{site["version"]}"'}
    admin.patch(f"/v1/sites/{site['id']}", json={"name": renamed}, headers=etag).raise_for_status()
    somebody.sign_in()
    assert somebody.get("/v1/me/permissions").json()["sites"] == [renamed]
    unknown = admin.post("/v1/users", json={"login": new_login(), "roles": ["analyst"], "sites": ["nowhere"]})
    assert (unknown.status_code, unknown.json()["field"]) == (404, "sites")


def test_login_alone_is_changed_without_signing_out(api: RunningApi, admin: httpx.Client) -> None:
    somebody = person(api, TENANT, new_login())
    path = f"/v1/users/{somebody.id}"
    headers = {"If-Match": admin.get(path).headers["ETag"]}
    somebody.login = new_login()
    assert admin.patch(path, json={"login": somebody.login}, headers=headers).status_code == 200
    assert somebody.get().status_code == 200
    assert somebody.sign_in().status_code == 200


def test_deleted_user_can_be_brought_back_until_only_the_id_is_left(
    api: RunningApi, admin: httpx.Client
) -> None:
    somebody = person(api, TENANT, new_login())
    path = f"/v1/users/{somebody.id}"
    gone = admin.delete(path).json()
    assert gone["state"] == "deleted"
    assert datetime.fromisoformat(gone["purge_at"]) > datetime.now(UTC) + timedelta(days=29)
    assert (somebody.get().status_code, somebody.sign_in().status_code) == (401, 401)
    headers = {"If-Match": admin.get(path).headers["ETag"]}
    assert admin.patch(path, json={"roles": ["operator"]}, headers=headers).status_code == 409
    assert admin.post(f"{path}/resume").json() | {"version": 0} == gone | {
        "state": "active", "purge_at": None, "version": 0,
    }  # fmt: skip
    assert somebody.sign_in().status_code == 200
    purge_at = datetime.fromisoformat(admin.delete(path).json()["purge_at"])
    purge_until(api, purge_at - timedelta(seconds=1))
    assert state_of(admin, somebody.id) == "deleted"
    purge_until(api, purge_at)
    assert admin.get(path).status_code == 404
    told = "".join(str(row) for row in rows(api.access, "SELECT audit_log::text FROM audit_log"))
    assert somebody.id in told
    assert "users.purged" in told
    assert somebody.login not in told


def purge_until(api: RunningApi, moment: datetime) -> None:
    async def run() -> None:
        _, directory = open_pools(api.engine.settings, api.access)
        async with directory:
            await purge(directory, moment, 10)

    asyncio.run(run())


def test_each_change_has_its_audit_row(api: RunningApi, admin: httpx.Client) -> None:
    somebody = person(api, TENANT, new_login())
    path = f"/v1/users/{somebody.id}"
    for action in ("suspend", "suspend", "resume", "invite"):
        admin.post(f"{path}/{action}").raise_for_status()
    admin.delete(path).raise_for_status()
    found = admin.get("/v1/audit", params={"resource_id": somebody.id, "limit": 100}).json()["items"]
    assert [row["action"] for row in reversed(found)] == [
        "users.invited", "users.accepted", "users.suspended", "users.resumed", "users.invited_again",
        "users.deleted",
    ]  # fmt: skip
    assert [row["subject"] for row in found if row["action"] == "users.accepted"] == [somebody.subject]


def test_users_of_a_tenant_are_limited(api: RunningApi) -> None:
    with psycopg.connect(api.access.admin, options="-c search_path=bpm") as connection:
        connection.execute(
            "INSERT INTO users (tenant_id, login, roles, all_sites, created_at)"
            " SELECT tenant_id, n::text, '{}', true, now() FROM tenants, generate_series(2, %s) AS n WHERE name = %s",
            (USERS_MAX, api.tenant("full")),
        )
    with api.client("full") as admin:
        invite(admin)
        beyond = admin.post("/v1/users", json={"login": new_login(), "roles": ["analyst"]})
        assert (beyond.status_code, beyond.json()["limit"]) == (409, USERS_MAX)
