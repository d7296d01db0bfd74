"""Credentials limited to sites, or to one pack, within a tenant: what they see, do, and are told is absent."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.both import BOTH
from tests.running import RunningApi

RUNNERS = BOTH


TENANT = "limited"
FROM, TO = "2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
GUESSED = "00000000-0000-4000-8000-000000000000"
PACKS = {"pack-a": "A", "pack-b": "B", "pack-nowhere": None}


def moment(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def reading(pack: str, seconds: float = 0) -> dict[str, Any]:
    return {"pack": pack, "ts": moment(seconds), "voltage_v": 350}


@dataclass(frozen=True)
class Tenant:
    """A tenant with sites A and B, a pack at each, one without a site, and unknown packs let in."""

    admin: httpx.Client
    operator: httpx.Client
    ids: dict[str, str]

    def etag(self, path: str) -> dict[str, str]:
        return {"If-Match": self.admin.get(path).headers["ETag"]}

    def stored(self, pack: str) -> int:
        asked = {"pack": pack, "measure": "voltage_v", "from": FROM, "to": TO}
        return len(self.admin.get("/v1/trends", params=asked).json()["columns"]["ts"])


@pytest.fixture(scope="module")
def tenant(api: RunningApi) -> Iterator[Tenant]:
    api.tenant(TENANT, register_unknown_packs=True)
    ids = {}
    with api.client(TENANT) as admin, api.client(TENANT, "operator", sites=["A"]) as operator:
        for site in ("A", "B"):
            ids[site] = admin.post("/v1/sites", json={"name": site, "zone": "UTC"}).json()["id"]
        model = {"name": "M", "chemistry": "LFP", "rated_capacity_ah": 10}
        ids["M"] = admin.post("/v1/models", json=model).json()["id"]
        for pack, site in PACKS.items():
            ids[pack] = admin.post("/v1/packs", json={"pack": pack, "site": site}).json()["id"]
        receipt = admin.post("/v1/telemetry", json=[reading(pack, -60) for pack in PACKS])
        assert receipt.json()["accepted"] == len(PACKS)
        ids["receipt"] = receipt.json()["id"]
        ids["import"] = admin.post("/v1/imports", json={"source": "a file"}).json()["id"]
        yield Tenant(admin, operator, ids)


def told(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    return answer.status_code, {name: value for name, value in answer.json().items() if name != "request_id"}


def test_lists_show_the_own_site_and_its_packs(tenant: Tenant) -> None:
    sites = tenant.operator.get("/v1/sites").json()["items"]
    packs = tenant.operator.get("/v1/packs").json()["items"]
    assert {site["name"] for site in sites} == {"A"}
    assert {pack["site"] for pack in packs} == {"A"}


@pytest.mark.parametrize("path", ["/v1/packs/{}", "/v1/packs/{}/latest"])
@pytest.mark.parametrize("pack", ["pack-b", "pack-nowhere"])
def test_pack_elsewhere_reads_as_absent(tenant: Tenant, path: str, pack: str) -> None:
    elsewhere = tenant.operator.get(path.format(tenant.ids[pack]))
    assert told(elsewhere) == told(tenant.operator.get(path.format(GUESSED)))
    assert elsewhere.status_code == 404
    assert tenant.operator.get(path.format(tenant.ids["pack-a"])).status_code == 200


def test_trend_of_a_pack_elsewhere_reads_as_absent(tenant: Tenant) -> None:
    def trend(pack: str) -> httpx.Response:
        asked = {"pack": pack, "measure": "voltage_v", "from": FROM, "to": TO}
        return tenant.operator.get("/v1/trends", params=asked)

    assert told(trend("pack-b")) == told(trend("pack-nowhere")) == told(trend("no-such-pack"))
    assert trend("pack-b").status_code == 404
    assert trend("pack-a").json()["columns"]["ts"]


@pytest.mark.parametrize(
    ("path", "more"),
    [("trends", {"points": 10}), ("trends", {"step": "P1Y"}), ("trends/analysis", {"threshold": 5})],
)
def test_points_windows_and_analysis_of_a_pack_elsewhere_read_as_absent(
    tenant: Tenant, path: str, more: dict[str, Any]
) -> None:
    def answered(pack: str) -> httpx.Response:
        asked = {"pack": pack, "measure": "voltage_v", "from": FROM, "to": TO} | more
        return tenant.operator.get(f"/v1/{path}", params=asked)

    assert told(answered("pack-b")) == told(answered("pack-nowhere")) == told(answered("no-such-pack"))
    assert answered("pack-b").status_code == 404
    assert answered("pack-a").status_code == 200


def test_history_goes_with_a_pack_to_the_next_site(tenant: Tenant, api: RunningApi) -> None:
    made = tenant.admin.post("/v1/packs", json={"pack": "pack-moves", "site": "B"}).raise_for_status().json()
    tenant.admin.post("/v1/telemetry", json=[reading("pack-moves", -90)]).raise_for_status()
    asked = {"pack": "pack-moves", "measure": "voltage_v", "from": FROM, "to": TO}
    with api.client(TENANT, "operator", sites=["B"]) as of_b:
        assert tenant.operator.get("/v1/trends", params=asked).status_code == 404
        assert len(of_b.get("/v1/trends", params=asked).json()["columns"]["ts"]) == 1
        moved = tenant.admin.post(f"/v1/packs/{made['id']}/tenures", json={"from": moment(-30), "site": "A"})
        assert moved.status_code == 201, moved.text
        tenant.admin.post("/v1/telemetry", json=[reading("pack-moves", -10)]).raise_for_status()
        assert of_b.get("/v1/trends", params=asked).status_code == 404
        assert len(tenant.operator.get("/v1/trends", params=asked).json()["columns"]["ts"]) == 2


def test_bands_reach_no_further_than_the_credential(tenant: Tenant) -> None:
    def band(of: str) -> httpx.Response:
        asked = {"pack": "pack-a", "measure": "voltage_v", "step": "P1D", "band": of}
        span = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z"}
        return tenant.operator.get("/v1/trends", params=asked | span)

    assert band("site").json()["band"] == "site:A"
    assert band("all").status_code == 403


def test_windows_of_a_pack_elsewhere_read_as_absent(tenant: Tenant) -> None:
    def windows(of: dict[str, str | list[str]]) -> httpx.Response:
        asked = {"measure": "voltage_v", "step": "P1Y", "from": FROM, "to": TO}
        return tenant.operator.get("/v1/aggregates", params=asked | of)

    assert told(windows({"pack": "pack-b"})) == told(windows({"pack": "no-such-pack"}))
    assert windows({"pack": "pack-nowhere"}).status_code == 404
    assert windows({"pack": ["pack-a", "pack-b"]}).status_code == 404
    assert sum(windows({"pack": "pack-a"}).json()["columns"]["voltage_v_count"]) > 0


@pytest.mark.parametrize("path", ["aggregates", "trends"])
def test_group_beyond_the_own_sites_is_absent_or_refused(tenant: Tenant, path: str) -> None:
    def days(group: str) -> httpx.Response:
        asked = {
            "group": group,
            "measure": "voltage_v",
            "step": "P1D",
            "from": "2026-01-01T00:00:00Z",
            "to": "2026-01-03T00:00:00Z",
        }
        return tenant.operator.get(f"/v1/{path}", params=asked)

    assert told(days("site:B")) == told(days("site:no-such-site"))
    assert days("site:B").status_code == 404
    assert days("site:A").json()["columns"]["packs"] == [None, None]
    assert days("all").status_code == days("model:M").status_code == 403


def test_other_site_is_neither_read_nor_edited(tenant: Tenant) -> None:
    path = f"/v1/sites/{tenant.ids['B']}"
    change = {"json": {"region": "south"}, "headers": tenant.etag(path)}
    assert told(tenant.operator.get(path)) == told(tenant.operator.get(f"/v1/sites/{GUESSED}"))
    refused = tenant.operator.patch(path, **change)
    assert told(refused) == told(tenant.operator.patch(f"/v1/sites/{GUESSED}", **change))
    assert refused.status_code == 404
    assert tenant.admin.get(path).json()["region"] is None


def test_own_site_is_edited_but_not_renamed(tenant: Tenant) -> None:
    path = f"/v1/sites/{tenant.ids['A']}"
    edited = tenant.operator.patch(path, json={"region": "north"}, headers=tenant.etag(path))
    renamed = tenant.operator.patch(path, json={"name": "Z"}, headers=tenant.etag(path))
    assert (edited.status_code, renamed.status_code) == (200, 403)
    assert tenant.admin.get(path).json()["name"] == "A"


def test_new_site_beyond_the_limit_is_refused(tenant: Tenant) -> None:
    assert tenant.operator.post("/v1/sites", json={"name": "C", "zone": "UTC"}).status_code == 403
    assert {site["name"] for site in tenant.admin.get("/v1/sites").json()["items"]} == {"A", "B"}


def test_models_which_judge_every_site_are_read_but_not_written(tenant: Tenant) -> None:
    path = f"/v1/models/{tenant.ids['M']}"
    new = {"name": "N", "chemistry": "LFP", "rated_capacity_ah": 10}
    assert tenant.operator.get(path).status_code == 200
    assert tenant.operator.post("/v1/models", json=new).status_code == 403
    changed = tenant.operator.patch(path, json={"chemistry": "x"}, headers=tenant.etag(path))
    assert changed.status_code == 403


@pytest.mark.parametrize("site", ["by name", "by id"])
def test_pack_is_not_registered_elsewhere(tenant: Tenant, site: str) -> None:
    reference = "B" if site == "by name" else tenant.ids["B"]
    refused = tenant.operator.post("/v1/packs", json={"pack": "new-b", "site": reference})
    unknown = tenant.operator.post("/v1/packs", json={"pack": "new-b", "site": "no-such-site"})
    assert told(refused) == told(unknown)
    assert (refused.status_code, refused.json()["field"]) == (404, "site")


def test_pack_without_site_is_not_registered_since_it_would_be_out_of_sight(tenant: Tenant) -> None:
    refused = tenant.operator.post("/v1/packs", json={"pack": "new-nowhere"})
    assert (refused.status_code, refused.json()["field"]) == (422, "site")


def test_pack_at_the_own_site_is_registered(tenant: Tenant) -> None:
    made = tenant.operator.post("/v1/packs", json={"pack": "new-a", "site": "A"})
    assert (made.status_code, made.json()["site"]) == (201, "A")


def test_csv_with_one_pack_elsewhere_registers_none(tenant: Tenant) -> None:
    answer = tenant.operator.post(
        "/v1/packs/import",
        content=b"pack,site\ncsv-a,A\ncsv-b,B\ncsv-nowhere,\n",
        headers={"Content-Type": "text/csv"},
    )
    assert (answer.status_code, answer.json()["created"]) == (422, 0)
    assert [(problem["row"], problem["field"]) for problem in answer.json()["problems"]] == [
        (2, "site"),
        (3, "site"),
    ]
    known = {pack["pack"] for pack in tenant.admin.get("/v1/packs").json()["items"]}
    assert not known & {"csv-a", "csv-b", "csv-nowhere"}


@pytest.mark.parametrize(("site", "status"), [("B", 404), (None, 422)])
def test_pack_is_not_put_elsewhere(tenant: Tenant, site: str | None, status: int) -> None:
    path = f"/v1/packs/{tenant.ids['pack-a']}"
    refused = tenant.operator.patch(path, json={"site": site}, headers=tenant.etag(path))
    assert refused.status_code == status
    assert tenant.admin.get(path).json()["site"] == "A"


@pytest.mark.parametrize(("site", "status"), [("B", 404), (None, 422)])
def test_pack_is_not_moved_elsewhere(tenant: Tenant, site: str | None, status: int) -> None:
    path = f"/v1/packs/{tenant.ids['pack-a']}"
    refused = tenant.operator.post(f"{path}/tenures", json={"from": moment(), "site": site})
    assert refused.status_code == status
    assert len(tenant.admin.get(path).json()["tenures"]) == 1


def test_pack_elsewhere_is_neither_edited_nor_fetched(tenant: Tenant) -> None:
    path = f"/v1/packs/{tenant.ids['pack-b']}"
    changed = tenant.operator.patch(path, json={"site": "A"}, headers=tenant.etag(path))
    moved = tenant.operator.post(f"{path}/tenures", json={"from": moment(), "site": "A"})
    assert (changed.status_code, moved.status_code) == (404, 404)
    assert tenant.admin.get(path).json()["site"] == "B"


def test_readings_of_packs_elsewhere_are_set_aside_as_unknown(tenant: Tenant) -> None:
    before = {pack: tenant.stored(pack) for pack in PACKS}
    sent = [*map(reading, PACKS), reading("no-such-pack")]
    receipt = tenant.operator.post("/v1/telemetry", json=sent).json()
    assert (receipt["accepted"], receipt["quarantined"]) == (1, 3)
    assert {item["reason"] for item in receipt["items"]} == {"unknown_pack"}
    gained = {pack: tenant.stored(pack) - before[pack] for pack in PACKS}
    assert gained == {"pack-a": 1, "pack-b": 0, "pack-nowhere": 0}
    asked = {"pack": "no-such-pack", "measure": "voltage_v", "from": FROM, "to": TO}
    assert tenant.admin.get("/v1/trends", params=asked).status_code == 404


def test_what_other_sites_had_set_aside_is_refused(tenant: Tenant) -> None:
    assert tenant.operator.get("/v1/quarantine").status_code == 403
    assert tenant.operator.get(f"/v1/quarantine/{GUESSED}").status_code == 403
    assert tenant.operator.delete(f"/v1/quarantine/{GUESSED}").status_code == 403
    assert tenant.operator.post("/v1/quarantine/redrive", json={"filter": {}}).status_code == 403


def test_credential_of_one_pack_neither_discards_nor_redrives(api: RunningApi, tenant: Tenant) -> None:
    with api.client(TENANT, pack="pack-a") as limited:
        assert limited.delete(f"/v1/quarantine/{GUESSED}").status_code == 403
        assert limited.post("/v1/quarantine/redrive", json={"filter": {}}).status_code == 403


def test_key_aliases_which_hold_for_every_site_are_read_but_not_written(tenant: Tenant) -> None:
    read = tenant.operator.get("/v1/key-aliases")
    headers = {"If-Match": read.headers["ETag"]}
    refused = tenant.operator.put("/v1/key-aliases", json={"aliases": []}, headers=headers)
    assert (read.status_code, refused.status_code) == (200, 403)


def test_items_are_judged_again_by_what_their_senders_may(api: RunningApi, tenant: Tenant) -> None:
    """A device's reading of another's pack doesn't go in because an administrator has more rights."""
    forged, ts = "pack-b", moment(-11)
    sent = {"pack": forged, "ts": ts, "voltage_v": 350}
    before = tenant.stored(forged)
    with api.client(TENANT, "device", pack="pack-a") as device:
        assert device.post("/v1/telemetry", json=sent).json()["quarantined"] == 1
    with api.client(TENANT, "operator", sites=["A"]) as elsewhere:
        assert elsewhere.post("/v1/telemetry", json=sent).json()["quarantined"] == 1
    found = tenant.admin.get("/v1/quarantine", params={"pack": forged, "limit": 1000}).json()["items"]
    ids = [item["id"] for item in found if ts in item["raw"]]
    assert len(ids) == 2
    redriven = tenant.admin.post("/v1/quarantine/redrive", json={"ids": ids})
    assert (redriven.status_code, redriven.json()["quarantined"]) == (207, 2)
    assert {item["reason"] for item in redriven.json()["items"]} == {"unknown_pack"}
    assert tenant.stored(forged) == before


