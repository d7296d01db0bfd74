"""API keys as text: what they look like, and how one that is mistyped is known before anything is asked."""

import hashlib
import re
import string
import zlib
from dataclasses import dataclass
from typing import Final

ALPHABET: Final = string.digits + string.ascii_letters
PREFIX: Final = "bpm_"
ID_CHARACTERS: Final = 12
"""About 71 bits: ids don't collide, and are no secret."""

SECRET_CHARACTERS: Final = 43
"""256 bits, so that one round of SHA-256 keeps it as well as a slow hash would."""

_CHECK_CHARACTERS: Final = 6
_KEY: Final = re.compile(
    rf"{PREFIX}([0-9A-Za-z]{{{ID_CHARACTERS}}})_([0-9A-Za-z]{{{SECRET_CHARACTERS}}})"
    rf"([0-9A-Za-z]{{{_CHECK_CHARACTERS}}})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that was sent: its id, and the digest of all of it, by which it is known."""

    key_id: str
    digest: bytes


def compose(key_id: str, secret: str) -> str:
    """The key as its holder gets it: prefix, id, secret, and six characters that follow from what is before them.

    >>> key = compose("a" * 12, "b" * 43)
    >>> key[:17], key[17:60] == "b" * 43, read(key).key_id
    ('bpm_aaaaaaaaaaaa_', True, 'aaaaaaaaaaaa')
    """
    text = f"{PREFIX}{key_id}_{secret}"
    return text + _check(text)


def read(text: str) -> ApiKey | None:
    """The key of a text; None for one that is none, or has a character wrong.

    >>> key = compose("a" * 12, "b" * 43)
    >>> read(key) is not None, read(key[:-1]), read(key.replace("b", "c", 1))
    (True, None, None)
    """
    found = _KEY.fullmatch(text)
    if found is None or _check(text[:-_CHECK_CHARACTERS]) != found[3]:
        return None
    return ApiKey(found[1], digest(text))


def digest(text: str) -> bytes:
    """SHA-256 of a key: what is stored of it."""
    return hashlib.sha256(text.encode()).digest()


def _check(text: str) -> str:
    """CRC-32 of the text as six digits of the alphabet. Any single wrong character changes it."""
    left, digits = zlib.crc32(text.encode()), []
    for _ in range(_CHECK_CHARACTERS):
        left, digit = divmod(left, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
