"""Webhooks reach what was checked, and nothing else: private addresses, rebinding, TLS, and URLs that mislead."""

import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import trustme

from api.delivering.outside import webhook_limits
from api.delivering.webhooks import WebhookLimits, WebhookSender, checked_url, make_resolve
from api.settings import Environment, Settings
from domain.errors import InvalidRequestError, SettingsRefusedError
from domain.outside_addresses import networks
from tests.api.delivering.receiver import receiving
from tests.api.delivering.stage import run
from tests.domain.test_outside_addresses import REFUSED

LOOPBACK = networks(["127.0.0.0/8"])


def limits(**more: Any) -> WebhookLimits:
    given: dict[str, Any] = {
        "networks": (),
        "ports": frozenset(),
        "http_allowed": True,
        "s_max": 5,
        "answer_bytes_max": 1000,
        "excerpt_characters_max": 100,
    }
    return WebhookLimits(**given | more)


class Names:
    """A resolver that answers as it is told, and counts how often it is asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def sender(names: Names, trusted: ssl.SSLContext | None = None, **more: Any) -> WebhookSender:
    return WebhookSender(limits(**more), trusted or ssl.create_default_context(), names, "tests")


@pytest.mark.parametrize("address", [*REFUSED, "nonsense"])
def test_name_that_resolves_to_a_refused_address_is_not_reached(address: str) -> None:
    names = Names([address])
    outcome = run(sender(names).send("http://hooks.example.test:1/", {}, b"{}"))
    assert not outcome.delivered
    assert "not an address of the internet" in str(outcome.error) or "no address" in str(outcome.error)
    assert names.asked == ["hooks.example.test"]


def test_one_refused_address_among_good_ones_refuses_the_name() -> None:
    outcome = run(sender(Names(["8.8.8.8", "10.0.0.1"])).send("http://hooks.example.test/", {}, b"{}"))
    assert outcome.error == "10.0.0.1 is not an address of the internet"


def test_name_is_resolved_once_so_that_a_second_answer_changes_nothing() -> None:
    with receiving() as receiver:
        names = Names(["127.0.0.1"], ["10.0.0.1"])
        url = f"http://hooks.example.test:{receiver.port}/hook?key=1"
        outcome = run(sender(names, networks=LOOPBACK).send(url, {}, b"{}"))
    assert (outcome.delivered, names.asked) == (True, ["hooks.example.test"])
    (one,) = receiver.received
    assert one.headers["host"] == f"hooks.example.test:{receiver.port}"
    assert one.path == "/hook?key=1"


def test_next_address_is_tried_when_nobody_listens_at_the_first() -> None:
    with receiving() as receiver:
        names = Names(["127.0.0.2", "127.0.0.1"])
        url = f"http://hooks.example.test:{receiver.port}/"
        assert run(sender(names, networks=LOOPBACK).send(url, {}, b"{}")).delivered


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "[fe80::1]"]
)
def test_address_in_a_url_is_refused_when_the_channel_is_made(host: str) -> None:
    with pytest.raises(InvalidRequestError):
        checked_url(f"https://{host}/", limits())


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "localhost."]
)
def test_other_spellings_of_loopback_are_refused_once_they_are_resolved(host: str) -> None:
    system = WebhookSender(limits(), ssl.create_default_context(), make_resolve(1), "tests")
    outcome = run(system.send(f"http://{host}:1/", {}, b"{}"))
    assert not outcome.delivered
    assert outcome.error != "the receiver can't be reached"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "//example.org/",
        "example.org",
        "https://user@example.org/",
        "https://example.org/#fragment",
        "https://example.org/a b",
        "https://example.org/\r\nX-Evil: 1",
        "https://ex\u00e4mple.org/",
        "https://example.org:99999/",
        "https://[::1/",
        "https://example.org/" + "x" * 2000,
    ],
)
def test_url_that_is_never_reached_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        checked_url(url, limits(http_allowed=False))
    assert refused.value.field == "url"


def test_ports_are_all_allowed_unless_some_are_named() -> None:
    assert checked_url("https://example.org:9999/", limits())
    assert checked_url("https://example.org/", limits(ports=frozenset({443})))
    with pytest.raises(InvalidRequestError):
        checked_url("https://example.org:22/", limits(ports=frozenset({443, 8443})))


@pytest.mark.parametrize(
    "settings",
    [
        {"webhook_http_allowed": True, "env": Environment.PRODUCTION},
        {"webhook_networks_allowed": "10.0.0.1/8"},
        {"webhook_networks_allowed": "office"},
        {"webhook_ports_allowed": "443,https"},
        {"webhook_ports_allowed": "0"},
    ],
)
def test_settings_that_open_too_much_or_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsRefusedError):
        webhook_limits(Settings(**settings))


def test_settings_name_networks_and_ports_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPM_WEBHOOK_NETWORKS_ALLOWED", "10.1.2.0/24, fd00:1::/64")
    monkeypatch.setenv("BPM_WEBHOOK_PORTS_ALLOWED", "443,8443")
    found = webhook_limits(Settings())
    assert found.networks == networks(["10.1.2.0/24", "fd00:1::/64"])
    assert found.ports == {443, 8443}


@contextmanager
def tls_receiver(authority: trustme.CA, name: str) -> Iterator[tuple[int, list[str | None]]]:
    """An HTTPS server with a certificate of a name; it notes by which name it was called."""
    called: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing on the terminal."""

    class Server(HTTPServer):
        def handle_error(self, *_: object) -> None:
            """A sender that doesn't trust it hangs up."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    context.sni_callback = lambda _, server_name, __: called.append(server_name)  # type: ignore[func-returns-value]
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield int(server.server_address[1]), called
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_certificate_must_be_that_of_the_name_though_an_address_is_connected_to() -> None:
    authority = trustme.CA()
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    with tls_receiver(authority, "hooks.example.test") as (port, called):
        names = Names(["127.0.0.1"])
        https = sender(names, trusted, networks=LOOPBACK, http_allowed=False)
        good = run(https.send(f"https://hooks.example.test:{port}/", {}, b"{}"))
        assert (good.delivered, good.status, called) == (True, 204, ["hooks.example.test"])
        bad = run(https.send(f"https://other.example.test:{port}/", {}, b"{}"))
        assert (bad.delivered, bad.error) == (False, "the receiver can't be reached")
        untrusting = sender(names, networks=LOOPBACK, http_allowed=False)
        assert not run(untrusting.send(f"https://hooks.example.test:{port}/", {}, b"{}")).delivered


def test_name_that_cannot_be_resolved_is_a_failure() -> None:
    async def fail(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    outcome = run(
        WebhookSender(limits(), ssl.create_default_context(), fail, "tests").send("https://a.test/", {}, b"")
    )
    assert (outcome.delivered, outcome.error, outcome.rests) == (False, "the name can't be resolved", True)
