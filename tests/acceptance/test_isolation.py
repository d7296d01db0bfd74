"""Tenants never meet: every route of OpenAPI, with own ids, another tenant's and guessed ones, in every role."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from api.app import create_app
from domain.policy import GRANTS, Action
from domain.tenancy import Role
from tests.both import BOTH
from tests.running import RunningApi

RUNNERS = BOTH


SECRET = "beta-secret"
SECRET_VOLTAGE_V = 222.222
OWN_VOLTAGE_V = 111.111
FROM, TO = "2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
GUESSED = "00000000-0000-4000-8000-000000000000"


EARLIER = "2026-01-01T00:00:00Z"


def epoch_ms(seconds: float = 0) -> int:
    return int((datetime.now(UTC) + timedelta(seconds=seconds)).timestamp() * 1000)


def moment(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@dataclass(frozen=True)
class Holding:
    """A tenant with one of everything; `ids` by subject."""

    api: RunningApi
    tenant: str
    admin: httpx.Client
    ids: dict[str, str] = field(default_factory=dict)

    def etag(self, subject: str) -> dict[str, str]:
        """If-Match for an edit of the tenant's own record as it is now."""
        return {"If-Match": self.admin.get(f"/v1/{subject}s/{self.ids[subject]}").headers["ETag"]}


Sent = dict[str, Any]


def nothing(_: Holding) -> Sent:
    return {}


def new_name(_: Holding) -> str:
    return f"new-{uuid.uuid4().hex}"


@dataclass(frozen=True)
class Call:
    """A valid call of a route for one's own data. `of` says whose id stands in the path."""

    action: Action | None
    status: int = 200
    sent: Callable[[Holding], Sent] = nothing
    of: str | None = None


def edit(subject: str, change: Callable[[Holding], Sent]) -> Callable[[Holding], Sent]:
    return lambda holding: {"json": change(holding), "headers": holding.etag(subject)}


def reading(voltage_v: float, **more: Any) -> Sent:
    return {"pack": "P-1", "ts": moment(-60), "voltage_v": voltage_v} | more


def set_aside_again(holding: Holding) -> Sent:
    """Puts what the call before may have discarded back into quarantine."""
    keep_in_quarantine(holding)
    return {}


def keep_in_quarantine(holding: Holding) -> None:
    marker = {"alpha": "alpha", "beta": SECRET}[holding.tenant]
    sent = {"pack": f"{marker}-unknown", "ts": EARLIER, "voltage_v": 1}
    params = {"import": holding.ids["import"]}
    assert holding.admin.post("/v1/telemetry", json=sent, params=params).status_code == 207
    found = holding.admin.get("/v1/quarantine", params={"pack": f"{marker}-unknown", "limit": 1000})
    (holding.ids["quarantined"],) = [
        item["id"] for item in found.json()["items"] if json.loads(item["raw"])["ts"] == EARLIER
    ]


def save_again(holding: Holding) -> Sent:
    """Saves a group that the call before may have deleted."""
    made = holding.admin.post("/v1/groups", json={"name": new_name(holding), "packs": ["P-1"]})
    holding.ids["sparegroup"] = made.raise_for_status().json()["id"]
    return {}


UNREACHED = "https://localhost/hook"
"""Never sent to: it is an address of the machine itself."""


def channel(name: str, **more: Any) -> Sent:
    return {"name": name, "kind": "webhook", "url": UNREACHED, "events": ["late"]} | more


def make_spare_channel(holding: Holding) -> Sent:
    """Makes a channel that the call before may have deleted."""
    made = holding.admin.post("/v1/channels", json=channel(new_name(holding)))
    holding.ids["sparechannel"] = made.raise_for_status().json()["id"]
    return {}


def make_spare_role(holding: Holding) -> Sent:
    """Makes a role that the call before may have deleted."""
    made = holding.admin.post("/v1/roles", json={"name": new_name(holding), "actions": ["pack:read"]})
    holding.ids["sparerole"] = made.raise_for_status().json()["id"]
    return {}


def etag_of(holding: Holding, path: str) -> dict[str, str]:
    return {"If-Match": holding.admin.get(path).headers["ETag"]}


def not_deleted(holding: Holding, tag: str, name: str) -> Sent:
    """Restores what the call before may have deleted."""
    holding.admin.post(f"/v1/{tag}/{holding.ids[name]}/restore")
    return {}


def deleted(holding: Holding, tag: str, name: str) -> Sent:
    """Deletes what the call before may have restored."""
    holding.admin.delete(f"/v1/{tag}/{holding.ids[name]}").raise_for_status()
    return {}


def fresh_key(holding: Holding, tag: str, name: str) -> Sent:
    """The only key in use of an account, made anew."""
    path = f"/v1/{tag}/{holding.ids[name]}/keys"
    for key in holding.admin.get(path, params={"limit": 1000}).json()["items"]:
        if key["revoked_at"] is None:
            holding.admin.delete(f"{path}/{key['id']}").raise_for_status()
    made = holding.admin.post(path, json={"name": "first"}).raise_for_status()
    return {"key": made.json()["id"]}


def csv_of(text: str) -> Sent:
    return {"content": text.encode(), "headers": {"Content-Type": "text/csv"}, "params": {"dry_run": "true"}}


def correction(reason: str) -> Sent:
    """Deletes what a pack sent in a year of which there is nothing."""
    return {
        "kind": "delete_range",
        "pack": "P-1",
        "from": FROM,
        "to": "2001-01-01T00:00:00Z",
        "reason": reason,
    }


NO_DATA = {"kind": "missing_data", "after_s": 604800}


def rule(name: str, **condition: Any) -> Sent:
    condition = condition or NO_DATA
    return {"name": name, "scope": {"kind": "tenant"}, "severity": "info", "condition": condition}


