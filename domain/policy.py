"""Who may do what: one function, asked by every route, bridge, export and job."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.errors import ForbiddenError
from domain.operators import Operator
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
    SECURITY_READ = "security:read"
    SECURITY_WRITE = "security:write"
    USAGE_READ = "usage:read"
    USER_READ = "user:read"
    USER_WRITE = "user:write"
    ROLE_READ = "role:read"
    ROLE_WRITE = "role:write"
    SERVICE_ACCOUNT_READ = "service-account:read"
    SERVICE_ACCOUNT_WRITE = "service-account:write"
    DEVICE_READ = "device:read"
    DEVICE_WRITE = "device:write"
    ACCESS_GRANT_READ = "access-grant:read"
    ACCESS_GRANT_WRITE = "access-grant:write"
    OWN_PERMISSIONS_READ = "own-permissions:read"

    @property
    def changes(self) -> bool:
        """Whether it changes what is kept of the tenant. A ticket is no such thing: it holds for half a minute."""
        return self is not Action.TICKET_WRITE and not self.value.endswith(":read")


class PlatformAction(StrEnum):
    """What is done to tenants as customers, by who runs the installation; nothing of it shows what a tenant holds."""

    TENANT_READ = "platform-tenant:read"
    TENANT_WRITE = "platform-tenant:write"
    LOG_READ = "platform-log:read"
    GRANT_READ = "platform-grant:read"
    GRANT_USE = "platform-grant:use"


_OWN: Final = frozenset({Action.OWN_PERMISSIONS_READ})

_LOOKS: Final = _OWN | {
    Action.TELEMETRY_READ,
    Action.RULE_READ,
    Action.ALERT_READ,
    Action.TICKET_WRITE,
    Action.SILENCE_READ,
    Action.PACK_READ,
    Action.GROUP_READ,
    Action.MODEL_READ,
    Action.SITE_READ,
}
"""What shows the fleet."""

_READS: Final = _LOOKS | {
    Action.RECEIPT_READ,
    Action.QUARANTINE_READ,
    Action.CORRECTION_READ,
    Action.KEY_ALIAS_READ,
}
"""And how its readings came to be what they are."""


@dataclass(frozen=True, slots=True)
class RoleMeaning:
    """What a built-in role is for, in words, and which actions it grants."""

    purpose: str
    grants: frozenset[Action]


ROLES: Final[dict[Role, RoleMeaning]] = {
    Role.PLATFORM_ADMIN: RoleMeaning(
        "runs the installation, as an operator who belongs to no tenant; sees nothing of a tenant", _OWN
    ),
    Role.TENANT_ADMIN: RoleMeaning("runs the tenant", frozenset(Action)),
    Role.FLEET_MANAGER: RoleMeaning(
        "keeps the fleet: packs, groups, sites, models, its rules, alerts and who is told of them",
        _READS
        | {
            Action.PACK_WRITE,
            Action.GROUP_WRITE,
            Action.MODEL_WRITE,
            Action.SITE_WRITE,
            Action.RULE_WRITE,
            Action.ALERT_WRITE,
            Action.SILENCE_WRITE,
            Action.CHANNEL_READ,
            Action.CHANNEL_WRITE,
            Action.DEVICE_READ,
            Action.DEVICE_WRITE,
        },
    ),
    Role.OPERATOR: RoleMeaning(
        "runs the fleet and its data day by day",
        _READS
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
            Action.DEVICE_READ,
            Action.DEVICE_WRITE,
        },
    ),
    Role.QUALITY: RoleMeaning(
        "answers for the readings: limits of models, rules, quarantine, corrections",
        _READS
        | {
            Action.QUARANTINE_WRITE,
            Action.CORRECTION_WRITE,
            Action.MODEL_WRITE,
            Action.GROUP_WRITE,
            Action.RULE_WRITE,
            Action.ALERT_WRITE,
            Action.SILENCE_WRITE,
        },
    ),
    Role.LOGISTICS: RoleMeaning(
        "moves packs between sites, and groups them", _LOOKS | {Action.PACK_WRITE, Action.GROUP_WRITE}
    ),
    Role.TECHNICIAN: RoleMeaning(
        "works on packs: their alerts, silences while they are in maintenance, the devices that send for them",
        _READS | {Action.ALERT_WRITE, Action.SILENCE_WRITE, Action.DEVICE_READ, Action.DEVICE_WRITE},
    ),
    Role.PLANNER: RoleMeaning("reads the fleet; there is nothing to plan yet", _LOOKS),
    Role.PURCHASER: RoleMeaning(
        "reads packs, models and sites; there is nothing to purchase yet",
        _OWN | {Action.PACK_READ, Action.GROUP_READ, Action.MODEL_READ, Action.SITE_READ},
    ),
    Role.APPROVER: RoleMeaning("reads the fleet and corrections; there is nothing to approve yet", _READS),
    Role.AUDITOR: RoleMeaning(
        "reads all of the tenant, who changed what, and what was refused",
        _READS
        | {
            Action.AUDIT_READ,
            Action.SECURITY_READ,
            Action.USAGE_READ,
            Action.CHANNEL_READ,
            Action.ROLE_READ,
            Action.SERVICE_ACCOUNT_READ,
            Action.DEVICE_READ,
            Action.ACCESS_GRANT_READ,
        },
    ),
    Role.ANALYST: RoleMeaning("reads the fleet, and how its readings came to be what they are", _READS),
    Role.READ_ONLY: RoleMeaning("reads the fleet", _LOOKS),
    Role.IMPORTER: RoleMeaning(
        "sends readings, also of the past",
        _OWN | {Action.TELEMETRY_WRITE, Action.TELEMETRY_IMPORT, Action.RECEIPT_READ, Action.PACK_READ},
    ),
    Role.DEVICE: RoleMeaning(
        "sends the readings of packs, of its own alone where the credential names one",
        _OWN | {Action.TELEMETRY_WRITE, Action.RECEIPT_READ},
    ),
}

GRANTS: Final[dict[Role, frozenset[Action]]] = {role: meaning.grants for role, meaning in ROLES.items()}

PLATFORM_GRANTS: Final[dict[Role, frozenset[PlatformAction]]] = {
    Role.PLATFORM_ADMIN: frozenset(PlatformAction)
}
"""What roles grant to operators of the installation."""

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
        Action.SECURITY_READ,
        Action.SECURITY_WRITE,
        Action.USAGE_READ,
        Action.USER_READ,
        Action.USER_WRITE,
        Action.ROLE_READ,
        Action.ROLE_WRITE,
        Action.SERVICE_ACCOUNT_READ,
        Action.SERVICE_ACCOUNT_WRITE,
        Action.DEVICE_READ,
        Action.DEVICE_WRITE,
        Action.ACCESS_GRANT_READ,
        Action.ACCESS_GRANT_WRITE,
    }
)
"""Actions that reach all sites of a tenant: a model's limits and key aliases judge every site's readings, what was set
aside may name any pack, a batch that is corrected may hold readings of every site, rules, silences and saved groups
hold packs of every site, the audit log tells of all changes, roles and accounts are held everywhere, and users may be
given any site. A credential that is limited to sites is refused them.
"""

BEYOND_GRANTS: Final = frozenset(
    {
        Action.USER_WRITE,
        Action.ROLE_WRITE,
        Action.SERVICE_ACCOUNT_WRITE,
        Action.DEVICE_WRITE,
        Action.CHANNEL_WRITE,
        Action.ACCESS_GRANT_WRITE,
        Action.SECURITY_WRITE,
        Action.SILENCE_WRITE,
    }
)
"""Actions that make ways in or out, or blindness, that outlast a timed access: credentials, what they may do, ways out
for data, more access, thresholds of alarms, and silences. Who acts by an access grant is refused them, whatever its
roles. Other records that it changes stay as it left them, with its name in the audit log.
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed or not, with the reason in words."""

    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Resource:
    """What an action is done to: something at a site, or of a pack; None for what is at none, or of none."""

    site: str | None = None
    pack: str | None = None


def decide(actor: Actor, action: Action, resource: Resource | None = None) -> Decision:
    """Whether one of the actor's roles grants the action, and its limits leave it, for a resource where one is given.

    Routes ask without a resource: what an actor's limits hide from it, it isn't refused but told to be absent, like
    another tenant's records (`Actor.sees_site`).
    """
    granting = _granting_role(actor, action)
    if granting is None:
        return Decision(False, _refusal(actor, action))
    if actor.grant is not None and action in BEYOND_GRANTS:
        return Decision(False, f"{action} would outlast the access grant by which the operator acts")
    if actor.sites is not None and action in BEYOND_SITES:
        return Decision(False, f"{action} reaches all sites; the credential is limited to some")
    if resource is not None and not actor.sees_site(resource.site):
        place = "no site" if resource.site is None else f"the site {resource.site}"
        return Decision(
            False, f"the credential is limited to other sites; what is at {place} is answered as absent"
        )
    if resource is not None and sends_for_own_pack_only(actor) and action is Action.TELEMETRY_WRITE:
        own = actor.device_pack
        if resource.pack != own:
            return Decision(False, f"the credential is that of the pack {own}, and sends for no other")
    return Decision(True, f"role {granting} grants {action}")


def decide_on_platform(operator: Operator, action: PlatformAction) -> Decision:
    """Whether one of the operator's roles grants the action."""
    granting = min((role for role in operator.roles if action in PLATFORM_GRANTS.get(role, ())), default=None)
    if granting is None:
        return Decision(False, f"{action} is granted by none of the roles held")
    return Decision(True, f"role {granting} grants {action}")


