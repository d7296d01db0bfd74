"""Clients in processes of their own, which post bodies as fast as they are answered."""

import http.client
import multiprocessing
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import orjson

_ANSWERED = (200, 207)


@dataclass(frozen=True, slots=True)
class Posted:
    """What a client saw: when it began and ended (monotonic), each request's seconds, and the receipts."""

    began_s: float
    ended_s: float
    latencies_s: list[float]
    receipts: list[dict[str, Any]]


def _client(pipe: Connection, port: int, token: str, content_type: str, path: str) -> None:
    """Loop of a client's process: takes bodies, waits for the start, posts them, tells what it saw."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
    while (bodies := pipe.recv()) is not None:
        # Connected anew each time, because the server closes connections that were idle for some seconds.
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        connection.connect()
        pipe.send("ready")
        pipe.recv()
        try:
            pipe.send(_post_all(connection, path, headers, bodies))
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            pipe.send(error)
        finally:
            connection.close()


def _post_all(
    connection: http.client.HTTPConnection, path: str, headers: dict[str, str], bodies: Sequence[bytes]
) -> Posted:
    answers, latencies_s = [], []
    began_s = at_s = time.monotonic()
    for body in bodies:
        connection.request("POST", path, body, headers | {"Idempotency-Key": str(uuid.uuid4())})
        response = connection.getresponse()
        answers.append(response.read())
        if response.status not in _ANSWERED:
            raise RuntimeError(f"refused with {response.status}: {answers[-1][:500]!r}")
        now_s = time.monotonic()
        latencies_s.append(now_s - at_s)
        at_s = now_s
    return Posted(began_s, at_s, latencies_s, [orjson.loads(text) for text in answers])


class Senders:
    """A number of clients. Spread over processes, so that they don't wait for each other's interpreter."""

    def __init__(self, count: int, port: int, token: str, content_type: str, path: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_client, args=(theirs, port, token, content_type, path), daemon=True
            )
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def post(self, bodies: Sequence[bytes]) -> list[Posted]:
        """Bodies shared out in turn; each client posts its own in order. Raises RuntimeError when refused."""
        for number, pipe in enumerate(self._pipes):
            pipe.send(list(bodies[number :: len(self._pipes)]))
        for pipe in self._pipes:
            pipe.recv()
        for pipe in self._pipes:
            pipe.send("start")
        results = [pipe.recv() for pipe in self._pipes]
        for result in results:
            if isinstance(result, Exception):
                raise result
        return results

    def close(self) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(None)
            process.join()


@contextmanager
def senders(
    count: int, port: int, token: str, content_type: str, path: str = "/v1/telemetry"
) -> Iterator[Senders]:
    """Clients that end with the block."""
    clients = Senders(count, port, token, content_type, path)
    try:
        yield clients
    finally:
        clients.close()


def wall_s(posted: Sequence[Posted]) -> float:
    """Seconds from the first client's begin to the last one's end."""
    return max(one.ended_s for one in posted) - min(one.began_s for one in posted)


def accepted(posted: Sequence[Posted]) -> int:
    """Readings that the receipts name as accepted."""
    return sum(receipt["accepted"] for one in posted for receipt in one.receipts)
