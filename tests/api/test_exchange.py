"""Tokens of other issuers: exchanged for ours when all is right, and refused in the same words when anything isn't."""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api import auth
from api.database_access import DatabaseAccess
from api.identity.outside_issuers import KeyLimits, KeySource, keys_in, read_issuers
from api.settings import Settings
from domain.errors import SettingsRefusedError, UnavailableError
from tests.api.people import ask, bearer
from tests.running import RunningApi, running_api

ISSUER, HTTPS_ISSUER = "https://login.example/realms/main", "https://keys.example"
RSA_KEY = generate_rsa_key(65537, 2048)
EC_KEY = generate_private_key(SECP256R1())
ED_KEY = Ed25519PrivateKey.generate()
STRANGER = generate_rsa_key(65537, 2048)
KEYS: dict[str, tuple[Any, str]] = {
    "rsa": (RSA_KEY, "RS256"),
    "ec": (EC_KEY, "ES256"),
    "ed": (ED_KEY, "EdDSA"),
}


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    made = {"RS": RSAAlgorithm, "EC": ECAlgorithm, "Ed": OKPAlgorithm}[type(key).__name__[:2]]
    return dict(made.to_jwk(key.public_key(), as_dict=True)) | more


def key_set(**keys: Any) -> bytes:
    return json.dumps({"keys": [jwk(key, kid=kid) for kid, key in keys.items()]}).encode()


