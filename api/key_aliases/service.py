"""Use cases of key aliases."""

from typing import Any

from api.call import Call
from domain.errors import InvalidRequestError
from domain.key_aliases import KeyAlias, key_aliases
from storage import key_aliases as stored

Row = dict[str, Any]


async def get(call: Call) -> Row:
    """The tenant's aliases and their version."""
    async with call.snapshot() as transaction:
        aliases, version = await stored.get(transaction)
    return {"aliases": aliases, "version": version}


async def replace(call: Call, version: int, given: list[Row]) -> Row:
    """The aliases as they are from now on. Raises InvalidRequestError, PreconditionFailedError."""
    limit = call.engine.settings.key_aliases_max
    if len(given) > limit:
        raise InvalidRequestError(f"{len(given)} aliases, at most {limit}", field="aliases", limit=limit)
    aliases = [KeyAlias(**alias) for alias in given]
    key_aliases(aliases)
    async with call.transaction() as transaction:
        after, raised = await stored.replace(transaction, aliases, version)
    return {"aliases": after, "version": raised}
