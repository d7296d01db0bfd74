"""Channels over HTTP: made, edited, tried, rotated and deleted; secrets are shown once; alerts leave the building."""

import base64
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from standardwebhooks import Webhook

from api.database_access import DatabaseAccess
from api.delivering.sealing import SealBrokenError, Sealer, make_sealer
from api.settings import Environment, Settings
from domain.errors import ConflictError, SettingsRefusedError
from domain.tenancy import TenantId
from tests.api.delivering.receiver import OK, receiving, status
from tests.running import RunningApi, running_api, until

Row = dict[str, Any]

HOT = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45}
QUIET = {
    "zone": "Europe/Zurich",
    "from": "22:00",
    "to": "07:00",
    "days": ["sat", "sun"],
    "hold_critical": True,
}


@pytest.fixture(scope="module")
def api(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    settings = {
        "webhook_http_allowed": True,
        "webhook_networks_allowed": ("127.0.0.0/8",),
        "delivery_first_wait_s": 0.05,
        "smtp_host": "127.0.0.1",
        "smtp_port": 9,
        "smtp_from": "bpm@example.test",
    }
    with running_api(database, tmp_path_factory.mktemp("data"), **settings) as running:
        yield running


@contextmanager
def tenant(api: RunningApi) -> Iterator[httpx.Client]:
    with api.client(api.tenant(f"t-{uuid.uuid4().hex[:12]}")) as client:
        yield client


def make(client: httpx.Client, url: str = "https://hooks.example.test/", **more: Any) -> Row:
    answer = client.post("/v1/channels", json={"name": "hooks", "kind": "webhook", "url": url} | more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def change(client: httpx.Client, made: Row, **changes: Any) -> httpx.Response:
    path = f"/v1/channels/{made['id']}"
    return client.patch(path, json=changes, headers={"If-Match": client.get(path).headers["ETag"]})


def delivered(client: httpx.Client, count: int, state: str = "delivered") -> list[Row]:
    def asked() -> list[Row]:
        items = client.get("/v1/deliveries", params={"state": state}).json()["items"]
        return list(items) if len(items) >= count else []

    return list(until(asked))


def test_alert_of_a_rule_reaches_the_receiver_and_so_does_its_end(api: RunningApi) -> None:
    with tenant(api) as client, receiving() as receiver:
        made = make(client, receiver.url, events=["raised", "cleared", "acknowledged"])
        rule = {"name": "hot", "scope": {"kind": "tenant"}, "severity": "critical", "condition": HOT}
        client.post("/v1/rules", json=rule).raise_for_status()
        for temperature_c in (60, 20):
            body = {"pack": "P-1", "ts": datetime.now(UTC).isoformat(), "temperature_c": temperature_c}
            client.post("/v1/telemetry", json=body).raise_for_status()
        (alert,) = client.get("/v1/alerts").json()["items"]
        client.post(f"/v1/alerts/{alert['id']}/acknowledge").raise_for_status()
        received = receiver.wait_for(3)
        said = [Webhook(made["secret"]).verify(one.body, one.headers) for one in received]
        assert [one["type"] for one in said] == ["alert.raised", "alert.cleared", "alert.acknowledged"]
        assert {one["data"]["alert"]["id"] for one in said} == {alert["id"]}
        items = delivered(client, 3)
        assert {(one["kind"], one["events"], one["status"], one["answer"]) for one in items} == {
            ("event", 1, 200, "thanks")
        }
        detail = client.get(f"/v1/deliveries/{items[-1]['id']}").json()
        assert detail["messages"] == [said[0]]
        assert "bpm_delivery_attempts_total" in client.get("/metrics").text
        assert client.get("/v1/deliveries", params={"channel": made["id"]}).json()["items"] == items
        assert client.get("/v1/deliveries", params={"channel": str(uuid.uuid4())}).json()["items"] == []


def test_test_message_says_what_became_of_it(api: RunningApi) -> None:
    with tenant(api) as client, receiving() as receiver:
        made = make(client, receiver.url)
        answer = client.post(f"/v1/channels/{made['id']}/test")
        assert answer.status_code == 202
        receiver.wait_for(1)
        delivered(client, 1)
        found = client.get(answer.headers["Location"]).json()
        assert (found["kind"], found["state"], found["attempts"]) == ("test", "delivered", 1)
        assert receiver.received[0].said["data"] == {"channel": "hooks"}


def test_secret_is_shown_when_it_is_made_and_never_again(api: RunningApi) -> None:
    with tenant(api) as client:
        answer = client.post(
            "/v1/channels", json={"name": "hooks", "kind": "webhook", "url": "https://hooks.example.test/"}
        )
        secret = answer.json()["secret"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
        made = answer.json()
        rotated = client.post(f"/v1/channels/{made['id']}/rotate")
        again = rotated.json()["secret"]
        assert again != secret
        assert rotated.json()["former_secret_until"] is not None
        seen = [client.get("/v1/channels").text, client.get(f"/v1/channels/{made['id']}").text]
        seen.append(change(client, made, muted=True).text)
        assert not any(text for text in seen if "secret" in text.replace("former_secret_until", ""))
        with psycopg.connect(api.access.admin, options="-c search_path=bpm") as connection:
            for table in ("channels", "audit_log"):
                rows = connection.execute(f"SELECT {table}::text FROM {table}".encode()).fetchall()
                assert not any(one in row[0] for row in rows for one in (secret, again, secret[6:], "whsec_"))


def test_channel_is_made_read_edited_listed_and_deleted(api: RunningApi) -> None:
    with tenant(api) as client:
        client.post("/v1/sites", json={"name": "North", "zone": "UTC"}).raise_for_status()
        rule = {"name": "hot", "scope": {"kind": "tenant"}, "severity": "critical", "condition": HOT}
        rule_id = client.post("/v1/rules", json=rule).json()["id"]
        made = make(client, sites=["North"], rules=[rule_id], severities=["critical"], quiet=QUIET)
        assert (made["sites"], made["rules"], made["severities"]) == (["North"], [rule_id], ["critical"])
        assert made["quiet"] == QUIET
        assert made["events"] == ["raised", "provisional", "cleared", "withdrawn"]
        answer = change(client, made, name="other", quiet=None, sites=None, events=["late"], enabled=False)
        assert answer.status_code == 200, answer.text
        changed = answer.json()
        assert (changed["name"], changed["quiet"], changed["sites"]) == ("other", None, None)
        assert (changed["events"], changed["enabled"], changed["rules"]) == (["late"], False, [rule_id])
        assert client.get("/v1/channels").json()["items"] == [changed]
        stale = client.patch(f"/v1/channels/{made['id']}", json={"muted": True}, headers={"If-Match": '"1"'})
        bare = client.patch(f"/v1/channels/{made['id']}", json={"muted": True})
        assert (stale.status_code, bare.status_code) == (412, 428)
        assert client.delete(f"/v1/channels/{made['id']}").status_code == 204
        gone = client.get(f"/v1/channels/{made['id']}"), client.delete(f"/v1/channels/{made['id']}")
        assert [one.status_code for one in gone] == [404, 404]
        assert make(client, name="other")["id"] != made["id"]


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"url": "http://10.0.0.1/"}, 422, "url"),
        ({"url": "https://169.254.169.254/latest"}, 422, "url"),
        ({"url": "gopher://example.org/"}, 422, "url"),
        ({"events": []}, 422, "webhook.events"),
        ({"events": ["pending"]}, 422, "webhook.events.0"),
        ({"sites": ["Nowhere"]}, 404, "site"),
        ({"rules": [str(uuid.uuid4())]}, 404, "rules"),
        ({"quiet": QUIET | {"to": "22:00"}}, 422, "webhook.quiet"),
        ({"quiet": QUIET | {"from": "24:00"}}, 422, "webhook.quiet.from"),
        ({"quiet": QUIET | {"zone": "Mars/Olympus"}}, 422, "webhook.quiet.zone"),
        ({"quiet": QUIET | {"days": []}}, 422, "webhook.quiet.days"),
        ({"secret": "whsec_mine"}, 422, "webhook.secret"),
        ({"kind": "carrier pigeon"}, 422, None),
    ],
)
def test_channel_that_makes_no_sense_is_refused(
    api: RunningApi, more: Row, code: int, field: str | None
) -> None:
    with tenant(api) as client:
        body = {"name": "hooks", "kind": "webhook", "url": "https://hooks.example.test/"} | more
        answer = client.post("/v1/channels", json=body)
        assert (answer.status_code, answer.json().get("field")) == (code, field), answer.text


