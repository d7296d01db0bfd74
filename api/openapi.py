"""OpenAPI of the application: what routes say for themselves, and what they share: errors and examples."""

from collections.abc import Iterable
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from api import errors, spreadsheet, vocabulary
from api.examples import Examples
from api.routing import CSV, JSON, NDJSON, StrictRoute
from api.telemetry.schemas import shared_schemas
from api.yaml_text import YAML

Described = dict[str, Any]

_INTERNAL: Final = 500
_ALWAYS: Final = (401, 403, 421, 422, 429, 503)
_WITH_BODY: Final = (400, 408, 413, 415)
_WITH_IF_MATCH: Final = (409, 412, 428)
_WITH_KEY: Final = (409,)

_INTERNAL_PROBLEM: Final = ("internal", "The engine failed")
_RANGE: Final = {"from": "RFC 3339 with offset, inclusive", "to": "RFC 3339 with offset, exclusive"}
_HEADERS: Final = {
    401: {"WWW-Authenticate": {"description": "`Bearer`", "schema": {"type": "string"}}},
    429: {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}}},
    503: {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}}},
    507: {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}}},
}

PROBLEM: Final[Described] = {
    "title": "Problem",
    "description": "Why a request was refused (RFC 9457). Some problems tell more, such as `errors` or `problems`.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "`urn:bpm:problem:` and the code"},
        "title": {"type": "string", "description": "the same for every problem of the code"},
        "status": {"type": "integer", "description": "that of the answer"},
        "detail": {"type": "string", "description": "what is wrong this time"},
        "code": {"type": "string", "description": "by which programs tell problems apart"},
        "request_id": {"type": "string", "description": "of the answer's X-Request-Id, for your support"},
        "field": {"type": "string", "description": "the parameter, header or field that is wrong"},
        "limit": {
            "anyOf": [{"type": "number"}, {"type": "string"}],
            "description": "what it may be at most, or at least",
        },
        "cell": {"type": "string", "description": "of 421: the cell on which the tenant is"},
        "url": {"type": "string", "description": "of 421: where that cell's API is"},
        "errors": {
            "type": "array",
            "description": "every field that is wrong, up to 20",
            "items": {
                "title": "FieldProblem",
                "type": "object",
                "required": ["message"],
                "properties": {
                    "field": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "message": {"type": "string"},
                },
            },
        },
    },
}


def install(app: FastAPI) -> None:
    """Let the app describe itself with the errors and examples that its routes share."""

    def openapi() -> Described:
        if app.openapi_schema is None:
            app.openapi_schema = described(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to extend OpenAPI


def described(app: FastAPI) -> Described:
    """OpenAPI of an app: each operation with all statuses that it can answer, and an example of each body."""
    document: Described = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    components = document["components"]
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["schemas"] |= {"Problem": PROBLEM} | shared_schemas()
    components["responses"] = {_name(status): _response(status) for status in _documented_statuses()}
    examples = Examples(components["schemas"])
    for route in iter_route_contexts(app.routes):
        original = route.original_route
        if isinstance(original, APIRoute) and original.include_in_schema:
            for method in original.methods or ():
                operation = document["paths"][route.path][method.lower()]
                _tell_errors(operation, original)
                _tell_examples(operation, examples)
    vocabulary.describe(document)
    return document


def _documented_statuses() -> list[int]:
    return sorted({_INTERNAL, *errors.STATUS.values()})


def _name(status: int) -> str:
    return f"Problem{status}"


def _response(status: int) -> Described:
    """The answer to a refused request, with an example of each code that has this status."""
    kinds = [(kind.code, kind("").title) for kind, of in errors.STATUS.items() if of == status]
    kinds = kinds or [_INTERNAL_PROBLEM]
    return {
        "description": "; or: ".join(f"`{code}`: {title}" for code, title in kinds),
        "headers": _HEADERS.get(status, {}),
        "content": {
            errors.MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {code: {"value": _example(status, code, title)} for code, title in kinds},
            }
        },
    }


def _example(status: int, code: str, title: str) -> Described:
    return {
        "type": f"urn:bpm:problem:{code}",
        "title": title,
        "status": status,
        "detail": "what exactly was wrong",
        "code": code,
        "request_id": "3f1c9a7e5b2d4c60a1f0e9d8c7b6a594",
    }


def _tell_errors(operation: Described, route: APIRoute) -> None:
    """Name every status that a route can give: those it names itself, and those that follow from what it takes."""
    responses: Described = operation["responses"]
    responses.pop("422", None)
    named = {int(status) for status, response in responses.items() if "content" not in response}
    refusals = {status for status in named if status in errors.STATUS.values()}
    for status in sorted(refusals | set(shared_statuses(operation, route))):
        responses[str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}
    operation["responses"] = dict(sorted(responses.items()))


def shared_statuses(operation: Described, route: APIRoute) -> Iterable[int]:
    """The statuses that follow from what a route takes and offers."""
    yield _INTERNAL
    if not isinstance(route, StrictRoute):
        return
    yield from _ALWAYS
    parameters = {(given["in"], given["name"].lower()) for given in operation.get("parameters", ())}
    if "requestBody" in operation:
        yield from _WITH_BODY
    if ("path", "id") in parameters:
        yield 404
    if route.offered or len(operation["responses"].get("200", {}).get("content", {})) > 1:
        yield 406
    if ("header", "if-match") in parameters:
        yield from _WITH_IF_MATCH
    if ("header", "idempotency-key") in parameters:
        yield from _WITH_KEY


def _tell_examples(operation: Described, examples: Examples) -> None:
    """Give parameters and JSON bodies examples where they have none, and ranges their rule."""
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in _RANGE:
            parameter.setdefault("description", _RANGE[parameter["name"]])
        if not {"example", "examples"} & set(parameter):
            parameter["example"] = examples.of_parameter(parameter)
    bodies = [response for response in operation["responses"].values() if "content" in response]
    for body in (operation.get("requestBody", {}), *bodies):
        content = body.get("content", {})
        for kind in (JSON, YAML):
            if kind in content and not {"example", "examples"} & set(content[kind]):
                content[kind]["example"] = examples.of(content[kind]["schema"])
        _tell_lines(content)


def _tell_lines(content: Described) -> None:
    """Write the example of a list as lines of JSON and as CSV, where it is offered so."""
    items = content.get(JSON, {}).get("example", {})
    items = items.get("items") if isinstance(items, dict) else None
    if not items:
        return
    for kind, encoded in (
        (NDJSON, b"".join(orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE) for item in items)),
        (CSV, spreadsheet.table(tuple(items[0]), items)),
    ):
        if kind in content:
            content[kind].setdefault("example", encoded.decode())