def silence(reason: str) -> Sent:
    return {"kind": "mute", "from": FROM, "to": "2001-01-01T00:00:00Z", "reason": reason}


PASSWORD = "four words are better"


def new_user(holding: Holding) -> Sent:
    return {"login": new_name(holding), "roles": ["analyst"]}


def invitation(holding: Holding) -> Sent:
    """An invitation that nobody has accepted, with a password."""
    invited = holding.admin.post("/v1/users", json=new_user(holding)).raise_for_status().json()
    return {"invitation": invited["invitation"], "password": PASSWORD}


def refresh_token(holding: Holding) -> Sent:
    """The refresh token of a user who has just accepted an invitation."""
    accepted = holding.admin.post("/v1/auth/invitation", json=invitation(holding)).raise_for_status()
    return {"refresh_token": accepted.json()["refresh_token"]}


def password_of_user(holding: Holding) -> Sent:
    """A user's tenant, login and password."""
    new = new_user(holding)
    invited = holding.admin.post("/v1/users", json=new).raise_for_status().json()
    chosen = {"invitation": invited["invitation"], "password": PASSWORD}
    holding.admin.post("/v1/auth/invitation", json=chosen).raise_for_status()
    return {"tenant": holding.tenant, "login": new["login"], "password": PASSWORD}


def resume_again(holding: Holding) -> Sent:
    """Brings a user back whom the call before may have suspended or deleted."""
    holding.admin.post(f"/v1/users/{holding.ids['spareuser']}/resume").raise_for_status()
    return {}


def suspend_again(holding: Holding) -> Sent:
    """The same, and suspends it."""
    resume_again(holding)
    holding.admin.post(f"/v1/users/{holding.ids['spareuser']}/suspend").raise_for_status()
    return {}


