"""Routes of signing in. Nobody is signed in here yet: `api.app.OPEN_ROUTES` says why each may be asked by anybody."""

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.errors import may_answer
from api.routing import EngineOf, answer, router
from api.sign_in import schemas, service
from domain.errors import BusyError, SignInBlockedError
from domain.operators import Doer

routes = router("auth")
well_known = APIRouter(tags=["auth"])

HTTP_NO_CONTENT = 204

_NEVER_KEEP: Final = {"Cache-Control": "no-store"}


@routes.post(
    "/auth/token", response_model=schemas.Tokens, responses=may_answer(BusyError, SignInBlockedError)
)
async def token(wanted: schemas.SignIn, engine: EngineOf) -> Response:
    """Sign in with a password: an access token, and a refresh token for the next one.

    Without a tenant, an operator of the installation signs in. The answer is the same for an unknown tenant, an unknown
    user, a wrong password and a suspended user. After some failures the login is blocked, for twice as long each time.
    """
    tokens = await service.sign_in(engine, wanted.tenant, wanted.login, wanted.password)
    return answer(tokens, headers=_NEVER_KEEP)


@routes.post("/auth/invitation", response_model=schemas.Tokens, responses=may_answer(BusyError))
async def accept(accepted: schemas.Accepted, engine: EngineOf, request: Request) -> Response:
    """Accept an invitation: choose a password, and be signed in. An invitation is good once."""
    tokens = await service.accept(engine, accepted.invitation, accepted.password, _whoever_asks(request))
    return answer(tokens, headers=_NEVER_KEEP)


@routes.post(
    "/auth/password", response_model=schemas.Tokens, responses=may_answer(BusyError, SignInBlockedError)
)
async def change_password(wanted: schemas.PasswordChange, engine: EngineOf, request: Request) -> Response:
    """Change your own password, with the former one. All sessions so far end with their tokens, and a new one begins.

    What is wrong is answered, and counted, as when signing in.
    """
    tokens = await service.change_password(
        engine,
        wanted.tenant,
        wanted.login,
        wanted.password,
        wanted.new_password,
        _whoever_asks(request),
    )
    return answer(tokens, headers=_NEVER_KEEP)


@routes.post("/auth/refresh", response_model=schemas.Tokens)
async def refresh(given: schemas.Refresh, engine: EngineOf) -> Response:
    """Exchange a refresh token for an access token and the next refresh token.

    A refresh token is good once. When one comes again, its session ends with all its tokens: it may be in other hands.
    """
    return answer(await service.refresh(engine, given.refresh_token), headers=_NEVER_KEEP)


@routes.post("/auth/exchange", response_model=schemas.ExchangedToken)
async def exchange(given: schemas.Exchange, engine: EngineOf) -> Response:
    """Exchange the token of another issuer, which this installation trusts, for an access token."""
    return answer(await service.exchange(engine, given.subject_token), headers=_NEVER_KEEP)


@routes.post("/auth/revoke", status_code=HTTP_NO_CONTENT)
async def revoke(given: schemas.Refresh, engine: EngineOf) -> Response:
    """Sign out: the session of a refresh token ends, with its access tokens and live connections."""
    await service.end(engine, given.refresh_token)
    return Response(status_code=HTTP_NO_CONTENT)


def _whoever_asks(request: Request) -> Doer:
    """Who it is, the credential tells."""
    client = None if request.client is None else request.client.host
    return Doer(request_id=str(request.scope["request_id"]), client_address=client)


@well_known.get("/.well-known/jwks.json", response_model=schemas.KeySet)
async def key_set(engine: EngineOf) -> Response:
    """The public keys by which this installation's access tokens can be verified."""
    return answer(engine.identity.ring.key_set())
