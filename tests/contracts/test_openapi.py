"""OpenAPI says of every operation what it takes, what it answers and how it refuses, with examples that fit."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest

from api import errors, vocabulary
from api.app import OPEN_ROUTES
from api.routing import ARROW, JSON
from tests.described import openapi
from tests.running import RunningApi

OPERATIONS = [
    (method.upper(), path, operation)
    for path, methods in openapi()["paths"].items()
    for method, operation in methods.items()
]
NAMES = [f"{method} {path}" for method, path, _ in OPERATIONS]
REFUSED_AS_WRITTEN = frozenset({400, 413, 415, 422})

each_operation = pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each format of an operation's body and of its answers, with what is said of it."""
    for body in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from body.get("content", {}).items()


def examples(told: dict[str, Any]) -> list[Any]:
    named = told.get("examples") or {}
    given = [told["example"]] if "example" in told else []
    return given + [one["value"] for one in named.values()]


def assert_allows(schema: dict[str, Any], value: Any) -> None:
    whole = schema | {"components": openapi()["components"]}
    jsonschema_rs.Draft202012Validator(whole).validate(value)


@each_operation
def test_operation_says_what_it_does(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"].endswith(".")
    assert operation["operationId"]


@each_operation
def test_parameters_are_described_with_an_example_that_fits(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    for parameter in operation.get("parameters", []):
        assert parameter.get("description"), parameter["name"]
        assert_allows(parameter["schema"], parameter["example"])


@each_operation
def test_bodies_and_answers_have_examples_that_fit(method: str, path: str, operation: dict[str, Any]) -> None:
    for kind, told in contents(operation):
        # Bytes of Arrow are no text, which an example would have to be.
        assert examples(told) or kind == ARROW, kind
        for example in examples(told) if kind == JSON else []:
            assert_allows(told["schema"], example)


@each_operation
def test_errors_are_problems(method: str, path: str, operation: dict[str, Any]) -> None:
    refusals = {int(status): answer for status, answer in operation["responses"].items() if status >= "400"}
    for status, answer in refusals.items():
        if path != "/readyz":
            assert answer == {"$ref": f"#/components/responses/Problem{status}"}
    if path.startswith("/v1"):
        assert {401, 403, 422, 500, 503} <= set(refusals)
        assert operation.get("security") == (None if path in OPEN_ROUTES else [{"HTTPBearer": []}])


@each_operation
def test_answers_say_what_they_are(method: str, path: str, operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        told = answer if "$ref" not in answer else openapi()["components"]["responses"][f"Problem{status}"]
        assert told["description"] not in ("", "Successful Response"), status


@pytest.mark.parametrize("name", openapi()["components"]["schemas"])
def test_every_property_is_described(name: str) -> None:
    silent = [
        key
        for owner in vocabulary.objects_in(openapi()["components"]["schemas"][name])
        for key, property_ in owner["properties"].items()
        if not property_.get("description") and "$ref" not in property_
    ]
    assert silent == []


def test_vocabulary_has_no_word_that_no_schema_uses() -> None:
    schemas = openapi()["components"]["schemas"]
    used = {
        key
        for schema in schemas.values()
        for owner in vocabulary.objects_in(schema)
        for key in owner["properties"]
    }
    assert set(vocabulary.MEANS) - used == set()
    for name, special in vocabulary.SPECIAL.items():
        own = {key for owner in vocabulary.objects_in(schemas[name]) for key in owner["properties"]}
        assert set(special) <= own, name


def test_every_error_has_an_example_that_is_a_problem() -> None:
    seen = set()
    for answer in openapi()["components"]["responses"].values():
        told = answer["content"][errors.MEDIA_TYPE]
        for example in examples(told):
            assert_allows(told["schema"], example)
            seen.add(example["code"])
    assert seen >= {kind.code for kind in errors.STATUS}


@pytest.fixture(scope="module")
def client(api: RunningApi) -> Iterator[httpx.Client]:
    """Of a tenant with the model and the site that examples name."""
    with api.client(api.tenant("examples")) as client:
        model = {"name": "NX-90", "chemistry": "LFP", "rated_capacity_ah": 90}
        client.post("/v1/models", json=model).raise_for_status()
        client.post("/v1/sites", json={"name": "Bern", "zone": "Europe/Zurich"}).raise_for_status()
        yield client


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [found for found in OPERATIONS if "requestBody" in found[2]],
    ids=[name for name, found in zip(NAMES, OPERATIONS, strict=True) if "requestBody" in found[2]],
)
def test_examples_of_bodies_are_taken(
    client: httpx.Client, method: str, path: str, operation: dict[str, Any]
) -> None:
    url = path.replace("{id}", "00000000-0000-4000-8000-000000000000")
    query = {given["name"]: given["example"] for given in operation.get("parameters", []) if given["in"] == "query" and given["name"] != "import"}  # fmt: skip
    for kind, told in operation["requestBody"]["content"].items():
        for example in examples(told):
            sent = {"json": example} if kind == JSON else {"content": as_text(example)}
            headers = {"Content-Type": kind, "If-Match": '"1"'}
            answer = client.request(method, url, params=query, headers=headers, **sent)
            assert answer.status_code not in REFUSED_AS_WRITTEN, (example, answer.text)


def as_text(example: Any) -> str:
    """What is sent: JSON is YAML too."""
    return example if isinstance(example, str) else json.dumps(example)
