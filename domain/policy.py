"""Who may do what: one function, asked by every route, bridge, export and job."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.tenancy import Actor, Role


class Action(StrEnum):
    TELEMETRY_WRITE = "telemetry:write"
    TELEMETRY_IMPORT = "telemetry:import"
    TELEMETRY_READ = "telemetry:read"
    RECEIPT_READ = "receipt:read"
    QUARANTINE_READ = "quarantine:read"
    PACK_READ = "pack:read"
    PACK_WRITE = "pack:write"
    MODEL_READ = "model:read"
    MODEL_WRITE = "model:write"
    SITE_READ = "site:read"
    SITE_WRITE = "site:write"


_READS: Final = frozenset(
    {
        Action.TELEMETRY_READ,
        Action.RECEIPT_READ,
        Action.QUARANTINE_READ,
        Action.PACK_READ,
        Action.MODEL_READ,
        Action.SITE_READ,
    }
)

GRANTS: Final[dict[Role, frozenset[Action]]] = {
    Role.TENANT_ADMIN: frozenset(Action),
    Role.OPERATOR: _READS
    | {Action.TELEMETRY_WRITE, Action.PACK_WRITE, Action.MODEL_WRITE, Action.SITE_WRITE},
    Role.ANALYST: _READS,
    Role.DEVICE: frozenset({Action.TELEMETRY_WRITE, Action.RECEIPT_READ}),
    Role.IMPORTER: frozenset(
        {Action.TELEMETRY_WRITE, Action.TELEMETRY_IMPORT, Action.RECEIPT_READ, Action.PACK_READ}
    ),
}


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed or not, with the reason in words."""

    allowed: bool
    reason: str


def decide(actor: Actor, action: Action) -> Decision:
    """Whether one of the actor's roles grants the action.

    Site limits are a matter of what the actor sees (`Actor.sees_site`): what it doesn't see, it isn't refused
    but told to be absent, like another tenant's records.
    """
    for role in sorted(actor.roles):
        if action in GRANTS[role]:
            return Decision(True, f"role {role} grants {action}")
    held = ", ".join(sorted(actor.roles)) or "none"
    return Decision(False, f"{action} is granted by none of the roles held ({held})")