ROUTES: dict[tuple[str, str], Call] = {
    ("POST", "/v1/telemetry"): Call(Action.TELEMETRY_WRITE, 200, lambda _: {"json": reading(OWN_VOLTAGE_V)}),
    ("GET", "/v1/receipts/{id}"): Call(Action.RECEIPT_READ, of="receipt"),
    ("POST", "/v1/imports"): Call(Action.TELEMETRY_IMPORT, 201, lambda _: {"json": {"source": "a file"}}),
    ("GET", "/v1/imports"): Call(Action.RECEIPT_READ),
    ("GET", "/v1/imports/{id}"): Call(Action.RECEIPT_READ, of="import"),
    ("DELETE", "/v1/imports/{id}"): Call(Action.CORRECTION_WRITE, of="emptyimport"),
    ("POST", "/v1/corrections"): Call(
        Action.CORRECTION_WRITE, sent=lambda of: {"json": correction(of.tenant)}
    ),
    ("GET", "/v1/corrections"): Call(Action.CORRECTION_READ),
    ("GET", "/v1/corrections/{id}"): Call(Action.CORRECTION_READ, of="correction"),
    ("POST", "/v1/telemetry/thingsboard"): Call(
        Action.TELEMETRY_WRITE,
        200,
        lambda _: {
            "json": {"ts": epoch_ms(-60), "values": {"voltage_v": OWN_VOLTAGE_V}},
            "params": {"pack": "P-1"},
        },
    ),
    ("POST", "/v1/telemetry/thingsboard/gateway"): Call(
        Action.TELEMETRY_WRITE,
        200,
        lambda _: {"json": {"P-1": [{"ts": epoch_ms(-60), "values": {"voltage_v": OWN_VOLTAGE_V}}]}},
    ),
    ("GET", "/v1/quarantine"): Call(Action.QUARANTINE_READ),
    ("GET", "/v1/quarantine/{id}"): Call(Action.QUARANTINE_READ, sent=set_aside_again, of="quarantined"),
    ("DELETE", "/v1/quarantine/{id}"): Call(Action.QUARANTINE_WRITE, 204, set_aside_again, of="quarantined"),
    ("POST", "/v1/quarantine/redrive"): Call(
        Action.QUARANTINE_WRITE, 207, lambda _: {"json": {"filter": {"reason": "unknown_pack"}}}
    ),
    ("GET", "/v1/key-aliases"): Call(Action.KEY_ALIAS_READ),
    ("PUT", "/v1/key-aliases"): Call(
        Action.KEY_ALIAS_WRITE,
        sent=lambda of: {
            "json": {"aliases": [{"alias": f"{of.tenant}-volts", "key": "voltage_v"}]},
            "headers": {"If-Match": of.admin.get("/v1/key-aliases").headers["ETag"]},
        },
    ),
    ("GET", "/v1/trends"): Call(
        Action.TELEMETRY_READ,
        sent=lambda _: {"params": {"pack": "P-1", "measure": "voltage_v", "from": FROM, "to": TO}},
    ),
    ("GET", "/v1/trends/analysis"): Call(
        Action.TELEMETRY_READ,
        sent=lambda _: {
            "params": {"pack": "P-1", "measure": "voltage_v", "from": FROM, "to": TO, "threshold": 5}
        },
    ),
    ("GET", "/v1/aggregates"): Call(
        Action.TELEMETRY_READ,
        sent=lambda _: {
            "params": {
                "pack": "P-1",
                "measure": "voltage_v",
                "step": "P1Y",
                "from": EARLIER,
                "to": moment(60),
            }
        },
    ),
    ("GET", "/v1/aggregates/live"): Call(Action.TELEMETRY_READ),
    ("POST", "/v1/rules"): Call(Action.RULE_WRITE, 201, lambda of: {"json": rule(new_name(of))}),
    ("GET", "/v1/rules"): Call(Action.RULE_READ),
    ("GET", "/v1/rules/templates"): Call(Action.RULE_READ, sent=lambda _: {"params": {"chemistry": "LFP"}}),
    ("GET", "/v1/rules/export"): Call(Action.RULE_READ),
    ("POST", "/v1/rules/import"): Call(
        Action.RULE_WRITE,
        sent=lambda of: {
            "content": json.dumps({"rules": [rule(f"{of.tenant}-imported")]}).encode(),
            "headers": {"Content-Type": "application/yaml"},
        },
    ),
    ("POST", "/v1/rules/preview"): Call(
        Action.RULE_WRITE,
        sent=lambda _: {"json": {"scope": {"kind": "tenant"}, "condition": NO_DATA, "from": FROM, "to": TO}},
    ),
    ("GET", "/v1/rules/{id}"): Call(Action.RULE_READ, of="rule"),
    ("PATCH", "/v1/rules/{id}"): Call(
        Action.RULE_WRITE, sent=edit("rule", lambda _: {"severity": "warning"}), of="rule"
    ),
    ("GET", "/v1/rules/{id}/versions"): Call(Action.RULE_READ, of="rule"),
    ("GET", "/v1/alerts"): Call(Action.ALERT_READ),
    ("GET", "/v1/alerts/stream"): Call(Action.ALERT_READ),
    ("POST", "/v1/tickets"): Call(Action.TICKET_WRITE, 201),
    ("GET", "/v1/alerts/history"): Call(
        Action.ALERT_READ, sent=lambda _: {"params": {"from": FROM, "to": TO}}
    ),
    ("GET", "/v1/alerts/statistics"): Call(
        Action.ALERT_READ, sent=lambda _: {"params": {"from": EARLIER, "to": moment(60), "by": "pack"}}
    ),
    ("POST", "/v1/channels"): Call(Action.CHANNEL_WRITE, 201, lambda of: {"json": channel(new_name(of))}),
    ("GET", "/v1/channels"): Call(Action.CHANNEL_READ),
    ("GET", "/v1/channels/{id}"): Call(Action.CHANNEL_READ, of="channel"),
    ("PATCH", "/v1/channels/{id}"): Call(
        Action.CHANNEL_WRITE, sent=edit("channel", lambda _: {"muted": True}), of="channel"
    ),
    ("DELETE", "/v1/channels/{id}"): Call(Action.CHANNEL_WRITE, 204, make_spare_channel, of="sparechannel"),
    ("POST", "/v1/channels/{id}/rotate"): Call(Action.CHANNEL_WRITE, of="channel"),
    ("POST", "/v1/channels/{id}/test"): Call(Action.CHANNEL_WRITE, 202, of="channel"),
    ("POST", "/v1/channels/{id}/replay"): Call(
        Action.CHANNEL_WRITE, sent=lambda _: {"params": {"from": FROM, "to": TO}}, of="channel"
    ),
    ("GET", "/v1/deliveries"): Call(Action.CHANNEL_READ),
    ("GET", "/v1/deliveries/{id}"): Call(Action.CHANNEL_READ, of="delivery"),
    # Of a channel that was deleted, so that nothing is under way while it is compared.
    ("POST", "/v1/deliveries/{id}/replay"): Call(Action.CHANNEL_WRITE, 409, of="delivery"),
    ("GET", "/v1/alerts/{id}"): Call(Action.ALERT_READ, of="alert"),
    ("POST", "/v1/alerts/{id}/acknowledge"): Call(Action.ALERT_WRITE, of="alert"),
    ("POST", "/v1/alerts/{id}/assign"): Call(
        Action.ALERT_WRITE, sent=lambda _: {"json": {"assignee": "workshop"}}, of="alert"
    ),
    ("POST", "/v1/alerts/{id}/comments"): Call(
        Action.ALERT_WRITE, 201, lambda _: {"json": {"comment": "a fan is broken"}}, of="alert"
    ),
    ("POST", "/v1/alerts/{id}/clear"): Call(Action.ALERT_WRITE, 409, of="alert"),
    ("POST", "/v1/silences"): Call(Action.SILENCE_WRITE, 201, lambda of: {"json": silence(of.tenant)}),
    ("GET", "/v1/silences"): Call(Action.SILENCE_READ),
    ("GET", "/v1/silences/{id}"): Call(Action.SILENCE_READ, of="silence"),
    ("DELETE", "/v1/silences/{id}"): Call(Action.SILENCE_WRITE, 204, of="silence"),
    ("POST", "/v1/packs"): Call(Action.PACK_WRITE, 201, lambda of: {"json": {"pack": new_name(of)}}),
    ("GET", "/v1/packs"): Call(Action.PACK_READ),
    ("GET", "/v1/packs/{id}"): Call(Action.PACK_READ, of="pack"),
    ("PATCH", "/v1/packs/{id}"): Call(
        Action.PACK_WRITE, sent=edit("pack", lambda of: {"model": of.ids["model"]}), of="pack"
    ),
    ("GET", "/v1/packs/{id}/latest"): Call(Action.TELEMETRY_READ, of="pack"),
    ("POST", "/v1/packs/{id}/tenures"): Call(
        Action.PACK_WRITE, 201, lambda _: {"json": {"from": moment()}}, of="pack"
    ),
    ("POST", "/v1/packs/import"): Call(Action.PACK_WRITE, sent=lambda _: csv_of("pack\nP-1\nP-2\n")),
    ("POST", "/v1/packs/latest"): Call(
        Action.TELEMETRY_READ, sent=lambda _: {"json": {"packs": ["P-1", "no-such-pack"]}}
    ),
    ("POST", "/v1/groups"): Call(
        Action.GROUP_WRITE, 201, lambda of: {"json": {"name": new_name(of), "packs": ["P-1"]}}
    ),
    ("GET", "/v1/groups"): Call(Action.GROUP_READ),
    ("GET", "/v1/groups/{id}"): Call(Action.GROUP_READ, of="group"),
    ("GET", "/v1/groups/{id}/packs"): Call(Action.GROUP_READ, of="group"),
    ("PATCH", "/v1/groups/{id}"): Call(
        Action.GROUP_WRITE, sent=edit("group", lambda _: {"add": ["P-1"]}), of="group"
    ),
    ("DELETE", "/v1/groups/{id}"): Call(Action.GROUP_WRITE, 204, save_again, of="sparegroup"),
    ("POST", "/v1/models"): Call(
        Action.MODEL_WRITE,
        201,
        lambda of: {"json": {"name": new_name(of), "chemistry": "LFP", "rated_capacity_ah": 50}},
    ),
    ("GET", "/v1/models"): Call(Action.MODEL_READ),
    ("GET", "/v1/models/{id}"): Call(Action.MODEL_READ, of="model"),
    ("PATCH", "/v1/models/{id}"): Call(
        Action.MODEL_WRITE, sent=edit("model", lambda _: {"chemistry": "NMC"}), of="model"
    ),
    ("POST", "/v1/models/import"): Call(
        Action.MODEL_WRITE, sent=lambda _: csv_of("name,chemistry,rated_capacity_ah\nM-9,LFP,5\n")
    ),
    ("POST", "/v1/sites"): Call(
        Action.SITE_WRITE, 201, lambda of: {"json": {"name": new_name(of), "zone": "Europe/Berlin"}}
    ),
    ("GET", "/v1/sites"): Call(Action.SITE_READ),
    ("GET", "/v1/sites/{id}"): Call(Action.SITE_READ, of="site"),
    ("PATCH", "/v1/sites/{id}"): Call(
        Action.SITE_WRITE, sent=edit("site", lambda _: {"region": "north"}), of="site"
    ),
    ("GET", "/v1/audit"): Call(Action.AUDIT_READ),
    ("GET", "/v1/security-events"): Call(Action.SECURITY_READ),
    ("GET", "/v1/security-thresholds"): Call(Action.SECURITY_READ),
    ("PATCH", "/v1/security-thresholds"): Call(
        Action.SECURITY_WRITE,
        sent=lambda of: {
            "json": {"quiet_s": 900},
            "headers": {"If-Match": of.admin.get("/v1/security-thresholds").headers["ETag"]},
        },
    ),
    ("GET", "/v1/usage"): Call(Action.USAGE_READ),
    ("POST", "/v1/users"): Call(Action.USER_WRITE, 201, lambda of: {"json": new_user(of)}),
    ("GET", "/v1/users"): Call(Action.USER_READ),
    ("GET", "/v1/users/{id}"): Call(Action.USER_READ, of="user"),
    ("PATCH", "/v1/users/{id}"): Call(
        Action.USER_WRITE, sent=edit("user", lambda _: {"roles": ["analyst"]}), of="user"
    ),
    ("POST", "/v1/users/{id}/invite"): Call(Action.USER_WRITE, of="user"),
    ("POST", "/v1/users/{id}/suspend"): Call(Action.USER_WRITE, 200, resume_again, of="spareuser"),
    ("POST", "/v1/users/{id}/resume"): Call(Action.USER_WRITE, 200, suspend_again, of="spareuser"),
    ("DELETE", "/v1/users/{id}"): Call(Action.USER_WRITE, 200, resume_again, of="spareuser"),
    ("POST", "/v1/revocations"): Call(
        Action.USER_WRITE, 204, lambda of: {"json": {"subject": f"nobody-of-{of.tenant}"}}
    ),
    ("POST", "/v1/auth/token"): Call(None, 200, lambda of: {"json": password_of_user(of)}),
    ("POST", "/v1/auth/password"): Call(
        None, 200, lambda of: {"json": password_of_user(of) | {"new_password": "five other words are too"}}
    ),
    ("POST", "/v1/auth/invitation"): Call(None, 200, lambda of: {"json": invitation(of)}),
    ("POST", "/v1/auth/refresh"): Call(None, 200, lambda of: {"json": refresh_token(of)}),
    # No other issuer is trusted here; tests/api/test_exchange.py has those.
    ("POST", "/v1/auth/exchange"): Call(None, 401, lambda _: {"json": {"subject_token": "a.b.c"}}),
    ("POST", "/v1/auth/revoke"): Call(None, 204, lambda of: {"json": refresh_token(of)}),
    ("GET", "/.well-known/jwks.json"): Call(None),
    ("POST", "/v1/roles"): Call(
        Action.ROLE_WRITE, 201, lambda of: {"json": {"name": new_name(of), "actions": ["pack:read"]}}
    ),
    ("GET", "/v1/roles"): Call(Action.ROLE_READ),
    ("GET", "/v1/roles/explain"): Call(
        Action.ROLE_READ, sent=lambda _: {"params": {"action": "pack:read", "role": "analyst"}}
    ),
    ("GET", "/v1/roles/{id}"): Call(Action.ROLE_READ, of="role"),
    ("PATCH", "/v1/roles/{id}"): Call(
        Action.ROLE_WRITE, sent=edit("role", lambda _: {"actions": ["site:read"]}), of="role"
    ),
    ("DELETE", "/v1/roles/{id}"): Call(Action.ROLE_WRITE, 204, make_spare_role, of="sparerole"),
    ("POST", "/v1/service-accounts"): Call(
        Action.SERVICE_ACCOUNT_WRITE, 201, lambda of: {"json": {"name": new_name(of), "roles": ["analyst"]}}
    ),
    ("GET", "/v1/service-accounts"): Call(Action.SERVICE_ACCOUNT_READ),
    ("GET", "/v1/service-accounts/{id}"): Call(Action.SERVICE_ACCOUNT_READ, of="serviceaccount"),
    ("PATCH", "/v1/service-accounts/{id}"): Call(
        Action.SERVICE_ACCOUNT_WRITE,
        sent=lambda of: {
            "json": {"description": "edited"},
            "headers": etag_of(of, "/v1/service-accounts/" + of.ids["serviceaccount"]),
        },
        of="serviceaccount",
    ),
    ("DELETE", "/v1/service-accounts/{id}"): Call(
        Action.SERVICE_ACCOUNT_WRITE,
        204,
        lambda of: not_deleted(of, "service-accounts", "spareserviceaccount"),
        of="spareserviceaccount",
    ),
    ("POST", "/v1/service-accounts/{id}/restore"): Call(
        Action.SERVICE_ACCOUNT_WRITE,
        200,
        lambda of: deleted(of, "service-accounts", "spareserviceaccount"),
        of="spareserviceaccount",
    ),
    ("POST", "/v1/service-accounts/{id}/keys"): Call(
        Action.SERVICE_ACCOUNT_WRITE,
        201,
        lambda of: fresh_key(of, "service-accounts", "serviceaccount") and {"json": {"name": "first"}},
        of="serviceaccount",
    ),
    ("GET", "/v1/service-accounts/{id}/keys"): Call(Action.SERVICE_ACCOUNT_READ, of="serviceaccount"),
    ("DELETE", "/v1/service-accounts/{id}/keys/{key}"): Call(
        Action.SERVICE_ACCOUNT_WRITE,
        204,
        lambda of: fresh_key(of, "service-accounts", "serviceaccount"),
        of="serviceaccount",
    ),
    ("POST", "/v1/devices"): Call(
        Action.DEVICE_WRITE, 201, lambda of: {"json": {"pack": "P-1", "name": new_name(of)}}
    ),
    ("GET", "/v1/devices"): Call(Action.DEVICE_READ),
    ("GET", "/v1/devices/{id}"): Call(Action.DEVICE_READ, of="device"),
    ("PATCH", "/v1/devices/{id}"): Call(
        Action.DEVICE_WRITE,
        sent=lambda of: {
            "json": {"description": "edited"},
            "headers": etag_of(of, "/v1/devices/" + of.ids["device"]),
        },
        of="device",
    ),
    ("DELETE", "/v1/devices/{id}"): Call(
        Action.DEVICE_WRITE, 204, lambda of: not_deleted(of, "devices", "sparedevice"), of="sparedevice"
    ),
    ("POST", "/v1/devices/{id}/restore"): Call(
        Action.DEVICE_WRITE, 200, lambda of: deleted(of, "devices", "sparedevice"), of="sparedevice"
    ),
    ("POST", "/v1/devices/{id}/keys"): Call(
        Action.DEVICE_WRITE,
        201,
        lambda of: fresh_key(of, "devices", "device") and {"json": {"name": "first"}},
        of="device",
    ),
    ("GET", "/v1/devices/{id}/keys"): Call(Action.DEVICE_READ, of="device"),
    ("DELETE", "/v1/devices/{id}/keys/{key}"): Call(
        Action.DEVICE_WRITE, 204, lambda of: fresh_key(of, "devices", "device"), of="device"
    ),
    ("POST", "/v1/access-grants"): Call(
        Action.ACCESS_GRANT_WRITE, 201, lambda of: {"json": {"hours": 1, "reason": of.tenant}}
    ),
    ("GET", "/v1/access-grants"): Call(Action.ACCESS_GRANT_READ),
    ("GET", "/v1/access-grants/{id}"): Call(Action.ACCESS_GRANT_READ, of="access-grant"),
    ("POST", "/v1/access-grants/{id}/revoke"): Call(Action.ACCESS_GRANT_WRITE, of="access-grant"),
    ("GET", "/v1/me/explain"): Call(
        Action.OWN_PERMISSIONS_READ, sent=lambda _: {"params": {"action": "pack:read", "pack": "P-1"}}
    ),
    ("GET", "/v1/me/permissions"): Call(Action.OWN_PERMISSIONS_READ),
    ("GET", "/healthz"): Call(None),
    ("GET", "/readyz"): Call(None),
    ("GET", "/metrics"): Call(None),
}


