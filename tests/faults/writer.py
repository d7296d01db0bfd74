"""One writer, a process of its own: sends batches and corrections, and retries each until it has its answer."""

import argparse
import http.client
import json
import random
import signal
import time
import uuid
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.faults.journal import Journal, counts_of
from tests.faults.load import Batch, Load
from tests.faults.truth import Truth, is_own

_ANSWER_S_MAX = 90.0
_TRY_S_MAX = 120.0
_PAUSE_S = (0.0, 0.01)
_RETRY_PAUSE_S = (0.01, 0.1)
_RESENT_SHARE = 0.05
_CORRECTED_SHARE = 0.03
_TRY_AGAIN = {HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}

Answer = tuple[int, bytes]


class Writer:
    """Works off a load, one request after the other, until it is told to stop; the last one is brought to its end.

    Nothing is begun before what went before has its answer, so that what must be stored follows from the order.
    """

    def __init__(self, port: int, token: str, load: Load, journal: Journal, chance: random.Random) -> None:
        self._port = port
        self._token = token
        self._load = load
        self._journal = journal
        self._chance = chance
        self._truth = Truth()
        self._imported: str | None = None
        self._connection: http.client.HTTPConnection | None = None
        self.stopping = False

    def run(self) -> None:
        while not self.stopping:
            correction = None
            if self._chance.random() < _CORRECTED_SHARE:
                correction = self._load.next_correction(self._truth, self._imported)
            if correction is None:
                self._send(self._load.next_batch(time.time_ns() // 1_000_000))
            else:
                self._correct(correction)
            time.sleep(self._chance.uniform(*_PAUSE_S))

    def _key(self) -> str:
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))

    def _send(self, batch: Batch) -> None:
        key, imported = self._key(), self._import() if batch.imported else None
        path = "/v1/telemetry" if imported is None else f"/v1/telemetry?import={imported}"
        body = json.dumps([one.as_json() for one in batch.readings]).encode()
        self._journal.attempted(key, batch, imported)
        answer, attempts = self._until_answered("POST", path, body, key)
        if answer is None:
            return
        self._note(key, imported, batch, attempts, *answer)
        self._load.sent(key, batch)
        if self._chance.random() < _RESENT_SHARE:
            self._ask_again(path, key, body, answer)

    def _import(self) -> str | None:
        """The import under way; one that was begun without an answer stays empty."""
        if self._imported is None:
            answer, _ = self._until_answered("POST", "/v1/imports", b'{"source": "fault runs"}', None)
            if answer is not None:
                self._imported = str(json.loads(answer[1])["id"])
        return self._imported

    def _correct(self, correction: dict[str, Any]) -> None:
        """Ask until it is done. To ask twice changes nothing more, because meanwhile nothing else was sent."""
        key = self._key()
        self._journal.asked(key, correction)
        body = json.dumps(correction).encode()
        answer, attempts = self._until_answered("POST", "/v1/corrections", body, None)
        while answer is not None and answer[0] == HTTPStatus.ACCEPTED:
            path = f"/v1/corrections/{json.loads(answer[1])['id']}"
            answer, _ = self._until_answered("GET", path, b"", None)
            if answer is not None and json.loads(answer[1]).get("status") != "done":
                answer = HTTPStatus.ACCEPTED, answer[1]
        if answer is None:
            return
        if answer[0] != HTTPStatus.OK:
            self._journal.wrong(key, f"{correction} was answered {answer[0]}: {answer[1][:500]!r}")
            return
        self._journal.done(key, attempts)
        self._truth.corrected(correction)
        if correction["kind"] == "delete_import":
            self._imported = None

    def _until_answered(
        self, method: str, path: str, body: bytes, key: str | None
    ) -> tuple[Answer | None, int]:
        """The answer, and after how many attempts; None, noted as wrong, when there was none for too long."""
        began_s, attempts = time.monotonic(), 0
        while time.monotonic() - began_s < _TRY_S_MAX:
            attempts += 1
            answer = self._ask(method, path, body, key)
            if answer is not None:
                return answer, attempts
            time.sleep(self._chance.uniform(*_RETRY_PAUSE_S))
        self._journal.wrong(key or path, f"no answer after {attempts} attempts in {_TRY_S_MAX:g} s")
        return None, attempts

    def _ask(self, method: str, path: str, body: bytes, key: str | None) -> Answer | None:
        """Status and body; None when the outcome is unknown or it was refused for now."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_S_MAX)
            self._connection.request(method, path, body or None, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return None
        return None if response.status in _TRY_AGAIN else (response.status, content)

    def _note(
        self, key: str, imported: str | None, batch: Batch, attempts: int, status: int, content: bytes
    ) -> None:
        if status not in (HTTPStatus.OK, HTTPStatus.MULTI_STATUS):
            self._journal.wrong(key, f"answered {status}: {content[:500].decode(errors='replace')}")
            return
        receipt = counts_of(json.loads(content))
        self._journal.acknowledged(key, receipt, attempts)
        own = [one for one in batch.readings if is_own(one.pack)]
        expected = self._truth.sent(
            key, imported, [[identity for identity, _ in one.identities()] for one in own]
        )
        # Of packs for which others report too, nobody knows who was first; but nothing of them is deleted.
        anybodys = len(batch.readings) - len(own)
        good = receipt["accepted"] + receipt["duplicate"]
        if (
            receipt["quarantined"] != expected["quarantined"]
            or good + receipt["quarantined"] != len(batch.readings)
            or not 0 <= receipt["accepted"] - expected["accepted"] <= anybodys
            or (status == HTTPStatus.OK) != (expected["deleted"] == 0)
        ):
            self._journal.wrong(
                key, f"answered {status} with {receipt}, where {dict(expected)} and {anybodys} were right"
            )

    def _ask_again(self, path: str, key: str, body: bytes, first: Answer) -> None:
        """A retry of what was acknowledged must get the first receipt, also from a process started since."""
        again = self._ask("POST", path, body, key)
        if again is not None and again != first:
            self._journal.wrong(key, f"a retry got {again} after {first}")


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
