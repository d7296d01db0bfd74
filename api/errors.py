"""Errors as problem+json (RFC 9457); what was sent is never echoed."""

import logging
from typing import Any

import orjson
import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response

from domain import errors

log = logging.getLogger(__name__)

STATUS: dict[type[errors.BpmError], int] = {
    errors.BodyUnreadableError: 400,
    errors.UnauthenticatedError: 401,
    errors.CredentialChangedError: 401,
    errors.ForbiddenError: 403,
    errors.TenantSuspendedError: 403,
    errors.TenantDeletingError: 403,
    errors.NotFoundError: 404,
    errors.NotAcceptableError: 406,
    errors.RequestTimeoutError: 408,
    errors.ConflictError: 409,
    errors.PackQuotaError: 409,
    errors.ArchivedError: 409,
    errors.InFlightError: 409,
    errors.RegistryChangedError: 409,
    errors.PreconditionFailedError: 412,
    errors.BodyTooLargeError: 413,
    errors.UnsupportedFormatError: 415,
    errors.TenantElsewhereError: 421,
    errors.InvalidRequestError: 422,
    errors.KeyReusedError: 422,
    errors.PreconditionRequiredError: 428,
    errors.BusyError: 429,
    errors.QuotaExceededError: 429,
    errors.SignInBlockedError: 429,
    errors.RateLimitedError: 429,
    errors.UnavailableError: 503,
    errors.TenantMovingError: 503,
    errors.DiskLowError: 507,
}

MEDIA_TYPE = "application/problem+json"

POLICY_OF_DATA = "default-src 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of what is no page."""


def may_answer(*kinds: type[errors.BpmError]) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that refuses for these reasons too, beside those that follow from what it takes."""
    return {STATUS[kind]: {"description": kind("").title} for kind in kinds}


DATABASE_ERRORS = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
"""The database doesn't answer as it should; it may again."""

_CODE_OF_STATUS = {404: "not_found", 405: "method_not_allowed"}
_RETRY_AFTER_S = "1"
_NAME_CHARACTERS_MAX = 100


def problem(
    request: Request,
    status: int,
    code: str,
    title: str,
    detail: str,
    headers: dict[str, str] | None = None,
    **facts: Any,
) -> Response:
    """A problem+json answer; facts that are None are left out."""
    body = {
        "type": f"urn:bpm:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request.scope.get("request_id", ""),
    } | {name: value for name, value in facts.items() if value is not None}
    # What doesn't exist now may exist a moment later.
    told = {"Cache-Control": "no-store", "Content-Security-Policy": POLICY_OF_DATA} | (headers or {})
    return Response(orjson.dumps(body), status, told, MEDIA_TYPE)


async def on_bpm_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.BpmError)  # noqa: S101 - registered for this class alone
    status = STATUS.get(type(error), 500)
    facts = dict(error.facts)
    headers = {}
    if "retry_after_s" in facts:
        headers["Retry-After"] = str(facts.pop("retry_after_s"))
    headers |= facts.pop("headers", {})
    if status == 401:  # noqa: PLR2004 - the status itself
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.RequestTimeoutError):
        # What is left of the request would be taken for the next one.
        headers["Connection"] = "close"
    # A full disk is logged once when it begins: a line for each request would fill it further. A move is no error.
    if status >= 500 and not isinstance(error, (errors.DiskLowError, errors.TenantMovingError)):  # noqa: PLR2004 - the class of server errors
        log.error("%s: %s", error.code, error.detail)
    return problem(
        request,
        status,
        error.code,
        error.title,
        error.detail,
        headers,
        field=error.field,
        limit=error.limit,
        **facts,
    )


async def on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
    found: list[dict[str, Any]] = list(error.errors())
    first: dict[str, Any] = found[0] if found else {"loc": (), "msg": "invalid"}
    facts = first.get("ctx", {})
    limit = next(
        (facts[name] for name in ("le", "lt", "ge", "gt", "max_length", "min_length") if name in facts), None
    )
    errors_ = [{"field": _field_of(item), "message": _message_of(item)} for item in found[:20]]
    field, message = _field_of(first), _message_of(first)
    return problem(
        request, 422, "invalid_request", "A parameter or a field is wrong",
        message if field is None else f"{field}: {message}",
        field=field, limit=limit, errors=errors_,
    )  # fmt: skip


def _field_of(error: dict[str, Any]) -> str | None:
    """Where a field stands, shortened, because unknown fields have names of the sender's."""
    return ".".join(str(part)[:_NAME_CHARACTERS_MAX] for part in error["loc"][1:]) or None


def _message_of(error: dict[str, Any]) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


async def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    code = _CODE_OF_STATUS.get(error.status_code, "invalid_request")
    headers = dict(error.headers) if error.headers else None
    return problem(request, error.status_code, code, str(error.detail), str(error.detail), headers)


async def on_database_error(request: Request, error: Exception) -> Response:
    log.warning("the database did not answer: %s", error)
    detail = "the database did not answer in time; try again"
    return problem(
        request,
        503,
        "unavailable",
        "The engine can't accept this now",
        detail,
        {"Retry-After": _RETRY_AFTER_S},
    )


async def on_unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    detail = "an unexpected error; it has been logged"
    # Starlette sends this answer past all middleware.
    headers = {"X-Request-Id": str(request.scope.get("request_id", ""))}
    return problem(request, 500, "internal", "The engine failed", detail, headers)


def install(app: FastAPI) -> None:
    """Let the app answer every error as problem+json."""
    app.add_exception_handler(errors.BpmError, on_bpm_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    for kind in DATABASE_ERRORS:
        app.add_exception_handler(kind, on_database_error)
    app.add_exception_handler(Exception, on_unexpected)
