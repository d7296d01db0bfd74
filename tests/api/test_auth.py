"""Access tokens: what is accepted, and that every other one answers 401 without a hint for forgers."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from typer.testing import CliRunner

from api import auth
from api.cli.main import app
from api.identity.keys import open_key_ring
from api.settings import DEVELOPMENT_ISSUER, Environment, Settings
from domain.errors import SettingsRefusedError, UnauthenticatedError
from domain.tenancy import Role
from tests.api.people import person
from tests.running import RunningApi

LIFE_S = 43_200
ISSUER = "https://issuer.example"
STRANGER = Ed25519PrivateKey.generate()


@dataclass(frozen=True)
class Issuer:
    """Makes tokens as the development issuer does, and whatever else a test wants."""

    client: httpx.Client
    key: Ed25519PrivateKey
    refresh_token: str

    def claims(self, **changed: Any) -> dict[str, Any]:
        now_s = int(time.time())
        standard = {
            "iss": DEVELOPMENT_ISSUER,
            "aud": "bpm",
            "sub": "somebody",
            "jti": "1",
            "iat": now_s,
            "exp": now_s + 600,
            "tenant": "acme",
            "roles": ["analyst"],
        }
        return {name: value for name, value in (standard | changed).items() if value is not None}

    def token(self, claims: dict[str, Any], key: Ed25519PrivateKey | None = None, **headers: Any) -> str:
        given = {"kid": "development", "typ": "at+jwt"} | headers
        return jwt.encode(claims, key or self.key, "EdDSA", given)

    def answer(self, token: str) -> httpx.Response:
        return self.client.get("/v1/packs", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture(scope="module")
def issuer(api: RunningApi) -> Iterator[Issuer]:
    api.tenant("acme")
    api.make_older("acme", 86_400)
    refresh_token = person(api, "acme", "ann").tokens["refresh_token"]
    with httpx.Client(base_url=api.url, trust_env=False) as client:
        yield Issuer(client, auth.development_key(api.engine.settings.data_dir, create=False), refresh_token)


def assert_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["code"] == "unauthenticated"


def test_token_with_all_claims_is_accepted(issuer: Issuer) -> None:
    assert issuer.answer(issuer.token(issuer.claims())).status_code == 200


NOW_S = int(time.time())
WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": ISSUER},
    "our own issuer, with another's key": {"iss": "bpm"},
    "another audience": {"aud": "others"},
    "audience among none": {"aud": []},
    "expired beyond the leeway": {"iat": NOW_S - 600, "exp": NOW_S - 31},
    "issued in the future": {"iat": NOW_S + 86_400, "exp": NOW_S + 86_700},
    "not valid yet": {"nbf": NOW_S + 86_400},
    "a life that is too long": {"iat": NOW_S, "exp": NOW_S + LIFE_S + 1},
    "a life that never ends": {"exp": float("inf")},
    "a life beyond all numbers": {"exp": 10**400},
    "a life as a float": {"exp": 1e308},
    "exp that is no number": {"exp": float("nan")},
    "exp as text": {"exp": str(NOW_S + 600)},
    "exp as a truth value": {"exp": True},
    "exp as a list": {"exp": [NOW_S]},
    "iat as text": {"iat": "yesterday"},
    "iat as a truth value": {"iat": True},
    "nbf as text": {"nbf": str(NOW_S)},
    "roles as text": {"roles": "analyst"},
    "roles as numbers": {"roles": [1]},
    "unknown tenant": {"tenant": "nobody"},
    "empty tenant": {"tenant": ""},
    "tenant as a number": {"tenant": 1},
    "tenant as a list": {"tenant": ["acme"]},
    "tenant with NUL": {"tenant": "acme\0"},
    "tenant with half a letter": {"tenant": "\ud800"},
    "subject with NUL": {"sub": "a\0b"},
    "subject that is too long": {"sub": "a" * 201},
    "subject as a number": {"sub": 7},
    "sites as text": {"sites": "A"},
    "sites as numbers": {"sites": [1]},
    "regions as text": {"regions": "north"},
    "regions as numbers": {"regions": [1]},
    "pack as a list": {"pack": ["P-1"]},
    "epoch as text": {"epoch": "9"},
    "epoch as a truth value": {"epoch": True},
    "session as a number": {"sid": 7},
    "platform with a tenant": {"platform": True},
    "platform with a grant": {"platform": True, "tenant": None, "grant": "0" * 32},
    "platform that says no": {"platform": False, "tenant": None},
    "platform as text": {"platform": "true", "tenant": None},
    "grant that is no id": {"grant": "mine"},
    "grant as a number": {"grant": 1},
    "no tenant": {"tenant": None},
    "more than a token holds": {"more": "x" * 8_192},
} | {f"no {claim}": {claim: None} for claim in auth.REQUIRED_CLAIMS}
"""Tokens of the right key whose claims are wrong; None takes a claim away."""

WRONG_HEADERS: dict[str, dict[str, Any]] = {
    "typ JWT": {"typ": "JWT"},
    "typ with a space": {"typ": "at+JWT "},
    "empty typ": {"typ": ""},
    "no typ": {"typ": None},
    "typ as a number": {"typ": 7},
    "unknown kid": {"kid": "unknown"},
    "empty kid": {"kid": ""},
    "no kid": {"kid": None},
    "kid as a number": {"kid": 7},
    "kid as a path": {"kid": "../development"},
    "kid as a list": {"kid": ["development"]},
    "alg of another kind": {"alg": "HS256"},
    "alg none with a signature": {"alg": "none"},
    "crit": {"crit": ["exp"]},
    "crit of what is unknown": {"crit": ["bpm"], "bpm": 1},
    "unencoded payload": {"b64": False, "crit": ["b64"]},
    "compressed": {"zip": "DEF"},
    "x5c": {"x5c": ["MIIB"]},
    "jku": {"jku": "http://127.0.0.1:9/keys"},
    "x5u": {"x5u": "http://127.0.0.1:9/certificate"},
    "jwk": {"jwk": OKPAlgorithm.to_jwk(STRANGER.public_key(), as_dict=True)},
}
"""Headers signed by the right key and, in another test, by a stranger's."""


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def encoded(part: dict[str, Any]) -> str:
    return base64url(json.dumps(part).encode())


