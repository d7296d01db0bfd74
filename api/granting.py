"""Who hands on roles: nobody gives what it doesn't hold."""

from collections.abc import Iterable

from api.call import Call
from domain.errors import ForbiddenError, InvalidRequestError
from domain.policy import may_grant, require_may_hand_on


async def require_may_give(call: Call, roles: Iterable[str]) -> None:
    """Raises InvalidRequestError for a role that the tenant doesn't have, ForbiddenError for one beyond the actor's."""
    holder = await call.engine.actor_with(call.actor, roles)
    if holder.unknown_roles:
        raise InvalidRequestError(
            f"there is no role {', '.join(sorted(holder.unknown_roles))}", field="roles"
        )
    decision = may_grant(call.actor, holder.roles)
    if not decision.allowed:
        raise ForbiddenError(decision.reason)
    require_may_hand_on(call.actor, {action for role in holder.custom_roles for action in role.actions})
