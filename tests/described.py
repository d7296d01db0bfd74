"""What OpenAPI says of answers; every client of the tests holds each answer against it."""

import re
from functools import lru_cache
from typing import Any

import httpx

from api.app import described_app

Operations = dict[str, dict[int, frozenset[str]]]

NOT_ROUTED = frozenset({405})
"""Not an answer of an operation: the path has none for this method."""


@lru_cache(maxsize=1)
def openapi() -> dict[str, Any]:
    """The description of the API."""
    return described_app().openapi()


@lru_cache(maxsize=1)
def _by_path() -> tuple[dict[str, Operations], list[tuple[re.Pattern[str], Operations]]]:
    """Media types by method and status, for paths as they are, and for patterns of those with an id."""
    responses = openapi()["components"]["responses"]
    exact: dict[str, Operations] = {}
    patterns: list[tuple[re.Pattern[str], Operations]] = []
    for path, methods in openapi()["paths"].items():
        operations = {
            method.upper(): {
                int(status): frozenset(
                    responses[answer["$ref"].rpartition("/")[2]]["content"]
                    if "$ref" in answer
                    else answer.get("content", ())
                )
                for status, answer in operation["responses"].items()
            }
            for method, operation in methods.items()
        }
        if "{" in path:
            patterns.append((re.compile(re.sub(r"\\{[a-z_]+\\}", "[^/]+", re.escape(path))), operations))
        else:
            exact[path] = operations
    return exact, patterns


def _operations_of(path: str) -> Operations:
    exact, patterns = _by_path()
    if path in exact:
        return exact[path]
    return next((operations for pattern, operations in patterns if pattern.fullmatch(path)), {})


def assert_described(answer: httpx.Response) -> None:
    """Raises AssertionError for a status or a media type that OpenAPI doesn't name for the answer's operation."""
    request = answer.request
    statuses = _operations_of(request.url.path).get(request.method)
    if statuses is None or answer.status_code in NOT_ROUTED:
        return
    asked = f"{request.method} {request.url.path}"
    assert answer.status_code in statuses, (
        f"{asked} answers {answer.status_code}, OpenAPI has {sorted(statuses)}"
    )
    kind = answer.headers.get("content-type", "").partition(";")[0]
    described = statuses[answer.status_code]
    assert kind in (described or {""}), (
        f"{asked} {answer.status_code} is {kind}, OpenAPI has {sorted(described)}"
    )