def test_receipts_and_imports_of_others_read_as_absent(tenant: Tenant) -> None:
    for path in ("/v1/receipts/{}", "/v1/imports/{}"):
        foreign = tenant.operator.get(path.format(tenant.ids[path.split("/")[2].removesuffix("s")]))
        assert told(foreign) == told(tenant.operator.get(path.format(GUESSED)))
        assert foreign.status_code == 404
    assert tenant.operator.get("/v1/imports").json()["items"] == []
    own = tenant.operator.post("/v1/telemetry", json=reading("pack-a", -5)).json()
    assert tenant.operator.get(f"/v1/receipts/{own['id']}").json() == own


def test_limited_importer_uses_its_own_imports_only(api: RunningApi, tenant: Tenant) -> None:
    with api.client(TENANT, "importer", sites=["A"]) as importer:
        own = importer.post("/v1/imports", json={"source": "own"}).json()["id"]
        past = reading("pack-a", -86_400 * 400)
        foreign = importer.post("/v1/telemetry", json=past, params={"import": tenant.ids["import"]})
        taken = importer.post("/v1/telemetry", json=past, params={"import": own})
        assert [item["id"] for item in importer.get("/v1/imports").json()["items"]] == [own]
    assert foreign.status_code == 404
    assert (taken.status_code, taken.json()["accepted"]) == (200, 1)