@dataclass
class Keys:
    """An HTTPS server with a key set, which counts how often it is asked."""

    body: bytes
    status: int = 200
    asked: int = 0
    url: str = ""
    certificate: Path = field(default_factory=Path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    keys = Keys(key_set(first=ED_KEY))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.asked += 1
            self.send_response(keys.status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(keys.body)

        def log_message(self, *_: Any) -> None:
            pass

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    keys.certificate = tmp_path_factory.mktemp("certificates") / "ca.pem"
    authority.cert_pem.write_to_path(str(keys.certificate))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    keys.url = f"https://127.0.0.1:{server.server_port}/keys"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield keys
    server.shutdown()
    server.server_close()


def file_of(folder: Path, served_url: str) -> Path:
    (folder / "keys.json").write_bytes(key_set(rsa=RSA_KEY, ec=EC_KEY))
    path = folder / "issuers.toml"
    path.write_text(f"""
[issuers.corp]
issuer = "{ISSUER}"
audience = "bpm-os"
algorithms = ["RS256", "ES256"]
jwks_file = "keys.json"
tenant_claim = "company"
tenants = ["acme", "beta"]
roles_claim = "realm_access.roles"
roles = {{ "battery-operators" = "operator", "battery-readers" = "analyst" }}
sites_claim = "plants"

[issuers.other]
issuer = "{HTTPS_ISSUER}"
audience = "bpm-os"
algorithms = ["EdDSA"]
jwks_url = "{served_url}"
tenant = "acme"
roles = {{ "all" = "analyst" }}
""")
    return path


@pytest.fixture(scope="module")
def api(
    database: DatabaseAccess, served: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningApi]:
    folder = tmp_path_factory.mktemp("data")
    given = {"oidc_issuers_file": file_of(folder, served.url), "outside_ca_file": served.certificate}
    with running_api(database, folder / "engine", oidc_keys_s_min=0.05, **given) as running:
        running.tenant("acme")
        running.make_older("acme", 900)
        running.tenant("gamma")
        yield running


def claims(**changed: Any) -> dict[str, Any]:
    now_s = int(time.time())
    said = {
        "iss": ISSUER,
        "aud": "bpm-os",
        "sub": "8f2c",
        "iat": now_s,
        "exp": now_s + 300,
        "company": "acme",
        "realm_access": {"roles": ["battery-operators", "something-else"]},
        "plants": ["Bern"],
    } | changed
    return {name: value for name, value in said.items() if value is not None}


def token(said: dict[str, Any], kid: str = "rsa", key: Any = None, **headers: Any) -> str:
    known, algorithm = KEYS.get(kid, (RSA_KEY, "RS256"))
    return jwt.encode(said, key or known, algorithm, {"kid": kid} | headers)


def exchange(api: RunningApi, subject_token: str) -> httpx.Response:
    return ask(api, "POST", "/v1/auth/exchange", json={"subject_token": subject_token})


@pytest.mark.parametrize("kid", ["rsa", "ec"])
def test_token_of_a_trusted_issuer_becomes_ours(api: RunningApi, kid: str) -> None:
    answer = exchange(api, token(claims(), kid, typ="JWT"))
    assert answer.status_code == 200, answer.text
    given = answer.json()
    assert (given["token_type"], "refresh_token" in given, given["expires_in"] <= 300) == (
        "Bearer",
        False,
        True,
    )
    told = ask(api, "GET", "/v1/me/permissions", headers=bearer(given["access_token"])).json()
    assert {name: told[name] for name in ("subject", "tenant", "roles", "sites")} == {
        "subject": "oidc:corp:8f2c",
        "tenant": "acme",
        "roles": ["operator"],
        "sites": ["Bern"],
    }


ALTERED: dict[str, Callable[[], str]] = {
    "another audience": lambda: token(claims(aud="others")),
    "another issuer": lambda: token(claims(iss="https://nobody.example")),
    "our own issuer": lambda: token(claims(iss="bpm")),
    "no issuer": lambda: token(claims(iss=None)),
    "no subject": lambda: token(claims(sub=None)),
    "tenant as a number": lambda: jwt.encode(claims() | {"company": 7}, RSA_KEY, "RS256", {"kid": "rsa"}),
    "a subject that is too long": lambda: token(claims(sub="a" * 200)),
    "no exp": lambda: token(claims(exp=None)),
    "no iat": lambda: token(claims(iat=None)),
    "exp as a truth value": lambda: token(claims(exp=True)),
    "expired": lambda: token(claims(iat=int(time.time()) - 600, exp=int(time.time()) - 60)),
    "expired within the leeway": lambda: token(claims(iat=int(time.time()) - 600, exp=int(time.time()) - 5)),
    "issued too long ago": lambda: token(claims(iat=int(time.time()) - 4000)),
    "issued before the tenant was made": lambda: token(claims(iat=int(time.time()) - 1200)),
    "issued in the future": lambda: token(claims(iat=int(time.time()) + 600, exp=int(time.time()) + 900)),
    "a tenant that it may not name": lambda: token(claims(company="gamma")),
    "a tenant that there isn't": lambda: token(claims(company="beta")),
    "no tenant": lambda: token(claims(company=None)),
    "no roles": lambda: token(claims(realm_access=None)),
    "roles as text": lambda: token(claims(realm_access={"roles": "battery-operators"})),
    "no sites": lambda: token(claims(plants=None)),
    "sites as text": lambda: token(claims(plants="Bern")),
    "a stranger's key": lambda: token(claims(), key=STRANGER),
    "unknown kid": lambda: token(claims(), "unknown"),
    "no kid": lambda: jwt.encode(claims(), RSA_KEY, "RS256"),
    "another issuer's key": lambda: jwt.encode(claims(), ED_KEY, "EdDSA", {"kid": "first"}),
    "another key's kid": lambda: jwt.encode(claims(), EC_KEY, "ES256", {"kid": "rsa"}),
    "an algorithm that isn't allowed": lambda: jwt.encode(claims(), RSA_KEY, "RS512", {"kid": "rsa"}),
    "PSS with the RSA key": lambda: jwt.encode(claims(), RSA_KEY, "PS256", {"kid": "rsa"}),
    "alg none": lambda: jwt.encode(claims(), None, "none", {"kid": "rsa"}),
    "HMAC": lambda: jwt.encode(claims(), "s" * 64, "HS256", {"kid": "rsa"}),
    "jku": lambda: token(claims(), jku="https://127.0.0.1:9/keys"),
    "x5u": lambda: token(claims(), x5u="https://127.0.0.1:9/keys"),
    "jwk": lambda: token(claims(), key=STRANGER, jwk=jwk(STRANGER)),
    "crit": lambda: token(claims(), crit=["exp"]),
    "another type": lambda: token(claims(), typ="logout+jwt"),
    "no token": lambda: "a.b.c",
}


@pytest.mark.parametrize("wrong", ALTERED)
def test_whatever_is_wrong_is_refused_in_the_same_words(api: RunningApi, wrong: str) -> None:
    answer = exchange(api, ALTERED[wrong]())
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.json()["detail"] == auth.NOT_VALID


def test_our_own_and_other_access_tokens_are_not_exchanged(api: RunningApi) -> None:
    own = exchange(api, token(claims())).json()["access_token"]
    for given in (own, api.token("acme", "analyst")):
        assert exchange(api, given).status_code == 401


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
def test_token_of_another_issuer_is_no_access_token(api: RunningApi, kid: str) -> None:
    """Whatever it says of itself: its key isn't one that signs access tokens."""
    said = claims(aud="bpm", jti="1", tenant="acme", roles=["tenant_admin"], sub="x")
    for issuer in (ISSUER, "bpm", "bpm-development"):
        forged = token(said | {"iss": issuer}, kid, typ="at+jwt")
        answer = ask(api, "GET", "/v1/packs", headers=bearer(forged))
        assert (answer.status_code, answer.json()["detail"]) == (401, auth.NOT_VALID)


def test_revoked_subject_needs_a_token_that_was_issued_afterwards(api: RunningApi) -> None:
    before = token(claims(sub="leaver"))
    ours = exchange(api, before).json()["access_token"]
    with api.client("acme") as admin:
        admin.post("/v1/revocations", json={"subject": "oidc:corp:leaver"}).raise_for_status()
    assert ask(api, "GET", "/v1/packs", headers=bearer(ours)).status_code == 401
    assert exchange(api, before).status_code == 401
    assert exchange(api, token(claims(sub="stayer"))).status_code == 200


def other(**changed: Any) -> dict[str, Any]:
    return claims(iss=HTTPS_ISSUER, company=None, realm_access=None, roles=["all"], plants=None, **changed)


def test_keys_of_an_address_are_read_again_when_one_is_new(api: RunningApi, served: Keys) -> None:
    def sign(key: Any, kid: str) -> int:
        return exchange(api, jwt.encode(other(), key, "EdDSA", {"kid": kid})).status_code

    served.body = key_set(first=ED_KEY)
    assert sign(ED_KEY, "first") == 200
    asked, newer = served.asked, Ed25519PrivateKey.generate()
    assert sign(ED_KEY, "first") == 200
    assert served.asked == asked
    served.body = key_set(first=ED_KEY, second=newer)
    time.sleep(0.06)
    assert sign(newer, "second") == 200
    served.body = key_set(second=newer)
    time.sleep(0.06)
    assert sign(ED_KEY, "third") == 401
    assert sign(ED_KEY, "first") == 401
    served.body = key_set(first=ED_KEY)


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_keys_are_asked_for_seldom_and_kept_for_a_while_when_they_can_not_be_read() -> None:
    clock, asked, fails = Clock(), [0], [False]

    async def read() -> bytes:
        asked[0] += 1
        if fails[0]:
            raise OSError
        return key_set(a=ED_KEY)

    async def run() -> None:
        source = KeySource(read, KeyLimits(look_s=300, look_s_min=30, kept_s_max=3600), clock)
        for _ in range(20):
            assert await source.key("unknown") is None
        assert asked == [1]
        clock.now_s = 31
        await asyncio.gather(*(source.key("unknown") for _ in range(20)))
        assert asked == [2]
        assert await source.key("a") is not None
        assert asked == [2]
        fails[0] = True
        clock.now_s = 31 + 300
        assert await source.key("a") is not None
        assert asked == [3]
        clock.now_s = 31 + 3600
        with pytest.raises(UnavailableError):
            await source.key("a")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("entry", "kept"),
    [
        (jwk(RSA_KEY), True),
        (jwk(RSA_KEY, use="sig", alg="RS256"), True),
        (jwk(RSA_KEY, use="enc"), False),
        (jwk(RSA_KEY, alg="PS256"), False),
        (jwk(generate_rsa_key(65537, 1024)), False),  # noqa: S505 - it is refused
        (jwk(EC_KEY, crv="P-384"), False),
        (dict(OKPAlgorithm.to_jwk(ED_KEY, as_dict=True)), False),
        ({"kty": "oct", "k": "c2VjcmV0"}, False),
        ({"kty": "RSA"}, False),
    ],
)
def test_only_keys_that_verify_signatures_are_taken(entry: dict[str, Any], kept: bool) -> None:
    assert bool(keys_in(json.dumps({"keys": [entry | {"kid": "k"}]}).encode())) is kept


@pytest.mark.parametrize("text", [b"", b"[]", b'{"keys": 1}', b'{"keys": [1]}', b"{}"])
def test_what_is_no_key_set_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        keys_in(text)


ENTRY = {
    "issuer": '"https://i.example"', "audience": '"a"', "algorithms": '["RS256"]', "jwks_file": '"keys.json"',
    "tenant": '"acme"', "roles": '{ a = "analyst" }',
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"algorithms": '["HS256"]'}, "algorithms"),
        ({"algorithms": "[]"}, "algorithms"),
        ({"jwks_file": None}, "jwks_file or jwks_url"),
        ({"jwks_url": '"https://i.example/k"'}, "jwks_file or jwks_url"),
        ({"jwks_file": None, "jwks_url": '"http://i.example/k"'}, "jwks_url"),
        ({"tenant": None}, "tenant"),
        ({"tenant": None, "tenant_claim": '"t"'}, "tenants"),
        ({"tenants": '["acme"]'}, "tenants"),
        ({"tenant": '"Not A Name"'}, "name"),
        ({"roles": None}, "roles"),
        ({"unknown": "1"}, "unknown"),
        ({"jwks_file": '"nowhere.json"'}, "nowhere.json"),
        ({"issuer": '"bpm"'}, "access tokens already"),
    ],
)
def test_wrong_file_is_refused_by_what_is_wrong(
    tmp_path: Path, changed: dict[str, str | None], said: str
) -> None:
    (tmp_path / "keys.json").write_bytes(key_set(rsa=RSA_KEY))
    lines = [f"{name} = {value}" for name, value in (ENTRY | changed).items() if value is not None]
    path = tmp_path / "issuers.toml"
    path.write_text("\n".join(["[issuers.corp]", *lines]))
    with pytest.raises(SettingsRefusedError, match=said):
        read_issuers(Settings(oidc_issuers_file=path))
