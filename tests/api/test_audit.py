"""The audit log: an entry for each change and for nothing else, read by those who may."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pyarrow as pa
import pytest

from api.routing import ARROW
from tests.running import RunningApi

TENANT = "audited"
STEPS = 150
RECORDS = (
    "sites",
    "models",
    "packs",
    "tenures",
    "pack_groups",
    "pack_group_members",
    "rules",
    "rule_versions",
    "silences",
    "channels",
    "key_aliases",
    "imports",
    "corrections",
)
Names = list[str]


@pytest.fixture(scope="module")
def client(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(api.tenant(TENANT, register_unknown_packs=False)) as client:
        yield client


class Operations:
    """Mutations over HTTP, some of which are refused: names are taken, records are gone, versions are stale."""

    def __init__(self, client: httpx.Client, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)
        self._made: dict[str, Names] = {}

    def any_one(self) -> tuple[str, httpx.Response]:
        name, operation = self._random.choice(list(self._all().items()))
        return name, operation()

    def _all(self) -> dict[str, Callable[[], httpx.Response]]:
        number = self._random.randrange(6)
        site = {"name": f"S-{number}", "zone": self._random.choice(["UTC", "Europe/Zurich", "Nowhere"])}
        model = {"name": f"M-{number}", "chemistry": "LFP", "rated_capacity_ah": number}
        pack = {"pack": f"P-{number}"} | self._random.choice([{}, {"site": "S-1"}, {"model": "M-1"}])
        group = {"name": f"G-{number}", "packs": [f"P-{self._random.randrange(6)}"]}
        condition = {"kind": "missing_data", "after_s": self._random.choice([0, 600, 3600])}
        rule = {
            "name": f"R-{number}",
            "scope": {"kind": "tenant"},
            "severity": "info",
            "condition": condition,
        }
        starts = f"2026-01-0{number + 1}T00:00:00Z"
        silence = {"kind": "mute", "from": starts, "to": "2026-01-04T00:00:00Z", "reason": "r"}
        moved = {"from": starts, "site": self._random.choice(["S-1", "S-2", "S-9"])}
        aliases = {"aliases": [{"alias": f"U{number}", "key": "voltage_v"}]}
        channel = {"name": f"C-{number}", "kind": "webhook", "url": "https://localhost/"}
        return {
            "new site": lambda: self._create("sites", site),
            "edited site": lambda: self._edit("sites", {"region": f"region {number}"}),
            "new model": lambda: self._create("models", model),
            "edited model": lambda: self._edit("models", {"rated_capacity_ah": number}),
            "new pack": lambda: self._create("packs", pack),
            "packs of a table": lambda: self._client.post(
                "/v1/packs/import",
                content=f"pack,site\nT-{number},S-1\nT-{number + 1},\n".encode(),
                headers={"Content-Type": "text/csv"},
            ),
            "edited pack": lambda: self._edit("packs", {"pack": f"P-{number}x"}),
            "moved pack": lambda: self._client.post(f"/v1/packs/{self._one('packs')}/tenures", json=moved),
            "new group": lambda: self._create("groups", group),
            "edited group": lambda: self._edit("groups", {"add": [f"P-{number}"]}),
            "deleted group": lambda: self._client.delete(f"/v1/groups/{self._one('groups')}"),
            "new rule": lambda: self._create("rules", rule),
            "edited rule": lambda: self._edit("rules", {"severity": "warning"}),
            "new silence": lambda: self._create("silences", silence),
            "ended silence": lambda: self._client.delete(f"/v1/silences/{self._one('silences')}"),
            "new channel": lambda: self._create("channels", channel),
            "edited channel": lambda: self._edit("channels", {"muted": number > 3}),
            "deleted channel": lambda: self._client.delete(f"/v1/channels/{self._one('channels')}"),
            "aliases": lambda: self._put_aliases(aliases),
            "new import": lambda: self._create("imports", {"source": f"file {number}"}),
            "undone import": lambda: self._client.delete(f"/v1/imports/{self._one('imports')}"),
            "a look": lambda: self._client.get("/v1/packs"),
        }

    def _one(self, kind: str) -> str:
        return self._random.choice([*self._made.get(kind, []), "00000000-0000-4000-8000-000000000000"])

    def _create(self, kind: str, body: dict[str, Any]) -> httpx.Response:
        answer = self._client.post(f"/v1/{kind}", json=body)
        if answer.is_success:
            self._made.setdefault(kind, []).append(answer.json()["id"])
        return answer

    def _edit(self, kind: str, changes: dict[str, Any]) -> httpx.Response:
        path = f"/v1/{kind}/{self._one(kind)}"
        current = self._client.get(path).headers.get("ETag", '"1"')
        etag = self._random.choice([current, current, '"99"'])
        return self._client.patch(path, json=changes, headers={"If-Match": etag})

    def _put_aliases(self, body: dict[str, Any]) -> httpx.Response:
        etag = self._client.get("/v1/key-aliases").headers["ETag"]
        return self._client.put("/v1/key-aliases", json=body, headers={"If-Match": etag})


@contextmanager
def administrator(api: RunningApi) -> Iterator[psycopg.Connection]:
    with psycopg.connect(api.access.admin, autocommit=True, options="-c search_path=bpm") as connection:
        yield connection


def records(connection: psycopg.Connection) -> dict[str, str | None]:
    """Of each table a digest of the tenant's rows."""
    found = {}
    for table in RECORDS:
        row = connection.execute(
            f"SELECT md5(string_agg(one::text, ';' ORDER BY one::text)) FROM {table} AS one "
            "JOIN tenants USING (tenant_id) WHERE tenants.name = %s",
            (TENANT,),
        ).fetchone()
        assert row is not None
        found[table] = row[0]
    return found


