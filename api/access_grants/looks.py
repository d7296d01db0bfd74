"""What operators ask for by access grants stands in the tenant's audit log before it is answered."""

import hashlib
import re
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import orjson

from domain.tenancy import Actor
from storage.access_grants import note_use
from storage.transactions import Transactions

_WINDOW_S: Final = 60.0
_NOTED_MAX: Final = 10_000
_BODY_BYTES_MAX: Final = 1 << 16
_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""Of a JSON text the character that PostgreSQL doesn't keep, behind backslashes that stand for themselves."""


class Looks:
    """Notes requests by grants: the same request once a minute in each process."""

    def __init__(self, transactions: Transactions, monotonic_s: Callable[[], float]) -> None:
        self._transactions = transactions
        self._monotonic_s = monotonic_s
        self._noted_s: dict[tuple[UUID, str, bytes, str | None], float] = {}

    async def note(
        self,
        actor: Actor,
        method: str,
        path: str,
        request_id: str,
        client_address: str | None,
        frame: str | None = None,
        body: bytes = b"",
    ) -> None:
        """Write it as a whole, unless it was written within the minute.

        path: with its query. frame: what a socket asks for, as JSON, without its ticket. body: of a request, as JSON.
        """
        if actor.grant is None:
            return
        # What a line may be long, the server bounds; what is remembered of it is small.
        digest = hashlib.sha256(f"{path}\n{frame}\n".encode() + body).digest()
        key, now_s = (actor.grant, method, digest, client_address), self._monotonic_s()
        if now_s - self._noted_s.get(key, -_WINDOW_S) < _WINDOW_S:
            return
        async with self._transactions.begin(actor, request_id, client_address=client_address) as transaction:
            await note_use(transaction, actor.grant, method, path, _more(frame, body))
        if len(self._noted_s) >= _NOTED_MAX:
            self._noted_s.clear()
        self._noted_s[key] = now_s


def _more(frame: str | None, body: bytes) -> dict[str, Any]:
    """What an entry says besides the path. A long body is told by its length and SHA-256."""
    if frame is not None:
        return {"frame": frame}
    if not body:
        return {}
    if len(body) > _BODY_BYTES_MAX:
        return {"body_bytes": len(body), "body_sha256": hashlib.sha256(body).hexdigest()}
    try:
        return {"body": orjson.loads(_NUL.sub(rb"\1\\ufffd", body))}
    except orjson.JSONDecodeError:
        return {"body": body.decode(errors="replace").replace("\0", "\ufffd")}
