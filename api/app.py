"""The ASGI application of an engine."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles
from starlette.types import Lifespan

from api import errors, openapi
from api.access_grants.routes import routes as access_grants
from api.aggregates.routes import routes as aggregates
from api.alerts.routes import routes as alerts
from api.audit.routes import routes as audit
from api.channels.routes import routes as channels
from api.corrections.routes import routes as corrections
from api.deliveries.routes import routes as deliveries
from api.devices.routes import routes as devices
from api.edge import middleware_of
from api.engine import Engine
from api.groups.routes import routes as groups
from api.key_aliases.routes import routes as key_aliases
from api.live.routes import routes as live
from api.live_aggregates.routes import routes as live_aggregates
from api.me.routes import routes as me
from api.models.routes import routes as models
from api.operation.routes import ASSETS_PATH
from api.operation.routes import routes as operation
from api.packs.routes import routes as packs
from api.page.routes import FILES_PATH, PageFiles
from api.page.routes import routes as page
from api.platform.routes import routes as platform
from api.quarantine.routes import routes as quarantine
from api.roles.routes import routes as roles
from api.routing import Allowed, AllowedInFrame, AllowedOnPlatform
from api.rules.routes import routes as rules
from api.security_events.routes import routes as security_events
from api.service_accounts.routes import routes as service_accounts
from api.sign_in.routes import routes as auth
from api.sign_in.routes import well_known
from api.silences.routes import routes as silences
from api.sites.routes import routes as sites
from api.telemetry.routes import routes as telemetry
from api.trends.routes import routes as trends
from api.usage.routes import routes as usage
from api.users.routes import routes as users
from api.version import VERSION

OPEN_ROUTES: Final[dict[str, str]] = {
    "/v1/auth/token": "who signs in has nothing yet but a password",
    "/v1/auth/password": "the former password is the credential",
    "/v1/auth/invitation": "who is invited has nothing yet but the invitation",
    "/v1/auth/refresh": "the refresh token is the credential",
    "/v1/auth/exchange": "the other issuer's token is the credential",
    "/v1/auth/revoke": "the refresh token is the credential, and only ends",
}
"""The routes under /v1 that anybody may ask, each with the reason why the policy isn't asked."""


def create_app(engine: Engine) -> FastAPI:
    """The application; it runs the engine between start-up and shutdown."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.running():
            yield

    app = described_app(lifespan, middleware_of(engine))
    app.state.engine = engine
    return app


def described_app(
    lifespan: Lifespan[FastAPI] | None = None, middleware: Sequence[Middleware] = ()
) -> FastAPI:
    """The application with all its routes; without an engine it can only be asked for its OpenAPI."""
    app = FastAPI(
        title="BPM-OS engine",
        version=VERSION,
        summary="Battery pack telemetry, counted exactly once",
        lifespan=lifespan,
        generate_unique_id_function=lambda route: "_".join((*map(str, route.tags), route.name)),
        docs_url=None,
        redoc_url=None,
        middleware=list(middleware),
    )
    errors.install(app)
    openapi.install(app)
    for routes in (
        telemetry,
        corrections,
        quarantine,
        key_aliases,
        trends,
        aggregates,
        live_aggregates,
        packs,
        groups,
        models,
        sites,
        rules,
        live,
        alerts,
        silences,
        channels,
        deliveries,
        audit,
        security_events,
        usage,
        users,
        auth,
        well_known,
        me,
        roles,
        service_accounts,
        devices,
        access_grants,
        platform,
        operation,
        page,
    ):
        app.include_router(routes)
    app.mount(ASSETS_PATH, StaticFiles(packages=[("fastapi_offline", "static")]), name="assets")
    app.mount(FILES_PATH, PageFiles(), name="page")
    require_actions(app)
    return app


def require_actions(app: FastAPI) -> None:
    """Raises AssertionError when a route under /v1 doesn't ask the policy once, or an open one asks it."""
    for route in iter_route_contexts(app.routes):
        if (route.path or "").startswith("/v1"):
            asked = [
                needed
                for needed in route.dependant.dependencies
                if isinstance(needed.call, Allowed | AllowedInFrame | AllowedOnPlatform)
            ]
            expected = 0 if route.path in OPEN_ROUTES else 1
            if len(asked) != expected:
                raise AssertionError(
                    f"{route.path} names {len(asked)} actions of the policy, expected {expected}"
                )
