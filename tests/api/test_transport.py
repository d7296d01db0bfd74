"""What is around requests: headers of every answer, limits of time and size, TLS, proxies, hosts and origins."""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
import trustme
from pydantic import ValidationError

from api.database_access import DatabaseAccess
from api.page.routes import PLOTLY_PATH
from api.serving import check_transport
from api.settings import Settings
from domain.errors import SettingsRefusedError
from tests.running import RunningApi, running_api, until

ORIGIN = "https://fleet.example.org"
LIMITS = {
    "head_s_max": 0.5,
    "head_bytes_max": 4096,
    "body_s_max": 0.5,
    "request_s_max": 1.0,
    "answer_s_max": 1.0,
    "connections_max": 8,
    "live_heartbeat_s": 0.2,
    "hosts_allowed": "127.0.0.1,api.example.org",
    "cors_origins": ORIGIN,
    "proxies_trusted": "127.0.0.1",
}


@pytest.fixture(scope="module")
def limited(database: DatabaseAccess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    with running_api(database, tmp_path_factory.mktemp("limited"), **LIMITS) as running:
        yield running


@pytest.fixture
def client(limited: RunningApi) -> Iterator[httpx.Client]:
    with limited.client(limited.tenant("alpha")) as client:
        yield client


@contextmanager
def connected(api: RunningApi) -> Iterator[socket.socket]:
    host, _, port = api.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        yield connection


def answered(connection: socket.socket) -> tuple[int, dict[str, str]]:
    """Status and problem of an answer, after which the connection must end."""
    received = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def refused(api: RunningApi, limit: str) -> float:
    counted = api.engine.metrics.text().decode().splitlines()
    found = [line for line in counted if line.startswith(f'bpm_refused_total{{limit="{limit}"}}')]
    return float(found[0].split()[1]) if found else 0.0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/healthz"),
        ("GET", "/v1/packs"),
        ("POST", "/v1/sites"),
        ("GET", "/none"),
    ],
)
def test_every_answer_has_the_headers_that_keep_browsers_careful(
    client: httpx.Client, method: str, path: str
) -> None:
    answer = httpx.request(method, f"{client.base_url}{path}", trust_env=False)
    for name, value in {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }.items():
        assert answer.headers.get_list(name) == [value]
    (policy,) = answer.headers.get_list("Content-Security-Policy")
    assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(policy.split("; "))
    assert "script-src 'unsafe-inline'" not in policy
    assert answer.headers["Cache-Control"]
    assert answer.headers["X-Request-Id"]
    assert "Strict-Transport-Security" not in answer.headers
    assert "Server" not in answer.headers


def test_private_answers_are_kept_by_nobody_unless_they_are_asked_for_again(client: httpx.Client) -> None:
    assert client.get("/v1/sites").headers["Cache-Control"] == "private, no-cache"
    made = client.post("/v1/tickets")
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")


def test_documentation_runs_its_own_script_alone(client: httpx.Client) -> None:
    answer = client.get("/docs")
    (allowed,) = [
        part for part in answer.headers["Content-Security-Policy"].split("; ") if "script-src" in part
    ]
    assert "'sha256-" in allowed
    assert "unsafe" not in allowed


def test_pages_of_listed_origins_may_ask_and_no_others(client: httpx.Client) -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,if-match",
    }
    allowed = client.options("/v1/sites", headers={"Origin": ORIGIN} | asked)
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    other = client.options("/v1/sites", headers={"Origin": "https://elsewhere.example"} | asked)
    assert (other.status_code, "Access-Control-Allow-Origin" in other.headers) == (400, False)
    told = client.get("/v1/sites", headers={"Origin": ORIGIN})
    assert "ETag" in told.headers["Access-Control-Expose-Headers"]
    silent = client.get("/v1/sites", headers={"Origin": "https://elsewhere.example"})
    assert "Access-Control-Allow-Origin" not in silent.headers


def test_other_hosts_are_refused(client: httpx.Client) -> None:
    assert client.get("/healthz", headers={"Host": "api.example.org"}).status_code == 200
    other = httpx.get(f"{client.base_url}/healthz", headers={"Host": "elsewhere.example"}, trust_env=False)
    assert other.status_code == 400


FORWARDED = {"X-Forwarded-For": "203.0.113.9"}


def test_a_trusted_proxy_says_where_a_request_comes_from(client: httpx.Client) -> None:
    assert client.get("/page/context").json()["development_sign_in"] is not None
    assert client.get("/page/context", headers=FORWARDED).json()["development_sign_in"] is None


def test_a_body_that_comes_too_slowly_is_answered_and_ends_the_connection(
    limited: RunningApi, client: httpx.Client
) -> None:
    before = refused(limited, "body_s_max")
    with connected(limited) as connection:
        head = (
            f"POST /v1/sites HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {client.headers['Authorization']}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        connection.sendall(head.encode())
        status, problem = answered(connection)
    assert (status, problem["code"]) == (408, "request_timeout")
    assert refused(limited, "body_s_max") == before + 1


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "])
def test_a_head_that_comes_too_slowly_is_answered_and_ends_the_connection(
    limited: RunningApi, sent: bytes
) -> None:
    with connected(limited) as connection:
        connection.sendall(sent)
        began_s = time.monotonic()
        status, problem = answered(connection)
    assert (status, problem["code"]) == (408, "request_timeout")
    assert time.monotonic() - began_s < 5


def test_a_head_of_drops_is_ended_on_a_connection_that_served_before(limited: RunningApi) -> None:
    with connected(limited) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        began_s = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012 - whichever of them the end is noticed by
            while time.monotonic() - began_s < 5:
                connection.sendall(b"X-A: b\r\n")
                time.sleep(0.05)
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: " + b"a" * 5000,
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-A: b\r\n" * 1000 + b"\r\n",
    ],
)
def test_a_head_that_is_too_large_is_refused(limited: RunningApi, sent: bytes) -> None:
    with connected(limited) as connection:
        connection.sendall(sent)
        status, problem = answered(connection)
    assert (status, problem["code"]) == (431, "head_too_large")


