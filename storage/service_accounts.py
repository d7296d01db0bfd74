"""Service accounts and devices with their API keys. Of a key only its digest is kept, and only a look-up reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from domain.errors import ConflictError, InvalidRequestError, NotFoundError
from storage.cursors import Cursors
from storage.database import query
from storage.epochs import holder_of_session, raise_epoch
from storage.records import SITES, require_version
from storage.transactions import Pool, Transaction

Row = dict[str, Any]


class AccountKind(StrEnum):
    """A service account calls for a program; a device sends the readings of its own pack."""

    SERVICE = "service"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """grace: how long a deleted account can be restored. keys_max: keys in use of an account."""

    accounts_max: int
    keys_max: int
    grace: timedelta


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to keep: its id and digest, a name, and perhaps limits within those of its account."""

    key_id: str
    digest: bytes
    name: str
    roles: Sequence[str] | None
    sites: Sequence[str] | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts of one kind, at a moment."""

    kind: AccountKind
    limits: AccountLimits
    now: datetime

    @property
    def _resource(self) -> str:
        return "devices" if self.kind is AccountKind.DEVICE else "service_accounts"

    @property
    def _given(self) -> Row:
        return {"kind": self.kind, "gone_before": self.now - self.limits.grace}

    async def create(self, transaction: Transaction, values: Mapping[str, Any]) -> DictRow:
        """The new account, of `name`, `description`, `roles`, `sites`, `regions` and `pack` (number).

        Raises ConflictError (name, number of accounts), NotFoundError (site).
        """
        await transaction.rows("service_accounts.lock_all")
        await transaction.rows("service_accounts.drop_gone", self._given)
        found = await transaction.one("service_accounts.count", self._given)
        if found is not None and found["count"] >= self.limits.accounts_max:
            raise ConflictError(
                f"there are {self.limits.accounts_max} {self._resource} already",
                limit=self.limits.accounts_max,
            )
        given = {
            "name": values["name"],
            "description": values["description"],
            "roles": values["roles"],
            "site_ids": await _site_ids(transaction, values["sites"]),
            "regions": values["regions"],
            "pack_id": values["pack"],
            "created_by": transaction.actor.subject,
        }
        try:
            made = await transaction.one("service_accounts.insert", self._given | given)
        except psycopg.errors.UniqueViolation as error:
            raise ConflictError(f"the name is taken in {self._resource}", field="name") from error
        assert made is not None  # noqa: S101 - INSERT … RETURNING
        after = await self.get(transaction, made["id"])
        await transaction.audit(f"{self._resource}.created", self._resource, str(made["id"]), None, after)
        return after

    async def get(self, transaction: Transaction, account_id: UUID) -> DictRow:
        """The account. Raises NotFoundError, also when its grace has passed."""
        return await self._found(transaction, {"id": account_id, "name": None})

    async def get_by_name(self, transaction: Transaction, name: str) -> DictRow:
        """The account of a name. Raises NotFoundError."""
        return await self._found(transaction, {"id": None, "name": name})

    async def _found(self, transaction: Transaction, key: Row) -> DictRow:
        row = await transaction.one("service_accounts.list", self._given | key | {"after": None, "limit": 1})
        if row is None:
            raise NotFoundError(f"no such record in {self._resource}")
        return row

    async def page(
        self, transaction: Transaction, cursor: str | None, limit: int
    ) -> tuple[list[DictRow], str | None]:
        """Accounts by name, and the cursor of the next page."""
        cursors = Cursors(self._resource)
        asked = self._given | {"id": None, "name": None, "after": cursors.decode(cursor), "limit": limit + 1}
        return cursors.page(await transaction.rows("service_accounts.list", asked), limit, "name")

    async def change(
        self, transaction: Transaction, account_id: UUID, version: int, changes: Mapping[str, Any]
    ) -> DictRow:
        """The changed account.

        Raises NotFoundError (account, site), PreconditionFailedError, ConflictError (name, or it is deleted).
        """
        locked = await self._lock(transaction, account_id)
        require_version(locked["version"], version)
        if locked["deleted_at"] is not None:
            raise ConflictError("it is deleted: restore it first", field="state")
        before = await self.get(transaction, account_id)
        names = ("name", "description", "roles", "regions", "state")
        values = {name: changes.get(name, before[name]) for name in names} | {"site_ids": locked["site_ids"]}
        if "sites" in changes:
            values["site_ids"] = await _site_ids(transaction, changes["sites"])
        try:
            await transaction.rows("service_accounts.update", {"id": account_id} | values)
        except psycopg.errors.UniqueViolation as error:
            raise ConflictError(f"the name is taken in {self._resource}", field="name") from error
        return await self._changed(transaction, "changed", account_id, before)

    async def delete(self, transaction: Transaction, account_id: UUID) -> None:
        """Refuse its keys from now on; it can be restored for a while. Raises NotFoundError."""
        if (await self._lock(transaction, account_id))["deleted_at"] is None:
            await self._set_deleted(transaction, "deleted", account_id, self.now)

    async def restore(self, transaction: Transaction, account_id: UUID) -> DictRow:
        """The account as it was before it was deleted. Raises NotFoundError, ConflictError (it isn't deleted)."""
        if (await self._lock(transaction, account_id))["deleted_at"] is None:
            raise ConflictError("it is not deleted", field="state")
        return await self._set_deleted(transaction, "restored", account_id, None)

    async def _set_deleted(
        self, transaction: Transaction, verb: str, account_id: UUID, deleted_at: datetime | None
    ) -> DictRow:
        before = await self.get(transaction, account_id)
        await transaction.rows("service_accounts.set_deleted", {"id": account_id, "deleted_at": deleted_at})
        return await self._changed(transaction, verb, account_id, before)

    async def _changed(
        self, transaction: Transaction, verb: str, account_id: UUID, before: DictRow
    ) -> DictRow:
        after = await self.get(transaction, account_id)
        await transaction.audit(f"{self._resource}.{verb}", self._resource, str(account_id), before, after)
        return after

    async def _lock(self, transaction: Transaction, account_id: UUID) -> DictRow:
        row = await transaction.one("service_accounts.lock", self._given | {"id": account_id})
        if row is None:
            raise NotFoundError(f"no such record in {self._resource}")
        return row

    async def add_key(self, transaction: Transaction, account_id: UUID, new: NewKey) -> DictRow:
        """The new key. Raises NotFoundError (account, site), ConflictError (deleted, number of keys)."""
        if (await self._lock(transaction, account_id))["deleted_at"] is not None:
            raise ConflictError("the account is deleted: restore it first", field="state")
        in_use = await transaction.one(
            "service_accounts.count_keys", {"account": account_id, "now": self.now}
        )
        if in_use is not None and in_use["count"] >= self.limits.keys_max:
            raise ConflictError(
                f"the account has {self.limits.keys_max} keys in use: revoke one", limit=self.limits.keys_max
            )
        if new.expires_at is not None and new.expires_at <= self.now:
            raise InvalidRequestError("it would have expired already", field="expires_at")
        await transaction.rows(
            "service_accounts.insert_key",
            {
                "account": account_id,
                "key_id": new.key_id,
                "digest": new.digest,
                "name": new.name,
                "roles": None if new.roles is None else list(new.roles),
                "site_ids": await _site_ids(transaction, new.sites),
                "expires_at": new.expires_at,
                "created_by": transaction.actor.subject,
            },
        )
        made = await self._key(transaction, account_id, new.key_id)
        told = made | {"account": account_id}
        await transaction.audit("api_keys.created", "api_keys", new.key_id, None, told)
        return made

    async def keys(
        self, transaction: Transaction, account_id: UUID, cursor: str | None, limit: int
    ) -> tuple[list[DictRow], str | None]:
        """An account's keys by id, revoked ones too, and the cursor of the next page. Raises NotFoundError."""
        await self.get(transaction, account_id)
        cursors = Cursors(f"keys of {account_id}")
        asked = {"account": account_id, "key": None, "after": cursors.decode(cursor), "limit": limit + 1}
        return cursors.page(await transaction.rows("service_accounts.list_keys", asked), limit, "id")

    async def revoke_key(self, transaction: Transaction, account_id: UUID, key_id: str) -> None:
        """Refuse the key from now on, in every process as soon as this is committed; one that is revoked stays so.

        Raises NotFoundError (account, key).
        """
        await self.get(transaction, account_id)
        before = await self._key(transaction, account_id, key_id)
        given = {"account": account_id, "key": key_id, "now": self.now}
        if await transaction.one("service_accounts.revoke_key", given) is not None:
            after = await self._key(transaction, account_id, key_id)
            await raise_epoch(transaction, holder_of_session(session_of(key_id)))
            await transaction.audit("api_keys.revoked", "api_keys", key_id, before, after)

    async def _key(self, transaction: Transaction, account_id: UUID, key_id: str) -> DictRow:
        asked = {"account": account_id, "key": key_id, "after": None, "limit": 1}
        row = await transaction.one("service_accounts.list_keys", asked)
        if row is None:
            raise NotFoundError("there is no such key")
        return row


async def _site_ids(transaction: Transaction, sites: Sequence[str] | None) -> list[UUID | None] | None:
    """The ids of sites by name or id. Raises NotFoundError."""
    if sites is None:
        return None
    found = await SITES.ids_of(transaction, {*sites}, "sites")
    return [found[site] for site in sites]


def session_of(key_id: str) -> str:
    """By which epoch what a key has opened is ended."""
    return f"api-key:{key_id}"


@dataclass(frozen=True, slots=True)
class FoundKey:
    """What a key that isn't revoked, of an account that is active, may be used for. sites: None for all."""

    digest: bytes
    tenant_id: int
    tenant: str
    subject: str
    roles: frozenset[str]
    sites: frozenset[str] | None
    pack: str | None
    expires_at: datetime | None
    last_used_at: datetime | None


async def find_key(pool: Pool, key_id: str) -> FoundKey | None:
    """The key of an id, of any tenant; None when there is none that can be used."""
    async with pool.connection() as connection:
        cursor = await connection.execute(query("service_accounts.of_key"), {"key_id": key_id})
        row = await cursor.fetchone()
    if row is None:
        return None
    kind = "service-account" if row["kind"] == AccountKind.SERVICE else "device"
    return FoundKey(
        digest=bytes(row["key_hash"]),
        tenant_id=row["tenant_id"],
        tenant=row["tenant"],
        subject=f"{kind}:{row['id']}",
        roles=frozenset(row["roles"]),
        sites=None if row["sites"] is None else frozenset(row["sites"]),
        pack=row["pack"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
    )


async def note_use(pool: Pool, key: FoundKey, key_id: str, now: datetime, before: datetime) -> None:
    """Note that the key was used, unless that was noted after `before`."""
    given = {"tenant_id": key.tenant_id, "key_id": key_id, "now": now, "before": before}
    async with pool.connection() as connection:
        await connection.execute(query("service_accounts.key_used"), given)
