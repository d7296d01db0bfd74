"""Who listens to live alerts through all faults, drops of their own accord, and goes on from their last cursor."""

import base64
import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import httpx
import psycopg

from api.client.alerts import LiveFrame, follow
from api.client.sending import NotSentError
from api.live.cursors import decode
from tests.faults.engine_process import EngineProcess, until
from tests.faults.saying import said

_FRAMES_MAX = 3
_QUIET_S_MAX = 5.0
_PAUSE_S = 0.05
_CATCH_UP_S_MAX = 60.0

_EVENTS = """
    SELECT seq, kind, alert_id::text FROM alert_events WHERE partition_no = 0 AND seq > %s ORDER BY seq
"""

Event = tuple[int, str, str]
"""Place in the log, kind, and the alert's id."""


def _place_of(cursor: str) -> int:
    """The place in the log of partition 0."""
    mark = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(";")[0]
    positions = decode(cursor, mark)
    assert positions is not None
    return positions[0]


class Listener:
    """Follows a tenant's alerts in a thread. drops: how often it left by itself; broken: how often it was left."""

    def __init__(self, engine: EngineProcess, token: str, seed: int) -> None:
        """From the snapshot on: what happens after it is to be heard, each event once and in order."""
        self.events: list[Event] = []
        self.drops = 0
        self.broken = 0
        self._chance = random.Random(f"{seed} listener")
        self._url = f"http://127.0.0.1:{engine.port}"
        self._token = token
        self._cursor: str | None = None
        self._unexpected: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()
        until(lambda: self._cursor is not None, "the snapshot of open alerts")
        assert self._cursor is not None
        self._began = _place_of(self._cursor)

    def _listen(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        with httpx.Client(base_url=self._url, headers=headers, trust_env=False) as client:
            while not self._stopping.is_set():
                try:
                    self._hear_a_few(client)
                    self.drops += 1
                except (NotSentError, httpx.HTTPError):
                    self.broken += 1

    def _hear_a_few(self, client: httpx.Client) -> None:
        frames: Iterator[LiveFrame] = follow(
            client, cursor=self._cursor, quiet_s_max=_QUIET_S_MAX, sleep=self._pause
        )
        with closing(frames):  # type: ignore[type-var] # a generator
            for _ in range(self._chance.randint(1, _FRAMES_MAX)):
                self._hear(next(frames))

    def _pause(self, _: float) -> None:
        time.sleep(_PAUSE_S)
        if self._stopping.is_set():
            raise NotSentError("nobody listens any more")

    def _hear(self, frame: LiveFrame) -> None:
        first = self._cursor is None
        self._cursor = frame.cursor or self._cursor
        if frame.kind == "alert":
            assert frame.cursor is not None
            self.events.append((_place_of(frame.cursor), *_told(frame.data)))
        elif frame.kind == "snapshot" and not first:
            self._unexpected.append("a snapshot came in answer to a cursor")

    def contradictions(self, conninfo: str) -> list[str]:
        """Whatever was heard twice, in another order, or not at all. Nothing happens to alerts meanwhile."""
        with psycopg.connect(conninfo, options="-c search_path=bpm") as connection:
            happened: Sequence[Any] = connection.execute(_EVENTS, (self._began,)).fetchall()
        until(lambda: len(self.events) >= len(happened), "the listener to catch up", _CATCH_UP_S_MAX)
        wrong = said("places where what was heard isn't the log", _differing(self.events, happened))
        return self._unexpected if wrong is None else [*self._unexpected, wrong]

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(_CATCH_UP_S_MAX)


def _told(data: dict[str, Any]) -> tuple[str, str]:
    return data["event"]["kind"], data["alert"]["id"]


def _differing(heard: Sequence[Event], happened: Sequence[Event]) -> list[str]:
    if list(heard) == list(happened):
        return []
    place = next(
        (n for n, (one, other) in enumerate(zip(heard, happened, strict=False)) if one != other), None
    )
    place = min(len(heard), len(happened)) if place is None else place
    return [
        json.dumps({"from": place, "heard": heard[place : place + 3], "log": happened[place : place + 3]})
    ]
