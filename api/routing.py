"""What all routes share: strict requests, permission, paging, versions, formats."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, get_args, get_origin
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Header, Path, Query, Request, params
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints, WithJsonSchema
from starlette.responses import Response

from api import spreadsheet
from api.call import Call, PlatformCall
from api.engine import Engine
from api.freshness import with_tag
from domain.clock import from_ms
from domain.errors import (
    BodyTooLargeError,
    BodyUnreadableError,
    ForbiddenError,
    InvalidRequestError,
    NotAcceptableError,
    PreconditionRequiredError,
    RequestTimeoutError,
    UnsupportedFormatError,
)
from domain.policy import Action, PlatformAction, decide, decide_on_platform
from domain.tenancy import Actor
from ingest.bodies import moments
from ingest.bodies.native import decode_strictly
from ingest.columns import CONTROL_CHARACTERS

JSON = "application/json"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
NDJSON = "application/x-ndjson"


def engine_of(request: Request) -> Engine:
    """The engine that the app was made for."""
    engine: Engine = request.app.state.engine
    return engine


EngineOf = Annotated[Engine, Depends(engine_of)]


ACTOR = "bpm.actor"
"""Where a request's scope says who asks, once that is known."""

BEARER = HTTPBearer(auto_error=False, bearerFormat="JWT", description="an access token of the installation")


@dataclass(frozen=True, slots=True)
class Allowed:
    """Dependency of every route under /v1: the call, if the policy lets its actor do the action."""

    action: Action

    async def __call__(
        self,
        request: Request,
        _: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    ) -> Call:
        engine = engine_of(request)
        actor = await engine.actor_of(request.headers.get("authorization"))
        request.scope[ACTOR] = actor
        await engine.rates.take_request(actor)
        decision = decide(actor, self.action)
        if not decision.allowed:
            raise ForbiddenError(decision.reason)
        if self.action.changes or actor.grant is not None:
            await engine.require_settled(actor.tenant_name)
        await engine.meter_request(actor, sends_readings=self.action is Action.TELEMETRY_WRITE)
        request_id, client = _origin_of(request)
        if actor.grant is not None:
            path, body = _path_of(request), await _body_of(request)
            await engine.looks.note(actor, request.method, path, request_id, client, body=body)
        return Call(engine, actor, request_id, client)


def _origin_of(request: Request) -> tuple[str, str | None]:
    """The request's id, and the address that it came from."""
    return str(request.scope["request_id"]), None if request.client is None else request.client.host


async def _body_of(request: Request) -> bytes:
    """The body that a route has a schema for, which is read by now; others are streams of readings."""
    return (
        await request.body() if getattr(request.scope.get("route"), "body_field", None) is not None else b""
    )


def _path_of(request: Request) -> str:
    """As it came, byte by byte: decoded, several would look alike."""
    path: bytes = request.scope["raw_path"]
    asked: bytes = request.scope["query_string"]
    return (path + (b"?" + asked if asked else b"")).decode("latin-1")


@dataclass(frozen=True, slots=True)
class AllowedOnPlatform:
    """Dependency of every route under /v1/platform: the call, if the policy lets its operator do the action."""

    action: PlatformAction

    async def __call__(
        self,
        request: Request,
        _: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    ) -> PlatformCall:
        engine = engine_of(request)
        claims = await engine.claims_of(request.headers.get("authorization"))
        if claims.tenant_name is not None:
            request.scope[ACTOR] = actor = await engine.actor_of_claims(claims)
            await engine.rates.take_request(actor)
            raise ForbiddenError("this is for operators of the installation, who belong to no tenant")
        operator = engine.operator_of_claims(claims)
        await engine.platform.rates.take_platform_request(operator)
        decision = decide_on_platform(operator, self.action)
        if not decision.allowed:
            raise ForbiddenError(decision.reason)
        return PlatformCall(engine, operator, *_origin_of(request))


@dataclass(frozen=True, slots=True)
class AllowedInFrame:
    """Dependency of every WebSocket under /v1, whose caller is known only from the first frame."""

    action: Action

    def __call__(self) -> "AllowedInFrame":
        return self

    def check(self, actor: Actor) -> None:
        """Raises ForbiddenError unless the policy lets the actor do the action."""
        decision = decide(actor, self.action)
        if not decision.allowed:
            raise ForbiddenError(decision.reason)


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The request's body. Raises BodyTooLargeError as soon as it passes the limit, UnsupportedFormatError."""
    if encoding_of(request) is not None:
        raise UnsupportedFormatError(
            "encoded bodies are not accepted here: send it as it is", field="Content-Encoding"
        )
    return await read_as_sent(request, bytes_max)


def encoding_of(request: Request) -> str | None:
    """What Content-Encoding says, in small letters, several joined by commas; None for a body as it is."""
    given = ",".join(request.headers.getlist("content-encoding")).strip().lower()
    return None if given in ("", "identity") else given


