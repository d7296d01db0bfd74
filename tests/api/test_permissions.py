"""What a credential may do, as it is told to itself; and that routes decide the same."""

import pytest

from domain.policy import Action
from tests.running import RunningApi

TENANT = "permitted"


@pytest.fixture(scope="module", autouse=True)
def tenant(api: RunningApi) -> str:
    return api.tenant(TENANT)


def test_every_action_is_decided_with_a_reason(api: RunningApi) -> None:
    with api.client(TENANT, "analyst", sites=["S"]) as client:
        told = client.get("/v1/me/permissions").json()
        assert (told["tenant"], told["roles"], told["sites"], told["pack"]) == (
            TENANT,
            ["analyst"],
            ["S"],
            None,
        )
        decisions = {one["action"]: one for one in told["permissions"]}
        assert set(decisions) == {str(action) for action in Action}
        assert decisions["pack:read"] == {
            "action": "pack:read",
            "allowed": True,
            "reason": "role analyst grants pack:read",
        }
        assert (
            decisions["pack:write"]["reason"] == "pack:write is granted by none of the roles held (analyst)"
        )
        assert "limited to some" in decisions["quarantine:read"]["reason"]


@pytest.mark.parametrize("action", ["pack:write", "quarantine:read"])
def test_a_denial_has_the_reason_that_the_route_gave(api: RunningApi, action: str) -> None:
    with api.client(TENANT, "analyst", sites=["S"]) as client:
        (explained,) = client.get("/v1/me/permissions", params={"action": action}).json()["permissions"]
        refused = (
            client.post("/v1/packs", json={"pack": "P"})
            if action == "pack:write"
            else client.get("/v1/quarantine")
        )
        assert (refused.status_code, refused.json()["detail"]) == (403, explained["reason"])


def test_an_action_that_is_none_names_those_that_are(api: RunningApi) -> None:
    with api.client(TENANT, "device") as client:
        answer = client.get("/v1/me/permissions", params={"action": "pack:eat"})
    assert (answer.status_code, answer.json()["field"]) == (422, "action")
    assert "pack:read" in answer.json()["detail"]
