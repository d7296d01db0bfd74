"""Use cases of devices."""

from typing import Any

from api.call import Call
from api.devices import schemas
from api.service_accounts.service import AccountService
from domain.errors import NotFoundError
from domain.tenancy import Role
from storage import pack_groups
from storage.service_accounts import AccountKind
from storage.transactions import Transaction

Row = dict[str, Any]

SERVICE = AccountService(AccountKind.DEVICE)


async def create(call: Call, new: schemas.NewDevice) -> Row:
    """The new device. Raises NotFoundError (pack), ConflictError (name, number of devices)."""
    async with call.snapshot() as transaction:
        values = await values_of(transaction, new.pack, new.name, new.description)
    return await SERVICE.create(call, values)


async def values_of(transaction: Transaction, pack: str, name: str | None, description: str) -> Row:
    """What is kept of a device of a pack. Raises NotFoundError for the pack."""
    known = await pack_groups.known_packs(transaction, [pack])
    if pack not in known:
        raise NotFoundError("there is no such pack", field="pack")
    return {
        "name": name or pack,
        "description": description,
        "roles": [str(Role.DEVICE)],
        "sites": None,
        "regions": None,
        "pack": known[pack],
    }
