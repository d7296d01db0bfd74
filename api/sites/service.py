"""Use cases of sites."""

from uuid import UUID

from api.call import Call
from api.records import RecordService, Row
from domain.errors import ForbiddenError
from domain.tenancy import Actor
from storage.records import SITES


class SiteService(RecordService):
    """Sites; a credential limited to sites neither makes others nor renames one out of its own sight."""

    async def create(self, call: Call, values: Row) -> Row:
        """The new site. Raises ForbiddenError (beyond the actor's sites), ConflictError (name taken)."""
        _require_seen(call.actor, values["name"])
        return await super().create(call, values)

    async def change(self, call: Call, record_id: UUID, version: int, changes: Row) -> Row:
        """The changed site. Raises ForbiddenError and as the others do."""
        if "name" in changes:
            _require_seen(call.actor, changes["name"])
        return await super().change(call, record_id, version, changes)


def _require_seen(actor: Actor, name: str) -> None:
    if not actor.sees_site(name):
        raise ForbiddenError(
            "the credential is limited to certain sites, and this is none of them", field="name"
        )


SERVICE = SiteService(SITES)
