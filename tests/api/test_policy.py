"""Every route under /v1 asks the policy; one that forgets to can't be served."""

import pytest
from fastapi import Depends, FastAPI
from fastapi.routing import iter_route_contexts

from api.app import OPEN_ROUTES, described_app, require_actions
from api.routing import Allowed, AllowedInFrame, AllowedOnPlatform, router
from domain.policy import Action


def app_with(*dependencies: Allowed) -> FastAPI:
    routes = router("probe")

    @routes.get("/probe", dependencies=[Depends(dependency) for dependency in dependencies])
    async def probe() -> None: ...

    app = FastAPI()
    app.include_router(routes)
    return app


def test_route_that_asks_for_no_action_is_refused_by_name() -> None:
    with pytest.raises(AssertionError, match="/v1/probe names 0 actions"):
        require_actions(app_with())


def test_route_that_asks_for_two_actions_is_refused() -> None:
    with pytest.raises(AssertionError, match="names 2 actions"):
        require_actions(app_with(Allowed(Action.PACK_READ), Allowed(Action.SITE_READ)))


def test_only_listed_routes_are_open_and_each_has_its_reason() -> None:
    served = {
        route.path: [
            needed
            for needed in route.dependant.dependencies
            if isinstance(needed.call, Allowed | AllowedInFrame | AllowedOnPlatform)
        ]
        for route in iter_route_contexts(described_app().routes)
        if (route.path or "").startswith("/v1")
    }
    assert {path for path, asked in served.items() if not asked} == set(OPEN_ROUTES)
    assert all(OPEN_ROUTES.values())


def test_open_route_that_asks_the_policy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPEN_ROUTES, "/v1/probe", "a test")
    require_actions(app_with())
    with pytest.raises(AssertionError, match="names 1 actions of the policy, expected 0"):
        require_actions(app_with(Allowed(Action.PACK_READ)))


def test_route_that_asks_for_one_action_is_served() -> None:
    require_actions(app_with(Allowed(Action.PACK_READ)))
