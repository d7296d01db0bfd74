"""Bodies of telemetry: how large each may be, how it is unfolded and read."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ParamSpec, TypeVar
from uuid import UUID

from fastapi import Request

from api.call import Call
from api.routing import ARROW, CSV, JSON, NDJSON, encoding_of, read_as_sent
from domain.errors import UnsupportedFormatError
from domain.key_aliases import KeyAliases
from domain.quarantine import RawForm
from ingest.bodies.arrow import read_arrow
from ingest.bodies.csv_text import read_csv
from ingest.bodies.encodings import ENCODINGS, UnfoldedLimits, unfold
from ingest.bodies.native import read_json, read_ndjson
from ingest.bodies.thingsboard import read_gateway, read_thingsboard
from ingest.columns import RawReadings

_IN_THREAD_BYTES_MIN = 65_536
_OF_ENCODING_BYTES = 65_536

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class BodyShape(StrEnum):
    """What a body's objects look like."""

    NATIVE = "native"
    THINGSBOARD = "thingsboard"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Body:
    """A body as it was before any compression, with what its headers and parameters say.

    pack: whose telemetry it is, where the body itself doesn't say it.
    """

    content: bytes
    content_type: str
    idempotency_key: str | None
    import_id: UUID | None
    shape: BodyShape = BodyShape.NATIVE
    pack: str | None = None

    @property
    def form(self) -> RawForm:
        """How the raw text of one of its readings is written."""
        if self.shape is not BodyShape.NATIVE:
            return RawForm.THINGSBOARD
        return RawForm.CSV if self.content_type == CSV else RawForm.JSON


def content_type_of(request: Request) -> str:
    """What Content-Type says, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_content(request: Request, call: Call, shape: BodyShape) -> bytes:
    """The body as it was before any compression.

    Raises UnsupportedFormatError, BodyTooLargeError, BodyUnreadableError.
    """
    bytes_max = _bytes_max_of(call, content_type_of(request), shape)
    encoding = {"x-gzip": "gzip"}.get(given := encoding_of(request) or "", given)
    if not encoding:
        return await read_as_sent(request, bytes_max)
    if encoding not in ENCODINGS:
        raise UnsupportedFormatError(
            f"send the body as it is, or in one of {', '.join(ENCODINGS)}", field="Content-Encoding"
        )
    # What doesn't compress becomes a little larger.
    sent = await read_as_sent(request, bytes_max + _OF_ENCODING_BYTES)
    limits = UnfoldedLimits(bytes_max, call.engine.settings.decompressed_ratio_max)
    return await asyncio.to_thread(unfold, sent, encoding, limits)


def _bytes_max_of(call: Call, content_type: str, shape: BodyShape) -> int:
    """The largest body of a type. Raises UnsupportedFormatError for other types."""
    settings = call.engine.settings
    sizes = {JSON: settings.json_body_bytes_max}
    if shape is BodyShape.NATIVE:
        sizes |= dict.fromkeys((NDJSON, CSV), settings.json_body_bytes_max)
        sizes |= {ARROW: settings.arrow_body_bytes_max}
    if content_type not in sizes:
        raise UnsupportedFormatError(f"send {' or '.join(sizes)}", field="Content-Type")
    return sizes[content_type]


async def decode(call: Call, body: Body, arrived_at_ms: int, aliases: KeyAliases) -> RawReadings:
    """The readings of a body. Raises BodyUnreadableError, BodyTooLargeError, InvalidRequestError."""
    limits = call.engine.body_limits_json
    if body.shape is BodyShape.GATEWAY:
        return await off_loop(body, read_gateway, body.content, arrived_at_ms, limits, aliases)
    if body.shape is BodyShape.THINGSBOARD:
        pack = body.pack or ""
        return await off_loop(body, read_thingsboard, body.content, pack, arrived_at_ms, limits, aliases)
    if body.content_type == ARROW:
        return await off_loop(body, read_arrow, body.content, call.engine.body_limits_arrow, aliases)
    read = {NDJSON: read_ndjson, CSV: read_csv}.get(body.content_type, read_json)
    return await off_loop(body, read, body.content, limits, aliases)


async def off_loop(
    body: Body, work: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """What work on a body gives; in a thread when the body is so large that other requests would wait."""
    if len(body.content) < _IN_THREAD_BYTES_MIN:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
