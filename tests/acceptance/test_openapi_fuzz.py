"""Whatever OpenAPI lets one ask, and much that it doesn't, no answer is an error of ours, and each is as described.

The examples are the same in each run, so that a red build is red again. FUZZ_TIMES=10 takes ten times as many, new
ones each time; a failure prints the example.
"""

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.acceptance.test_answers import ENDLESS
from tests.acceptance.test_isolation import PLATFORM_ROUTES, ROUTES, Holding, named
from tests.running import RunningApi

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
CASES_MIN = 2000
OF_EACH = -(-CASES_MIN // len(ROUTES))
HTTP_INTERNAL = 500
HEAD_CHARACTERS_MAX = 24_000

bounded = settings(
    max_examples=OF_EACH * TIMES,
    deadline=None,
    derandomize=TIMES == 1,
    database=None,
    phases=[Phase.generate] if TIMES == 1 else [Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)

Operations = dict[tuple[str, str], Any]


@pytest.fixture(scope="module")
def operations(api: RunningApi) -> Operations:
    """What OpenAPI describes, by method and path."""
    described = httpx.get(f"{api.url}/openapi.json", trust_env=False, timeout=60).json()
    found = (result.ok() for result in schemathesis.openapi.from_dict(described).get_all_operations())
    return {(operation.method.upper(), operation.path): operation for operation in found}


@pytest.fixture(scope="module")
def operator(api: RunningApi) -> Iterator[httpx.Client]:
    with api.operator_client() as client:
        yield client


def send(client: httpx.Client, case: schemathesis.Case) -> httpx.Response:
    """The answer to a case, over the client's own connections."""
    sent = case.as_transport_kwargs(base_url=str(client.base_url))
    headers = {name: value.encode("latin-1", "replace") for name, value in sent["headers"].items()}
    headers.pop("Content-Length", None)
    headers |= {"Authorization": client.headers["Authorization"].encode()}
    body = {
        name: sent[of] for name, of in (("json", "json"), ("content", "data")) if sent.get(of) is not None
    }
    # What is longer is refused before there is a route: tests/api/test_transport.py.
    assume(len(urlencode(sent.get("params") or {}, doseq=True)) + len(str(headers)) < HEAD_CHARACTERS_MAX)
    return client.request(sent["method"], sent["url"], params=sent.get("params"), headers=headers, **body)


@pytest.mark.parametrize(
    "route", [route for route in (*ROUTES, *PLATFORM_ROUTES) if route != ENDLESS], ids=named
)
def test_no_answer_is_an_error_of_ours_and_each_is_as_described(
    own: Holding, operator: httpx.Client, operations: Operations, route: tuple[str, str]
) -> None:
    operation = operations[route]
    client = own.admin if route in ROUTES else operator
    held = own.ids.get(ROUTES[route].of or "") if route in ROUTES else None
    asked = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]
    if held is not None:
        asked.append(operation.as_strategy(path_parameters={"id": held}))

    @bounded
    @given(case=st.one_of(asked))
    def ask(case: schemathesis.Case) -> None:
        answer = send(client, case)
        assert answer.status_code < HTTP_INTERNAL, (answer.text, case.as_curl_command())
        operation.validate_response(answer)

    ask()
