"""Signing in: who somebody is, the sessions that they have, and the failures before."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from domain import operators, users
from domain.operators import Doer
from domain.tenancy import TenantId
from domain.users import UserState
from storage.database import query
from storage.epochs import epoch_of, holder_of_session, holder_of_subject, raise_epoch_of
from storage.transactions import Pool

_HANDLE_BYTES: Final = 16
_SECRET_BYTES: Final = 32
_HANDLE_CHARACTERS: Final = 22


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """idle_s: a refresh token is good for so long. session_s_max: life of a session. sessions_max: of a user."""

    idle_s: float
    session_s_max: float
    sessions_max: int


@dataclass(frozen=True, slots=True)
class Realm:
    """Whose sessions: the file of their queries, what their secrets begin with, and what the people are called."""

    queries: str
    prefix: str
    subject_of: Callable[[UUID], str]


USERS: Final = Realm("sessions", "", users.subject_of)
OPERATORS: Final = Realm("operator_sessions", "operator.", operators.subject_of)
"""Of a sign that secrets have nowhere else, so that theirs are told from those of users."""


@dataclass(frozen=True, slots=True)
class FoundUser:
    """Whom a login or an invitation names; password_hash is None for a user without a password.

    tenant: None for an operator of the installation.
    """

    tenant_id: TenantId
    id: UUID
    tenant: str | None
    login: str
    password_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is after signing in or refreshing: what its tokens say of the user, and its refresh token."""

    id: UUID
    subject: str
    tenant: str | None
    login: str
    roles: Sequence[str]
    sites: Sequence[str] | None
    epoch: int
    refresh_token: str
    expires_at: datetime


class ReusedError(Exception):
    """A refresh token came that was used before: its session has been ended."""