@dataclass(frozen=True)
class PlatformCall:
    """A valid call of a route for operators of the installation: on a tenant of its own, or by one of its grants."""

    status: int = 200
    sent: Sent = field(default_factory=dict)
    of: Callable[[RunningApi], Sent] = lambda _: {}


def bare_tenant(api: RunningApi) -> Sent:
    return {"tenant": api.tenant(f"bare-{uuid.uuid4().hex[:12]}")}


def given_access(api: RunningApi) -> Sent:
    """A grant of a tenant's own."""
    with api.client(api.tenant("giver")) as admin:
        given = admin.post("/v1/access-grants", json={"hours": 1, "reason": "a look"}).raise_for_status()
    return {"id": given.json()["id"]}


_QUOTAS = {"packs_max": 5, "day_readings_max": None, "day_requests_max": None, "day_received_bytes_max": None}
PLATFORM_ROUTES: dict[tuple[str, str], PlatformCall] = {
    ("GET", "/v1/platform/tenants"): PlatformCall(),
    ("POST", "/v1/platform/tenants"): PlatformCall(
        201, of=lambda _: {"json": {"name": f"made-{uuid.uuid4().hex[:12]}"}}
    ),
    ("GET", "/v1/platform/tenants/{tenant}"): PlatformCall(of=bare_tenant),
    ("DELETE", "/v1/platform/tenants/{tenant}"): PlatformCall(of=bare_tenant),
    ("POST", "/v1/platform/tenants/{tenant}/undelete"): PlatformCall(of=bare_tenant),
    ("POST", "/v1/platform/tenants/{tenant}/suspend"): PlatformCall(
        sent={"json": {"reason": "unpaid"}}, of=bare_tenant
    ),
    ("POST", "/v1/platform/tenants/{tenant}/resume"): PlatformCall(of=bare_tenant),
    ("PUT", "/v1/platform/tenants/{tenant}/quotas"): PlatformCall(sent={"json": _QUOTAS}, of=bare_tenant),
    ("GET", "/v1/platform/tenants/{tenant}/usage"): PlatformCall(of=bare_tenant),
    ("POST", "/v1/platform/tenants/{tenant}/administrator"): PlatformCall(
        201, {"json": {"login": "ann@example.com"}}, bare_tenant
    ),
    ("GET", "/v1/platform/grants"): PlatformCall(),
    ("POST", "/v1/platform/grants/{id}/token"): PlatformCall(201, of=given_access),
    ("GET", "/v1/platform/log"): PlatformCall(),
}
"""Routes of operators, which show nothing of what a tenant holds; the names of tenants are no secret there."""

