"""What is never written down of a record or shown again: one list of fields, for the audit log and exports."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

REDACTED: Final = "[redacted]"
"""Stands where a sensitive value was."""

SENSITIVE_WORDS: Final = frozenset(
    {"secret", "secrets", "password", "passwords", "passphrase", "token", "tokens", "salt", "digest"}
)
"""A field with one of them in its name is sensitive: `former_secret`, `password_hash`, `invitation_digest`."""

SENSITIVE_FIELDS: Final = frozenset(
    {"api_key", "device_key", "key_hash", "private_key", "recovery_codes", "signing_key", "authorization"}
)
"""Fields that no word gives away. `key` itself is none: it names a measure in key aliases."""


def is_sensitive(field: str) -> bool:
    """Whether what stands in a field is never shown again.

    >>> is_sensitive("webhook_secret"), is_sensitive("secretary"), is_sensitive("key")
    (True, False, False)
    """
    name = field.lower().replace("-", "_")
    return name in SENSITIVE_FIELDS or not SENSITIVE_WORDS.isdisjoint(name.split("_"))


def redacted(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with a mark in the place of each sensitive value, however deep, and of bytes in any field.

    Whether something is there, and since when, may be known: None, truth values and times stay.

    >>> redacted({"name": "C", "secret": "s", "former_secret": None, "to": [{"password": 1}]})
    {'name': 'C', 'secret': '[redacted]', 'former_secret': None, 'to': [{'password': '[redacted]'}]}
    """
    return {field: _shown(value, hidden=is_sensitive(field)) for field, value in record.items()}


def _shown(value: Any, *, hidden: bool) -> Any:
    if value is None or isinstance(value, bool | date | datetime):
        return value
    if hidden or isinstance(value, bytes | bytearray | memoryview):
        return REDACTED
    if isinstance(value, Mapping):
        return redacted(value)
    if isinstance(value, list | tuple):
        return [_shown(entry, hidden=False) for entry in value]
    return value