def test_device_of_a_pack_writes_that_pack_only_and_registers_none(api: RunningApi, tenant: Tenant) -> None:
    before = tenant.stored("pack-b")
    with api.client(TENANT, "device", pack="pack-a") as device:
        receipt = device.post("/v1/telemetry", json=[*map(reading, PACKS), reading("new-device-pack")]).json()
    assert (receipt["accepted"], receipt["quarantined"]) == (1, 3)
    assert tenant.stored("pack-b") == before
    asked = {"pack": "new-device-pack", "measure": "voltage_v", "from": FROM, "to": TO}
    assert tenant.admin.get("/v1/trends", params=asked).status_code == 404


@pytest.mark.parametrize("role", ["operator", "importer", "tenant_admin"])
def test_credential_of_one_pack_writes_that_pack_only_in_any_role(
    api: RunningApi, tenant: Tenant, role: str
) -> None:
    with api.client(TENANT, role, pack="pack-a") as limited:
        receipt = limited.post("/v1/telemetry", json=[reading("pack-a", -3), reading("pack-b", -3)]).json()
    assert [(item["index"], item["reason"]) for item in receipt["items"]] == [(1, "unknown_pack")]


def test_devices_see_their_own_receipts_and_not_each_others(api: RunningApi, tenant: Tenant) -> None:
    with (
        api.client(TENANT, "device", pack="pack-a") as first,
        api.client(TENANT, "device", pack="pack-b") as second,
    ):
        own = first.post("/v1/telemetry", json=reading("pack-a", -7)).json()
        assert first.get(f"/v1/receipts/{own['id']}").json() == own
        assert told(second.get(f"/v1/receipts/{own['id']}")) == told(second.get(f"/v1/receipts/{GUESSED}"))
        assert first.get(f"/v1/receipts/{tenant.ids['receipt']}").status_code == 404
        assert first.get("/v1/imports").json()["items"] == []
        assert first.get(f"/v1/imports/{tenant.ids['import']}").status_code == 404