GUARDED = {route: call for route, call in ROUTES.items() if call.action is not None}
WITH_ID = {route: call for route, call in ROUTES.items() if call.of is not None}


def named(route: tuple[str, str]) -> str:
    return " ".join(route)


_IN_PATH = ("key", "tenant")


def call_route(client: httpx.Client, route: tuple[str, str], id_: str, sent: Sent) -> httpx.Response:
    method, path = route
    url = path.replace("{id}", id_)
    for name in _IN_PATH:
        url = url.replace(f"{{{name}}}", sent.get(name, ""))
    with client.stream(method, url, **{name: sent[name] for name in sent if name not in _IN_PATH}) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            answer.read()
            return answer
        # A stream has no end: what counts is its first event.
        return httpx.Response(answer.status_code, headers=answer.headers, text=next(answer.iter_text()))


def hold(api: RunningApi, tenant: str, marker: str, voltage_v: float) -> Holding:
    """A tenant with a site, a model, a pack, readings, an import, and something in quarantine."""
    holding = Holding(api, api.tenant(tenant, register_unknown_packs=False), api.client(tenant))
    made = {
        "site": {"name": f"{marker}-site", "zone": "Europe/Paris", "region": f"{marker}-region"},
        "model": {"name": f"{marker}-model", "chemistry": f"{marker}-chemistry", "rated_capacity_ah": 40},
        "import": {"source": f"{marker}-file"},
        "pack": {"pack": "P-1", "site": f"{marker}-site", "model": f"{marker}-model"},
        "group": {"name": f"{marker}-group", "description": marker, "packs": ["P-1"]},
        "channel": channel(f"{marker}-channel"),
        "role": {"name": f"{marker}-role", "actions": ["pack:read"]},
        "access-grant": {"hours": 1, "reason": f"{marker}-reason", "subject": "operator:nobody"},
    }
    for spare in ("", "spare"):
        made |= {
            f"{spare}serviceaccount": {"name": f"{marker}-{spare}account", "roles": ["analyst"]},
            f"{spare}device": {"pack": "P-1", "name": f"{marker}-{spare}device"},
        }
    for subject, values in made.items():
        plural = subject.removeprefix("spare").replace("serviceaccount", "service-account")
        answer = holding.admin.post(f"/v1/{plural}s", json=values)
        assert answer.status_code == 201, answer.text
        holding.ids[subject] = answer.json()["id"]
    for subject, login in (("user", f"{marker}@example.com"), ("spareuser", f"{marker}-spare")):
        invited = holding.admin.post("/v1/users", json={"login": login, "roles": ["analyst"]})
        holding.ids[subject] = invited.raise_for_status().json()["id"]
    save_again(holding)
    make_spare_role(holding)
    make_spare_channel(holding)
    tested = holding.admin.post(f"/v1/channels/{holding.ids['sparechannel']}/test")
    holding.ids["delivery"] = tested.raise_for_status().json()["id"]
    holding.admin.delete(f"/v1/channels/{holding.ids['sparechannel']}").raise_for_status()
    make_spare_channel(holding)
    empty = holding.admin.post("/v1/imports", json={"source": f"{marker}-empty"})
    holding.ids["emptyimport"] = empty.json()["id"]
    holding.ids["correction"] = holding.admin.post("/v1/corrections", json=correction(marker)).json()["id"]
    hold_alert(holding, marker)
    sent = [reading(voltage_v), {"pack": f"{marker}-unknown", "ts": moment(), "voltage_v": voltage_v}]
    receipt = holding.admin.post("/v1/telemetry", json=sent, params={"import": holding.ids["import"]})
    assert (receipt.status_code, receipt.json()["accepted"]) == (207, 1)
    holding.ids["receipt"] = receipt.json()["id"]
    keep_in_quarantine(holding)
    return holding


