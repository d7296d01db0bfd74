"""Tokens of other issuers (OpenID Connect), of which ours are made: whom they name, as a file says."""

import asyncio
import logging
import re
import ssl
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import httpx
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from api.auth import NOT_VALID, TOKEN_FAULTS, Claims, claim_text, parts_of, texts_in
from api.settings import Settings
from domain.errors import SettingsRefusedError, UnauthenticatedError, UnavailableError
from domain.tenancy import TENANT_NAME

log = logging.getLogger(__name__)

_ALGORITHM_OF: Final = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
"""A key is for one algorithm alone, by its kind and curve."""
_RSA_BITS_MIN: Final = 2048
_TYPES: Final = frozenset({"jwt", "at+jwt"})
_REQUIRED: Final = ("iss", "aud", "exp", "iat")
_NAME: Final = re.compile(r"[a-z0-9_-]{1,30}")
_KEY_SET_BYTES_MAX: Final = 256 << 10
_FETCH_S_MAX: Final = 5.0
_FIELD: Final = "BPM_OIDC_ISSUERS_FILE"

Text = Annotated[str, Field(min_length=1, max_length=500)]


class IssuerEntry(BaseModel):
    """An issuer as the file describes it. Claims are named by their path, such as `realm_access.roles`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: Text
    audience: Text
    algorithms: Annotated[tuple[Literal["RS256", "ES256", "EdDSA"], ...], Field(min_length=1)]
    jwks_file: Path | None = None
    jwks_url: Annotated[str | None, Field(pattern=r"^https://[^\s@]+$")] = None
    tenant: Text | None = None
    tenant_claim: Text | None = None
    tenants: tuple[Text, ...] = ()
    subject_claim: Text = "sub"
    roles_claim: Text = "roles"
    roles: Annotated[dict[str, Text], Field(min_length=1)]
    sites_claim: Text | None = None

    @model_validator(mode="after")
    def _whole(self) -> "IssuerEntry":
        if (self.jwks_file is None) is (self.jwks_url is None):
            raise ValueError("give jwks_file or jwks_url")
        if (self.tenant is None) is (self.tenant_claim is None):
            raise ValueError("give tenant, or tenant_claim with tenants")
        if (self.tenant_claim is None) is not (self.tenants == ()):
            raise ValueError("tenant_claim needs tenants: those that the issuer may name")
        if not all(TENANT_NAME.fullmatch(name) for name in (*self.tenants, self.tenant or "x")):
            raise ValueError("a tenant's name is wrong")
        return self


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """look_s: keys are read again after so long. look_s_min: and for an unknown key id, at most so often.

    kept_s_max: keys that can't be read again are used for so long.
    """

    look_s: float
    look_s_min: float
    kept_s_max: float


OutsideKeys = Mapping[str, tuple[str, Any]]
"""By key id: the algorithm, and the key."""


@dataclass(slots=True, eq=False)
class KeySource:
    """The keys of an issuer, read again now and then. read: brings the JSON Web Key Set as it is now."""

    read: Callable[[], Awaitable[bytes]]
    limits: KeyLimits
    monotonic_s: Callable[[], float]
    _keys: OutsideKeys = field(default_factory=dict)
    _read_at_s: float | None = None
    _tried_at_s: float | None = None
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def key(self, key_id: str) -> tuple[str, Any] | None:
        """The algorithm and key of an id; None for an unknown one. Raises UnavailableError when no keys are known."""
        if key_id not in self._keys or self._is_older(self._read_at_s, self.limits.look_s):
            async with self._reading:
                if self._is_older(self._tried_at_s, self.limits.look_s_min):
                    await self._look()
        if self._is_older(self._read_at_s, self.limits.kept_s_max):
            raise UnavailableError("the keys of the token's issuer can't be read now", retry_after_s=5)
        return self._keys.get(key_id)

    def _is_older(self, moment_s: float | None, age_s: float) -> bool:
        return moment_s is None or self.monotonic_s() - moment_s >= age_s

    async def _look(self) -> None:
        self._tried_at_s = self.monotonic_s()
        try:
            self._keys = keys_in(await self.read())
        except (OSError, httpx.HTTPError, ValueError) as error:
            log.warning("the keys of an issuer can't be read now: %s", type(error).__name__)
        else:
            self._read_at_s = self._tried_at_s


def keys_in(text: bytes) -> OutsideKeys:
    """The keys of a JSON Web Key Set that can verify signatures. Raises ValueError for what is none.

    Keys for other purposes are passed over, and so are those that are shared, private or short.
    """
    found: dict[str, tuple[str, Any]] = {}
    try:
        entries = [entry for entry in orjson.loads(text)["keys"] if "kid" in entry]
    except (KeyError, TypeError) as error:
        raise ValueError("this is no JSON Web Key Set") from error
    for entry in entries:
        algorithm = _ALGORITHM_OF.get((entry.get("kty"), entry.get("crv")))
        given = entry.get("alg") in (None, algorithm) and entry.get("use") in (None, "sig")
        if algorithm is None or not given or "d" in entry:
            continue
        try:
            key = jwt.PyJWK(entry, algorithm).key
        except jwt.PyJWTError:
            continue
        if isinstance(key, RSAPublicKey) and key.key_size < _RSA_BITS_MIN:
            continue
        if entry["kid"] in found:
            raise ValueError("a key id stands twice")
        found[entry["kid"]] = algorithm, key
    return found


@dataclass(frozen=True, slots=True, eq=False)
class OutsideIssuers:
    """The issuers of the file, by their `iss`.

    age_s_max: a token is taken so long after it was issued.
    """

    issuers: Mapping[str, tuple[str, IssuerEntry, KeySource]]
    leeway_s: int
    age_s_max: float
    now_s: Callable[[], float]

    async def verify(self, token: str) -> Claims:
        """Whom another issuer's token names, as our own will say. Raises UnauthenticatedError, UnavailableError."""
        try:
            header, unverified = parts_of(token)
            name, entry, keys = self.issuers[claim_text(unverified["iss"])]
            if str(header.get("typ", "jwt")).lower() not in _TYPES:
                raise ValueError("the token is of another type")
            found = await keys.key(claim_text(header["kid"]))
            if found is None or header["alg"] != found[0] or found[0] not in entry.algorithms:
                raise ValueError("the token is of an unknown key or another algorithm")
            algorithm, key = found
            payload = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=entry.audience,
                issuer=entry.issuer,
                leeway=self.leeway_s,
                options={"require": list(_REQUIRED)},
            )
            if payload["exp"] <= self.now_s():
                raise ValueError("there is nothing left of the token's life")
            if payload["iat"] <= self.now_s() - self.age_s_max - self.leeway_s:
                raise ValueError("the token was issued too long ago")
            return _claims(name, entry, payload)
        except TOKEN_FAULTS as error:
            raise UnauthenticatedError(NOT_VALID) from error