def with_headers(issuer: Issuer, key: Ed25519PrivateKey, changed: dict[str, Any]) -> str:
    standard = {"alg": "EdDSA", "kid": "development", "typ": "at+jwt"}
    header = {name: value for name, value in (standard | changed).items() if value is not None}
    signed = f"{encoded(header)}.{encoded(issuer.claims())}"
    return f"{signed}.{base64url(key.sign(signed.encode()))}"


def repeated(issuer: Issuer, part: int, name: str, value: str) -> str:
    """A token, well signed, in which a name stands twice in the header (0) or in the claims (1)."""
    header = {"alg": "EdDSA", "kid": "development", "typ": "at+jwt"}
    parts = [json.dumps(header), json.dumps(issuer.claims())]
    parts[part] = f'{{"{name}": "{value}", {parts[part][1:]}'
    signed = ".".join(base64url(text.encode()) for text in parts)
    return f"{signed}.{base64url(issuer.key.sign(signed.encode()))}"


def by_hmac(issuer: Issuer, encoding: serialization.Encoding, form: serialization.PublicFormat) -> str:
    """A token that takes the public key for a shared secret."""
    secret = issuer.key.public_key().public_bytes(encoding, form)
    header = {"alg": "HS256", "kid": "development", "typ": "at+jwt"}
    signed = f"{encoded(header)}.{encoded(issuer.claims())}"
    return f"{signed}.{base64url(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def unsigned(issuer: Issuer, algorithm: str, signature: str = "") -> str:
    header = {"alg": algorithm, "kid": "development", "typ": "at+jwt"}
    return f"{encoded(header)}.{encoded(issuer.claims())}.{signature}"


def changed_claims(issuer: Issuer) -> str:
    header, _, signature = issuer.token(issuer.claims()).split(".")
    return f"{header}.{encoded(issuer.claims(roles=['tenant_admin']))}.{signature}"


