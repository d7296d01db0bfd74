"""Alerts as they happen, over a socket that is opened again where it broke off: each event once and in order."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpx
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from .sending import ATTEMPTS_MAX, WAIT_S_FIRST, WAIT_S_MAX, NotSentError, json_of, post

PATH: Final = "/v1/alerts/live"
FRAME_BYTES_MAX: Final = 64 << 20
HEARTBEAT: Final = "heartbeat"
REFUSED_CODES: Final = frozenset({4400, 4403})
"""Close codes that the same request would be given again."""


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """kind: `snapshot`, `alert` or `lagged`. cursor: from where to go on; None in a snapshot that isn't whole yet."""

    kind: str
    cursor: str | None
    data: dict[str, Any]


class StreamRefusedError(NotSentError):
    """The stream was closed with a code that the same request would be given again."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(f"the stream was closed with {code}: {reason}")


class StreamLostError(NotSentError):
    """The stream could not be opened again."""


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
    its own. A socket that breaks off, or brings nothing for quiet_s_max, is opened again, ATTEMPTS_MAX times in a row.
    client: carries the address and the token. Raises StreamRefusedError, StreamLostError; and RefusedError,
    UnansweredError when there is no ticket to be had.
    """
    wanted = {
        "sites": list(sites),
        "severities": list(severities),
        "rules": list(rules),
        "packs": list(packs),
    }
    failures, problem = 0, ""
    while failures < ATTEMPTS_MAX:
        if failures:
            sleep(min(WAIT_S_FIRST * 2.0 ** (failures - 1), WAIT_S_MAX))
        failures += 1
        try:
            with _opened(client, cursor, wanted, sleep) as socket:
                while True:
                    frame = _frame(socket.recv(quiet_s_max))
                    failures = 0
                    cursor = frame.cursor or cursor
                    if frame.kind != HEARTBEAT:
                        yield frame
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code in REFUSED_CODES:
                raise StreamRefusedError(closed.rcvd.code, closed.rcvd.reason) from closed
            problem = str(closed)
        except (OSError, WebSocketException) as error:
            problem = str(error) or type(error).__name__
    raise StreamLostError(f"{client.base_url} brought no alerts in {ATTEMPTS_MAX} attempts: {problem}")


@contextmanager
def _opened(
    client: httpx.Client,
    cursor: str | None,
    wanted: dict[str, list[str]],
    sleep: Callable[[float], None],
) -> Iterator[ClientConnection]:
    ticket = json_of(post(client, "/v1/tickets", sleep=sleep))["ticket"]
    url = str(client.base_url).rstrip("/").replace("http", "ws", 1) + PATH
    proxy: Literal[True] | None = True if client.trust_env else None
    with connect(url, proxy=proxy, max_size=FRAME_BYTES_MAX) as socket:
        # What closed the socket already is told by the first frame that is waited for.
        with suppress(ConnectionClosed):
            socket.send(json.dumps({"ticket": ticket, "cursor": cursor, "filter": wanted}))
        yield socket


def _frame(message: str | bytes) -> LiveFrame:
    told = json.loads(message)
    return LiveFrame(told["type"], told["cursor"], told["data"] or {})
