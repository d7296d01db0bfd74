"""Access tokens: Ed25519-signed JWTs become an Actor; development makes its own."""

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from api.settings import DEVELOPMENT_ISSUER, Environment, Settings
from domain.errors import SettingsRefusedError, UnauthenticatedError
from domain.tenancy import Role

ALGORITHM: Final = "EdDSA"
TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - a media type
REQUIRED_CLAIMS: Final = ("iss", "aud", "exp", "iat", "sub", "jti", "tenant")
DEVELOPMENT_KEY_ID: Final = "development"
DEVELOPMENT_KEY_FILE: Final = "development-signing-key.pem"
_CACHED_TOKENS_MAX: Final = 10_000
_CLAIM_CHARACTERS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says."""

    subject: str
    tenant_name: str
    roles: frozenset[Role]
    sites: frozenset[str] | None
    device_pack: str | None
    expires_at_s: int


class TokenVerifier:
    """Verifies access tokens against pinned keys; remembers verified ones until they expire."""

    def __init__(
        self,
        keys: dict[str, Ed25519PublicKey],
        issuer: str,
        audience: str,
        leeway_s: int,
        life_s_max: int,
        now_s: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s
        self._life_s_max = life_s_max
        self._now_s = now_s
        self._verified: dict[str, Claims] = {}

    def verify(self, token: str) -> Claims:
        """The claims of a token. Raises UnauthenticatedError, which doesn't tell forgers what to mend."""
        known = self._verified.get(token)
        if known is not None and known.expires_at_s + self._leeway_s > self._now_s():
            return known
        claims = self._verify(token)
        if len(self._verified) >= _CACHED_TOKENS_MAX:
            self._verified.clear()
        self._verified[token] = claims
        return claims

    def _verify(self, token: str) -> Claims:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("typ") != TOKEN_TYPE or header.get("alg") != ALGORITHM:
                raise UnauthenticatedError("the token is not an access token of this installation")
            payload = jwt.decode(
                token,
                self._keys[str(header.get("kid"))],
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_s,
                options={"require": list(REQUIRED_CLAIMS)},
            )
            return self._claims(payload)
        except jwt.ExpiredSignatureError as error:
            raise UnauthenticatedError("the token has expired") from error
        except (
            jwt.InvalidTokenError,
            KeyError,
            ValueError,
            TypeError,
            ArithmeticError,
            RecursionError,
        ) as error:
            raise UnauthenticatedError("the token is not valid") from error

    def _claims(self, payload: dict[str, Any]) -> Claims:
        if payload["exp"] - payload["iat"] > self._life_s_max:
            raise UnauthenticatedError("the token lives longer than is accepted", limit=self._life_s_max)
        sites, pack = payload.get("sites"), payload.get("pack")
        return Claims(
            subject=_text(payload["sub"]),
            tenant_name=_text(payload["tenant"]),
            roles=frozenset(Role(role) for role in _texts(payload.get("roles", []))),
            sites=None if sites is None else frozenset(_texts(sites)),
            device_pack=None if pack is None else _text(pack),
            expires_at_s=int(payload["exp"]),
        )


def _text(claim: object) -> str:
    """The claim, which reaches the database. Raises ValueError unless it is printable text."""
    if not (isinstance(claim, str) and 0 < len(claim) <= _CLAIM_CHARACTERS_MAX and claim.isprintable()):
        raise ValueError("a claim is not printable text of an accepted length")
    return claim


def _texts(claim: object) -> list[str]:
    if not isinstance(claim, list):
        raise TypeError("a claim is not a list")
    return [_text(entry) for entry in claim]


def make_verifier(settings: Settings, now_s: Callable[[], float]) -> TokenVerifier:
    """The verifier of this installation.

    Raises SettingsRefusedError when production has no issuer and keys of its own, or names the development
    issuer.
    """
    if settings.env is Environment.DEVELOPMENT and settings.token_issuer is None:
        key = development_key(settings.data_dir, create=True).public_key()
        return TokenVerifier(
            {DEVELOPMENT_KEY_ID: key},
            DEVELOPMENT_ISSUER,
            settings.token_audience,
            settings.token_leeway_s,
            settings.development_token_life_s,
            now_s,
        )
    if settings.token_issuer is None or settings.token_jwks_file is None:
        raise SettingsRefusedError(
            "production needs BPM_TOKEN_ISSUER and BPM_TOKEN_JWKS_FILE (or set BPM_ENV=development, on a machine "
            "of your own)",
            field="BPM_TOKEN_ISSUER",
        )
    if settings.env is Environment.PRODUCTION and settings.token_issuer == DEVELOPMENT_ISSUER:
        raise SettingsRefusedError(
            "the development issuer is refused in production", field="BPM_TOKEN_ISSUER"
        )
    return TokenVerifier(
        read_key_set(settings.token_jwks_file),
        settings.token_issuer,
        settings.token_audience,
        settings.token_leeway_s,
        settings.token_life_s_max,
        now_s,
    )


def read_key_set(path: Path) -> dict[str, Ed25519PublicKey]:
    """Public keys by key id. Raises SettingsRefusedError when the file isn't a set of Ed25519 keys."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["keys"]
        keys = {entry["kid"]: jwt.PyJWK(entry, algorithm=ALGORITHM).key for entry in entries}
    except (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
        raise SettingsRefusedError(
            f"{path} is not a JSON Web Key Set of Ed25519 keys: {error}", field="BPM_TOKEN_JWKS_FILE"
        ) from error
    if not keys or not all(isinstance(key, Ed25519PublicKey) for key in keys.values()):
        raise SettingsRefusedError(f"{path} must hold Ed25519 keys only", field="BPM_TOKEN_JWKS_FILE")
    return keys


def development_key(data_dir: Path, *, create: bool) -> Ed25519PrivateKey:
    """The key that signs development tokens, kept in the data folder.

    Raises SettingsRefusedError when there is none and `create` is false: no engine has run in development here.
    """
    path = data_dir / DEVELOPMENT_KEY_FILE
    if not path.exists() and create:
        made = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(made)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise SettingsRefusedError(
            f"there is no development key in {data_dir}: start the engine with `make up` first",
            field="BPM_DATA_DIR",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsRefusedError(f"{path} is not an Ed25519 key", field="BPM_DATA_DIR")
    return key


def development_token(
    settings: Settings,
    tenant: str,
    role: Role,
    now_s: float,
    *,
    sites: list[str] | None = None,
    pack: str | None = None,
) -> str:
    """A token of the development issuer. Raises SettingsRefusedError in production."""
    if settings.env is Environment.PRODUCTION and "env" in settings.model_fields_set:
        raise SettingsRefusedError("development tokens are refused in production", field="BPM_ENV")
    key = development_key(settings.data_dir, create=settings.env is Environment.DEVELOPMENT)
    # Each limit makes another subject, because limited credentials see their own subject's receipts alone.
    limited_to = [*(sites or []), *([] if pack is None else [pack])]
    payload: dict[str, Any] = {
        "iss": DEVELOPMENT_ISSUER,
        "aud": settings.token_audience,
        "sub": "-".join(["development", role, *limited_to])[:_CLAIM_CHARACTERS_MAX],
        "jti": str(uuid.uuid4()),
        "iat": int(now_s),
        "exp": int(now_s) + settings.development_token_life_s,
        "tenant": tenant,
        "roles": [role],
    }
    if sites is not None:
        payload["sites"] = sites
    if pack is not None:
        payload["pack"] = pack
    return jwt.encode(payload, key, ALGORITHM, {"kid": DEVELOPMENT_KEY_ID, "typ": TOKEN_TYPE})
