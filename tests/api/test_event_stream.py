"""Server-Sent Events while nothing happens: the client is answered at once, and is let go of when it leaves."""

import re
import time

import httpx
import pytest

from tests.running import RunningApi, until

ANSWERED_S_MAX = 5.0
"""Far below a heartbeat, and far above what a busy machine needs."""


@pytest.fixture
def cursor(api: RunningApi) -> str:
    """Of the last event that there is."""
    with (
        api.client(api.tenant("events")) as client,
        client.stream("GET", "/v1/alerts/stream", timeout=60) as answer,
    ):
        for line in answer.iter_lines():
            if line.startswith("id:"):
                return line.removeprefix("id:").strip()
    raise AssertionError("the stream ended")


def live_connections(api: RunningApi) -> float:
    text = httpx.get(f"{api.url}/metrics", trust_env=False).text
    found = re.search(r"^bpm_live_connections (\S+)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_who_goes_on_with_a_cursor_is_answered_though_nothing_happens(api: RunningApi, cursor: str) -> None:
    began_s = time.monotonic()
    with (
        api.client("events") as client,
        client.stream("GET", "/v1/alerts/stream", headers={"Last-Event-ID": cursor}) as answer,
    ):
        assert answer.status_code == 200
        assert next(answer.iter_lines()) == ":"
        assert time.monotonic() - began_s < ANSWERED_S_MAX


def test_who_leaves_before_the_first_event_holds_no_seat(api: RunningApi, cursor: str) -> None:
    until(lambda: live_connections(api) == 0)
    with api.client("events") as client:
        for _ in range(20):
            with pytest.raises(httpx.TimeoutException):
                client.get("/v1/alerts/stream", headers={"Last-Event-ID": cursor}, timeout=0.02)
    began_s = time.monotonic()
    until(lambda: live_connections(api) == 0)
    assert time.monotonic() - began_s < ANSWERED_S_MAX


def test_wrong_cursor_is_refused_before_the_answer_begins(api: RunningApi, cursor: str) -> None:
    with api.client("events") as client:
        answer = client.get("/v1/alerts/stream", headers={"Last-Event-ID": "wrong"})
    assert (answer.status_code, answer.json()["field"]) == (422, "cursor")
