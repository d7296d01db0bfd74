"""Roles that tenants make, limits to regions, and what is said of a decision."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.database_access import DatabaseAccess
from domain.tenancy import Role
from tests.running import RunningApi, running_api, until

TENANT = "roles"


@pytest.fixture(scope="module")
def brisk(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An engine on which what others change is seen soon."""
    folder: Path = tmp_path_factory.mktemp("brisk")
    with running_api(database, folder, tenant_cache_s=0.1, roles_max=20) as running:
        running.tenant(TENANT)
        yield running


@pytest.fixture(scope="module")
def admin(brisk: RunningApi) -> Iterator[httpx.Client]:
    """An administrator; packs P-north and P-south stand at sites of two regions."""
    with brisk.client(TENANT) as client:
        for name in ("north", "south"):
            site = {"name": name, "zone": "UTC", "region": f"{name}ern"}
            client.post("/v1/sites", json=site).raise_for_status()
            client.post("/v1/packs", json={"pack": f"P-{name}", "site": name}).raise_for_status()
        yield client


def made(admin: httpx.Client, name: str, *actions: str) -> dict[str, Any]:
    answer = admin.post("/v1/roles", json={"name": name, "actions": actions})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def allowed(client: httpx.Client) -> set[str]:
    told = client.get("/v1/me/permissions").json()["permissions"]
    return {one["action"] for one in told if one["allowed"]}


def test_role_of_the_tenants_own_grants_its_actions_and_no_other(
    brisk: RunningApi, admin: httpx.Client
) -> None:
    made(admin, "night-shift", "own-permissions:read", "site:write")
    with brisk.client(TENANT, "night-shift") as client:
        assert allowed(client) == {"own-permissions:read", "site:write"}
        assert client.get("/v1/sites").status_code == 403
        assert client.post("/v1/sites", json={"name": "dusk", "zone": "UTC"}).status_code == 201


@pytest.mark.parametrize("name", [*map(str, Role), "", "Night", "a b", "-a", "a" * 64])
def test_name_that_is_built_in_or_none_is_refused(admin: httpx.Client, name: str) -> None:
    answer = admin.post("/v1/roles", json={"name": name, "actions": ["pack:read"]})
    assert (answer.status_code, answer.json()["field"]) == (422, "name")


@pytest.mark.parametrize("actions", [[], ["pack:eat"], ["pack:read", "pack:read"], "pack:read"])
def test_actions_that_are_none_or_twice_are_refused(admin: httpx.Client, actions: Any) -> None:
    answer = admin.post("/v1/roles", json={"name": "wrong", "actions": actions})
    assert answer.status_code == 422
    assert answer.json()["field"].startswith("actions")


def test_nobody_grants_what_it_may_not_do(brisk: RunningApi, admin: httpx.Client) -> None:
    made(admin, "clerk", "role:read", "role:write", "pack:read")
    wide = made(admin, "wide", "pack:write", "pack:read")
    with brisk.client(TENANT, "clerk") as clerk:
        refused = clerk.post("/v1/roles", json={"name": "more", "actions": ["pack:read", "pack:write"]})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert "pack:write" in refused.json()["detail"]
        assert clerk.post("/v1/roles", json={"name": "same", "actions": ["pack:read"]}).status_code == 201
        path = f"/v1/roles/{wide['id']}"
        headers = {"If-Match": clerk.get(path).headers["ETag"]}
        more = {"actions": ["pack:write", "pack:read", "audit:read"]}
        assert clerk.patch(path, json=more, headers=headers).status_code == 403
        # It may take away, and describe, what it doesn't hold itself.
        assert clerk.patch(path, json={"description": "of others"}, headers=headers).status_code == 200


def test_edit_counts_at_once_and_needs_the_version(brisk: RunningApi, admin: httpx.Client) -> None:
    path = f"/v1/roles/{made(admin, 'edited', 'own-permissions:read')['id']}"
    change = {"actions": ["own-permissions:read", "pack:read"], "description": "reads packs"}
    assert admin.patch(path, json=change).status_code == 428
    stale = admin.get(path).headers["ETag"]
    with brisk.client(TENANT, "edited") as client:
        assert allowed(client) == {"own-permissions:read"}
        assert admin.patch(path, json=change, headers={"If-Match": stale}).json()["version"] == 2
        assert allowed(client) == {"own-permissions:read", "pack:read"}
    assert admin.patch(path, json=change, headers={"If-Match": stale}).status_code == 412
    assert admin.patch(path, json={"name": "other"}, headers={"If-Match": '"2"'}).status_code == 422
    entry = admin.get("/v1/audit", params={"action": "roles.changed", "resource": "roles"}).json()["items"][0]
    assert entry["after"]["actions"] == change["actions"]


def test_deleted_role_grants_nothing_and_takes_nothing_else_along(
    brisk: RunningApi, admin: httpx.Client
) -> None:
    path = f"/v1/roles/{made(admin, 'gone', 'site:write', 'own-permissions:read')['id']}"
    with brisk.client(TENANT, "gone") as client:
        assert allowed(client) == {"own-permissions:read", "site:write"}
        assert admin.delete(path).status_code == 204
        refused = client.post("/v1/sites", json={"name": "never", "zone": "UTC"})
        assert refused.status_code == 403
        assert refused.json()["detail"].endswith("(none); the tenant has no role gone")
    assert admin.delete(path).status_code == 404


