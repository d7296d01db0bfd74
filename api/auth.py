"""Access tokens: Ed25519-signed JWTs become an Actor; development makes its own."""

import base64
import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from api.identity.keys import KeyRing
from api.settings import DEVELOPMENT_ISSUER, Environment, Settings
from domain.errors import SettingsRefusedError, UnauthenticatedError
from domain.tenancy import Role

ALGORITHM: Final = "EdDSA"
TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - a media type
REQUIRED_CLAIMS: Final = ("iss", "aud", "exp", "iat", "sub", "jti")
REFUSED_HEADERS: Final = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip"})
"""Keys that the token itself brings or names, and extensions that would have to be understood."""
NOT_VALID: Final = "the token is not valid, or has ended"
"""Said of every token that is refused, so that forgers aren't told what to mend."""
DEVELOPMENT_KEY_ID: Final = "development"
DEVELOPMENT_OPERATOR: Final = "operator:development"
DEVELOPMENT_KEY_FILE: Final = "development-signing-key.pem"
TOKEN_CHARACTERS_MAX: Final = 8_192
_CACHED_TOKENS_MAX: Final = 10_000
_CLAIM_CHARACTERS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Claims:
    """What a credential says.

    roles: names, of which the tenant may have made some, or that there aren't at all. With sites, regions or both it is
    limited: to these sites and to those of these regions. key_id: of an API key; None for a token.
    epoch: that of its subject when it was issued; None for tokens of others, which know no epochs.
    session: in which its refresh token belongs with it; None for tokens without one.
    tenant_name: None for an operator of the installation. grant: the id of that by which one acts in the tenant.
    """

    subject: str
    tenant_name: str | None
    roles: frozenset[str]
    sites: frozenset[str] | None
    device_pack: str | None
    expires_at_s: int
    issued_at_s: int
    epoch: int | None = None
    session: str | None = None
    regions: frozenset[str] | None = None
    key_id: str | None = None
    grant: UUID | None = None

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {
            "subject": self.subject,
            "tenant_name": self.tenant_name,
            "roles": sorted(self.roles),
            "sites": None if self.sites is None else sorted(self.sites),
            "device_pack": self.device_pack,
            "expires_at_s": self.expires_at_s,
            "issued_at_s": self.issued_at_s,
            "epoch": self.epoch,
            "session": self.session,
            "regions": None if self.regions is None else sorted(self.regions),
            "key_id": self.key_id,
            "grant": None if self.grant is None else str(self.grant),
        }

    @staticmethod
    def from_json(said: dict[str, Any]) -> "Claims":
        """The claims that `as_json` has written."""
        sites, regions, grant = said["sites"], said["regions"], said.get("grant")
        return Claims(
            subject=said["subject"],
            tenant_name=said["tenant_name"],
            roles=frozenset(said["roles"]),
            sites=None if sites is None else frozenset(sites),
            device_pack=said["device_pack"],
            expires_at_s=said["expires_at_s"],
            issued_at_s=said["issued_at_s"],
            epoch=said["epoch"],
            session=said["session"],
            regions=None if regions is None else frozenset(regions),
            key_id=said["key_id"],
            grant=None if grant is None else UUID(grant),
        )


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key with the one issuer whose tokens it verifies, and how long those may live.

    ours: whether they may be of operators of the installation: other issuers speak for tenants alone.
    """

    key: Ed25519PublicKey
    issuer: str
    life_s_max: int
    ours: bool = False


class TokenVerifier:
    """Verifies access tokens against pinned keys; remembers verified ones until they expire.

    trusted: the key of a key id, None for an unknown one. It is asked again for each token, because keys go.
    """

    def __init__(
        self,
        trusted: Callable[[str], TrustedKey | None],
        audience: str,
        leeway_s: int,
        now_s: Callable[[], float],
    ) -> None:
        self._trusted = trusted
        self._audience = audience
        self._leeway_s = leeway_s
        self._now_s = now_s
        self._verified: dict[str, tuple[TrustedKey, str, Claims]] = {}

    def verify(self, token: str) -> Claims:
        """The claims of a token. Raises UnauthenticatedError, which doesn't tell forgers what to mend."""
        known = self._verified.get(token)
        if known is not None:
            trusted, key_id, claims = known
            if claims.expires_at_s + self._leeway_s > self._now_s() and self._trusted(key_id) is trusted:
                return claims
        verified = self._verify(token)
        if len(self._verified) >= _CACHED_TOKENS_MAX:
            self._verified.clear()
        self._verified[token] = verified
        return verified[2]

    def looks_good(self, token: str) -> bool:
        """Whether signature and life of a token are good; it may have been ended."""
        try:
            self.verify(token)
        except UnauthenticatedError:
            return False
        return True

    def _verify(self, token: str) -> tuple[TrustedKey, str, Claims]:
        try:
            header, payload = parts_of(token)
            if header.get("typ") != TOKEN_TYPE or header.get("alg") != ALGORITHM:
                raise ValueError("the token is not an access token of this installation")
            key_id = claim_text(header["kid"])
            trusted = self._trusted(key_id)
            if trusted is None:
                raise KeyError(key_id)
            jwt.decode(
                token,
                trusted.key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=trusted.issuer,
                leeway=self._leeway_s,
                options={"require": list(REQUIRED_CLAIMS)},
            )
            if payload["exp"] - payload["iat"] > trusted.life_s_max:
                raise ValueError("the token lives longer than is accepted")
            if not trusted.ours and not payload.keys().isdisjoint(("platform", "grant")):
                raise ValueError("the issuer says what it may not say")
            return trusted, key_id, _claims(payload)
        except TOKEN_FAULTS as error:
            raise UnauthenticatedError(NOT_VALID) from error


