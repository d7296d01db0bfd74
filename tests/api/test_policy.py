"""Every route under /v1 asks the policy; one that forgets to can't be served."""

import pytest
from fastapi import Depends, FastAPI

from api.app import require_actions
from api.routing import Allowed, router
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


def test_route_that_asks_for_one_action_is_served() -> None:
    require_actions(app_with(Allowed(Action.PACK_READ)))
