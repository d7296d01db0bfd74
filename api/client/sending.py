"""Readings sent in parts, each once whatever happens to the connection."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import httpx

if TYPE_CHECKING:
    import pyarrow as pa

ARROW_CONTENT_TYPE: Final = "application/vnd.apache.arrow.stream"
BODY_BYTES_MAX: Final = 16 << 20
READINGS_MAX: Final = 200_000
ATTEMPTS_MAX: Final = 10
WAIT_S_FIRST: Final = 0.25
WAIT_S_MAX: Final = 30.0
ANSWER_TEXT_MAX: Final = 500

RECEIPT_COUNTS: Final = ("received", "accepted", "duplicate", "quarantined", "late", "conflicting")
RETRIED_STATUS: Final = frozenset({429, 503, 507})
RETRIED_CODE: Final = "in_flight"


class NotSentError(Exception):
    """What was to be sent did not go in."""


class RefusedError(NotSentError):
    """The API refused it. `problem` is what it said, empty when it said nothing that can be read."""

    def __init__(self, path: str, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.problem = json_of(answer)
        super().__init__(f"{path} was refused with {self.status}: {problem_text(answer)}")


class UnansweredError(NotSentError):
    """The API took it in none of the attempts."""


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


def send_table(
    client: httpx.Client,
    table: "pa.Table",
    *,
    key: str | None = None,
    import_id: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> ReceiptSums:
    """Send a table of readings, of any length: columns pack, ts and measures. Gives the sums of its receipts.

    client: carries the address and the token; that of a generated client is `client.get_httpx_client()`.
    key: of the whole table. Whoever sends the same table again under the same key, after a crash, gets the same
    receipts. import_id: of an import, for any past time. Raises RefusedError, UnansweredError; parts before are in.
    """
    named, sums = key or str(uuid4()), ReceiptSums()

    def encode(start: int, end: int) -> bytes:
        return arrow_stream(table.slice(start, end - start))

    for start, body in in_parts(table.num_rows, encode):
        sums.add(send_arrow(client, body, key=f"{named}/{start}", import_id=import_id, sleep=sleep))
    return sums


def send_arrow(
    client: httpx.Client,
    body: bytes,
    *,
    key: str,
    import_id: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Send one Arrow IPC stream and give its receipt. Raises RefusedError, UnansweredError."""
    params = {} if import_id is None else {"import": import_id}
    headers = {"Content-Type": ARROW_CONTENT_TYPE}
    answer = post(client, "/v1/telemetry", key=key, sleep=sleep, content=body, params=params, headers=headers)
    return json_of(answer)


def arrow_stream(table: "pa.Table") -> bytes:
    """A table as an Arrow IPC stream."""
    import pyarrow as pa  # a part of what whoever sends JSON alone does not need

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def in_parts(length: int, encode: Callable[[int, int], bytes]) -> Iterator[tuple[int, bytes]]:
    """Bodies of readings start <= n < end, with their start, each within the limits of one request.

    encode: the body of a part. A single reading is a part, however long it is. The parts of equal readings are equal.
    """
    waiting = [(0, length)] if length else []
    while waiting:
        start, end = waiting.pop()
        body = encode(start, end) if end - start <= READINGS_MAX else None
        if body is None or (len(body) > BODY_BYTES_MAX and end - start > 1):
            middle = (start + end) // 2
            waiting += [(middle, end), (start, middle)]
        else:
            yield start, body


def post(
    client: httpx.Client,
    path: str,
    *,
    key: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
    headers: dict[str, str] | None = None,
    **request: Any,
) -> httpx.Response:
    """A successful answer to what is sent, under one Idempotency-Key, up to ATTEMPTS_MAX times.

    What is answered with 429, 503 or 507, is in flight already or gets no answer is sent again; the key makes
    that safe.
    Raises RefusedError, UnansweredError.
    """
    keyed = {**(headers or {}), "Idempotency-Key": key or str(uuid4())}
    wait_s, problem = WAIT_S_FIRST, ""
    for attempt in range(ATTEMPTS_MAX):
        if attempt:
            sleep(wait_s)
        wait_s = min(WAIT_S_FIRST * 2.0 ** (attempt + 1), WAIT_S_MAX)
        try:
            answer = client.post(path, headers=keyed, **request)
        except httpx.TransportError as error:
            problem = str(error) or type(error).__name__
            continue
        if answer.is_success:
            return answer
        problem = problem_text(answer)
        if answer.status_code not in RETRIED_STATUS and json_of(answer).get("code") != RETRIED_CODE:
            raise RefusedError(path, answer)
        wait_s = _retry_after_s(answer, wait_s)
    raise UnansweredError(
        f"{client.base_url} didn't take the request in {ATTEMPTS_MAX} attempts: {problem}. "
        "Is the engine running (bpm status)?"
    )


def _retry_after_s(answer: httpx.Response, default_s: float) -> float:
    """The wait that the API asks for, within WAIT_S_MAX."""
    text = answer.headers.get("Retry-After", "")
    return min(float(text), WAIT_S_MAX) if text.isascii() and text.isdigit() else default_s


def json_of(answer: httpx.Response) -> dict[str, Any]:
    """The object in an answer, empty when there is none."""
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def problem_text(answer: httpx.Response) -> str:
    """What an answer says is wrong."""
    problem = json_of(answer)
    return str(problem.get("detail") or problem.get("title") or answer.text[:ANSWER_TEXT_MAX])