async def read_as_sent(request: Request, bytes_max: int) -> bytes:
    """The request's body, encoded as it may be.

    Raises BodyTooLargeError as soon as it passes the limit, RequestTimeoutError when it takes too long to come.
    """
    declared = request.headers.get("content-length", "0")
    chunks: list[bytes] = []
    size = int(declared) if declared.isdigit() else 0
    if size <= bytes_max:
        size = 0
        limit_s = engine_of(request).settings.body_s_max
        try:
            async with asyncio.timeout(limit_s):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > bytes_max:
                        break
                    chunks.append(chunk)
        except TimeoutError as error:
            engine_of(request).metrics.count_refused("body_s_max")
            raise RequestTimeoutError("the body did not arrive in time", limit=limit_s) from error
    if size > bytes_max:
        raise BodyTooLargeError(f"the body is larger than {bytes_max} bytes", limit=bytes_max)
    return b"".join(chunks)


Responses = dict[int | str, dict[str, Any]]

HTTP_OK, HTTP_NOT_MODIFIED = 200, 304

_ETAG = {
    "description": "of just this answer; not there when it is streamed",
    "schema": {"type": "string"},
}
_NEXT_CURSOR = {
    "description": "of lines of JSON and of CSV: the cursor of the next page, if there is one",
    "schema": {"type": "string"},
}


_CONDITIONAL = {
    "parameters": [
        {
            "name": "If-None-Match",
            "in": "header",
            "description": "ETags of answers that the client has; 304 when one of them still is the answer",
            "schema": {"type": "string"},
        }
    ]
}


class StrictRoute(APIRoute):
    """A route that refuses unknown and repeated parameters, JSON bodies that parsers read differently, and formats
    that it doesn't offer; and that answers 304 when nothing has changed.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        first_sentence = (endpoint.__doc__ or "").partition(".")[0]
        options["summary"] = " ".join(first_sentence.split()) or None
        model = options.get("response_model")
        self.columns = item_columns(model)
        is_read = "GET" in (options.get("methods") or ())
        options["responses"] = described(
            options.get("responses"), is_list=self.columns != (), is_read=is_read
        )
        content = options["responses"].get(HTTP_OK, {}).get("content", {})
        answers_json = model is not None and not isinstance(model, DefaultPlaceholder)
        self.offered = (*((JSON,) if answers_json else ()), *content) if is_read else ()
        if is_read:
            options["openapi_extra"] = (options.get("openapi_extra") or {}) | _CONDITIONAL
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = {
            field.alias: get_origin(field.field_info.annotation) is list
            for field in get_flat_params(self.dependant)
            if not isinstance(field.field_info, params.Header | params.Path)
        }
        body_field = self.body_field

        async def handle_strictly(request: Request) -> Response:
            given = Counter(name for name, _ in request.query_params.multi_items())
            for name, times in given.items():
                if name not in known:
                    raise InvalidRequestError("there is no such parameter", field=_printable(name))
                if times > 1 and not known[name]:
                    raise InvalidRequestError("the parameter stands more than once", field=name)
            if len(self.offered) == 1:
                chosen_format(request, *self.offered)
            request.state.columns = self.columns
            if body_field is not None:
                await _check_body(request, required=body_field.field_info.is_required())
            return await with_tag(request, await handle(request))

        return handle_strictly


def item_columns(model: Any) -> tuple[str, ...]:
    """The columns of a list as CSV: the names of what an item of the page says; none of another model."""
    fields = getattr(model, "model_fields", {})
    if "items" not in fields or "next_cursor" not in fields:
        return ()
    (item,) = get_args(fields["items"].annotation)
    return tuple(
        field.serialization_alias or field.alias or name for name, field in item.model_fields.items()
    )


def described(responses: Responses | None, *, is_list: bool, is_read: bool) -> Responses:
    """The responses of a route for OpenAPI, with the formats of a list, and with 304 where it is read."""
    found: Responses = {status: dict(response) for status, response in (responses or {}).items()}
    if is_read:
        ok = found.setdefault(HTTP_OK, {})
        if is_list:
            ok["content"] = {kind: {"schema": {"type": "string"}} for kind in (NDJSON, CSV)} | ok.get(
                "content", {}
            )
            ok["headers"] = {"Next-Cursor": _NEXT_CURSOR} | ok.get("headers", {})
        ok["headers"] = {"ETag": _ETAG} | ok.get("headers", {})
        found[HTTP_NOT_MODIFIED] = {"description": "What If-None-Match names is still the answer"}
    return found


def _printable(name: str) -> str:
    return name[:100].encode("ascii", "replace").decode()


async def _check_body(request: Request, *, required: bool) -> None:
    body = await read_body(request, engine_of(request).settings.record_body_bytes_max)
    request._body = body  # noqa: SLF001 - Starlette's own cache, since the stream has been read
    if not body and not required:
        return
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != JSON:
        raise UnsupportedFormatError("send the body as application/json", field="Content-Type")
    try:
        decode_strictly(body)
    except BodyUnreadableError as error:
        # Records answer 422 to what is JSON in form; 400 is for what isn't text or nests too deeply.
        if error.facts.get("unreadable"):
            raise BodyUnreadableError(error.detail) from error
        raise InvalidRequestError(error.detail) from error


def router(tag: str) -> APIRouter:
    """A router whose routes are strict and documented under a tag."""
    return APIRouter(prefix="/v1", tags=[tag], route_class=StrictRoute)


class Strict(BaseModel):
    """Base of request bodies: no unknown fields, no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _without_control_characters(text: str) -> str:
    if CONTROL_CHARACTERS.search(text):
        raise ValueError("control characters are not allowed")
    return text


Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, strip_whitespace=False),
    AfterValidator(_without_control_characters),
]