RAW, PEM = serialization.Encoding.Raw, serialization.Encoding.PEM
INFO = serialization.PublicFormat.SubjectPublicKeyInfo
ATTACKS: dict[str, Callable[[Issuer], str]] = {
    **{
        f"claims: {name}": lambda issuer, claims=claims: issuer.token(issuer.claims(**claims))
        for name, claims in WRONG_CLAIMS.items()
    },
    **{
        f"header: {name}": lambda issuer, header=header: with_headers(issuer, issuer.key, header)
        for name, header in WRONG_HEADERS.items()
    },
    **{
        f"header of a stranger: {name}": lambda issuer, header=header: with_headers(issuer, STRANGER, header)
        for name, header in WRONG_HEADERS.items()
    },
    **{
        f"alg {name or 'empty'}": lambda issuer, name=name: unsigned(issuer, name)
        for name in ("none", "None", "NONE", "nOnE", "none ", "")
    },
    "alg none, with the signature of a good token": lambda issuer: unsigned(
        issuer, "none", issuer.token(issuer.claims()).rpartition(".")[2]
    ),
    "HMAC with the raw public key": lambda issuer: by_hmac(issuer, RAW, serialization.PublicFormat.Raw),
    "HMAC with the public key as PEM": lambda issuer: by_hmac(issuer, PEM, INFO),
    "a stranger's signature": lambda issuer: issuer.token(issuer.claims(), STRANGER),
    "changed claims": changed_claims,
    "a signature of zeros": lambda issuer: unsigned(issuer, "EdDSA", base64url(bytes(64))),
    "tenant twice": lambda issuer: repeated(issuer, 1, "tenant", "beta"),
    "subject twice": lambda issuer: repeated(issuer, 1, "sub", "another"),
    "alg twice": lambda issuer: repeated(issuer, 0, "alg", "none"),
    "kid twice": lambda issuer: repeated(issuer, 0, "kid", "unknown"),
    "a refresh token": lambda issuer: issuer.refresh_token,
    "a token without its signature": lambda issuer: issuer.token(issuer.claims()).rpartition(".")[0],
    "a token with a fourth part": lambda issuer: issuer.token(issuer.claims()) + ".e30",
    "an encrypted token's five parts": lambda issuer: issuer.token(issuer.claims()) + ".e30.e30",
}
"""Whatever is tried instead of a token: each is refused in the same words."""


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_is_refused_in_the_same_words(issuer: Issuer, attack: str) -> None:
    answer = issuer.answer(ATTACKS[attack](issuer))
    assert_refused(answer)
    assert answer.json()["detail"] == auth.NOT_VALID


@pytest.mark.parametrize("expired_s", [1, 25])
def test_token_expired_within_the_leeway_is_accepted(issuer: Issuer, expired_s: int) -> None:
    now_s = int(time.time())
    late = issuer.claims(iat=now_s - 600, exp=now_s - expired_s)
    assert issuer.answer(issuer.token(late)).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Basic YTpi",
        "Bearer a.b.c",
        "Bearer " + "." * 1000,
        "Bearer é.é.é",
        "Bearer " + base64url(b"[" * 20_000) + ".e30.e30",
        "Bearer " + base64url(b'{"alg":"EdDSA","typ":"at+jwt","kid":' + b"[" * 20_000) + ".e30.e30",
        "Bearer " + "A" * 30_000,
    ],
    ids=["empty", "scheme", "basic", "garbage", "dots", "letters", "nested", "nested kid", "long"],
)  # fmt: skip
def test_what_is_no_token_is_refused(issuer: Issuer, authorization: str) -> None:
    headers = {"Authorization": authorization.encode("latin-1")}
    assert_refused(issuer.client.get("/v1/packs", headers=headers))


@pytest.mark.parametrize(("roles", "status"), [(["root"], 403), (["analyst", "root"], 200)])
def test_unknown_role_grants_nothing_and_takes_nothing(issuer: Issuer, roles: list[str], status: int) -> None:
    assert issuer.answer(issuer.token(issuer.claims(roles=roles))).status_code == status


