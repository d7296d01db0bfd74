"""Use cases of roles."""

from typing import Any
from uuid import UUID

from api.call import Call
from api.roles import schemas
from domain.errors import InvalidRequestError, NotFoundError
from domain.policy import GRANTS, Action, Decision, Resource, decide, require_may_hand_on
from domain.tenancy import Actor
from storage import packs, roles

Row = dict[str, Any]


async def create(call: Call, new: schemas.NewRole) -> Row:
    """The new role. Raises ForbiddenError (actions that the actor lacks), ConflictError (name, number of roles)."""
    require_may_hand_on(call.actor, new.actions)
    async with call.transaction() as transaction:
        made = await roles.create(transaction, _values(new), call.engine.settings.roles_max)
    call.engine.rights.forget(call.actor.tenant_id)
    return made


async def get(call: Call, role_id: UUID) -> Row:
    """The role. Raises NotFoundError."""
    async with call.snapshot() as transaction:
        return await roles.ROLES.get(transaction, role_id)


async def page(call: Call, cursor: str | None, limit: int) -> tuple[list[Row], str | None]:
    """Roles by name, and the cursor of the next page."""
    async with call.snapshot() as transaction:
        return await roles.ROLES.page(transaction, cursor, limit)


async def change(call: Call, role_id: UUID, version: int, changes: schemas.RoleChange) -> Row:
    """The changed role. Raises NotFoundError, PreconditionFailedError, ForbiddenError (as for a new one)."""
    async with call.transaction() as transaction:
        before = await roles.ROLES.get(transaction, role_id)
        require_may_hand_on(call.actor, {*changes.actions} - {*before["actions"]})
        changed = await roles.ROLES.update(transaction, role_id, version, _values(changes))
    call.engine.rights.forget(call.actor.tenant_id)
    return changed


async def delete(call: Call, role_id: UUID) -> None:
    """Forget the role: who holds it loses what it granted. Raises NotFoundError."""
    async with call.transaction() as transaction:
        await roles.delete(transaction, role_id)
    call.engine.rights.forget(call.actor.tenant_id)


def _values(given: schemas.NewRole | schemas.RoleChange) -> Row:
    return given.model_dump(mode="json", exclude_unset=isinstance(given, schemas.RoleChange))


async def explain_own(call: Call, asked: schemas.OwnQuestion) -> Row:
    """The decision on what the actor asks for itself. Raises InvalidRequestError."""
    return _explained(call.actor, Action(asked.action), await _decision(call, call.actor, asked))


async def explain(call: Call, asked: schemas.Question) -> Row:
    """The decision for a credential of these roles and limits. Raises InvalidRequestError."""
    actor = await call.engine.actor_with(
        call.actor, asked.role, asked.limited_to_site, asked.limited_to_region
    )
    return _explained(actor, Action(asked.action), await _decision(call, actor, asked))


async def _decision(call: Call, actor: Actor, asked: schemas.OwnQuestion) -> Decision:
    """The decision for an actor; of packs only those count that the caller sees."""
    action = Action(asked.action)
    if asked.pack is None:
        resource = None if asked.site is None else Resource(site=asked.site)
        return decide(actor, action, resource)
    if asked.site is not None:
        raise InvalidRequestError("give a site or a pack: a pack is at the site where it is", field="site")
    try:
        async with call.snapshot() as transaction:
            found = await packs.get_by_name(transaction, asked.pack)
    except NotFoundError:
        return Decision(False, f"you see no pack {asked.pack}: it is answered as absent")
    return decide(actor, action, Resource(found["site"], found["pack"]))


def _explained(actor: Actor, action: Action, decision: Decision) -> Row:
    granting = [str(role) for role in actor.roles if action in GRANTS[role]]
    granting += [role.name for role in actor.custom_roles if action in role.actions]
    return {
        "action": action,
        "allowed": decision.allowed,
        "reason": decision.reason,
        "roles": actor.role_names,
        "granted_by": sorted(granting),
        "sites": None if actor.sites is None else sorted(actor.sites),
    }
