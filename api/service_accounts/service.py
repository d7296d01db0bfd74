"""Use cases of service accounts and devices, which differ in what they may do only."""

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from api.call import Call
from api.granting import require_may_give
from api.settings import Settings
from domain import api_keys
from domain.clock import from_ms
from domain.errors import InvalidRequestError
from storage.service_accounts import AccountKind, AccountLimits, Accounts, NewKey

Row = dict[str, Any]


_UNSAID = {
    AccountKind.SERVICE: frozenset({"pack"}),
    AccountKind.DEVICE: frozenset({"roles", "sites", "regions"}),
}
"""What goes without saying of an account of a kind."""


class AccountService:
    """The use cases of one kind of account."""

    def __init__(self, kind: AccountKind) -> None:
        self._kind = kind

    async def create(self, call: Call, values: Mapping[str, Any]) -> Row:
        """The new account. Raises ForbiddenError (roles beyond the actor's), ConflictError, NotFoundError (site)."""
        await self._require_may_give(call, values["roles"])
        async with call.transaction() as transaction:
            return self._shown(await self._accounts(call).create(transaction, values))

    async def get(self, call: Call, account_id: UUID) -> Row:
        """The account. Raises NotFoundError."""
        async with call.snapshot() as transaction:
            return self._shown(await self._accounts(call).get(transaction, account_id))

    async def page(self, call: Call, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
        """Accounts by name, and the cursor of the next page."""
        async with call.snapshot() as transaction:
            rows, after = await self._accounts(call).page(transaction, cursor, limit)
        return [self._shown(row) for row in rows], after

    async def change(self, call: Call, account_id: UUID, version: int, changes: Row) -> Row:
        """The changed account. Raises NotFoundError, PreconditionFailedError, ForbiddenError, ConflictError."""
        if {"roles", "sites", "regions"} & changes.keys():
            before = await self.get(call, account_id)
            await self._require_may_give(call, changes["roles"] if "roles" in changes else before["roles"])
        async with call.transaction() as transaction:
            changed = await self._accounts(call).change(transaction, account_id, version, changes)
        call.engine.keys.forget()
        return self._shown(changed)

    async def delete(self, call: Call, account_id: UUID) -> None:
        """Refuse its keys from now on; for a while it can be restored. Raises NotFoundError."""
        async with call.transaction() as transaction:
            await self._accounts(call).delete(transaction, account_id)
        call.engine.keys.forget()

    async def restore(self, call: Call, account_id: UUID) -> Row:
        """The account as it was before. Raises NotFoundError, ConflictError."""
        async with call.transaction() as transaction:
            restored = await self._accounts(call).restore(transaction, account_id)
        call.engine.keys.forget()
        return self._shown(restored)

    async def add_key(
        self,
        call: Call,
        account_id: UUID,
        name: str,
        expires_at: datetime | None,
        roles: list[str] | None = None,
        sites: list[str] | None = None,
    ) -> Row:
        """The new key with its text, which is shown this once. roles, sites: some of the account's; None for all.

        Raises NotFoundError, ForbiddenError (roles beyond the actor's), ConflictError, InvalidRequestError.
        """
        account = await self.get(call, account_id)
        if self._kind is AccountKind.SERVICE:
            require_within(roles, account)
            await self._require_may_give(call, account["roles"] if roles is None else roles)
        text, kept = new_key(name, roles, sites, expires_at)
        async with call.transaction() as transaction:
            made = await self._accounts(call).add_key(transaction, account_id, kept)
        return made | {"api_key": text}

    async def keys(
        self, call: Call, account_id: UUID, cursor: str | None, limit: int
    ) -> tuple[list[Row], str | None]:
        """An account's keys, and the cursor of the next page. Raises NotFoundError."""
        async with call.snapshot() as transaction:
            return await self._accounts(call).keys(transaction, account_id, cursor, limit)

    async def revoke_key(self, call: Call, account_id: UUID, key_id: str) -> None:
        """Refuse a key from now on. Raises NotFoundError."""
        async with call.transaction() as transaction:
            await self._accounts(call).revoke_key(transaction, account_id, key_id)
        call.engine.keys.forget(key_id)
        await call.engine.identity.revocations.look_now()

    def _shown(self, row: Row) -> Row:
        return {name: value for name, value in row.items() if name not in _UNSAID[self._kind]}

    def _accounts(self, call: Call) -> Accounts:
        return accounts_of(self._kind, call.engine.settings, from_ms(call.engine.clock.now_ms()))

    async def _require_may_give(self, call: Call, roles: Iterable[str]) -> None:
        """Raises ForbiddenError, InvalidRequestError (no such role).

        Who may keep devices hands out what a device may do: the readings of one pack.
        """
        if self._kind is not AccountKind.DEVICE:
            await require_may_give(call, roles)


def accounts_of(kind: AccountKind, settings: Settings, now: datetime) -> Accounts:
    """The accounts of a kind as they are now."""
    limits = AccountLimits(
        settings.devices_max if kind is AccountKind.DEVICE else settings.service_accounts_max,
        settings.api_keys_max,
        timedelta(days=settings.account_grace_days),
    )
    return Accounts(kind, limits, now)


def require_within(roles: Iterable[str] | None, account: Row) -> None:
    """Raises InvalidRequestError when a key's roles are not among those of its account."""
    beyond = sorted({*(roles or ())} - {*account["roles"]})
    if beyond:
        raise InvalidRequestError(f"the account has no role {', '.join(beyond)}", field="roles")


def new_key(
    name: str, roles: list[str] | None, sites: list[str] | None, expires_at: datetime | None
) -> tuple[str, NewKey]:
    """The text of a new key, and what is kept of it."""
    key_id = _random(api_keys.ID_CHARACTERS)
    text = api_keys.compose(key_id, _random(api_keys.SECRET_CHARACTERS))
    return text, NewKey(key_id, api_keys.digest(text), name, roles, sites, expires_at)


def _random(characters: int) -> str:
    return "".join(secrets.choice(api_keys.ALPHABET) for _ in range(characters))


SERVICE = AccountService(AccountKind.SERVICE)
