"""Alerts as they happen, over a socket that is opened again where it broke off: each event once and in order."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import httpx

from .sockets import LiveFrame, StreamLostError, StreamRefusedError, frames

__all__ = ["LiveFrame", "StreamLostError", "StreamRefusedError", "follow"]

PATH: Final = "/v1/alerts/live"


def follow(
    client: httpx.Client,
    *,
    cursor: str | None = None,
    sites: Sequence[str] = (),
    severities: Sequence[str] = (),
    rules: Sequence[str] = (),
    packs: Sequence[str] = (),
    quiet_s_max: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[LiveFrame]:
    """Frames of alerts without end: the open alerts first, or with a cursor what came after it.

    Whoever keeps the cursor of the last frame that was worked through gets each event once, also over a restart of
    its own. A socket that breaks off, or brings nothing for quiet_s_max, is opened again.
    client: carries the address and the token. Raises StreamRefusedError, StreamLostError; and RefusedError,
    UnansweredError when there is no ticket to be had.
    """
    wanted = {
        "sites": list(sites),
        "severities": list(severities),
        "rules": list(rules),
        "packs": list(packs),
    }

    def first(cursor: str | None) -> dict[str, Any]:
        return {"cursor": cursor, "filter": wanted}

    return frames(client, PATH, first, cursor=cursor, quiet_s_max=quiet_s_max, sleep=sleep)