def digest(secret: str) -> bytes:
    """What is kept of a secret that is long and random enough to need no salt."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class SignIns:
    """The stored half of signing in, across tenants; or of operators, whose `tenant` is None."""

    def __init__(self, pool: Pool, limits: SessionLimits, realm: Realm = USERS) -> None:
        self._pool = pool
        self._limits = limits
        self._realm = realm

    async def find(self, tenant: str | None, login: str) -> FoundUser | None:
        """The active user of a login; in one query, so that an unknown tenant takes as long as an unknown user."""
        row = await self._one("find", {"tenant": tenant, "login": login})
        if row is None or row["state"] != UserState.ACTIVE:
            return None
        return FoundUser(row["tenant_id"], row["id"], tenant, login, row["password_hash"])

    async def invited(self, invitation: str, now: datetime) -> FoundUser | None:
        """Whom an invitation is for; None for one that is unknown, was used or has expired."""
        row = await self._one("invited", {"digest": digest(invitation), "now": now})
        return None if row is None else FoundUser(row["tenant_id"], row["id"], row["tenant"], row["login"])

    async def begin(self, user: FoundUser, now: datetime, rehashed: str | None) -> Session | None:
        """A new session; None when the user was suspended, or the password changed, since it was verified."""
        async with self._locked(user.tenant_id, user.id) as (connection, row):
            if row is None or row["state"] != UserState.ACTIVE or row["password_hash"] != user.password_hash:
                return None
            if rehashed is not None:
                key = {"tenant_id": user.tenant_id, "id": user.id}
                await self._one_of(
                    connection, "rehash", key | {"hash": rehashed, "former": user.password_hash}
                )
            return await self._begin(connection, row, now)

    async def accept(
        self,
        user: FoundUser,
        invitation: str,
        password_hash: str,
        now: datetime,
        by: Doer,
    ) -> Session | None:
        """The first session of a user who has chosen a password; None when the invitation was used meanwhile.

        All sessions before it end, because an invitation is also how a forgotten password is replaced.
        """
        given = {"tenant_id": user.tenant_id, "id": user.id, "hash": password_hash}
        async with self._pool.connection() as connection, connection.transaction():
            used = {"digest": digest(invitation), "now": now}
            if await self._one_of(connection, "accept", given | used) is None:
                return None
            return await self._begin_anew(connection, user, now, "accepted", by)

    async def change_password(
        self, user: FoundUser, password_hash: str, now: datetime, by: Doer
    ) -> Session | None:
        """The first session with another password; None when the password was changed meanwhile.

        All sessions before it end, and so does an invitation that is open.
        """
        given = {"tenant_id": user.tenant_id, "id": user.id, "hash": password_hash}
        async with self._pool.connection() as connection, connection.transaction():
            changed = given | {"former": user.password_hash}
            if await self._one_of(connection, "set_password", changed) is None:
                return None
            return await self._begin_anew(connection, user, now, "password_changed", by)

    async def _begin_anew(
        self,
        connection: psycopg.AsyncConnection[DictRow],
        user: FoundUser,
        now: datetime,
        action: str,
        by: Doer,
    ) -> Session:
        """A session after a change of the locked user, with which all former ones end."""
        key = {"tenant_id": user.tenant_id, "id": user.id}
        subject = self._realm.subject_of(user.id)
        await self._one_of(connection, "end_of_user", key)
        await raise_epoch_of(connection, user.tenant_id, holder_of_subject(subject))
        noted = {
            "subject": subject,
            "action": action,
            "request_id": by.request_id,
            "client_address": by.client_address,
        }
        await self._one_of(connection, "note", key | noted)
        row = await self._one_of(connection, "user", key)
        assert row is not None  # noqa: S101 - the row is locked
        return await self._begin(connection, row, now)

    async def refresh(self, refresh_token: str, now: datetime) -> Session | None:
        """The session with its next refresh token; None for a token of no session.

        Raises ReusedError for a token that was used before: then the session has ended, as its tokens may be in
        other hands.
        """
        handle, secret = self._parts(refresh_token)
        found = await self._one("of_handle", {"handle_digest": digest(handle)})
        if found is None:
            return None
        async with self._locked(found["tenant_id"], found["id"]) as (connection, row):
            if row is None or row["state"] != UserState.ACTIVE:
                return None
            following = secrets.token_urlsafe(_SECRET_BYTES)
            rotated = await self._one_of(
                connection,
                "rotate",
                {
                    "handle_digest": digest(handle),
                    "secret_digest": digest(secret),
                    "next_digest": digest(following),
                    "now": now,
                    **self._ends(now),
                },
            )
            if rotated is not None:
                return await self._session(
                    connection, row, rotated["session"], handle + following, rotated["expires_at"]
                )
            ended = await self._end(connection, row["tenant_id"], handle, now)
        if ended:
            raise ReusedError
        return None

    async def end(self, refresh_token: str, now: datetime) -> bool:
        """End the session of a refresh token, and its access tokens; whether there was one."""
        handle, _ = self._parts(refresh_token)
        found = await self._one("of_handle", {"handle_digest": digest(handle)})
        if found is None:
            return False
        async with self._pool.connection() as connection, connection.transaction():
            return await self._end(connection, found["tenant_id"], handle, now)

    async def _end(
        self, connection: psycopg.AsyncConnection[DictRow], tenant_id: TenantId, handle: str, now: datetime
    ) -> bool:
        ended = await self._one_of(connection, "end", {"handle_digest": digest(handle), "now": now})
        if ended is None:
            return False
        await raise_epoch_of(connection, tenant_id, holder_of_session(str(ended["session"])))
        return bool(ended["lived"])

    async def _begin(
        self, connection: psycopg.AsyncConnection[DictRow], row: DictRow, now: datetime
    ) -> Session:
        handle, secret = secrets.token_urlsafe(_HANDLE_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
        key = {"tenant_id": row["tenant_id"], "id": row["id"]}
        ends = self._ends(now)
        digests = {"handle_digest": digest(handle), "secret_digest": digest(secret)}
        made = await self._one_of(connection, "insert", key | digests | ends | {"now": now})
        assert made is not None  # noqa: S101 - INSERT … RETURNING
        await self._one_of(connection, "end_surplus", key | {"sessions_max": self._limits.sessions_max})
        return await self._session(connection, row, made["session"], handle + secret, ends["expires_at"])

    async def _session(
        self,
        connection: psycopg.AsyncConnection[DictRow],
        row: DictRow,
        session_id: UUID,
        refresh_token: str,
        expires_at: datetime,
    ) -> Session:
        subject = self._realm.subject_of(row["id"])
        holder = holder_of_subject(subject)
        return Session(
            id=session_id,
            subject=subject,
            tenant=row["tenant"],
            login=row["login"],
            roles=row["roles"],
            sites=row["sites"],
            epoch=await epoch_of(connection, row["tenant_id"], holder),
            refresh_token=self._realm.prefix + refresh_token,
            expires_at=expires_at,
        )

    def _ends(self, now: datetime) -> dict[str, Any]:
        return {
            "expires_at": now + timedelta(seconds=min(self._limits.idle_s, self._limits.session_s_max)),
            "session_s_max": self._limits.session_s_max,
        }

    @asynccontextmanager
    async def _locked(
        self, tenant_id: TenantId, user_id: UUID
    ) -> AsyncIterator[tuple[psycopg.AsyncConnection[DictRow], DictRow | None]]:
        """A transaction in which nobody changes the user, with the user as it is."""
        key = {"tenant_id": tenant_id, "id": user_id}
        async with self._pool.connection() as connection, connection.transaction():
            await self._one_of(connection, "lock_user", key)
            yield connection, await self._one_of(connection, "user", key)

    async def _one(self, name: str, parameters: dict[str, Any]) -> DictRow | None:
        async with self._pool.connection() as connection:
            return await self._one_of(connection, name, parameters)

    async def _one_of(
        self, connection: psycopg.AsyncConnection[DictRow], name: str, parameters: dict[str, Any]
    ) -> DictRow | None:
        cursor = await connection.execute(query(f"{self._realm.queries}.{name}"), parameters)
        return await cursor.fetchone() if cursor.description else None

    def _parts(self, refresh_token: str) -> tuple[str, str]:
        """The handle, which all refresh tokens of a session have, and the secret of this one."""
        token = refresh_token.removeprefix(self._realm.prefix)
        return token[:_HANDLE_CHARACTERS], token[_HANDLE_CHARACTERS:]


@dataclass(frozen=True, slots=True)
class BlockLimits:
    """free: failures from which a login is blocked. wait_s: the first time, then twice as long, up to wait_s_max.

    memory_s: failures are forgotten when none came for so long.
    """

    free: int
    wait_s: float
    wait_s_max: float
    memory_s: float


async def epoch_of_subject(pool: Pool, tenant_id: TenantId, subject: str) -> tuple[int, float | None]:
    """The epoch of a subject's next access token, and the second in which it was raised, if it was lately."""
    parameters = {"tenant_id": tenant_id, "holder": holder_of_subject(subject)}
    async with pool.connection() as connection:
        row = await (await connection.execute(query("epochs.of_holder"), parameters)).fetchone()
    return (0, None) if row is None else (row["epoch"], row["raised_at_s"])