def hold_alert(holding: Holding, marker: str) -> None:
    """A rule, a silence, and an alert that is over."""
    limits = {"limit": 50, "clear_limit": 50}
    made = rule(f"{marker}-rule", kind="threshold", measure="temperature_c", side="above", **limits)
    holding.ids["rule"] = holding.admin.post("/v1/rules", json=made).json()["id"]
    holding.ids["silence"] = holding.admin.post("/v1/silences", json=silence(marker)).json()["id"]
    for temperature_c in (60, 20):
        sent = {"pack": "P-1", "ts": moment(), "temperature_c": temperature_c}
        assert holding.admin.post("/v1/telemetry", json=sent).json()["accepted"] == 1
    (alert,) = holding.admin.get("/v1/alerts").json()["items"]
    assert alert["state"] == "cleared"
    holding.ids["alert"] = alert["id"]


@pytest.fixture(scope="module")
def own(api: RunningApi) -> Iterator[Holding]:
    holding = hold(api, "alpha", "alpha", OWN_VOLTAGE_V)
    yield holding
    holding.admin.close()


@pytest.fixture(scope="module")
def other(api: RunningApi) -> Iterator[Holding]:
    holding = hold(api, "beta", SECRET, SECRET_VOLTAGE_V)
    yield holding
    holding.admin.close()


