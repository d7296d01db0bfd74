"""Threads that send readings one batch after another, each until it is acknowledged, and what became of them."""

import http.client
import json
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psycopg

from storage.database import INGEST_ROLE, conninfo_as
from storage.embedded_postgres import Connections
from storage.tenants import create as create_tenant

TENANT = "steady"
BATCH_READINGS = 50
STEP_MS = 10

_BACK_MS = 6 * 3_600_000
_ANSWER_S_MAX = 60.0
_RETRY_S = 0.02
_AGAIN = frozenset({409, 429, 503, 507})

Reading = tuple[str, int, int]
"""Pack, time in milliseconds, volts in thousandths."""

_STORED = """
    SELECT packs.external_id, (extract(epoch FROM ts) * 1000)::int8, round(voltage_v::numeric * 1000)::int8
    FROM readings JOIN packs USING (pack_id) WHERE batch_no <= %s
"""


def make_tenant(connections: Connections) -> None:
    """The tenant that the load belongs to."""
    conninfo = conninfo_as(connections.service, INGEST_ROLE, application="test")
    create_tenant(conninfo, TENANT, register_unknown_packs=True)


def stored(connections: Connections, batch_no_max: int = 1 << 62) -> list[Reading]:
    """All stored readings of batches up to a number."""
    conninfo = conninfo_as(connections.service, INGEST_ROLE, application="test")
    with psycopg.connect(conninfo) as connection:
        return sorted(connection.execute(_STORED, (batch_no_max,)).fetchall())


def readings_of(pack: str, first_ms: int) -> list[Reading]:
    """The readings of the batch that begins then; values follow from times."""
    times = range(first_ms, first_ms + BATCH_READINGS * STEP_MS, STEP_MS)
    return [(pack, ts_ms, 3_000 + ts_ms // STEP_MS % 1_000) for ts_ms in times]


@dataclass(slots=True)
class _Sender:
    """One thread's batches; they are told by their first times."""

    port: int
    token: str
    pack: str
    stopping: threading.Event
    next_ms: int
    attempted: list[int] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def run(self) -> None:
        while not self.stopping.is_set():
            first_ms, self.next_ms = self.next_ms, self.next_ms + BATCH_READINGS * STEP_MS
            self.attempted.append(first_ms)
            if self._sent(first_ms, str(uuid.uuid4())):
                self.acknowledged.append(first_ms)

    def _sent(self, first_ms: int, key: str) -> bool:
        """Whether the batch was acknowledged before the load was stopped."""
        body = json.dumps(
            [
                {"pack": pack, "ts": ts_ms, "voltage_v": volts / 1000}
                for pack, ts_ms, volts in readings_of(self.pack, first_ms)
            ]
        )
        while True:
            status, answer = self._ask(body, key)
            self.answers[status] += 1
            if status == 202:
                # Safe in the topic, and committed some time.
                return True
            if status == 200:
                if answer["accepted"] + answer["duplicate"] != BATCH_READINGS:
                    self.wrong.append(f"{self.pack} {first_ms}: {answer}")
                return True
            if status and status not in _AGAIN:
                self.wrong.append(f"{self.pack} {first_ms} was answered {status}: {answer}")
            if self.stopping.wait(_RETRY_S):
                return False

    def _ask(self, body: str, key: str) -> tuple[int, Any]:
        """Status and body; 0 when there was no answer."""
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_S_MAX)
        try:
            connection.request("POST", "/v1/telemetry", body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            connection.close()


class SteadyLoad:
    """Sends until it is stopped.

    name: tells the packs of one load from those of another.
    """

    def __init__(self, port: int, token: str, name: str, threads: int = 2) -> None:
        self._stopping = threading.Event()
        first_ms = time.time_ns() // 1_000_000 - _BACK_MS
        self._senders = [
            _Sender(port, token, f"{name}-{number}", self._stopping, first_ms) for number in range(threads)
        ]
        self._threads = [threading.Thread(target=sender.run, daemon=True) for sender in self._senders]
        for thread in self._threads:
            thread.start()

    def acknowledged(self) -> list[Reading]:
        """Readings that were acknowledged until now."""
        return [
            reading
            for sender in self._senders
            for first_ms in tuple(sender.acknowledged)
            for reading in readings_of(sender.pack, first_ms)
        ]

    def acknowledged_batches(self) -> int:
        return sum(len(sender.acknowledged) for sender in self._senders)

    def attempted(self) -> list[Reading]:
        """Readings that were sent, whatever became of them."""
        return [
            reading
            for sender in self._senders
            for first_ms in tuple(sender.attempted)
            for reading in readings_of(sender.pack, first_ms)
        ]

    def answers(self) -> Counter[int]:
        """How often each status was answered; 0 is no answer."""
        return sum((sender.answers for sender in self._senders), Counter[int]())

    def wrong(self) -> list[str]:
        return [one for sender in self._senders for one in sender.wrong]

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * _ANSWER_S_MAX)


def contradictions(acknowledged: list[Reading], found: list[Reading], attempted: list[Reading]) -> list[str]:
    """What is stored against what was told: nothing acknowledged is missing, nothing is there twice or from nowhere,
    and no batch is there in part.
    """
    told = []
    lost = set(acknowledged) - set(found)
    if lost:
        told.append(f"{len(lost)} acknowledged readings are lost, such as {min(lost)}")
    if len(set(found)) != len(found):
        told.append(f"{len(found) - len(set(found))} readings are stored twice")
    phantoms = set(found) - set(attempted)
    if phantoms:
        told.append(f"{len(phantoms)} readings were never sent, such as {min(phantoms)}")
    if len(found) % BATCH_READINGS:
        told.append(f"{len(found)} readings are no whole batches of {BATCH_READINGS}")
    return told