@pytest.fixture(scope="module")
def alerting(tenant: Tenant) -> dict[str, str]:
    """A rule for each site, one for all, and an alert of each pack."""
    scopes: dict[str, dict[str, str]] = {
        "all": {"kind": "tenant"},
        "at-a": {"kind": "site", "site": "A"},
        "at-b": {"kind": "site", "site": "B"},
        "of-a": {"kind": "pack", "pack": "pack-a"},
        "of-b": {"kind": "pack", "pack": "pack-b"},
    }
    hot = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 40}
    ids = {}
    for name, scope in scopes.items():
        rule = {"name": name, "scope": scope, "severity": "info", "condition": hot}
        ids[name] = tenant.admin.post("/v1/rules", json=rule).json()["id"]
    sent = [{"pack": pack, "ts": moment(), "temperature_c": 60} for pack in PACKS]
    assert tenant.admin.post("/v1/telemetry", json=sent).json()["accepted"] == len(PACKS)
    for alert in tenant.admin.get("/v1/alerts", params={"rule": ids["all"]}).json()["items"]:
        ids[alert["pack"]] = alert["id"]
    return ids


def test_alerts_of_packs_elsewhere_read_as_absent(tenant: Tenant, alerting: dict[str, str]) -> None:
    seen = tenant.operator.get("/v1/alerts").json()["items"]
    assert {alert["pack"] for alert in seen} == {"pack-a"}
    for pack in ("pack-b", "pack-nowhere"):
        for send, path in (
            (tenant.operator.get, "/v1/alerts/{}"),
            (tenant.operator.post, "/v1/alerts/{}/clear"),
        ):
            elsewhere = send(path.format(alerting[pack]))
            assert told(elsewhere) == told(send(path.format(GUESSED)))
            assert elsewhere.status_code == 404
    assert tenant.operator.post(f"/v1/alerts/{alerting['pack-a']}/clear").status_code == 200