@pytest.fixture(scope="module")
def by_role(api: RunningApi, own: Holding) -> Iterator[dict[Role | None, httpx.Client]]:
    """A client of each role in the own tenant, and one without a token."""
    with ExitStack() as clients:
        anonymous = httpx.Client(base_url=api.url, trust_env=False)
        made = {role: api.client(own.tenant, role) for role in Role}
        yield {role: clients.enter_context(client) for role, client in [*made.items(), (None, anonymous)]}


def without_request_id(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    return answer.status_code, {name: value for name, value in answer.json().items() if name != "request_id"}


def test_every_route_of_openapi_has_its_valid_call_here(api: RunningApi) -> None:
    described = httpx.get(f"{api.url}/openapi.json", trust_env=False, timeout=60).json()["paths"]
    known = {(method.upper(), path) for path, methods in described.items() for method in methods}
    called = set(ROUTES) | set(PLATFORM_ROUTES)
    assert sorted(map(named, known - called)) == [], "routes without a call in ROUTES or PLATFORM_ROUTES"
    assert sorted(map(named, called - known)) == [], "calls without a route"


def test_no_route_under_v1_is_hidden_from_openapi(api: RunningApi) -> None:
    served = iter_route_contexts(create_app(api.engine).routes)
    routes = {
        (method, route.path)
        for route in served
        if (route.path or "").startswith("/v1")
        for method in route.methods or ()
    }
    assert routes == {route for route in [*ROUTES, *PLATFORM_ROUTES] if route[1].startswith("/v1")}


@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_own_data_is_answered_and_nothing_of_another_tenant(
    own: Holding, other: Holding, route: tuple[str, str]
) -> None:
    call = ROUTES[route]
    sent = call.sent(own)
    answer = call_route(own.admin, route, own.ids.get(call.of or "", ""), sent)
    assert answer.status_code == call.status, answer.text
    for secret in (SECRET, str(SECRET_VOLTAGE_V), "beta", *other.ids.values()):
        assert secret not in answer.text


@pytest.mark.parametrize("route", WITH_ID, ids=named)
def test_id_of_another_tenant_answers_like_a_guessed_one(
    own: Holding, other: Holding, route: tuple[str, str]
) -> None:
    call = WITH_ID[route]
    read = route[1].partition("{id}")[0] + "{id}"
    before = other.admin.get(read.replace("{id}", other.ids[call.of or ""]))
    sent = call.sent(own)
    foreign = call_route(own.admin, route, other.ids[call.of or ""], sent)
    guessed = call_route(own.admin, route, GUESSED, sent)
    assert foreign.status_code == 404
    assert without_request_id(foreign) == without_request_id(guessed)
    after = other.admin.get(read.replace("{id}", other.ids[call.of or ""]))
    assert (before.status_code, before.content) == (200, after.content)


@pytest.mark.parametrize("route", GUARDED, ids=named)
def test_role_may_call_a_route_exactly_when_the_policy_grants_its_action(
    own: Holding, by_role: dict[Role | None, httpx.Client], route: tuple[str, str]
) -> None:
    call = GUARDED[route]
    for role in Role:
        granted = call.action in GRANTS[role]
        sent = call.sent(own)
        answer = call_route(by_role[role], route, own.ids.get(call.of or "", ""), sent)
        allowed = call.status
        if role is Role.DEVICE and call.of in ("receipt", "import"):
            allowed = 404  # the administrator's batches, which a device doesn't see
        assert answer.status_code == (allowed if granted else 403), (role, answer.text)
        if not granted:
            assert answer.json()["code"] == "forbidden"


@pytest.mark.parametrize("route", GUARDED, ids=named)
def test_route_is_refused_without_a_token_and_to_operators_whom_nobody_let_in(
    api: RunningApi, own: Holding, by_role: dict[Role | None, httpx.Client], route: tuple[str, str]
) -> None:
    call = GUARDED[route]
    sent = call.sent(own)
    id_ = own.ids.get(call.of or "", "")
    answer = call_route(by_role[None], route, id_, sent)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    with api.operator_client() as operator:
        for asked in (id_, GUESSED):
            answer = call_route(operator, route, asked, sent)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            # The same words for every route, whatever there is.
            assert answer.json()["detail"].startswith("the token is that of an operator of the installation")


@pytest.mark.parametrize("route", PLATFORM_ROUTES, ids=named)
def test_route_of_the_platform_is_answered_to_operators_and_to_no_role_of_a_tenant(
    api: RunningApi, by_role: dict[Role | None, httpx.Client], route: tuple[str, str]
) -> None:
    call = PLATFORM_ROUTES[route]
    of = call.of(api)
    sent = call.sent | {name: value for name, value in of.items() if name != "id"}
    for role, client in by_role.items():
        answer = call_route(client, route, of.get("id", ""), sent)
        assert answer.status_code == (401 if role is None else 403), (role, answer.text)
    with api.operator_client() as operator:
        answer = call_route(operator, route, of.get("id", ""), sent)
    assert answer.status_code == call.status, answer.text
    for secret in (SECRET, str(SECRET_VOLTAGE_V)):
        assert secret not in answer.text


UNKNOWN = {"model": (GUESSED, "no-such-model"), "site": (GUESSED, "no-such-site")}


@pytest.mark.parametrize("by", ["id", "name"])
@pytest.mark.parametrize("subject", ["model", "site"])
@pytest.mark.parametrize("route", [("POST", "/v1/packs"), ("PATCH", "/v1/packs/{id}"), ("POST", "/v1/packs/{id}/tenures")], ids=named)  # fmt: skip
def test_reference_to_another_tenants_record_answers_like_an_unknown_one(
    own: Holding, other: Holding, route: tuple[str, str], subject: str, by: str
) -> None:
    def refer(reference: str) -> httpx.Response:
        sent: Sent = {"json": {subject: reference}}
        if route[1] == "/v1/packs":
            sent["json"]["pack"] = "P-refers"
        elif route[0] == "PATCH":
            sent["headers"] = own.etag("pack")
        else:
            sent["json"]["from"] = moment()
        return call_route(own.admin, route, own.ids["pack"], sent)

    foreign = refer(other.ids[subject] if by == "id" else f"{SECRET}-{subject}")
    unknown = refer(UNKNOWN[subject][0 if by == "id" else 1])
    assert foreign.status_code == 404
    assert without_request_id(foreign) == without_request_id(unknown)


@pytest.mark.parametrize("dry_run", ["true", "false"])
def test_csv_that_refers_to_another_tenants_records_answers_like_unknown_ones(
    own: Holding, other: Holding, dry_run: str
) -> None:
    def register(model: str, site: str) -> tuple[int, dict[str, Any]]:
        sent = csv_of(f"pack,model,site\nP-csv,{model},{site}\n") | {"params": {"dry_run": dry_run}}
        return without_request_id(own.admin.post("/v1/packs/import", **sent))

    by_name = register(f"{SECRET}-model", f"{SECRET}-site")
    by_id = register(other.ids["model"], other.ids["site"])
    assert by_name == by_id == register("no-such-model", "no-such-site")
    assert by_name[0] == 422


def test_dry_run_does_not_tell_which_packs_another_tenant_has(own: Holding, other: Holding) -> None:
    taken = f"{SECRET}-pack"
    assert other.admin.post("/v1/packs", json={"pack": taken}).status_code == 201
    found = own.admin.post("/v1/packs/import", **csv_of(f"pack\n{taken}\n")).json()
    assert (found["created"], found["existing"]) == (1, 0)


def test_same_external_id_in_two_tenants_is_two_packs_that_never_meet(own: Holding, other: Holding) -> None:
    assert own.ids["pack"] != other.ids["pack"]
    asked = {"pack": "P-1", "measure": "voltage_v", "from": FROM, "to": TO}
    seen = {
        holding.tenant: {
            *holding.admin.get("/v1/trends", params=asked).json()["columns"]["voltage_v"],
            holding.admin.get(f"/v1/packs/{holding.ids['pack']}").json()["latest"]["voltage_v"]["value"],
        }
        for holding in (own, other)
    }
    assert seen == {"alpha": {OWN_VOLTAGE_V}, "beta": {SECRET_VOLTAGE_V}}


def test_same_reading_from_two_tenants_is_new_in_each(own: Holding, other: Holding) -> None:
    sent = {"pack": "P-1", "ts": moment(-30), "temperature_c": 21.5}
    first, second = (holding.admin.post("/v1/telemetry", json=sent).json() for holding in (own, other))
    assert (first["accepted"], second["accepted"]) == (1, 1)


@pytest.mark.parametrize("key", ["nightly-upload", str(uuid.uuid4())], ids=["text", "uuid"])
def test_idempotency_keys_of_two_tenants_do_not_collide(own: Holding, other: Holding, key: str) -> None:
    def send(holding: Holding, temperature_c: float) -> dict[str, Any]:
        sent = {"pack": "P-1", "ts": moment(-10), "temperature_c": temperature_c, holding.tenant: 1}
        answer = holding.admin.post("/v1/telemetry", json=sent, headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["accepted"]) == (200, 1), answer.text
        return dict(answer.json())

    for holding, temperature_c in ((own, 20.0), (other, 30.0)):
        receipt = send(holding, temperature_c)
        assert receipt["ignored_keys"] == [holding.tenant]
        assert holding.admin.get(f"/v1/receipts/{receipt['id']}").json() == receipt


def test_import_of_another_tenant_takes_no_readings(own: Holding, other: Holding) -> None:
    def send(import_id: str) -> tuple[int, dict[str, Any]]:
        answer = own.admin.post("/v1/telemetry", json=reading(1.0), params={"import": import_id})
        return without_request_id(answer)

    before = other.admin.get(f"/v1/imports/{other.ids['import']}").json()
    assert send(other.ids["import"]) == send(GUESSED)
    assert send(GUESSED)[0] == 404
    assert other.admin.get(f"/v1/imports/{other.ids['import']}").json() == before


@pytest.mark.parametrize("subject", ["packs", "sites", "models"])
def test_cursor_of_another_tenants_list_shows_ones_own_list(
    own: Holding, other: Holding, subject: str
) -> None:
    body = {"sites": {"zone": "UTC"}, "models": {"chemistry": "LFP", "rated_capacity_ah": 1}}.get(subject, {})
    name = "pack" if subject == "packs" else "name"
    for holding in (own, other):
        added = holding.admin.post(f"/v1/{subject}", json={name: f"zz-{holding.tenant}"} | body)
        assert added.status_code == 201
    cursor = other.admin.get(f"/v1/{subject}", params={"limit": 1}).json()["next_cursor"]
    items = own.admin.get(f"/v1/{subject}", params={"limit": 1000, "cursor": cursor}).json()["items"]
    assert items
    assert "beta" not in json.dumps(items)
