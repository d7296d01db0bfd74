"""No way across: every route and socket, in every role, for what is one's own, another tenant's, at another site, or guessed.

What one may not know of is answered like what there isn't: the same status, the same body, in the same time.
"""

import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from starlette.routing import WebSocketRoute
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from api.app import create_app
from domain.policy import BEYOND_GRANTS, BEYOND_SITES, GRANTS, Action
from domain.tenancy import Role
from tests import timing
from tests.acceptance.test_isolation import (
    GUARDED,
    GUESSED,
    OWN_VOLTAGE_V,
    SECRET,
    SECRET_VOLTAGE_V,
    WITH_ID,
    Holding,
    Sent,
    call_route,
    hold,
    moment,
    named,
)
from tests.running import RunningApi

OWN_SITE, OTHER_SITE = "alpha-site", "alpha-elsewhere"
FOREIGN, ELSEWHERE, NOWHERE = f"{SECRET}-pack", "pack-elsewhere", "pack-nowhere"
AT_A_SITE = {"site", "pack", "alert", "receipt", "import"}
"""What a credential limited to other sites doesn't see; the rest is of the tenant as a whole."""

SOCKETS = {
    "/v1/alerts/live": (Action.ALERT_READ, {}),
    "/v1/telemetry/live": (Action.TELEMETRY_READ, {"packs": ["P-1"], "rate_hz": 1}),
}
CLOSED_FORBIDDEN = 4403
TIMES_MAX, ROUNDS, TRIES = 2.0, 9, 5
LONG_ROUNDS = int(os.environ.get("TIMING_ROUNDS", "0"))
"""Of the long run: `TIMING_ROUNDS=500 pytest tests/acceptance/test_boundaries.py -k takes_as_long`."""

SHUFFLES, CHANCE_MIN, LONG_TIMES_MAX = 2000, 0.001, 1.1
"""A difference counts when chance makes one as large less often than that, and when it is large enough to be of use."""

Told = tuple[int, str]


@pytest.fixture(scope="module")
def own(api: RunningApi) -> Iterator[Holding]:
    holding = hold(api, "alpha", "alpha", OWN_VOLTAGE_V)
    yield holding
    holding.admin.close()


@pytest.fixture(scope="module")
def other(api: RunningApi) -> Iterator[Holding]:
    holding = hold(api, "beta", SECRET, SECRET_VOLTAGE_V)
    holding.admin.post("/v1/packs", json={"pack": FOREIGN}).raise_for_status()
    yield holding
    holding.admin.close()


@pytest.fixture(scope="module")
def elsewhere(own: Holding) -> dict[str, str]:
    """Ids of what stands at another site of the own tenant."""
    admin = own.admin
    site = {"name": OTHER_SITE, "zone": "UTC"}
    ids = {"site": admin.post("/v1/sites", json=site).raise_for_status().json()["id"]}
    pack = {"pack": ELSEWHERE, "site": OTHER_SITE}
    ids["pack"] = admin.post("/v1/packs", json=pack).raise_for_status().json()["id"]
    ids["import"] = admin.post("/v1/imports", json={"source": "elsewhere"}).raise_for_status().json()["id"]
    for temperature_c in (60, 20):
        sent = {"pack": ELSEWHERE, "ts": moment(), "temperature_c": temperature_c}
        ids["receipt"] = admin.post("/v1/telemetry", json=sent).raise_for_status().json()["id"]
    (alert,) = admin.get("/v1/alerts", params={"pack": ELSEWHERE}).raise_for_status().json()["items"]
    return ids | {"alert": alert["id"]}


Clients = dict[Role, httpx.Client]


def clients_of(api: RunningApi, stack: ExitStack, **limits: Any) -> Clients:
    made = {}
    for role in Role:
        headers = {"Authorization": f"Bearer {api.token('alpha', role, **limits)}"}
        client = httpx.Client(base_url=api.url, headers=headers, trust_env=False, timeout=60)
        made[role] = stack.enter_context(client)
    return made


@pytest.fixture(scope="module")
def by_role(api: RunningApi, own: Holding) -> Iterator[Clients]:
    with ExitStack() as stack:
        yield clients_of(api, stack)


@pytest.fixture(scope="module")
def by_limited_role(api: RunningApi, own: Holding) -> Iterator[Clients]:
    with ExitStack() as stack:
        yield clients_of(api, stack, sites=[OWN_SITE])


