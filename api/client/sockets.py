"""Live sockets that are opened again where they break off."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

import httpx
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from .sending import ATTEMPTS_MAX, WAIT_S_FIRST, WAIT_S_MAX, NotSentError, json_of, post

FRAME_BYTES_MAX: Final = 64 << 20
CLOSE_S_MAX: Final = 1.0
"""The library waits so long for the other side's farewell, which may stand behind frames that nobody reads any more."""
HEARTBEAT: Final = "heartbeat"
REFUSED_CODES: Final = frozenset({4400, 4403, 4421})
"""Close codes that the same request would be given again."""


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """kind: `snapshot`, `alert`, `telemetry` or `lagged`. cursor: from where to go on; None where there is none, and
    in a snapshot that isn't whole yet.
    """

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


def frames(
    client: httpx.Client,
    path: str,
    first: Callable[[str | None], dict[str, Any]],
    *,
    cursor: str | None,
    quiet_s_max: float,
    sleep: Callable[[float], None],
) -> Iterator[LiveFrame]:
    """Frames of a live socket without end, but for heartbeats.

    first: what the first frame of a socket asks for, beside the ticket, from the cursor of the last frame on. A socket
    that breaks off, or brings nothing for quiet_s_max, is opened again, ATTEMPTS_MAX times in a row. Raises
    StreamRefusedError, StreamLostError; and RefusedError, UnansweredError when there is no ticket to be had.
    """
    failures, problem = 0, ""
    while failures < ATTEMPTS_MAX:
        if failures:
            sleep(min(WAIT_S_FIRST * 2.0 ** (failures - 1), WAIT_S_MAX))
        failures += 1
        try:
            with _opened(client, path, first(cursor), sleep) as socket:
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
    raise StreamLostError(f"{client.base_url} brought nothing live in {ATTEMPTS_MAX} attempts: {problem}")


@contextmanager
def _opened(
    client: httpx.Client, path: str, asked: dict[str, Any], sleep: Callable[[float], None]
) -> Iterator[ClientConnection]:
    ticket = json_of(post(client, "/v1/tickets", sleep=sleep))["ticket"]
    url = str(client.base_url).rstrip("/").replace("http", "ws", 1) + path
    proxy: Literal[True] | None = True if client.trust_env else None
    with connect(url, proxy=proxy, max_size=FRAME_BYTES_MAX, close_timeout=CLOSE_S_MAX) as socket:
        # What closed the socket already is told by the first frame that is waited for.
        with suppress(ConnectionClosed):
            socket.send(json.dumps({"ticket": ticket} | asked))
        yield socket


def _frame(message: str | bytes) -> LiveFrame:
    told = json.loads(message)
    return LiveFrame(told["type"], told["cursor"], told["data"] or {})
