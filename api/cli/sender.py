"""Recorded readings sent to the API in batches, each exactly once whatever happens to the connection."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import httpx

from domain.errors import BpmError, UnavailableError
from ingest.recorded import RecordedReadings, to_arrow_stream

ARROW_CONTENT_TYPE: Final = "application/vnd.apache.arrow.stream"
BODY_BYTES_MAX: Final = 16 << 20
READINGS_MAX: Final = 200_000
ATTEMPTS_MAX: Final = 10
WAIT_S_FIRST: Final = 0.25
WAIT_S_MAX: Final = 30.0
ANSWER_TEXT_MAX: Final = 500

RECEIPT_COUNTS: Final = ("received", "accepted", "duplicate", "quarantined", "late", "conflicting")
RETRIED_STATUS: Final = frozenset({429, 503})
RETRIED_CODE: Final = "in_flight"


class RequestRefusedError(BpmError):
    """The API refused what was sent."""

    code = "request_refused"


@dataclass(slots=True)
class ReceiptSums:
    """Sums over the receipts of all batches; `reasons` counts the items that receipts list."""

    batches: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    ignored_keys: set[str] = field(default_factory=set)

    def add(self, receipt: dict[str, Any]) -> None:
        """Count one receipt."""
        self.batches += 1
        for name in RECEIPT_COUNTS:
            self.counts[name] += int(receipt.get(name, 0))
        for item in receipt.get("items", []):
            self.reasons[str(item.get("reason"))] += 1
        self.ignored_keys.update(receipt.get("ignored_keys", []))

    @property
    def went_in(self) -> int:
        """Readings that are in the store now, because of these batches or before them."""
        return self.counts["accepted"] + self.counts["duplicate"]


class Sender:
    """Sends one pack's readings over an httpx client that carries the address and the token.

    A batch that is answered with 429 or 503, is in flight already or gets no answer is sent again under the
    same key, ATTEMPTS_MAX times; the key makes that safe.
    """

    def __init__(self, client: httpx.Client, pack: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._pack = pack
        self._sleep = sleep
        self.import_id: str | None = None
        self.sums = ReceiptSums()

    def open_import(self, source: str) -> str:
        """Make all batches from now on part of a new import, and give its id.

        Raises RequestRefusedError or UnavailableError.
        """
        answer = self._post("/v1/imports", json={"source": source})
        self.import_id = str(_json(answer).get("id"))
        return self.import_id

    def send(self, readings: RecordedReadings) -> None:
        """Send readings as one batch, or as several where one would be over a limit of the API.

        Raises RequestRefusedError or UnavailableError; batches before are in.
        """
        body = to_arrow_stream(readings, self._pack) if len(readings) <= READINGS_MAX else None
        if body is None or (len(body) > BODY_BYTES_MAX and len(readings) > 1):
            middle = len(readings) // 2
            self.send(readings[:middle])
            self.send(readings[middle:])
            return
        params = {} if self.import_id is None else {"import": self.import_id}
        headers = {"Content-Type": ARROW_CONTENT_TYPE}
        answer = self._post("/v1/telemetry", content=body, params=params, headers=headers)
        self.sums.add(_json(answer))

    def _post(self, path: str, headers: dict[str, str] | None = None, **request: Any) -> httpx.Response:
        keyed = {**(headers or {}), "Idempotency-Key": str(uuid4())}
        wait_s, problem = WAIT_S_FIRST, ""
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                self._sleep(wait_s)
            wait_s = min(WAIT_S_FIRST * 2.0 ** (attempt + 1), WAIT_S_MAX)
            try:
                answer = self._client.post(path, headers=keyed, **request)
            except httpx.TransportError as error:
                problem = str(error) or type(error).__name__
                continue
            if answer.is_success:
                return answer
            problem = _problem_text(answer)
            if answer.status_code not in RETRIED_STATUS and _json(answer).get("code") != RETRIED_CODE:
                raise RequestRefusedError(f"{path} was refused with {answer.status_code}: {problem}")
            wait_s = _retry_after_s(answer, wait_s)
        raise UnavailableError(
            f"{self._client.base_url} didn't take the request in {ATTEMPTS_MAX} attempts: {problem}. "
            "Is the engine running (bpm status)?"
        )


def _retry_after_s(answer: httpx.Response, default_s: float) -> float:
    """The wait that the API asks for, within WAIT_S_MAX."""
    text = answer.headers.get("Retry-After", "")
    return min(float(text), WAIT_S_MAX) if text.isascii() and text.isdigit() else default_s


def _json(answer: httpx.Response) -> dict[str, Any]:
    """The object in an answer, empty when there is none."""
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _problem_text(answer: httpx.Response) -> str:
    problem = _json(answer)
    return str(problem.get("detail") or problem.get("title") or answer.text[:ANSWER_TEXT_MAX])