@pytest.fixture(scope="module")
def by_grant(api: RunningApi, own: Holding) -> Iterator[httpx.Client]:
    """A client of an operator of the installation whom the own tenant lets do all that can be granted."""
    given = {"hours": 1, "reason": "a look", "roles": [Role.TENANT_ADMIN]}
    grant = own.admin.post("/v1/access-grants", json=given).raise_for_status().json()["id"]
    with api.operator_client() as operator:
        entered = operator.post(f"/v1/platform/grants/{grant}/token").raise_for_status().json()
    headers = {"Authorization": f"Bearer {entered['access_token']}"}
    with httpx.Client(base_url=api.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def told(answer: httpx.Response, *names: str) -> Told:
    """Status and body, without the request's own id, and with one word for each of the names."""
    text = answer.text.replace(answer.headers["X-Request-ID"], "REQUEST")
    for name in names:
        text = text.replace(name, "NAME")
    return answer.status_code, text


@pytest.mark.parametrize("route", WITH_ID, ids=named)
def test_foreign_id_is_answered_like_a_guessed_one_in_every_role(
    own: Holding,
    other: Holding,
    by_role: Clients,
    by_limited_role: Clients,
    by_grant: httpx.Client,
    route: tuple[str, str],
) -> None:
    call = WITH_ID[route]
    sent = call.sent(own)
    granted = {role for role in Role if call.action in GRANTS[role]}
    asked = [(client, role in granted) for role, client in by_role.items()]
    # Limits to sites only take away, and from all alike.
    asked.append((by_limited_role[Role.TENANT_ADMIN], call.action not in BEYOND_SITES))
    asked.append((by_grant, call.action not in BEYOND_GRANTS))
    for client, is_allowed in asked:
        foreign = told(call_route(client, route, other.ids[call.of or ""], sent))
        assert foreign == told(call_route(client, route, GUESSED, sent))
        assert foreign[0] == (404 if is_allowed else 403), foreign


@pytest.mark.parametrize("route", [one for one in WITH_ID if WITH_ID[one].of in AT_A_SITE], ids=named)
def test_id_at_another_site_is_answered_like_a_guessed_one_in_every_role(
    own: Holding, elsewhere: dict[str, str], by_limited_role: Clients, route: tuple[str, str]
) -> None:
    call = WITH_ID[route]
    sent = call.sent(own)
    for role, client in by_limited_role.items():
        answered = told(call_route(client, route, elsewhere[call.of or ""], sent))
        assert answered == told(call_route(client, route, GUESSED, sent)), role
        allowed = call.action in GRANTS[role] and call.action not in BEYOND_SITES
        assert answered[0] == (404 if allowed else 403), (role, answered)


def test_what_is_at_another_site_is_there_for_who_may_see_it(
    own: Holding, elsewhere: dict[str, str], by_role: Clients
) -> None:
    for subject, id_ in elsewhere.items():
        assert by_role[Role.OPERATOR].get(f"/v1/{subject}s/{id_}").status_code == 200


def renamed(sent: Sent, name: str) -> Sent:
    """The same call for another pack."""
    return dict(json.loads(json.dumps(sent).replace('"P-1"', json.dumps(name))))


NAMING = {
    ("GET", "/v1/trends"),
    ("GET", "/v1/trends/analysis"),
    ("GET", "/v1/aggregates"),
    ("GET", "/v1/me/explain"),
    ("POST", "/v1/packs/latest"),
    ("POST", "/v1/corrections"),
    ("POST", "/v1/groups"),
    ("PATCH", "/v1/groups/{id}"),
    ("POST", "/v1/devices"),
    ("POST", "/v1/telemetry"),
    ("POST", "/v1/telemetry/thingsboard"),
    ("POST", "/v1/telemetry/thingsboard/gateway"),
}
_OF_THE_CALL = re.compile(r'"(id|ts|from|to|at|requested_at)":\s?"?[0-9a-zA-Z:.+-]+"?')
"""What differs from one batch to the next."""


def test_routes_that_take_the_name_of_a_pack_are_those_named_here(own: Holding, other: Holding) -> None:
    naming = {route for route, call in GUARDED.items() if '"P-1"' in repr_of(call.sent(own))}
    assert naming == NAMING


def repr_of(sent: Sent) -> str:
    return json.dumps({name: value for name, value in sent.items() if name != "content"})


@pytest.mark.parametrize("route", sorted(NAMING), ids=named)
def test_name_of_a_pack_that_one_may_not_know_is_answered_like_one_that_there_is_not(
    own: Holding,
    other: Holding,
    elsewhere: dict[str, str],
    by_role: Clients,
    by_limited_role: Clients,
    route: tuple[str, str],
) -> None:
    sent = GUARDED[route].sent(own)

    def asked(client: httpx.Client, name: str) -> Told:
        id_ = own.ids.get(GUARDED[route].of or "", "")
        status, text = told(call_route(client, route, id_, renamed(sent, name)), name)
        return status, _OF_THE_CALL.sub("", text)

    for clients, hidden in ((by_role, (FOREIGN,)), (by_limited_role, (FOREIGN, ELSEWHERE))):
        for role, client in clients.items():
            unknown = asked(client, NOWHERE)
            for name in hidden:
                assert asked(client, name) == unknown, (role, name)


def test_sockets_are_those_named_here(api: RunningApi) -> None:
    served = iter_route_contexts(create_app(api.engine).routes)
    paths = {route.path for route in served if isinstance(route.original_route, WebSocketRoute)}
    assert paths == set(SOCKETS)


def first_frame(api: RunningApi, client: httpx.Client, path: str, asked: Sent) -> str:
    """What a socket says first: a frame, or the code with which it is closed."""
    ticket = client.post("/v1/tickets").raise_for_status().json()["ticket"]
    with connect(api.url.replace("http", "ws") + path, proxy=None, close_timeout=2) as socket:
        socket.send(json.dumps({"ticket": ticket} | asked))
        try:
            return str(socket.recv(20))
        except ConnectionClosed as closed:
            return str(closed.rcvd.code if closed.rcvd is not None else None)


@pytest.mark.parametrize("path", SOCKETS)
def test_socket_shows_every_role_its_own_alone(
    api: RunningApi,
    own: Holding,
    other: Holding,
    elsewhere: dict[str, str],
    by_role: Clients,
    by_limited_role: Clients,
    path: str,
) -> None:
    action, asked = SOCKETS[path]
    for clients, names in ((by_role, [FOREIGN]), (by_limited_role, [FOREIGN, ELSEWHERE])):
        for role, client in clients.items():
            if Action.TICKET_WRITE not in GRANTS[role]:
                assert client.post("/v1/tickets").status_code == 403
                continue
            assert action in GRANTS[role]
            frame = first_frame(api, client, path, asked)
            assert json.loads(frame)["type"] == "snapshot"
            assert not [secret for secret in (SECRET, "beta", *other.ids.values()) if secret in frame]
            if clients is by_limited_role:
                assert not [id_ for id_ in (ELSEWHERE, *elsewhere.values()) if id_ in frame]
            if path == "/v1/telemetry/live" and role is Role.READ_ONLY:
                shown = [first_frame(api, client, path, asked | {"packs": [name]}).replace(name, "NAME") for name in (*names, NOWHERE)]  # fmt: skip
                assert len(set(shown)) == 1


@pytest.mark.parametrize("path", SOCKETS)
def test_socket_is_for_operators_who_were_let_in_alone(
    api: RunningApi, own: Holding, other: Holding, by_grant: httpx.Client, path: str
) -> None:
    with api.operator_client() as operator:
        assert operator.post("/v1/tickets").status_code == 403
    frame = first_frame(api, by_grant, path, SOCKETS[path][1])
    assert json.loads(frame)["type"] == "snapshot"
    assert not [secret for secret in (SECRET, "beta", *other.ids.values()) if secret in frame]


@pytest.mark.parametrize("path", SOCKETS)
def test_socket_is_closed_to_a_role_without_its_action(api: RunningApi, own: Holding, path: str) -> None:
    name = f"waiting-{uuid.uuid4().hex[:8]}"
    own.admin.post("/v1/roles", json={"name": name, "actions": ["ticket:write"]}).raise_for_status()
    with api.client("alpha", name) as client:
        assert first_frame(api, client, path, SOCKETS[path][1]) == str(CLOSED_FORBIDDEN)


def assert_same_class(foreign: timing.Ask, guessed: timing.Ask) -> None:
    """Nobody tells the two apart by the time that they take: roughly, or by many rounds where these are asked for."""
    if LONG_ROUNDS == 0:
        assert timing.ratio_when_calm(foreign, guessed, ROUNDS, TIMES_MAX, TRIES) < TIMES_MAX
        return
    took = timing.interleaved(foreign, guessed, LONG_ROUNDS)
    chance = timing.permutation_p(*took, SHUFFLES, seed=1)
    assert chance > CHANCE_MIN or timing.median_ratio(*took) < LONG_TIMES_MAX, (
        chance,
        timing.median_ratio(*took),
    )


def test_a_difference_of_times_would_be_seen() -> None:
    def slow() -> None:
        time.sleep(0.006)

    def fast() -> None:
        time.sleep(0.001)

    assert timing.ratio_when_calm(slow, fast, ROUNDS, TIMES_MAX, 1) > TIMES_MAX
    assert timing.permutation_p(*timing.interleaved(slow, fast, 30), SHUFFLES, seed=1) < CHANCE_MIN


@pytest.mark.parametrize("route", WITH_ID, ids=named)
def test_foreign_id_takes_as_long_as_a_guessed_one(
    own: Holding, other: Holding, by_role: Clients, route: tuple[str, str]
) -> None:
    call = WITH_ID[route]
    sent, client = call.sent(own), by_role[Role.TENANT_ADMIN]
    assert_same_class(
        lambda: call_route(client, route, other.ids[call.of or ""], sent),
        lambda: call_route(client, route, GUESSED, sent),
    )


@pytest.mark.parametrize("route", [one for one in WITH_ID if WITH_ID[one].of in AT_A_SITE and WITH_ID[one].action not in BEYOND_SITES], ids=named)  # fmt: skip
def test_id_at_another_site_takes_as_long_as_a_guessed_one(
    own: Holding, elsewhere: dict[str, str], by_limited_role: Clients, route: tuple[str, str]
) -> None:
    call = WITH_ID[route]
    sent, client = call.sent(own), by_limited_role[Role.TENANT_ADMIN]
    assert_same_class(
        lambda: call_route(client, route, elsewhere[call.of or ""], sent),
        lambda: call_route(client, route, GUESSED, sent),
    )