TOKEN_FAULTS: Final = (
    jwt.PyJWTError,
    KeyError,
    ValueError,
    TypeError,
    ArithmeticError,
    RecursionError,
)
"""What reading a token raises that isn't one that is accepted."""


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and payload of a token that nobody has verified. Raises one of TOKEN_FAULTS.

    Stricter than PyJWT: no name twice, no header that brings a key along, and times are whole numbers.
    """
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise ValueError("the token is too long")
    first, second, _ = token.split(".")
    header, payload = _part(first), _part(second)
    if REFUSED_HEADERS & header.keys():
        raise ValueError("the token has a header that is refused")
    for name in ("exp", "iat", "nbf"):
        if name in payload and type(payload[name]) is not int:
            raise TypeError(f"{name} is no whole number")
    return header, payload


def _part(text: str) -> dict[str, Any]:
    raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    found = json.loads(raw, object_pairs_hook=_unique)
    if not isinstance(found, dict):
        raise TypeError("a part of the token is no object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object in the token has the same name twice")
    return found


def _claims(payload: dict[str, Any]) -> Claims:
    sites, regions, pack = payload.get("sites"), payload.get("regions"), payload.get("pack")
    epoch, session, grant = payload.get("epoch"), payload.get("sid"), payload.get("grant")
    if epoch is not None and type(epoch) is not int:
        raise TypeError("epoch is no whole number")
    return Claims(
        subject=claim_text(payload["sub"]),
        tenant_name=_tenant_in(payload),
        roles=frozenset(texts_in(payload.get("roles", []))),
        sites=None if sites is None else frozenset(texts_in(sites)),
        device_pack=None if pack is None else claim_text(pack),
        expires_at_s=payload["exp"],
        issued_at_s=payload["iat"],
        epoch=epoch,
        session=None if session is None else claim_text(session),
        regions=None if regions is None else frozenset(texts_in(regions)),
        grant=None if grant is None else UUID(claim_text(grant)),
    )


def _tenant_in(payload: dict[str, Any]) -> str | None:
    """The tenant that a token names; None for a token of the platform, which must not name one."""
    if "platform" not in payload:
        return claim_text(payload["tenant"])
    if payload["platform"] is not True or "tenant" in payload or "grant" in payload:
        raise ValueError("a token of the platform is of no tenant")
    return None


def claim_text(claim: object) -> str:
    """A claim, which may reach the database. Raises ValueError unless it is printable text."""
    if not (isinstance(claim, str) and 0 < len(claim) <= _CLAIM_CHARACTERS_MAX and claim.isprintable()):
        raise ValueError("a claim is not printable text of an accepted length")
    return claim


def texts_in(claim: object) -> list[str]:
    """The texts of a claim that is a list. Raises TypeError, ValueError for another one."""
    if not isinstance(claim, list):
        raise TypeError("a claim is not a list")
    return [claim_text(entry) for entry in claim]


def make_verifier(
    settings: Settings, now_s: Callable[[], float], own: KeyRing | None = None
) -> TokenVerifier:
    """The verifier of this installation: of its own tokens, of those of the issuer that the settings name, and in
    development, unless they name one, of development tokens.

    Raises SettingsRefusedError when of issuer and keys only one is named, or production names the development issuer.
    """
    fixed: dict[str, TrustedKey] = {}
    if settings.token_issuer is not None and settings.token_jwks_file is not None:
        if settings.token_issuer == DEVELOPMENT_ISSUER:
            raise SettingsRefusedError(
                "the development issuer is refused in production", field="BPM_TOKEN_ISSUER"
            )
        fixed = {
            key_id: TrustedKey(key, settings.token_issuer, settings.token_life_s_max)
            for key_id, key in read_key_set(settings.token_jwks_file).items()
        }
    elif settings.token_issuer is not None or settings.token_jwks_file is not None:
        raise SettingsRefusedError(
            "an issuer of tokens needs both BPM_TOKEN_ISSUER and BPM_TOKEN_JWKS_FILE",
            field="BPM_TOKEN_ISSUER",
        )
    elif settings.env is Environment.DEVELOPMENT:
        key = development_key(settings.data_dir, create=True).public_key()
        life_s = settings.development_token_life_s
        fixed = {DEVELOPMENT_KEY_ID: TrustedKey(key, DEVELOPMENT_ISSUER, life_s, ours=True)}
    if settings.own_issuer in (DEVELOPMENT_ISSUER, settings.token_issuer):
        raise SettingsRefusedError("our own issuer needs a name of its own", field="BPM_OWN_ISSUER")
    known: dict[str, TrustedKey] = {}

    def trusted(key_id: str) -> TrustedKey | None:
        key = None if own is None else own.public_key(key_id)
        if key is None:
            return fixed.get(key_id)
        if known.get(key_id) is None or known[key_id].key is not key:
            known[key_id] = TrustedKey(key, settings.own_issuer, settings.access_token_life_s, ours=True)
        return known[key_id]

    return TokenVerifier(trusted, settings.token_audience, settings.token_leeway_s, now_s)


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
    role: str,
    now_s: float,
    *,
    sites: list[str] | None = None,
    regions: list[str] | None = None,
    pack: str | None = None,
) -> str:
    """A token of the development issuer. Raises SettingsRefusedError in production."""
    # Each limit makes another subject, because limited credentials see their own subject's receipts alone.
    limited_to = [*(sites or []), *(regions or []), *([] if pack is None else [pack])]
    said: dict[str, Any] = {"tenant": tenant, "roles": [role]}
    limits = {"sites": sites, "regions": regions, "pack": pack}
    said |= {name: limit for name, limit in limits.items() if limit is not None}
    return _development_token(settings, "-".join(["development", role, *limited_to]), said, now_s)


def development_platform_token(settings: Settings, now_s: float) -> str:
    """The same, of an operator of the installation. Raises SettingsRefusedError in production."""
    said = {"platform": True, "roles": [Role.PLATFORM_ADMIN]}
    return _development_token(settings, DEVELOPMENT_OPERATOR, said, now_s)


def _development_token(settings: Settings, subject: str, said: dict[str, Any], now_s: float) -> str:
    if settings.env is Environment.PRODUCTION and "env" in settings.model_fields_set:
        raise SettingsRefusedError("development tokens are refused in production", field="BPM_ENV")
    key = development_key(settings.data_dir, create=settings.env is Environment.DEVELOPMENT)
    payload = said | {
        "iss": DEVELOPMENT_ISSUER,
        "aud": settings.token_audience,
        "sub": subject[:_CLAIM_CHARACTERS_MAX],
        "jti": str(uuid.uuid4()),
        "iat": int(now_s),
        "exp": int(now_s) + settings.development_token_life_s,
    }
    return jwt.encode(payload, key, ALGORITHM, {"kid": DEVELOPMENT_KEY_ID, "typ": TOKEN_TYPE})
