"""A tenant's key aliases, kept and changed as one set."""

from collections.abc import Sequence

from psycopg.rows import DictRow

from domain.key_aliases import KeyAlias
from storage.records import require_version
from storage.transactions import Transaction


async def get(transaction: Transaction) -> tuple[list[DictRow], int]:
    """The aliases by name, and the version of their set."""
    version = await transaction.one("key_aliases.version")
    assert version is not None  # noqa: S101 - the actor's tenant exists
    return await transaction.rows("key_aliases.list"), version["version"]


async def replace(
    transaction: Transaction, aliases: Sequence[KeyAlias], version: int
) -> tuple[list[DictRow], int]:
    """The aliases as they are from now on, and their version. Raises PreconditionFailedError for a stale one."""
    locked = await transaction.one("key_aliases.lock")
    assert locked is not None  # noqa: S101 - the actor's tenant exists
    require_version(locked["version"], version)
    before = await transaction.rows("key_aliases.list")
    await transaction.rows("key_aliases.clear")
    names = ("alias", "key", "factor", "offset")
    columns = {name: [getattr(alias, name) for alias in aliases] for name in names}
    await transaction.rows("key_aliases.insert", columns)
    raised = await transaction.one("key_aliases.raise_version")
    assert raised is not None  # noqa: S101 - the row is locked
    after = await transaction.rows("key_aliases.list")
    await transaction.audit(
        "key_aliases.changed", "key_aliases", "all", {"aliases": before}, {"aliases": after}
    )
    return after, raised["version"]