def test_role_of_one_tenant_is_none_of_anothers(brisk: RunningApi, admin: httpx.Client) -> None:
    made(admin, "ours", "pack:read")
    brisk.tenant("others")
    with brisk.client(TENANT, "ours") as client, brisk.client("others", "ours") as stranger:
        assert client.get("/v1/packs").status_code == 200
        assert stranger.get("/v1/packs").status_code == 403


def test_number_of_roles_has_a_limit(brisk: RunningApi) -> None:
    with brisk.client(brisk.tenant("many")) as client:
        for number in range(20):
            made(client, f"r{number}", "pack:read")
        answer = client.post("/v1/roles", json={"name": "r20", "actions": ["pack:read"]})
        assert (answer.status_code, answer.json()["limit"]) == (409, 20)
        page = client.get("/v1/roles", params={"limit": 3}).json()
        assert [one["name"] for one in page["items"]] == ["r0", "r1", "r10"]


def test_limit_to_a_region_follows_its_sites(brisk: RunningApi, admin: httpx.Client) -> None:
    with brisk.client(TENANT, "operator", regions=["northern"]) as north:

        def seen() -> list[str]:
            return [pack["pack"] for pack in north.get("/v1/packs").json()["items"]]

        assert seen() == ["P-north"]
        assert north.get("/v1/me/permissions").json()["sites"] == ["north"]
        assert north.get("/v1/quarantine").status_code == 403
        (south,) = (one for one in admin.get("/v1/sites").json()["items"] if one["name"] == "south")
        path = f"/v1/sites/{south['id']}"
        for region, expected in (("northern", ["P-north", "P-south"]), ("southern", ["P-north"])):
            headers = {"If-Match": admin.get(path).headers["ETag"]}
            admin.patch(path, json={"region": region}, headers=headers).raise_for_status()
            until(lambda expected=expected: seen() == expected)


@pytest.mark.parametrize(
    ("limits", "packs"),
    [
        ({"regions": ["nowhere"]}, []),
        ({"regions": []}, []),
        ({"regions": ["nowhere"], "sites": ["south"]}, ["P-south"]),
        ({"regions": ["northern"], "sites": ["south"]}, ["P-north", "P-south"]),
    ],
)
def test_regions_and_sites_are_one_limit(
    brisk: RunningApi, admin: httpx.Client, limits: dict[str, Any], packs: list[str]
) -> None:
    with brisk.client(TENANT, "analyst", **limits) as client:
        assert [pack["pack"] for pack in client.get("/v1/packs").json()["items"]] == packs


def test_a_decision_is_explained_to_who_asks_for_itself(brisk: RunningApi, admin: httpx.Client) -> None:
    with brisk.client(TENANT, "logistics", sites=["north"]) as client:

        def explain(**asked: str) -> dict[str, Any]:
            return dict(client.get("/v1/me/explain", params=asked).raise_for_status().json())

        assert explain(action="pack:write", pack="P-north") == {
            "action": "pack:write",
            "allowed": True,
            "reason": "role logistics grants pack:write",
            "roles": ["logistics"],
            "granted_by": ["logistics"],
            "sites": ["north"],
        }
        at_south = explain(action="pack:write", site="south")
        assert not at_south["allowed"]
        assert "limited to other sites" in at_south["reason"]
        # A pack elsewhere is explained like one that there is none.
        elsewhere, unknown = (explain(action="pack:write", pack=name) for name in ("P-south", "P-none"))
        assert elsewhere["reason"].replace("P-south", "P-none") == unknown["reason"]
        assert not unknown["allowed"]
        assert "granted by none" in explain(action="alert:write")["reason"]
        both = client.get("/v1/me/explain", params={"action": "pack:read", "pack": "P", "site": "S"})
        assert (both.status_code, both.json()["field"]) == (422, "site")


def test_an_administrator_asks_for_roles_and_limits_that_it_thinks_of(
    brisk: RunningApi, admin: httpx.Client
) -> None:
    made(admin, "mover", "pack:write")

    def explain(**asked: Any) -> dict[str, Any]:
        return dict(admin.get("/v1/roles/explain", params=asked).raise_for_status().json())

    asked = {"action": "pack:write", "role": ["mover", "logistics", "ghost"]}
    told = explain(**asked, pack="P-south")
    assert told["allowed"]
    assert told["granted_by"] == ["logistics", "mover"]
    assert told["roles"] == ["ghost", "logistics", "mover"]
    limited = explain(**asked, pack="P-south", limited_to_region="northern")
    assert (limited["allowed"], limited["sites"]) == (False, ["north"])
    assert "no role ghost" in explain(action="audit:read", role="ghost")["reason"]
    with brisk.client(TENANT, "analyst") as analyst:
        assert analyst.get("/v1/roles/explain", params=asked).status_code == 403
