"""What an Idempotency-Key stands for: one effect, however often it is sent."""

import uuid
from typing import Annotated
from uuid import UUID

from fastapi import Header

from domain.errors import InvalidRequestError
from domain.tenancy import Actor

_CHARACTERS_MAX = 200

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="id of what is asked, up to 200 printable ASCII characters: sent again, it counts once"
    ),
]


def id_under_key(actor: Actor, kind: str, key: str) -> UUID:
    """The id of what a tenant asks under a key: the key itself when it is a UUID, else one derived from it.

    Raises InvalidRequestError.
    """
    if not (0 < len(key) <= _CHARACTERS_MAX and key.isascii() and key.isprintable()):
        raise InvalidRequestError(
            f"expected up to {_CHARACTERS_MAX} printable ASCII characters",
            field="Idempotency-Key",
            limit=_CHARACTERS_MAX,
        )
    try:
        return UUID(key)
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"urn:bpm:{kind}:{actor.tenant_name}:{key}")