def entries(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT id, action, resource, resource_id, request_id, before = after FROM audit_log "
        "JOIN tenants USING (tenant_id) WHERE tenants.name = %s ORDER BY id",
        (TENANT,),
    ).fetchall()


def test_whatever_changes_has_an_entry_and_what_does_not_has_none(
    api: RunningApi, client: httpx.Client
) -> None:
    operations = Operations(client, seed=20261129)
    seen: dict[str, set[bool]] = {}
    with administrator(api) as connection:
        before, known = records(connection), len(entries(connection))
        for step in range(STEPS):
            name, answer = operations.any_one()
            after, written = records(connection), entries(connection)[known:]
            changed = {table for table in RECORDS if after[table] != before[table]}
            told = f"step {step}: {name} answered {answer.status_code}: {answer.text[:200]}"
            assert bool(written) == bool(changed), (told, changed, written)
            assert {entry[4] for entry in written} <= {answer.headers["X-Request-ID"]}, (told, written)
            assert answer.is_success or not changed, told
            seen.setdefault(name, set()).add(bool(changed))
            before, known = after, known + len(written)
    assert {name for name, kinds in seen.items() if True in kinds} >= {"new site", "edited pack", "new rule"}
    assert sum(False in kinds for kinds in seen.values()) > len(seen) / 2, "refusals were tried too"


def test_auditor_finds_who_did_what(client: httpx.Client, api: RunningApi) -> None:
    made = client.post("/v1/sites", json={"name": "Depot", "zone": "UTC"})
    site = made.json()
    edited = client.patch(
        f"/v1/sites/{site['id']}", json={"region": "north"}, headers={"If-Match": made.headers["ETag"]}
    )
    with api.client(TENANT, "auditor") as auditor:
        answer = auditor.get("/v1/audit", params={"resource": "sites", "resource_id": site["id"]})
        newest, oldest = answer.json()["items"]
        assert (newest["action"], oldest["action"]) == ("sites.changed", "sites.created")
        assert newest["subject"] == "development-tenant_admin"
        assert newest["request_id"] == edited.headers["X-Request-ID"]
        assert (newest["before"]["region"], newest["after"]["region"]) == (None, "north")
        assert oldest["before"] is None
        assert {(one["client_address"], one["site"]) for one in (newest, oldest)} == {("127.0.0.1", "Depot")}
        by_request = auditor.get("/v1/audit", params={"request_id": newest["request_id"]}).json()["items"]
        assert by_request == [newest]
        until = {"to": newest["at"], "resource_id": site["id"]}
        assert newest not in auditor.get("/v1/audit", params=until).json()["items"]
        # Nothing is changed by who only reads.
        assert auditor.post("/v1/sites", json={"name": "X", "zone": "UTC"}).status_code == 403
        lines = auditor.get(
            "/v1/audit", params={"action": "sites.created"}, headers={"Accept": "text/csv"}
        ).text.splitlines()
        assert lines[0] == (
            "at,subject,client_address,action,resource,resource_id,site,before,after,request_id"
        )