def test_token_without_roles_is_known_but_may_do_nothing(issuer: Issuer) -> None:
    answer = issuer.answer(issuer.token(issuer.claims(roles=[])))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_remembered_token_ends_with_its_life() -> None:
    now = [time.time()]
    key = Ed25519PrivateKey.generate()
    trusted = {"k": auth.TrustedKey(key.public_key(), ISSUER, 900)}
    verifier = auth.TokenVerifier(trusted.get, "bpm", 30, lambda: now[0])
    token = production_token(key, "k", iat=int(now[0]) - 900, exp=int(now[0]) - 20)
    assert verifier.verify(token).tenant_name == "acme"
    assert verifier.verify(token).tenant_name == "acme"
    now[0] += 11
    asked: list[str] = []
    verify = verifier._verify
    verifier._verify = lambda given: (asked.append(given), verify(given))[1]  # type: ignore[method-assign,func-returns-value]
    verifier.verify(token)
    assert asked == [token]


def test_remembered_token_ends_with_its_key() -> None:
    key = Ed25519PrivateKey.generate()
    trusted = {"k": auth.TrustedKey(key.public_key(), ISSUER, 900)}
    verifier = auth.TokenVerifier(trusted.get, "bpm", 30, time.time)
    token = production_token(key, "k")
    assert verifier.verify(token).tenant_name == "acme"
    trusted.clear()
    with pytest.raises(UnauthenticatedError):
        verifier.verify(token)


@pytest.mark.parametrize("ours", [True, False])
def test_only_our_own_keys_speak_for_operators_of_the_installation(ours: bool) -> None:
    key = Ed25519PrivateKey.generate()
    trusted = {"k": auth.TrustedKey(key.public_key(), ISSUER, 900, ours=ours)}
    verifier = auth.TokenVerifier(trusted.get, "bpm", 30, time.time)
    grant = uuid.UUID(int=1)
    for said, expected in (
        ({"platform": True, "tenant": None}, (None, None)),
        ({"grant": str(grant)}, ("acme", grant)),
    ):
        token = production_token(key, "k", **said)
        if ours:
            claims = verifier.verify(token)
            assert (claims.tenant_name, claims.grant) == expected
        else:
            with pytest.raises(UnauthenticatedError):
                verifier.verify(token)


def production_token(key: Ed25519PrivateKey, kid: str, **changed: Any) -> str:
    now_s = int(time.time())
    standard = {
        "iss": ISSUER,
        "aud": "bpm",
        "sub": "somebody",
        "jti": "1",
        "iat": now_s,
        "exp": now_s + 600,
        "tenant": "acme",
        "roles": ["operator"],
    }
    claims = {name: value for name, value in (standard | changed).items() if value is not None}
    return jwt.encode(claims, key, "EdDSA", {"kid": kid, "typ": "at+jwt"})


def key_set(path: Path, **keys: Any) -> Path:
    entries = [OKPAlgorithm.to_jwk(key, as_dict=True) | {"kid": kid} for kid, key in keys.items()]
    path.write_text(json.dumps({"keys": entries}))
    return path


def production(tmp_path: Path, **given: Any) -> auth.TokenVerifier:
    return auth.make_verifier(Settings(env=Environment.PRODUCTION, data_dir=tmp_path, **given), time.time)


def test_production_accepts_both_keys_of_a_rotation_and_no_third(tmp_path: Path) -> None:
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    file = key_set(tmp_path / "keys.json", old=old.public_key(), new=new.public_key())
    verifier = production(tmp_path, token_issuer=ISSUER, token_jwks_file=file)
    for kid, key in (("old", old), ("new", new)):
        claims = verifier.verify(production_token(key, kid))
        assert (claims.tenant_name, claims.roles) == ("acme", {Role.OPERATOR})
    for kid, key in (("old", new), ("new", old), ("third", STRANGER), ("development", STRANGER)):
        with pytest.raises(UnauthenticatedError):
            verifier.verify(production_token(key, kid))