def test_rules_for_other_sites_read_as_absent(tenant: Tenant, alerting: dict[str, str]) -> None:
    seen = {rule["name"] for rule in tenant.operator.get("/v1/rules").json()["items"]}
    assert seen == {"all", "at-a", "of-a"}
    for name in ("at-b", "of-b"):
        for path in ("/v1/rules/{}", "/v1/rules/{}/versions"):
            elsewhere = tenant.operator.get(path.format(alerting[name]))
            assert told(elsewhere) == told(tenant.operator.get(path.format(GUESSED)))
            assert elsewhere.status_code == 404


def test_rules_and_silences_which_reach_every_site_are_not_written(
    tenant: Tenant, alerting: dict[str, str]
) -> None:
    path = f"/v1/rules/{alerting['at-a']}"
    changed = tenant.operator.patch(path, json={"enabled": False}, headers=tenant.etag(path))
    span = {"from": moment(-60), "to": moment(60)}
    muted = tenant.operator.post("/v1/silences", json={"kind": "mute", "reason": "r"} | span)
    assert (changed.status_code, muted.status_code) == (403, 403)
    assert tenant.operator.get("/v1/silences").status_code == 403


def test_channels_and_deliveries_which_reach_every_site_are_refused(tenant: Tenant) -> None:
    new = {"name": "own site", "kind": "webhook", "url": "https://localhost/", "sites": ["A"]}
    span = {"from": FROM, "to": TO}
    with_id = f"/v1/channels/{GUESSED}"
    answers = [
        tenant.operator.get("/v1/channels"),
        tenant.operator.get("/v1/deliveries"),
        tenant.operator.get(f"/v1/deliveries/{GUESSED}"),
        tenant.operator.get(with_id),
        tenant.operator.post("/v1/channels", json=new),
        tenant.operator.post(f"{with_id}/test"),
        tenant.operator.post(f"{with_id}/replay", params=span),
    ]
    assert {answer.status_code for answer in answers} == {403}


def test_lists_history_and_statistics_of_alerts_show_the_own_site_alone(
    tenant: Tenant, alerting: dict[str, str]
) -> None:
    span = {"from": "2026-01-01T00:00:00Z", "to": moment(60)}

    def sites(client: httpx.Client) -> list[set[str | None]]:
        listed = client.get("/v1/alerts", params=span).json()["items"]
        happened = client.get("/v1/alerts/history", params=span).json()["items"]
        sums = client.get("/v1/alerts/statistics", params=span | {"by": "site"}).json()
        assert sum(one["raised"] for one in sums["groups"]) == sums["total"]["raised"] == len(listed)
        found = [{one["site"] for one in rows} for rows in (listed, happened)]
        return [*found, {one["key"] for one in sums["groups"]}]

    assert sites(tenant.operator) == [{"A"}] * 3
    assert all({"A", "B"} <= one for one in sites(tenant.admin))
    assert tenant.operator.get("/v1/alerts", params={"site": "B"}).json()["items"] == []
    elsewhere = tenant.operator.get("/v1/alerts/history", params=span | {"site": "B"})
    assert elsewhere.json()["items"] == []