def test_entries_of_a_site_are_those_of_what_is_at_it_and_for_it(client: httpx.Client) -> None:
    client.post("/v1/sites", json={"name": "Yard", "zone": "UTC"}).raise_for_status()
    pack = client.post("/v1/packs", json={"pack": "at-yard", "site": "Yard"}).raise_for_status().json()["id"]
    client.post(
        f"/v1/packs/{pack}/tenures", json={"from": "2026-01-02T00:00:00Z", "site": None}
    ).raise_for_status()
    scope = {"kind": "site", "site": "Yard"}
    condition = {"kind": "missing_data", "after_s": 600}
    rule = {"name": "of the yard", "scope": scope, "severity": "info", "condition": condition}
    client.post("/v1/rules", json=rule).raise_for_status()
    span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    client.post(
        "/v1/silences", json={"kind": "mute", "reason": "r", "site": "Yard"} | span
    ).raise_for_status()
    found = client.get("/v1/audit", params={"site": "Yard"}).json()["items"]
    assert [one["action"] for one in found] == [
        "silences.created",
        "rules.created",
        "packs.created",
        "sites.created",
    ]
    assert client.get("/v1/audit", params={"client_address": "192.0.2.1"}).json()["items"] == []


def test_entries_come_as_arrow_with_the_record_as_json(client: httpx.Client) -> None:
    for number in range(3):
        client.post("/v1/sites", json={"name": f"arrow {number}", "zone": "UTC"}).raise_for_status()
    asked = {"action": "sites.created", "limit": 2}
    as_json = client.get("/v1/audit", params=asked).json()
    answer = client.get("/v1/audit", params=asked, headers={"Accept": ARROW})
    assert answer.headers["Next-Cursor"] == as_json["next_cursor"]
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.schema.field("at").type == pa.timestamp("ms", "UTC")
    told = [
        row | {"at": as_json["items"][place]["at"], "after": json.loads(row["after"])}
        for place, row in enumerate(table.to_pylist())
    ]
    assert told == as_json["items"]
    assert [at.isoformat(timespec="milliseconds") for at in table["at"].to_pylist()] == [
        one["at"].replace("Z", "+00:00") for one in as_json["items"]
    ]


def test_pages_follow_each_other_without_gap_while_entries_are_added(client: httpx.Client) -> None:
    for number in range(5):
        client.post(
            "/v1/models", json={"name": f"paged {number}", "chemistry": "LFP", "rated_capacity_ah": 1}
        )
    asked = {"action": "models.created", "limit": 2}
    found: list[str] = []
    page = client.get("/v1/audit", params=asked).json()
    while True:
        found += [item["after"]["name"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        client.post(
            "/v1/models", json={"name": f"between {len(found)}", "chemistry": "LFP", "rated_capacity_ah": 1}
        )
        page = client.get("/v1/audit", params=asked | {"cursor": page["next_cursor"]}).json()
    assert found[:5] == [f"paged {number}" for number in reversed(range(5))]
    assert len(found) == len(set(found))


def test_secrets_are_in_no_entry(client: httpx.Client) -> None:
    made = client.post(
        "/v1/channels", json={"name": "secret", "kind": "webhook", "url": "https://localhost/"}
    )
    secret = made.json()["secret"]
    rotated = client.post(f"/v1/channels/{made.json()['id']}/rotate").json()["secret"]
    text = client.get("/v1/audit", params={"resource": "channels", "limit": 1000}).text
    assert "channels.rotated" in text
    assert secret not in text
    assert rotated not in text