def test_production_refuses_the_development_issuer_and_its_long_lives(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    file = key_set(tmp_path / "keys.json", k=key.public_key())
    verifier = production(tmp_path, token_issuer=ISSUER, token_jwks_file=file)
    now_s = int(time.time())
    for changed in ({"iss": DEVELOPMENT_ISSUER}, {"iat": now_s, "exp": now_s + 901}):
        with pytest.raises(UnauthenticatedError):
            verifier.verify(production_token(key, "k", **changed))


def test_development_token_is_refused_in_production_on_the_same_machine(tmp_path: Path) -> None:
    development = Settings(env=Environment.DEVELOPMENT, data_dir=tmp_path)
    token = auth.development_token(development, "acme", Role.TENANT_ADMIN, time.time())
    assert auth.make_verifier(development, time.time).verify(token).tenant_name == "acme"
    ring = open_key_ring(tmp_path / "signing-keys", 0)
    production = Settings(env=Environment.PRODUCTION, data_dir=tmp_path)
    with pytest.raises(UnauthenticatedError, match=auth.NOT_VALID):
        auth.make_verifier(production, time.time, ring).verify(token)


def test_production_does_not_start_with_half_an_issuer_or_that_of_development(tmp_path: Path) -> None:
    file = key_set(tmp_path / "keys.json", k=STRANGER.public_key())
    for given in ({"token_issuer": ISSUER}, {"token_jwks_file": file}):
        with pytest.raises(SettingsRefusedError, match="BPM_TOKEN_ISSUER and BPM_TOKEN_JWKS_FILE"):
            production(tmp_path, **given)
    with pytest.raises(SettingsRefusedError, match="development issuer is refused"):
        production(tmp_path, token_issuer=DEVELOPMENT_ISSUER, token_jwks_file=file)
    for name in (DEVELOPMENT_ISSUER, ISSUER):
        with pytest.raises(SettingsRefusedError, match="a name of its own"):
            production(tmp_path, token_issuer=ISSUER, token_jwks_file=file, own_issuer=name)
    with pytest.raises(SettingsRefusedError, match="a name of its own"):
        production(tmp_path, own_issuer=DEVELOPMENT_ISSUER)
    assert not (tmp_path / "development-signing-key.pem").exists()


EC_KEY = json.loads(ECAlgorithm.to_jwk(generate_private_key(SECP256R1()).public_key()))
WRONG_KEY_SETS: dict[str, str] = {
    "not JSON": "keys",
    "a list": "[]",
    "no keys": '{"keys": []}',
    "keys that are text": '{"keys": ["a"]}',
    "keys that are no list": '{"keys": 1}',
    "no key id": json.dumps({"keys": [OKPAlgorithm.to_jwk(STRANGER.public_key(), as_dict=True)]}),
    "another curve": json.dumps({"keys": [EC_KEY | {"kid": "k"}]}),
    "Ed448": json.dumps({"keys": [OKPAlgorithm.to_jwk(Ed448PrivateKey.generate().public_key(), as_dict=True) | {"kid": "k"}]}),
    "a private key": json.dumps({"keys": [OKPAlgorithm.to_jwk(STRANGER, as_dict=True) | {"kid": "k"}]}),
    "a shared secret": '{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "k"}]}',
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_KEY_SETS)
def test_key_set_of_anything_but_public_ed25519_keys_is_refused(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "keys.json").write_text(WRONG_KEY_SETS[wrong])
    with pytest.raises(SettingsRefusedError, match=r"keys\.json") as refused:
        production(tmp_path, token_issuer=ISSUER, token_jwks_file=tmp_path / "keys.json")
    assert refused.value.field == "BPM_TOKEN_JWKS_FILE"


def test_missing_key_set_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefusedError, match=r"keys\.json"):
        production(tmp_path, token_issuer=ISSUER, token_jwks_file=tmp_path / "keys.json")


def test_token_command_is_refused_where_production_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth.development_key(tmp_path, create=True)
    monkeypatch.setenv("BPM_DATA_DIR", str(tmp_path))
    asked = ["token", "--tenant", "acme", "--role", "analyst"]
    assert CliRunner().invoke(app, asked).exit_code == 0
    monkeypatch.setenv("BPM_ENV", "production")
    refused = CliRunner().invoke(app, asked)
    assert isinstance(refused.exception, SettingsRefusedError)
    assert refused.stdout == ""


def test_development_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    auth.development_key(tmp_path, create=True)
    assert (tmp_path / "development-signing-key.pem").stat().st_mode & 0o777 == 0o600
