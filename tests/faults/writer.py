"""One writer, a process of its own: sends batches and retries each under its key until it has a receipt."""

import argparse
import http.client
import json
import random
import signal
import time
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from tests.faults.journal import Journal, counts_of
from tests.faults.load import Load, Reading

_ANSWER_S_MAX = 90.0
_TRY_S_MAX = 120.0
_PAUSE_S = (0.0, 0.01)
_RETRY_PAUSE_S = (0.01, 0.1)
_RESENT_SHARE = 0.05
_TRY_AGAIN = {HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


class Writer:
    """Sends the batches of a load, one after the other, until it is told to stop."""

    def __init__(self, port: int, token: str, load: Load, journal: Journal, chance: random.Random) -> None:
        self._port = port
        self._token = token
        self._load = load
        self._journal = journal
        self._chance = chance
        self._connection: http.client.HTTPConnection | None = None
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            self._send_until_acknowledged(str(uuid.UUID(int=self._chance.getrandbits(128), version=4)))
            time.sleep(self._chance.uniform(*_PAUSE_S))

    def _send_until_acknowledged(self, key: str) -> None:
        batch = self._load.next_batch()
        body = _body(batch)
        self._journal.attempted(key, batch)
        began_s, attempts = time.monotonic(), 0
        while not self.stopping:
            attempts += 1
            answer = self._post(key, body)
            if answer is not None:
                self._note(key, len(batch), attempts, *answer)
                if self._chance.random() < _RESENT_SHARE:
                    self._ask_again(key, body, answer)
                return
            if time.monotonic() - began_s > _TRY_S_MAX:
                self._journal.wrong(key, f"no receipt after {attempts} attempts in {_TRY_S_MAX:g} s")
                return
            time.sleep(self._chance.uniform(*_RETRY_PAUSE_S))

    def _post(self, key: str, body: bytes) -> tuple[int, bytes] | None:
        """Status and body; None when the outcome is unknown or it was refused for now."""
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_S_MAX)
            self._connection.request("POST", "/v1/telemetry", body, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return None
        return None if response.status in _TRY_AGAIN else (response.status, content)

    def _note(self, key: str, sent: int, attempts: int, status: int, content: bytes) -> None:
        if status not in (HTTPStatus.OK, HTTPStatus.MULTI_STATUS):
            self._journal.wrong(key, f"answered {status}: {content[:500].decode(errors='replace')}")
            return
        receipt = counts_of(json.loads(content))
        self._journal.acknowledged(key, receipt, attempts)
        # All that is sent here is right, so nothing may be set aside.
        if status != HTTPStatus.OK or receipt["accepted"] + receipt["duplicate"] != sent:
            self._journal.wrong(key, f"answered {status} with {receipt} to {sent} good readings")

    def _ask_again(self, key: str, body: bytes, first: tuple[int, bytes]) -> None:
        """A retry of what was acknowledged must get the first receipt, also from a process started since."""
        again = self._post(key, body)
        if again is not None and again != first:
            self._journal.wrong(key, f"a retry got {again} after {first}")


def _body(batch: Sequence[Reading]) -> bytes:
    return json.dumps([one.as_json() for one in batch]).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("port", "number", "seed", "start-ms"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    given = parser.parse_args()
    load = Load(given.number, given.seed, given.start_ms)
    with given.journal.open("a") as file:
        writer = Writer(
            given.port, given.token, load, Journal(file), random.Random(f"{given.seed} keys {given.number}")
        )

        def stop(*_: object) -> None:
            writer.stopping = True

        signal.signal(signal.SIGTERM, stop)
        writer.run()


if __name__ == "__main__":
    main()