MOMENT_SCHEMA = {"type": "string", "format": "date-time"}


def _moment(text: object) -> object:
    found = moments.parse_one(text) if isinstance(text, str) else None
    if not isinstance(found, int):
        raise ValueError("expected RFC 3339 text with an offset, such as 2026-01-31T12:00:00Z")  # noqa: TRY004
    return from_ms(found)


Moment = Annotated[
    datetime,
    BeforeValidator(_moment, json_schema_input_type=Annotated[str, WithJsonSchema(MOMENT_SCHEMA)]),
]
"""RFC 3339 text with an offset, read to the millisecond."""


RecordId = Annotated[UUID, Path(alias="id", description="opaque id")]


class PageOf(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Query(ge=1, le=1000, description="items on a page")] = 100
    cursor: Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before")] = (
        None
    )


_VERSION_TAG = re.compile(r'"?([0-9]{1,9})(?:-[0-9a-f]+)?"?', re.ASCII)
"""A version in int4, with the hash that `with_tag` puts behind it."""


def version_of(if_match: str | None) -> int:
    """The version that an edit is based on. Raises PreconditionRequiredError, InvalidRequestError."""
    if if_match is None:
        raise PreconditionRequiredError(
            "send If-Match with the ETag that the record was read with", field="If-Match"
        )
    found = _VERSION_TAG.fullmatch(if_match.strip())
    if found is None:
        raise InvalidRequestError("If-Match is not an ETag of this record", field="If-Match")
    return int(found[1])


IfMatch = Annotated[str | None, Header(description="ETag of the version that the edit is based on")]


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(content, default=str), status, headers, JSON)


def etag(version: int) -> dict[str, str]:
    """The header that names a record's version; `with_tag` adds what else its answer says."""
    return {"ETag": f'"{version}"'}


def listed(
    request: Request,
    items: list[dict[str, Any]],
    next_cursor: str | None,
    chosen: str | None = None,
    told: dict[str, Any] | None = None,
) -> Response:
    """A page of a list as JSON; or as lines of JSON or as CSV, with the cursor in a header. By Accept, unless the
    format was chosen. told: what stands in the JSON beside the items.
    """
    chosen = chosen or chosen_format(request, JSON, NDJSON, CSV)
    if chosen == JSON:
        return answer({"items": items, "next_cursor": next_cursor} | (told or {}))
    if chosen == CSV:
        body = spreadsheet.table(request.state.columns, items)
    else:
        body = b"".join(orjson.dumps(item, default=str, option=orjson.OPT_APPEND_NEWLINE) for item in items)
    return Response(body, headers=cursor_header(next_cursor), media_type=chosen)


def cursor_header(next_cursor: str | None) -> dict[str, str] | None:
    """The header that leads to the next page, where there is one."""
    return {"Next-Cursor": next_cursor} if next_cursor else None


def chosen_format(request: Request, *offered: str) -> str:
    """The offered format that Accept weighs most, the first of equals. Raises NotAcceptableError.

    Of several ranges that match a format the most exact one counts (RFC 9110, section 12.5.1).
    """
    accept = ",".join(request.headers.getlist("accept") or ["*/*"])
    ranges = [found for part in accept.split(",") if (found := _media_range(part)) is not None]
    weights = {offer: _weight(ranges, offer) for offer in offered}
    best = max(offered, key=lambda offer: weights[offer])
    if weights[best] == 0:
        raise NotAcceptableError(f"offered are {', '.join(offered)}", field="Accept")
    return best


_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", re.ASCII)


def _media_range(part: str) -> tuple[str, float] | None:
    """A media range of Accept and its weight; None for what is none."""
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    qualities = [piece[2:] for piece in parameters if piece.startswith("q=")] or ["1"]
    return (kind, float(qualities[0])) if _QUALITY.fullmatch(qualities[0]) else None


def _weight(ranges: list[tuple[str, float]], offer: str) -> float:
    for kind in (offer, offer.partition("/")[0] + "/*", "*/*"):
        weights = [weight for given, weight in ranges if given == kind]
        if weights:
            return max(weights)
    return 0.0
