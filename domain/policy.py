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
    CORRECTION_READ = "correction:read"
    CORRECTION_WRITE = "correction:write"
    QUARANTINE_WRITE = "quarantine:write"
    KEY_ALIAS_READ = "key-alias:read"
    KEY_ALIAS_WRITE = "key-alias:write"
    RULE_READ = "rule:read"
    RULE_WRITE = "rule:write"
    ALERT_READ = "alert:read"
    ALERT_WRITE = "alert:write"
    TICKET_WRITE = "ticket:write"
    CHANNEL_READ = "channel:read"
    CHANNEL_WRITE = "channel:write"
    SILENCE_READ = "silence:read"
    SILENCE_WRITE = "silence:write"
    PACK_READ = "pack:read"
    PACK_WRITE = "pack:write"
    GROUP_READ = "group:read"
    GROUP_WRITE = "group:write"
    MODEL_READ = "model:read"
    MODEL_WRITE = "model:write"
    SITE_READ = "site:read"
    SITE_WRITE = "site:write"
    AUDIT_READ = "audit:read"
    OWN_PERMISSIONS_READ = "own-permissions:read"

    @property
    def changes(self) -> bool:
        """Whether it changes what is kept of the tenant. A ticket is no such thing: it holds for half a minute."""
        return self is not Action.TICKET_WRITE and not self.value.endswith(":read")


_READS: Final = frozenset(
    {
        Action.TELEMETRY_READ,
        Action.RECEIPT_READ,
        Action.QUARANTINE_READ,
        Action.CORRECTION_READ,
        Action.KEY_ALIAS_READ,
        Action.RULE_READ,
        Action.ALERT_READ,
        Action.TICKET_WRITE,
        Action.SILENCE_READ,
        Action.PACK_READ,
        Action.GROUP_READ,
        Action.MODEL_READ,
        Action.SITE_READ,
        Action.OWN_PERMISSIONS_READ,
    }
)

GRANTS: Final[dict[Role, frozenset[Action]]] = {
    Role.TENANT_ADMIN: frozenset(Action),
    Role.OPERATOR: _READS
    | {
        Action.TELEMETRY_WRITE,
        Action.QUARANTINE_WRITE,
        Action.KEY_ALIAS_WRITE,
        Action.PACK_WRITE,
        Action.GROUP_WRITE,
        Action.MODEL_WRITE,
        Action.SITE_WRITE,
        Action.RULE_WRITE,
        Action.CHANNEL_READ,
        Action.ALERT_WRITE,
        Action.SILENCE_WRITE,
    },
    Role.ANALYST: _READS,
    Role.DEVICE: frozenset({Action.TELEMETRY_WRITE, Action.RECEIPT_READ, Action.OWN_PERMISSIONS_READ}),
    Role.IMPORTER: frozenset(
        {
            Action.TELEMETRY_WRITE,
            Action.TELEMETRY_IMPORT,
            Action.RECEIPT_READ,
            Action.PACK_READ,
            Action.OWN_PERMISSIONS_READ,
        }
    ),
    Role.AUDITOR: _READS | {Action.AUDIT_READ, Action.CHANNEL_READ},
}


BEYOND_SITES: Final = frozenset(
    {
        Action.GROUP_WRITE,
        Action.MODEL_WRITE,
        Action.KEY_ALIAS_WRITE,
        Action.QUARANTINE_READ,
        Action.QUARANTINE_WRITE,
        Action.CORRECTION_READ,
        Action.CORRECTION_WRITE,
        Action.RULE_WRITE,
        Action.CHANNEL_READ,
        Action.CHANNEL_WRITE,
        Action.SILENCE_READ,
        Action.SILENCE_WRITE,
        Action.AUDIT_READ,
    }
)
"""Actions that reach all sites of a tenant: a model's limits and key aliases judge every site's readings, what was set
aside may name any pack, a batch that is corrected may hold readings of every site, rules, silences and saved groups
hold packs of every site, and the audit log tells of all changes. A credential that is limited to sites is refused them.
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed or not, with the reason in words."""

    allowed: bool
    reason: str


def decide(actor: Actor, action: Action) -> Decision:
    """Whether one of the actor's roles grants the action, and its site limits leave it.

    Otherwise site limits are a matter of what the actor sees (`Actor.sees_site`): what it doesn't see, it isn't
    refused but told to be absent, like another tenant's records.
    """
    for role in sorted(actor.roles):
        if action in GRANTS[role]:
            if actor.sites is not None and action in BEYOND_SITES:
                return Decision(False, f"{action} reaches all sites; the credential is limited to some")
            return Decision(True, f"role {role} grants {action}")
    held = ", ".join(sorted(actor.roles)) or "none"
    return Decision(False, f"{action} is granted by none of the roles held ({held})")


def sees_only_own_batches(actor: Actor) -> bool:
    """Whether receipts and imports of other senders are hidden from the actor.

    So it is for devices, and for credentials limited to sites: a batch may hold readings of every site.
    """
    return actor.sites is not None or actor.device_pack is not None or actor.roles == {Role.DEVICE}
