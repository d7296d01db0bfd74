"""The sender against a server that answers as scripted, over a real connection."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from api.cli.sender import RequestRefusedError, Sender
from api.client import sending
from api.client.sending import ATTEMPTS_MAX
from domain.errors import UnavailableError
from domain.measures import MEASURES
from ingest.recorded import RecordedReadings

CUT = (0, {}, {})
"""Instead of an answer, the connection is closed."""


@dataclass
class ScriptedServer:
    """Gives the scripted answers (status, headers, content) one by one, then receipts that accept everything."""

    url: str = ""
    script: list[tuple[int, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            scripted.seen.append((self.path, dict(self.headers), body))
            status, headers, content = (
                scripted.script.pop(0) if scripted.script else receipt_of(self.path, body)
            )
            if status == 0:
                self.close_connection = True
                return
            answer = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            """Keeps the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        scripted.url = f"http://127.0.0.1:{http_server.server_address[1]}"
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield scripted
        http_server.shutdown()
        thread.join()


def receipt_of(path: str, body: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    if path == "/v1/imports":
        return 201, {}, {"id": "import-1"}
    rows = pa.ipc.open_stream(body).read_all().num_rows
    return 200, {}, {"received": rows, "accepted": rows, "items": [], "ignored_keys": []}


@dataclass
class Sent:
    sender: Sender
    waits_s: list[float]


@pytest.fixture
def sent(server: ScriptedServer) -> Iterator[Sent]:
    waits_s: list[float] = []
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        yield Sent(Sender(client, "P-1", sleep=waits_s.append), waits_s)


def readings(n: int) -> RecordedReadings:
    return RecordedReadings(np.arange(n), np.full((len(MEASURES), n), 1.5))


def keys(server: ScriptedServer) -> list[str]:
    return [headers["Idempotency-Key"] for _, headers, _ in server.seen]


def test_batches_of_an_import_name_it_and_each_has_a_key_of_its_own(server, sent):
    assert sent.sender.open_import("a.log") == "import-1"
    sent.sender.send(readings(3))
    sent.sender.send(readings(2))
    assert [path for path, _, _ in server.seen] == ["/v1/imports", *["/v1/telemetry?import=import-1"] * 2]
    assert json.loads(server.seen[0][2]) == {"source": "a.log"}
    assert server.seen[1][1]["Content-Type"] == "application/vnd.apache.arrow.stream"
    assert len(set(keys(server))) == 3
    assert (sent.sender.sums.counts["accepted"], sent.sender.sums.went_in) == (5, 5)


@pytest.mark.parametrize(
    "answer",
    [
        (429, {"Retry-After": "2"}, {"code": "busy", "detail": "full"}),
        (503, {"Retry-After": "2"}, {"code": "unavailable", "detail": "starting"}),
        (409, {"Retry-After": "2"}, {"code": "in_flight", "detail": "being worked on"}),
        CUT,
    ],
)
def test_batch_that_may_go_in_later_is_sent_again_under_the_same_key(server, sent, answer):
    server.script = [answer, answer]
    sent.sender.send(readings(3))
    assert len(server.seen) == 3
    assert len(set(keys(server))) == 1
    assert len({body for _, _, body in server.seen}) == 1
    assert sent.waits_s == ([0.5, 1.0] if answer is CUT else [2.0, 2.0])
    assert sent.sender.sums.counts["accepted"] == 3


def test_attempts_end(server, sent):
    server.script = [(503, {}, {"detail": "starting"})] * ATTEMPTS_MAX
    with pytest.raises(UnavailableError, match="starting"):
        sent.sender.send(readings(1))
    assert len(server.seen) == ATTEMPTS_MAX
    assert max(sent.waits_s) <= sending.WAIT_S_MAX


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (403, {"detail": "role analyst may not import"}, "403: role analyst may not import"),
        (409, {"code": "conflict", "detail": "undone"}, "409: undone"),
        (422, {"title": "another body"}, "422: another body"),
    ],
)
def test_refusal_is_final_and_says_why(server, sent, status, content, message):
    server.script = [(status, {}, content)]
    with pytest.raises(RequestRefusedError, match=message):
        sent.sender.send(readings(1))
    assert len(server.seen) == 1


def test_wait_that_the_server_asks_for_has_a_limit(server, sent):
    server.script = [(429, {"Retry-After": "100000"}, {})]
    sent.sender.send(readings(1))
    assert sent.waits_s == [sending.WAIT_S_MAX]


def test_receipts_are_summed_with_reasons_and_ignored_keys(server, sent):
    server.script = [
        (207, {}, {"received": 3, "accepted": 1, "quarantined": 2, "late": 1, "conflicting": 1,
                   "items": [{"reason": "conflict"}, {"reason": "out_of_range"}], "ignored_keys": ["b"]}),
        (200, {}, {"received": 2, "accepted": 0, "duplicate": 2, "items": [], "ignored_keys": ["a"]}),
    ]  # fmt: skip
    sent.sender.send(readings(3))
    sent.sender.send(readings(2))
    sums = sent.sender.sums
    assert dict(sums.counts) == {
        "received": 5,
        "accepted": 1,
        "duplicate": 2,
        "quarantined": 2,
        "late": 1,
        "conflicting": 1,
    }
    assert dict(sums.reasons) == {"conflict": 1, "out_of_range": 1}
    assert sums.ignored_keys == {"a", "b"}
    assert sums.went_in == 3


def test_readings_over_the_limit_of_a_request_are_sent_in_parts(server, sent):
    sent.sender.send(readings(sending.READINGS_MAX + 1))
    assert len(server.seen) > 1
    assert all(len(body) <= sending.BODY_BYTES_MAX for _, _, body in server.seen)
    assert sent.sender.sums.counts["received"] == sending.READINGS_MAX + 1


def test_long_names_of_packs_keep_requests_within_their_bytes(server):
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        sender = Sender(client, "P" * 200)
        sender.send(readings(100_000))
    assert len(server.seen) == 2
    assert all(len(body) <= sending.BODY_BYTES_MAX for _, _, body in server.seen)
    assert sender.sums.counts["received"] == 100_000


def test_engine_that_is_not_there_is_named(sent):
    with httpx.Client(base_url="http://127.0.0.1:9", trust_env=False) as client:
        sender = Sender(client, "P-1", sleep=sent.waits_s.append)
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
            sender.send(readings(1))
