"""Secrets that must be read again, sealed so that the database alone doesn't give them away."""

import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from api.settings import Environment, Settings
from domain.errors import BpmError, ConflictError, SettingsRefusedError
from domain.tenancy import TenantId

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
DEVELOPMENT_KEY_FILE: Final = "secrets-key"


class SealBrokenError(BpmError):
    """A stored secret can't be opened by any of the keys."""

    code = "seal_broken"


class Sealer:
    """Seals by the first of its keys (AES-256-GCM), and opens by any: a new key is put before the old one.

    What is sealed is bound to its tenant and channel, so that a row that is copied elsewhere can't be opened.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = [AESGCM(key) for key in keys]

    @property
    def has_keys(self) -> bool:
        return bool(self._keys)

    def seal(self, text: str, tenant_id: TenantId, owner: UUID) -> bytes:
        """The sealed text. Raises ConflictError when the installation has no key."""
        if not self._keys:
            raise ConflictError(
                "this installation keeps no secrets: its operator sets BPM_SECRETS_KEY_FILE", field="kind"
            )
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._keys[0].encrypt(nonce, text.encode(), _bound_to(tenant_id, owner))

    def open(self, sealed: bytes, tenant_id: TenantId, owner: UUID) -> str:
        """The text. Raises SealBrokenError."""
        nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        for key in self._keys:
            try:
                return key.decrypt(nonce, body, _bound_to(tenant_id, owner)).decode()
            except (InvalidTag, ValueError):
                continue
        raise SealBrokenError("the channel's secret can't be opened: BPM_SECRETS_KEY_FILE lacks its key")


def _bound_to(tenant_id: TenantId, owner: UUID) -> bytes:
    return f"{tenant_id}:{owner}".encode()


def make_sealer(settings: Settings) -> Sealer:
    """The sealer of this installation: by the key file, by a key of development's own, or by none.

    Raises SettingsRefusedError when the file can't be read as keys.
    """
    if settings.secrets_key_file is not None:
        return Sealer(_read_keys(settings.secrets_key_file))
    if settings.env is Environment.DEVELOPMENT:
        return Sealer(_read_keys(_development_file(settings.data_dir)))
    return Sealer([])


def _read_keys(path: Path) -> list[bytes]:
    try:
        lines = path.read_text(encoding="ascii").split()
        keys = [base64.b64decode(line, validate=True) for line in lines]
    except (OSError, ValueError, binascii.Error) as error:
        raise SettingsRefusedError(f"{path} can't be read as keys", field="BPM_SECRETS_KEY_FILE") from error
    if not keys or any(len(key) != _KEY_BYTES for key in keys):
        raise SettingsRefusedError(
            f"{path} must hold keys of {_KEY_BYTES} bytes in base64, a line each: openssl rand -base64 32",
            field="BPM_SECRETS_KEY_FILE",
        )
    return keys


def _development_file(data_dir: Path) -> Path:
    path = data_dir / DEVELOPMENT_KEY_FILE
    if not path.exists():
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n")
    return path