def _granting_role(actor: Actor, action: Action) -> str | None:
    """The first by name of the actor's roles that grants the action."""
    granting = [str(role) for role in actor.roles if action in GRANTS[role]]
    granting += [role.name for role in actor.custom_roles if action in role.actions]
    return min(granting, default=None)


def _refusal(actor: Actor, action: Action) -> str:
    known = sorted({*actor.roles, *(role.name for role in actor.custom_roles)})
    reason = f"{action} is granted by none of the roles held ({', '.join(known) or 'none'})"
    if actor.unknown_roles:
        reason += f"; the tenant has no role {', '.join(sorted(actor.unknown_roles))}"
    return reason


def require_may_hand_on(actor: Actor, actions: Iterable[str]) -> None:
    """Raises ForbiddenError unless the actor may do all of the actions itself: nobody hands on what it doesn't hold."""
    # What the policy has no more, a role may still name; it grants nothing.
    for action in sorted({*actions} & {*Action}):
        decision = decide(actor, Action(action))
        if not decision.allowed:
            raise ForbiddenError(f"what you may not do yourself can't be granted: {decision.reason}")


def sends_for_own_pack_only(actor: Actor) -> bool:
    """Whether the credential is a device's that may send the readings of its own pack alone."""
    return actor.device_pack is not None and Role.DEVICE in actor.roles


