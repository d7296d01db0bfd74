"""Recorded readings sent to the API in batches, each exactly once whatever happens to the connection."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import httpx
import typer

from api.cli import context
from api.client import sending
from api.client.sending import ReceiptSums
from domain.errors import BpmError, UnavailableError

if TYPE_CHECKING:
    from ingest.recorded import RecordedReadings

REQUEST_S_MAX: Final = 120.0
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class RequestRefusedError(BpmError):
    """The API refused what was sent."""

    code = "request_refused"


def engine_client(url: str | None, token: str | None) -> httpx.Client:
    """A client for the engine, this machine's when no address is given.

    A proxy of the environment is not asked for this machine's own address. Raises BadParameter.
    """
    if url is None:
        settings = context.read_settings()
        host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - listens on all
        url = f"http://{host}:{settings.port}"
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise typer.BadParameter(f"{url} is no address: {error}.", param_hint="--url") from error
    return httpx.Client(
        base_url=address,
        headers={} if token is None else {"Authorization": f"Bearer {token}"},
        timeout=REQUEST_S_MAX,
        trust_env=address.host not in LOOPBACK,
    )


class Sender:
    """Sends one pack's readings over an httpx client that carries the address and the token."""

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
        with errors_of_ours():
            answer = sending.post(self._client, "/v1/imports", sleep=self._sleep, json={"source": source})
        self.import_id = str(sending.json_of(answer).get("id"))
        return self.import_id

    def send(self, readings: "RecordedReadings") -> None:
        """Send readings as one batch, or as several where one would be over a limit of the API.

        Raises RequestRefusedError or UnavailableError; batches before are in.
        """
        from ingest.recorded import to_arrow_stream

        def encode(start: int, end: int) -> bytes:
            return to_arrow_stream(readings[start:end], self._pack)

        for _, body in sending.in_parts(len(readings), encode):
            with errors_of_ours():
                receipt = sending.send_arrow(
                    self._client, body, key=str(uuid4()), import_id=self.import_id, sleep=self._sleep
                )
            self.sums.add(receipt)


@contextmanager
def errors_of_ours() -> Iterator[None]:
    """What the client raises, as errors of a command: RequestRefusedError, UnavailableError."""
    try:
        yield
    except sending.RefusedError as error:
        raise RequestRefusedError(str(error)) from error
    except sending.UnansweredError as error:
        raise UnavailableError(str(error)) from error
