"""The keys that sign our own access tokens: files of the data folder, of which the newest two are published."""

import base64
import hashlib
import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain.clock import MILLISECONDS_PER_SECOND
from domain.errors import ConflictError, SettingsRefusedError

PUBLISHED_KEYS: Final = 2
KNOWN_AFTER_S: Final = 30
"""A new key signs only when it is so old: by then all processes that share the folder have read it."""

_NAME: Final = re.compile(r"([0-9]{13,15})-[0-9a-f]{8}\.pem", re.ASCII)
_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key with its id, the thumbprint of its public half (RFC 7638), and when it was made."""

    key_id: str
    key: Ed25519PrivateKey
    public: Ed25519PublicKey
    made_ms: int

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half as a JSON Web Key."""
        return _jwk(self.public) | {"kid": self.key_id, "use": "sig", "alg": "EdDSA"}


def _jwk(public: Ed25519PublicKey) -> dict[str, Any]:
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _thumbprint(public: Ed25519PublicKey) -> str:
    jwk = _jwk(public)
    text = f'{{"crv":"{jwk["crv"]}","kty":"{jwk["kty"]}","x":"{jwk["x"]}"}}'
    return _base64url(hashlib.sha256(text.encode()).digest())


class KeyRing:
    """The keys of a folder as they were read last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[str, SigningKey] = {}
        self._files: dict[Path, SigningKey] = {}
        self._lock = threading.Lock()

    def read(self) -> None:
        """Read the folder again; keys that are there already stay the same objects.

        Raises SettingsRefusedError for a file that others may read, or that holds no such key.
        """
        with self._lock:
            self._files = {
                path: self._files.get(path) or _read(path, made_ms) for made_ms, path in _files(self._folder)
            }
            self._keys = {key.key_id: key for key in self._files.values()}

    def public_key(self, key_id: str) -> Ed25519PublicKey | None:
        """The published key of an id."""
        found = self._keys.get(key_id)
        return None if found is None else found.public

    def signing(self, now_ms: int) -> SigningKey:
        """The key that signs now. Raises SettingsRefusedError when there is none."""
        keys = sorted(self._keys.values(), key=lambda key: key.made_ms)
        if not keys:
            raise SettingsRefusedError(
                f"there is no signing key in {self._folder}", field="BPM_SIGNING_KEYS_DIR"
            )
        settled = [key for key in keys if key.made_ms <= now_ms - KNOWN_AFTER_S * MILLISECONDS_PER_SECOND]
        return settled[-1] if settled else keys[0]

    def key_set(self) -> dict[str, Any]:
        """The published keys as a JSON Web Key Set, the newest first."""
        keys = sorted(self._keys.values(), key=lambda key: -key.made_ms)
        return {"keys": [key.jwk for key in keys]}


def open_key_ring(folder: Path, now_ms: int) -> KeyRing:
    """The keys of a folder; a first one is made where there is none. Raises SettingsRefusedError."""
    if not _files(folder):
        _make(folder, now_ms)
    ring = KeyRing(folder)
    ring.read()
    return ring


def rotate(folder: Path, now_ms: int, *, settle_s: float, forget: bool) -> SigningKey:
    """The new key, which is published at once and signs soon. The one that signed stays published.

    settle_s: so long tokens of the key before the last one may live. forget: no former key is accepted any more.
    Raises ConflictError when the last key is younger than that, SettingsRefusedError.
    """
    former = _files(folder)
    settle_s += KNOWN_AFTER_S
    if len(former) > 1 and not forget and now_ms - former[-1][0] < settle_s * MILLISECONDS_PER_SECOND:
        raise ConflictError(
            f"the last rotation was less than {settle_s:g} s ago: tokens of the key before it may still be used; with"
            " --forget they end at once",
            limit=settle_s,
        )
    made = _make(folder, max(now_ms, former[-1][0] + 1 if former else 0))
    for _, path in former if forget else former[: 1 - PUBLISHED_KEYS]:
        path.unlink()
    return made


def _files(folder: Path) -> list[tuple[int, Path]]:
    """The files of keys with the moments when they were made, oldest first."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SettingsRefusedError(
            f"{folder} can't be read: {error}", field="BPM_SIGNING_KEYS_DIR"
        ) from error
    found = [(int(match[1]), folder / name) for name in names if (match := _NAME.fullmatch(name))]
    return sorted(found)


def _make(folder: Path, now_ms: int) -> SigningKey:
    key = Ed25519PrivateKey.generate()
    made = SigningKey(_thumbprint(key.public_key()), key, key.public_key(), now_ms)
    content = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{now_ms:013d}-{hashlib.sha256(made.key_id.encode()).hexdigest()[:8]}.pem"
    unfinished = path.with_suffix(".new")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        unfinished.rename(path)
    except OSError as error:
        raise SettingsRefusedError(
            f"no key can be made in {folder}: {error}", field="BPM_SIGNING_KEYS_DIR"
        ) from error
    return made


def _read(path: Path, made_ms: int) -> SigningKey:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OPEN_TO_OTHERS:
                raise SettingsRefusedError(
                    f"{path} is open to others: chmod 600", field="BPM_SIGNING_KEYS_DIR"
                )
            key = serialization.load_pem_private_key(file.read(), None)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsRefusedError(
            f"{path} can't be read as a key: {error}", field="BPM_SIGNING_KEYS_DIR"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsRefusedError(f"{path} is not an Ed25519 key", field="BPM_SIGNING_KEYS_DIR")
    return SigningKey(_thumbprint(key.public_key()), key, key.public_key(), made_ms)
