"""Standard Webhooks: the secrets of channels, and the headers by which a receiver knows a message."""

import base64
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from standardwebhooks import Webhook

_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32


def new_secret() -> str:
    """A new secret, as its receiver is given it: 256 random bits."""
    return _PREFIX + base64.b64encode(os.urandom(_SECRET_BYTES)).decode()


def message_id(delivery_id: UUID) -> str:
    """What a message is known by: the same in every attempt, so that its receiver drops what it has."""
    return f"msg_{delivery_id.hex}"


def signed_headers(secrets: Sequence[str], delivery_id: UUID, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers, with a signature by each secret. `at`: the time of this attempt, in UTC."""
    name = message_id(delivery_id)
    signatures = [Webhook(secret).sign(name, at, body.decode()) for secret in secrets]
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