def may_grant(actor: Actor, roles: Collection[Role]) -> Decision:
    """Whether the actor may do itself all that the roles grant: nobody makes a user who may do more.

    Whoever runs the installation is no tenant's to name.
    """
    if Role.PLATFORM_ADMIN in roles and Role.PLATFORM_ADMIN not in actor.roles:
        return Decision(False, f"role {Role.PLATFORM_ADMIN} is given by the installation alone")
    for role in sorted(set(roles)):
        for action in sorted(GRANTS[role]):
            if not decide(actor, action).allowed:
                return Decision(False, f"role {role} grants {action}, which the credential may not do itself")
    return Decision(True, "the credential may do all that the roles grant")


def sees_security_alerts(actor: Actor) -> bool:
    """Whether alerts about refusals are shown to the actor: they concern no site, and tell what events tell."""
    return decide(actor, Action.SECURITY_READ).allowed


def may_act_on_security_alerts(actor: Actor) -> bool:
    """Whether the actor may do anything with alerts about refusals: one by an access grant may be about itself."""
    return sees_security_alerts(actor) and actor.grant is None


def sees_only_own_batches(actor: Actor) -> bool:
    """Whether receipts and imports of other senders are hidden from the actor.

    So it is for devices, and for credentials limited to sites: a batch may hold readings of every site.
    """
    only_device = actor.roles == {Role.DEVICE} and not actor.custom_roles
    return actor.sites is not None or actor.device_pack is not None or only_device
