"""Use cases of signing in."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from math import ceil
from typing import Any

from api.auth import NOT_VALID
from api.engine import Engine
from api.identity.issuing import Bearer
from api.identity.passwords import Turn
from api.sign_in.schemas import ISSUED_TOKEN_TYPE
from domain.clock import from_ms
from domain.errors import InvalidRequestError, SignInBlockedError, UnauthenticatedError
from domain.operators import Doer
from domain.users import login_of, password_of, require_strength
from storage.sessions import FoundUser, ReusedError, Session, SignIns, epoch_of_subject

log = logging.getLogger(__name__)

Row = dict[str, Any]

_WRONG = "tenant, login or password is wrong, or the user can't sign in now"
_NO_SESSION = "the refresh token is unknown, was used, or has ended"
_NO_INVITATION = "the invitation is unknown, was used, or has expired"


async def sign_in(engine: Engine, tenant: str | None, login: str, password: str) -> Row:
    """Tokens of a new session; without a tenant, of an operator of the installation.

    Raises UnauthenticatedError, the same and after as long for whatever is wrong, SignInBlockedError after too many
    failures, BusyError, TenantElsewhereError.
    """
    identity, now = engine.identity, _now(engine)
    async with _verified(engine, tenant, login, password) as (sign_ins, user, turn):
        kept = user.password_hash or ""
        rehashed = await turn.hash(password_of(password)) if turn.is_outdated(kept) else None
        session = await sign_ins.begin(user, now, rehashed)
        if session is None:
            raise UnauthenticatedError(_WRONG)
        await identity.failures.forget(tenant, user.login)
    return _tokens(engine, session)


async def change_password(
    engine: Engine, tenant: str | None, login: str, password: str, new_password: str, by: Doer
) -> Row:
    """Tokens of the first session with the new password; all sessions before have ended.

    Raises what `sign_in` does, InvalidRequestError for the new password, UnavailableError.
    """
    identity, now = engine.identity, _now(engine)
    async with _verified(engine, tenant, login, password) as (sign_ins, user, turn):
        await identity.failures.forget(tenant, user.login)
        chosen = password_of(new_password)
        require_strength(chosen, user.login, engine.settings.password_characters_min)
        if chosen == password_of(password):
            raise InvalidRequestError("it is the password of now: choose another", field="new_password")
        if tenant is not None:
            await engine.require_settled(tenant)
        session = await sign_ins.change_password(user, await turn.hash(chosen), now, by)
        if session is None:
            raise UnauthenticatedError(_WRONG)
    await identity.revocations.look_now()
    return _tokens(engine, session)


@asynccontextmanager
async def _verified(
    engine: Engine, tenant: str | None, login: str, password: str
) -> AsyncIterator[tuple[SignIns, FoundUser, Turn]]:
    """Who has this login and password, with the turn to hash passwords; the attempt counts until it is forgotten."""
    identity = engine.identity
    sign_ins = identity.operator_sign_ins if tenant is None else identity.sign_ins
    try:
        known_as = login_of(login)
    except InvalidRequestError as error:
        raise UnauthenticatedError(_WRONG) from error
    async with identity.passwords.turn() as turn:
        wait_s = await identity.failures.begin(tenant, known_as, _now(engine))
        if wait_s is not None:
            raise SignInBlockedError(
                "too many sign-ins failed for this login", retry_after_s=max(1, ceil(wait_s))
            )
        user = await sign_ins.find(tenant, known_as)
        kept = None if user is None else user.password_hash
        if not await turn.matches(kept, password_of(password)) or user is None:
            raise UnauthenticatedError(_WRONG)
        if tenant is not None:
            await engine.require_near(tenant)
        yield sign_ins, user, turn


async def accept(engine: Engine, invitation: str, password: str, by: Doer) -> Row:
    """Tokens of the first session of a user who was invited and chose a password.

    Raises UnauthenticatedError for the invitation, InvalidRequestError for the password, BusyError, UnavailableError.
    """
    identity, now = engine.identity, _now(engine)
    sign_ins = identity.sign_ins_of(invitation)
    user = await sign_ins.invited(invitation, now)
    if user is None:
        raise UnauthenticatedError(_NO_INVITATION)
    chosen = password_of(password)
    require_strength(chosen, user.login, engine.settings.password_characters_min)
    if user.tenant is not None:
        await engine.require_settled(user.tenant)
    async with identity.passwords.turn() as turn:
        hashed = await turn.hash(chosen)
        session = await sign_ins.accept(user, invitation, hashed, now, by)
    if session is None:
        raise UnauthenticatedError(_NO_INVITATION)
    await identity.revocations.look_now()
    return _tokens(engine, session)


async def exchange(engine: Engine, token: str) -> Row:
    """An access token for another issuer's token. Raises UnauthenticatedError, UnavailableError, TenantElsewhereError.

    It ends with the other one at the latest, and there is no refresh token: the other issuer is asked again.
    """
    claims = await engine.identity.outside_issuers.verify(token)
    actor = await engine.actor_of_claims(claims)
    epoch, raised_at_s = await epoch_of_subject(engine.directory, actor.tenant_id, claims.subject)
    # Asked together with the epoch: else what is revoked just now would get the epoch of afterwards.
    if raised_at_s is not None and claims.issued_at_s <= raised_at_s + engine.settings.token_leeway_s:
        raise UnauthenticatedError(NOT_VALID)
    bearer = Bearer(
        tenant=claims.tenant_name,
        subject=claims.subject,
        roles=sorted(claims.roles),
        sites=None if claims.sites is None else sorted(claims.sites),
        epoch=epoch,
        ends_at_s=claims.expires_at_s,
    )
    issued, life_s = engine.identity.issuer.issue(bearer)
    return {
        "access_token": issued,
        "token_type": "Bearer",
        "expires_in": life_s,
        "issued_token_type": ISSUED_TOKEN_TYPE,
    }


async def refresh(engine: Engine, refresh_token: str) -> Row:
    """Tokens of the same session. Raises UnauthenticatedError, TenantElsewhereError."""
    identity = engine.identity
    try:
        session = await identity.sign_ins_of(refresh_token).refresh(refresh_token, _now(engine))
    except ReusedError as error:
        log.warning("a refresh token was used twice; its session has ended")
        await identity.revocations.look_now()
        raise UnauthenticatedError(_NO_SESSION) from error
    if session is None:
        raise UnauthenticatedError(_NO_SESSION)
    if session.tenant is not None:
        await engine.require_near(session.tenant)
    return _tokens(engine, session)


async def end(engine: Engine, refresh_token: str) -> None:
    """End the session of a refresh token; nothing is said when there is none (RFC 7009)."""
    identity = engine.identity
    if await identity.sign_ins_of(refresh_token).end(refresh_token, _now(engine)):
        await identity.revocations.look_now()


def _tokens(engine: Engine, session: Session) -> Row:
    bearer = Bearer(
        tenant=session.tenant,
        subject=session.subject,
        roles=session.roles,
        sites=session.sites,
        epoch=session.epoch,
        session=str(session.id),
        name=session.login,
    )
    token, life_s = engine.identity.issuer.issue(bearer)
    return {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": life_s,
        "refresh_token": session.refresh_token,
        "refresh_expires_at": session.expires_at.isoformat(),
    }


def _now(engine: Engine) -> datetime:
    return from_ms(engine.clock.now_ms())
