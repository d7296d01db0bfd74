"""What people do with alerts: acknowledge, assign, comment; each once, and in the sequence of the alerts."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest

from tests.running import RunningApi

Row = dict[str, Any]

HOT = {"kind": "threshold", "measure": "temperature_c", "side": "above", "limit": 50, "clear_limit": 45}


@contextmanager
def alerting(api: RunningApi) -> Iterator[tuple[httpx.Client, Row]]:
    """A tenant of its own with an open alert of P-1."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    with api.client(api.tenant(name, register_unknown_packs=True)) as client:
        rule = {"name": "hot", "scope": {"kind": "tenant"}, "severity": "critical", "condition": HOT}
        client.post("/v1/rules", json=rule).raise_for_status()
        send(client, 60)
        (alert,) = client.get("/v1/alerts").json()["items"]
        yield client, alert


def send(client: httpx.Client, temperature_c: float) -> None:
    moment = datetime.now(UTC).isoformat()
    body = {"pack": "P-1", "ts": moment, "temperature_c": temperature_c}
    client.post("/v1/telemetry", json=body).raise_for_status()


def act(client: httpx.Client, alert: Row, what: str, **more: Any) -> Row:
    answer = client.post(f"/v1/alerts/{alert['id']}/{what}", **more)
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def test_first_acknowledgement_counts_and_a_second_changes_nothing(api: RunningApi) -> None:
    with alerting(api) as (client, alert):
        first = act(client, alert, "acknowledge")
        assert (first["acknowledged_at"] is not None, first["version"]) == (True, alert["version"] + 1)
        again = act(client, alert, "acknowledge")
        assert again == first
        assert [one["kind"] for one in again["actions"]] == ["acknowledged"]


def test_assignment_is_given_and_taken_away(api: RunningApi) -> None:
    with alerting(api) as (client, alert):
        assert act(client, alert, "assign", json={"assignee": "workshop"})["assigned_to"] == "workshop"
        assert act(client, alert, "assign", json={"assignee": "workshop"})["assigned_to"] == "workshop"
        detail = act(client, alert, "assign", json={"assignee": None})
        assert detail["assigned_to"] is None
        assert [one["assignee"] for one in detail["actions"]] == ["workshop", None]


def test_comment_that_is_sent_again_stands_once(api: RunningApi) -> None:
    with alerting(api) as (client, alert):
        said = {"json": {"comment": "the fan is broken"}, "headers": {"Idempotency-Key": "phone-1"}}
        act(client, alert, "comments", **said)
        assert [one["comment"] for one in act(client, alert, "comments", **said)["actions"]] == [
            "the fan is broken"
        ]
        other = client.post(
            f"/v1/alerts/{alert['id']}/comments",
            json={"comment": "no"},
            headers={"Idempotency-Key": "phone-1"},
        )
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("comment", ["", " \n", "a\0b", "x" * 4001, 5, None])
def test_comment_says_something_in_text(api: RunningApi, comment: Any) -> None:
    with alerting(api) as (client, alert):
        answer = client.post(f"/v1/alerts/{alert['id']}/comments", json={"comment": comment})
        assert answer.status_code == 422


def test_e20_events_of_rules_and_people_share_one_sequence(api: RunningApi) -> None:
    with alerting(api) as (client, alert):
        act(client, alert, "acknowledge")
        send(client, 20)
        act(client, alert, "comments", json={"comment": "new fan"})
        with psycopg.connect(api.access.admin, options="-c search_path=bpm") as connection:
            events = connection.execute(
                "SELECT kind, seq FROM alert_events WHERE alert_id = %s ORDER BY partition_no, seq",
                (alert["id"],),
            ).fetchall()
    assert [kind for kind, _ in events] == ["raised", "acknowledged", "cleared", "commented"]
    numbers = [seq for _, seq in events]
    assert numbers == sorted(set(numbers))


def test_every_action_is_in_the_audit_log(api: RunningApi) -> None:
    with alerting(api) as (client, alert):
        act(client, alert, "acknowledge")
        act(client, alert, "assign", json={"assignee": "night shift"})
        act(client, alert, "comments", json={"comment": "seen"})
        act(client, alert, "clear")
        with psycopg.connect(api.access.admin, options="-c search_path=bpm") as connection:
            rows = connection.execute(
                "SELECT action FROM audit_log WHERE resource = 'alerts' AND resource_id = %s ORDER BY at",
                (alert["id"],),
            ).fetchall()
    assert [action for (action,) in rows] == [
        "alerts.acknowledged",
        "alerts.assigned",
        "alerts.commented",
        "alerts.cleared",
    ]