def test_what_is_no_http_is_refused(limited: RunningApi) -> None:
    with connected(limited) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        status, problem = answered(connection)
    assert (status, problem["code"]) == (400, "unreadable")


def test_connections_beyond_the_limit_are_refused_at_once(limited: RunningApi) -> None:
    host, _, port = limited.url.removeprefix("http://").partition(":")
    held = [socket.create_connection((host, int(port)), timeout=10) for _ in range(20)]
    try:
        answers = []
        for connection in held[10:]:
            connection.settimeout(0.3)
            try:
                answers.append(answered(connection)[0])
            except TimeoutError:
                continue
        assert 503 in answers
    finally:
        for connection in held:
            connection.close()
    until(lambda: httpx.get(f"{limited.url}/healthz", trust_env=False).status_code == 200)


def test_an_answer_that_does_not_begin_in_time_is_503(limited: RunningApi, client: httpx.Client) -> None:
    client.get("/v1/sites").raise_for_status()
    with psycopg.connect(limited.access.admin) as connection:
        connection.execute("LOCK TABLE bpm.sites IN ACCESS EXCLUSIVE MODE")
        began_s = time.monotonic()
        answer = client.get("/v1/sites")
    assert time.monotonic() - began_s < 4
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"]
    assert "may be done all the same" in answer.json()["detail"]
    assert refused(limited, "request_s_max") == 1
    assert client.get("/v1/sites").status_code == 200


def test_a_client_that_does_not_take_its_answer_is_cut_off(limited: RunningApi) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, _, port = limited.url.removeprefix("http://").partition(":")
        connection.connect((host, int(port)))
        for _ in range(16):
            connection.sendall(f"GET {PLOTLY_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        until(lambda: refused(limited, "answer_s_max") >= 1)


def test_a_stream_of_alerts_goes_on_beyond_the_limits_of_answers(client: httpx.Client) -> None:
    began_s = time.monotonic()
    with client.stream("GET", "/v1/alerts/stream") as stream:
        for _ in stream.iter_lines():
            if time.monotonic() - began_s > LIMITS["answer_s_max"] + 1:
                return
    pytest.fail("the stream ended")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path, Path]:
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    folder = tmp_path_factory.mktemp("certificate")
    made.private_key_pem.write_to_path(folder / "key.pem")
    for part in made.cert_chain_pems:
        part.write_to_path(folder / "chain.pem", append=True)
    return authority, folder / "chain.pem", folder / "key.pem"


def test_tls_is_of_version_1_2_at_least_and_without_settings_nobody_is_trusted(
    own_database: DatabaseAccess, tmp_path: Path, certificate: tuple[trustme.CA, Path, Path]
) -> None:
    authority, chain, key = certificate
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with running_api(own_database, tmp_path, tls_certificate_file=chain, tls_key_file=key) as running:
        url = running.url.replace("http://", "https://")
        answer = httpx.get(f"{url}/healthz", verify=trusting, trust_env=False)
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        told = httpx.get(
            f"{url}/page/context", headers=FORWARDED | {"Origin": ORIGIN}, verify=trusting, trust_env=False
        )
        assert told.json()["development_sign_in"] is not None
        assert not [name for name in told.headers if name.startswith("access-control")]
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(old)
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz", verify=old, trust_env=False)


def test_half_a_certificate_is_refused_before_the_start(
    tmp_path: Path, certificate: tuple[trustme.CA, Path, Path]
) -> None:
    _, chain, key = certificate
    check_transport(Settings())
    check_transport(Settings(tls_certificate_file=chain, tls_key_file=key))
    for given in (
        {"tls_certificate_file": chain},
        {"tls_key_file": key},
        {"tls_certificate_file": key, "tls_key_file": key},
        {"tls_certificate_file": tmp_path / "none", "tls_key_file": key},
    ):
        with pytest.raises(SettingsRefusedError):
            check_transport(Settings(**given))


@pytest.mark.parametrize(
    "given",
    [
        {"cors_origins": "*"},
        {"cors_origins": "https://fleet.example.org/"},
        {"proxies_trusted": "*"},
        {"proxies_trusted": "10.0.0.1/8"},
    ],
)
def test_lists_that_would_let_everybody_in_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Settings(**given)


def test_the_databases_address_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "database"
    path.write_text("postgresql://u:planted-pass@localhost/b\n", encoding="utf-8")
    settings = Settings(database_url_file=path)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://u:planted-pass@localhost/b"
    assert "planted-pass" not in repr(settings)
    for given in ({"database_url": "postgresql://localhost/b"}, {"database_url_file": tmp_path / "none"}):
        with pytest.raises(ValidationError) as refused_:
            Settings(**({"database_url_file": path} | given))
        assert "planted-pass" not in str(refused_.value)