def _claims(name: str, entry: IssuerEntry, payload: dict[str, Any]) -> Claims:
    tenant = entry.tenant or claim_text(_at(payload, entry.tenant_claim or ""))
    if entry.tenant is None and tenant not in entry.tenants:
        raise ValueError("the issuer may not name this tenant")
    theirs = texts_in(_at(payload, entry.roles_claim))
    sites = None if entry.sites_claim is None else texts_in(_at(payload, entry.sites_claim))
    return Claims(
        subject=claim_text(f"oidc:{name}:{claim_text(_at(payload, entry.subject_claim))}"),
        tenant_name=tenant,
        roles=frozenset(entry.roles[role] for role in theirs if role in entry.roles),
        sites=None if sites is None else frozenset(sites),
        device_pack=None,
        expires_at_s=payload["exp"],
        issued_at_s=payload["iat"],
    )


def _at(payload: dict[str, Any], path: str) -> Any:
    """A claim by its path. Raises KeyError, TypeError when there is none."""
    found: Any = payload
    for part in (path,) if path in payload else path.split("."):
        if not isinstance(found, dict):
            raise TypeError("a claim is not where it should be")
        found = found[part]
    return found


def make_outside_issuers(
    settings: Settings, now_s: Callable[[], float], monotonic_s: Callable[[], float]
) -> OutsideIssuers:
    """The issuers that the settings name; none without a file. Raises SettingsRefusedError."""
    limits = KeyLimits(settings.oidc_keys_s, settings.oidc_keys_s_min, settings.oidc_keys_kept_s_max)
    issuers: dict[str, tuple[str, IssuerEntry, KeySource]] = {}
    for name, entry in read_issuers(settings).items():
        read = _from_url(settings, entry.jwks_url) if entry.jwks_url else _from_file(settings, entry)
        issuers[entry.issuer] = name, entry, KeySource(read, limits, monotonic_s)
    return OutsideIssuers(issuers, settings.token_leeway_s, settings.oidc_token_age_s_max, now_s)


def read_issuers(settings: Settings) -> dict[str, IssuerEntry]:
    """The issuers of the file by their names in it. Raises SettingsRefusedError that names what is wrong."""
    path = settings.oidc_issuers_file
    if path is None:
        return {}
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))["issuers"]
        found = {name: IssuerEntry.model_validate(entry) for name, entry in given.items()}
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsRefusedError(f"{path}: {where}: {first['msg']}", field=_FIELD) from error
    except (OSError, UnicodeError, tomllib.TOMLDecodeError, KeyError, AttributeError) as error:
        raise SettingsRefusedError(f"{path} can't be read as issuers: {error}", field=_FIELD) from error
    for name, entry in found.items():
        if _NAME.fullmatch(name) is None:
            raise SettingsRefusedError(f"{path}: an issuer's name has a-z, 0-9, - and _", field=_FIELD)
        if entry.issuer in (settings.own_issuer, settings.token_issuer):
            raise SettingsRefusedError(f"{path}: {name} is an issuer of access tokens already", field=_FIELD)
        if entry.jwks_file is not None:
            _require_keys(path.parent / entry.jwks_file)
    if len({entry.issuer for entry in found.values()}) < len(found):
        raise SettingsRefusedError(f"{path}: an issuer stands more than once", field=_FIELD)
    return found


def _require_keys(path: Path) -> None:
    try:
        found = keys_in(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsRefusedError(f"{path} can't be read as keys: {error}", field=_FIELD) from error
    if not found:
        raise SettingsRefusedError(f"{path} holds no key that can be used", field=_FIELD)


def _from_file(settings: Settings, entry: IssuerEntry) -> Callable[[], Awaitable[bytes]]:
    assert settings.oidc_issuers_file is not None  # noqa: S101 - the entry is from it
    path = settings.oidc_issuers_file.parent / str(entry.jwks_file)
    return lambda: asyncio.to_thread(path.read_bytes)


def _from_url(settings: Settings, url: str) -> Callable[[], Awaitable[bytes]]:
    context = ssl.create_default_context()
    if settings.outside_ca_file is not None:
        context.load_verify_locations(settings.outside_ca_file)

    async def read() -> bytes:
        async with (
            asyncio.timeout(_FETCH_S_MAX),
            httpx.AsyncClient(verify=context, trust_env=False, timeout=_FETCH_S_MAX) as client,
            client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"the issuer answered {answer.status_code}")
            found = b""
            async for chunk in answer.aiter_bytes():
                found += chunk
                if len(found) > _KEY_SET_BYTES_MAX:
                    raise ValueError("the key set is too large")
            return found

    return read