class Failures:
    """Failed sign-ins by tenant and login, known or not; of operators the tenant is None."""

    def __init__(self, pool: Pool, limits: BlockLimits) -> None:
        self._pool = pool
        self._limits = limits

    async def begin(self, tenant: str | None, login: str, now: datetime) -> float | None:
        """Count an attempt as failed until `forget`; the seconds to wait instead when the login is blocked."""
        key = {"digest": _of_login(tenant, login), "now": now}
        counted = key | {
            "forgotten_before": now - timedelta(seconds=self._limits.memory_s),
            "failures_free": self._limits.free,
            "wait_s": self._limits.wait_s,
            "wait_s_max": self._limits.wait_s_max,
        }
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query("sign_ins.begin"), counted)
            if await cursor.fetchone() is not None:
                return None
            row = await (await connection.execute(query("sign_ins.blocked"), key)).fetchone()
        return 0.0 if row is None else float(row["wait_s"])

    async def forget(self, tenant: str | None, login: str) -> None:
        """The attempt has succeeded: nothing is counted against the login."""
        async with self._pool.connection() as connection:
            await connection.execute(query("sign_ins.forget"), {"digest": _of_login(tenant, login)})


def _of_login(tenant: str | None, login: str) -> bytes:
    return digest(f"{tenant or ''}\0{login}")


async def drop_what_is_over(
    pool: Pool, now: datetime, *, epochs_s: float, failures_before: datetime, logins_max: int
) -> None:
    """Drop sessions that have expired, failures that are forgotten, and epochs of which no credential lives."""
    async with pool.connection() as connection:
        for realm in (USERS, OPERATORS):
            await connection.execute(query(f"{realm.queries}.drop_expired"), {"now": now})
        await connection.execute(
            query("sign_ins.drop_old"), {"now": now, "before": failures_before, "rows_max": logins_max}
        )
        await connection.execute(query("epochs.drop_old"), {"now": now, "keep_s": epochs_s})
