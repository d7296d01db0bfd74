"""Whether what a client has is still the answer: entity tags and 304 (RFC 9110, sections 8.8.3 and 13.1.2)."""

import asyncio
import hashlib
import re
from typing import Final

from fastapi import Request
from starlette.responses import Response

_OK, _NOT_MODIFIED = 200, 304
_HASH_BYTES: Final = 12
_ENDLESS: Final = "text/event-stream"
_HASHED_HERE_BYTES_MAX: Final = 1 << 18
"""Larger bodies take more than a quarter of a millisecond to hash, and are hashed by a thread."""

_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')
_TOLD_WITH_304: Final = ("etag", "cache-control", "vary")


async def with_tag(request: Request, response: Response) -> Response:
    """The answer with a strong ETag, made of the record's version and of all that it says; 304 when it is unchanged.

    Two answers have one tag only when they are the same, byte for byte: an answer may change without its record, such
    as a pack whose site gets another name. Answers that are streamed have none.
    Endless ones keep their own rules for caches.
    """
    if response.media_type == _ENDLESS:
        return response
    if request.method == "GET":
        response.headers["Cache-Control"] = "private, no-cache"
        response.headers["Vary"] = "Accept"
    body: bytes | None = getattr(response, "body", None)
    asked = request.method == "GET" and response.status_code == _OK
    if body is None or not (asked or "etag" in response.headers):
        return response
    version = response.headers.get("etag", "").strip('"')
    digest = await _digest(response, body)
    tag = f'"{version}-{digest}"' if version else f'"{digest}"'
    response.headers["ETag"] = tag
    if not asked or not _names(request.headers.getlist("if-none-match"), tag):
        return response
    kept = {name: response.headers[name] for name in _TOLD_WITH_304}
    return Response(status_code=_NOT_MODIFIED, headers=kept)


async def _digest(response: Response, body: bytes) -> str:
    """A hash of what is answered: the body, its format, and where the list goes on."""
    beside = f"{response.media_type} {response.headers.get('next-cursor', '')}\n".encode()

    def digest() -> str:
        found = hashlib.blake2b(beside, digest_size=_HASH_BYTES)
        found.update(body)
        return found.hexdigest()

    return digest() if len(body) <= _HASHED_HERE_BYTES_MAX else await asyncio.to_thread(digest)


def _names(given: list[str], tag: str) -> bool:
    """Whether If-None-Match names a tag, by the weak comparison that it asks for.

    >>> _names(['W/"a", "b"'], '"a"'), _names(["*"], '"a"'), _names(['"ab"'], '"a"'), _names([], '"a"')
    (True, True, False, False)
    """
    text = ",".join(given)
    return text.strip() == "*" or tag in _TAG.findall(text)
