"""Access tokens: what is accepted, and that every other one answers 401 without a hint for forgers."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
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
from api.settings import DEVELOPMENT_ISSUER, Environment, Settings
from domain.errors import SettingsRefusedError, UnauthenticatedError
from domain.tenancy import Role
from tests.running import RunningApi

LIFE_S = 43_200
ISSUER = "https://issuer.example"
STRANGER = Ed25519PrivateKey.generate()


@dataclass(frozen=True)
class Issuer:
    """Makes tokens as the development issuer does, and whatever else a test wants."""

    client: httpx.Client
    key: Ed25519PrivateKey

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
    with httpx.Client(base_url=api.url, trust_env=False) as client:
        yield Issuer(client, auth.development_key(api.engine.settings.data_dir, create=False))


def assert_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["code"] == "unauthenticated"


def test_token_with_all_claims_is_accepted(issuer: Issuer) -> None:
    assert issuer.answer(issuer.token(issuer.claims())).status_code == 200


@pytest.mark.parametrize("claim", auth.REQUIRED_CLAIMS)
def test_token_without_a_required_claim_is_refused(issuer: Issuer, claim: str) -> None:
    assert_refused(issuer.answer(issuer.token(issuer.claims(**{claim: None}))))


NOW_S = int(time.time())
WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": ISSUER},
    "another audience": {"aud": "others"},
    "audience among none": {"aud": []},
    "expired beyond the leeway": {"iat": NOW_S - 600, "exp": NOW_S - 31},
    "issued in the future": {"iat": NOW_S + 86_400, "exp": NOW_S + 86_700},
    "not valid yet": {"nbf": NOW_S + 86_400},
    "a life that is too long": {"iat": NOW_S, "exp": NOW_S + LIFE_S + 1},
    "a life that never ends": {"exp": float("inf")},
    "exp that is no number": {"exp": float("nan")},
    "exp as text": {"exp": str(NOW_S + 600)},
    "exp as a list": {"exp": [NOW_S]},
    "iat as text": {"iat": "yesterday"},
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
}


@pytest.mark.parametrize("wrong", WRONG_CLAIMS)
def test_signed_token_with_wrong_claims_is_refused(issuer: Issuer, wrong: str) -> None:
    assert_refused(issuer.answer(issuer.token(issuer.claims(**WRONG_CLAIMS[wrong]))))


@pytest.mark.parametrize("expired_s", [1, 25])
def test_token_expired_within_the_leeway_is_accepted(issuer: Issuer, expired_s: int) -> None:
    now_s = int(time.time())
    late = issuer.claims(iat=now_s - 600, exp=now_s - expired_s)
    assert issuer.answer(issuer.token(late)).status_code == 200


@pytest.mark.parametrize("typ", ["JWT", "at+JWT ", "", None, 7])
def test_token_of_another_type_is_refused(issuer: Issuer, typ: Any) -> None:
    header = {"alg": "EdDSA", "kid": "development", "typ": typ}
    signed = f"{encoded(header)}.{encoded(issuer.claims())}"
    assert_refused(issuer.answer(f"{signed}.{base64url(issuer.key.sign(signed.encode()))}"))


def encoded(part: dict[str, Any]) -> str:
    return base64url(json.dumps(part).encode())


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize("form", [serialization.PublicFormat.Raw, serialization.PublicFormat.SubjectPublicKeyInfo])  # fmt: skip
def test_hmac_with_the_public_key_is_refused(issuer: Issuer, form: serialization.PublicFormat) -> None:
    raw = form is serialization.PublicFormat.Raw
    encoding = serialization.Encoding.Raw if raw else serialization.Encoding.PEM
    secret = issuer.key.public_key().public_bytes(encoding, form)
    header = {"alg": "HS256", "kid": "development", "typ": "at+jwt"}
    signed = f"{encoded(header)}.{encoded(issuer.claims())}"
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    assert_refused(issuer.answer(f"{signed}.{base64url(signature)}"))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_unsigned_token_is_refused(issuer: Issuer, algorithm: str) -> None:
    header = {"alg": algorithm, "kid": "development", "typ": "at+jwt"}
    assert_refused(issuer.answer(f"{encoded(header)}.{encoded(issuer.claims())}."))


@pytest.mark.parametrize("kid", ["unknown", "", None, 7, "../development", ["development"]])
def test_unknown_key_id_is_refused(issuer: Issuer, kid: Any) -> None:
    header = {"alg": "EdDSA", "typ": "at+jwt"} | ({} if kid is None else {"kid": kid})
    signed = f"{encoded(header)}.{encoded(issuer.claims())}"
    assert_refused(issuer.answer(f"{signed}.{base64url(issuer.key.sign(signed.encode()))}"))


BROUGHT: dict[str, Any] = {
    "jwk": OKPAlgorithm.to_jwk(STRANGER.public_key(), as_dict=True),
    "jku": "http://127.0.0.1:9/keys",
    "x5u": "http://127.0.0.1:9/certificate",
    "x5c": ["MIIB"],
}


@pytest.mark.parametrize("key", [STRANGER, None], ids=["a stranger's key", "our key"])
@pytest.mark.parametrize("header", BROUGHT)
def test_token_that_brings_a_key_along_is_refused(
    issuer: Issuer, header: str, key: Ed25519PrivateKey | None
) -> None:
    assert_refused(issuer.answer(issuer.token(issuer.claims(), key, **{header: BROUGHT[header]})))


def test_changed_payload_or_signature_is_refused(issuer: Issuer) -> None:
    header, _, signature = issuer.token(issuer.claims()).split(".")
    forged = encoded(issuer.claims(roles=["tenant_admin"]))
    assert_refused(issuer.answer(f"{header}.{forged}.{signature}"))
    assert_refused(issuer.answer(f"{header}.{encoded(issuer.claims())}.{base64url(bytes(64))}"))


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


def test_refusals_do_not_tell_what_was_wrong(issuer: Issuer) -> None:
    wrong = [
        issuer.token(issuer.claims(), STRANGER),
        issuer.token(issuer.claims(iss=ISSUER)),
        issuer.token(issuer.claims(aud="others")),
        issuer.token(issuer.claims(), kid="unknown"),
    ]
    assert {issuer.answer(token).json()["detail"] for token in wrong} == {auth.NOT_VALID}


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


def production_token(key: Ed25519PrivateKey, kid: str, **changed: Any) -> str:
    now_s = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": "bpm",
        "sub": "somebody",
        "jti": "1",
        "iat": now_s,
        "exp": now_s + 600,
        "tenant": "acme",
        "roles": ["operator"],
    }
    return jwt.encode(claims | changed, key, "EdDSA", {"kid": kid, "typ": "at+jwt"})


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