@pytest.mark.parametrize("to", [[], ["nobody"], ["ops@example.org\r\nBcc: x@example.org"], ["a@b.c"] * 21])
def test_addresses_that_are_none_or_too_many_are_refused(api: RunningApi, to: list[str]) -> None:
    with tenant(api) as client:
        assert client.post("/v1/channels", json={"name": "m", "kind": "email", "to": to}).status_code == 422


def test_kinds_do_not_mix(api: RunningApi) -> None:
    with tenant(api) as client:
        made = client.post(
            "/v1/channels", json={"name": "m", "kind": "email", "to": ["ops@example.org"]}
        ).json()
        assert (made["secret"], made["url"], made["to"]) == (None, None, ["ops@example.org"])
        assert change(client, made, url="https://hooks.example.test/").status_code == 409
        assert client.post(f"/v1/channels/{made['id']}/rotate").status_code == 409
        assert change(client, make(client), to=["ops@example.org"]).status_code == 409
        again = client.post("/v1/channels", json={"name": "m", "kind": "email", "to": ["ops@example.org"]})
        assert (again.status_code, again.json()["field"]) == (409, "name")


def test_what_was_given_up_is_replayed_one_by_one_and_all_together(api: RunningApi) -> None:
    with tenant(api) as client, receiving() as receiver:
        made = make(client, receiver.url)
        receiver.answer = lambda _: status(410)
        client.post(f"/v1/channels/{made['id']}/test").raise_for_status()
        until(lambda: client.get(f"/v1/channels/{made['id']}").json()["disabled_reason"])
        assert client.post(f"/v1/channels/{made['id']}/test").status_code == 409
        (waiting,) = client.get("/v1/deliveries").json()["items"]
        with psycopg.connect(api.access.admin, options="-c search_path=bpm") as connection:
            # As when it had been tried for too long.
            connection.execute(
                "UPDATE deliveries SET state = 'dead', ended_at = now() WHERE id = %s", (waiting["id"],)
            )
        receiver.answer = lambda _: OK
        enabled = change(client, made, enabled=True).json()
        assert (enabled["disabled_reason"], enabled["failures"], enabled["failing_since"]) == (None, 0, None)
        replayed = client.post(f"/v1/deliveries/{waiting['id']}/replay")
        assert replayed.status_code == 202
        receiver.wait_for(2)
        delivered(client, 1)
        span = {"from": "2026-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
        dead = client.post(f"/v1/channels/{made['id']}/replay", params=span)
        assert dead.json() == {"queued": 0, "more": False}
        both = client.post(
            f"/v1/channels/{made['id']}/replay", params=span | {"state": ["dead", "delivered"]}
        )
        assert both.json() == {"queued": 1, "more": False}
        received = receiver.wait_for(3)
        assert {one.id for one in received} == {f"msg_{uuid.UUID(waiting['id']).hex}"}
        turned = client.post(
            f"/v1/channels/{made['id']}/replay", params={"from": span["to"], "to": span["from"]}
        )
        assert turned.status_code == 422


def test_number_of_channels_is_limited(own_database: DatabaseAccess, tmp_path: Path) -> None:
    with running_api(own_database, tmp_path, channels_max=2) as api, tenant(api) as client:
        for name in ("a", "b"):
            make(client, name=name)
        answer = client.post(
            "/v1/channels", json={"name": "c", "kind": "webhook", "url": "https://hooks.example.test/"}
        )
        assert (answer.status_code, answer.json()["limit"]) == (409, 2)
        mail = client.post("/v1/channels", json={"name": "m", "kind": "email", "to": ["ops@example.org"]})
        assert (mail.status_code, "BPM_SMTP_HOST" in mail.json()["detail"]) == (409, True)
        http = client.post(
            "/v1/channels", json={"name": "h", "kind": "webhook", "url": "http://example.org/"}
        )
        assert http.status_code == 422


def sealer(tmp_path: Path, *keys: bytes) -> Sealer:
    path = tmp_path / uuid.uuid4().hex
    path.write_bytes(b"\n".join(map(base64.b64encode, keys)))
    return make_sealer(Settings(secrets_key_file=path))


def test_sealed_secret_opens_for_its_own_channel_alone(tmp_path: Path) -> None:
    one, channel = sealer(tmp_path, b"1" * 32), uuid.uuid4()
    sealed = one.seal("whsec_text", TenantId(1), channel)
    assert b"whsec" not in sealed
    assert one.open(sealed, TenantId(1), channel) == "whsec_text"
    for tenant_id, other in ((1, uuid.uuid4()), (2, channel)):
        with pytest.raises(SealBrokenError):
            one.open(sealed, TenantId(tenant_id), other)
    with pytest.raises(SealBrokenError):
        one.open(sealed[:-1], TenantId(1), channel)


def test_new_key_before_the_old_one_opens_what_the_old_one_sealed(tmp_path: Path) -> None:
    channel = uuid.uuid4()
    sealed = sealer(tmp_path, b"1" * 32).seal("text", TenantId(1), channel)
    both = sealer(tmp_path, b"2" * 32, b"1" * 32)
    assert both.open(sealed, TenantId(1), channel) == "text"
    again = both.seal("text", TenantId(1), channel)
    assert sealer(tmp_path, b"2" * 32).open(again, TenantId(1), channel) == "text"
    with pytest.raises(SealBrokenError):
        sealer(tmp_path, b"1" * 32).open(again, TenantId(1), channel)


def test_production_without_a_key_seals_nothing_and_development_makes_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="BPM_SECRETS_KEY_FILE"):
        make_sealer(Settings()).seal("text", TenantId(1), uuid.uuid4())
    given = Settings(env=Environment.DEVELOPMENT, data_dir=tmp_path)
    channel = uuid.uuid4()
    sealed = make_sealer(given).seal("text", TenantId(1), channel)
    assert make_sealer(given).open(sealed, TenantId(1), channel) == "text"
    assert (tmp_path / "secrets-key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"short", b"\xff\xfe", base64.b64encode(b"1" * 31)])
def test_file_that_holds_no_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    for one in (path, tmp_path / "missing"):
        with pytest.raises(SettingsRefusedError):
            make_sealer(Settings(secrets_key_file=one))
