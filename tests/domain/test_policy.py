"""Who may do what, written out once more by hand, so that a grant is never widened by accident."""

from dataclasses import replace
from uuid import UUID

import pytest

from domain.errors import ForbiddenError
from domain.operators import Operator
from domain.policy import (
    Action,
    PlatformAction,
    Resource,
    decide,
    decide_on_platform,
    may_grant,
    require_may_hand_on,
    sees_only_own_batches,
)
from domain.tenancy import Actor, CustomRole, Role, TenantId

LOOKS = {
    "telemetry:read",
    "pack:read",
    "group:read",
    "model:read",
    "site:read",
    "rule:read",
    "alert:read",
    "ticket:write",
    "silence:read",
    "own-permissions:read",
}
READS = LOOKS | {"receipt:read", "quarantine:read", "correction:read", "key-alias:read"}
RULES = {"rule:write", "alert:write", "silence:write"}
GRANTED = {
    "tenant_admin": READS
    | RULES
    | {
        "telemetry:write",
        "telemetry:import",
        "quarantine:write",
        "key-alias:write",
        "pack:write",
        "group:write",
        "model:write",
        "site:write",
        "correction:write",
        "channel:read",
        "channel:write",
        "audit:read",
        "security:read",
        "security:write",
        "usage:read",
        "user:read",
        "user:write",
        "role:read",
        "role:write",
        "service-account:read",
        "service-account:write",
        "device:read",
        "device:write",
        "access-grant:read",
        "access-grant:write",
    },
    "operator": READS
    | RULES
    | {
        "channel:read",
        "telemetry:write",
        "quarantine:write",
        "key-alias:write",
        "pack:write",
        "group:write",
        "model:write",
        "site:write",
        "device:read",
        "device:write",
    },
    "analyst": READS,
    "device": {"telemetry:write", "receipt:read", "own-permissions:read"},
    "importer": {
        "telemetry:write",
        "telemetry:import",
        "receipt:read",
        "pack:read",
        "own-permissions:read",
    },
    "auditor": READS
    | {
        "audit:read",
        "usage:read",
        "security:read",
        "channel:read",
        "role:read",
        "service-account:read",
        "device:read",
        "access-grant:read",
    },
    "platform_admin": {"own-permissions:read"},
    "fleet_manager": READS
    | RULES
    | {
        "pack:write",
        "group:write",
        "model:write",
        "site:write",
        "channel:read",
        "channel:write",
        "device:read",
        "device:write",
    },
    "quality": READS | RULES | {"quarantine:write", "correction:write", "model:write", "group:write"},
    "logistics": LOOKS | {"pack:write", "group:write"},
    "technician": READS | {"alert:write", "silence:write", "device:read", "device:write"},
    "planner": LOOKS,
    "purchaser": {"pack:read", "group:read", "model:read", "site:read", "own-permissions:read"},
    "approver": READS,
    "read_only": LOOKS,
}


OUTLASTS = {
    "user:write",
    "role:write",
    "service-account:write",
    "device:write",
    "channel:write",
    "access-grant:write",
    "security:write",
    "silence:write",
}


def actor(*roles: str, sites: frozenset[str] | None = None, device_pack: str | None = None) -> Actor:
    return Actor("someone", TenantId(1), "acme", frozenset(map(Role, roles)), sites, device_pack)


@pytest.mark.parametrize("role", Role)
def test_role_is_granted_what_the_table_says_and_nothing_else(role: Role) -> None:
    assert {action for action in Action if decide(actor(role), action).allowed} == GRANTED[role]


def test_no_role_is_granted_nothing() -> None:
    assert not any(decide(actor(), action).allowed for action in Action)


def test_roles_add_up() -> None:
    both = {action for action in Action if decide(actor("analyst", "importer"), action).allowed}
    assert both == GRANTED["analyst"] | GRANTED["importer"]


def test_refusal_names_the_action_and_the_roles_held() -> None:
    assert decide(actor("device", "analyst"), Action.PACK_WRITE).reason == (
        "pack:write is granted by none of the roles held (analyst, device)"
    )


@pytest.mark.parametrize("role", Role)
def test_site_limit_takes_away_what_reaches_all_sites(role: Role) -> None:
    limited = {action for action in Action if decide(actor(role, sites=frozenset({"A"})), action).allowed}
    assert limited == GRANTED[role] - {
        "group:write",
        "model:write",
        "key-alias:write",
        "quarantine:read",
        "quarantine:write",
        "correction:read",
        "correction:write",
        "rule:write",
        "silence:read",
        "silence:write",
        "channel:read",
        "channel:write",
        "audit:read",
        "security:read",
        "security:write",
        "usage:read",
        "user:read",
        "user:write",
        "role:read",
        "role:write",
        "service-account:read",
        "service-account:write",
        "device:read",
        "device:write",
        "access-grant:read",
        "access-grant:write",
    }


def test_limit_to_no_site_at_all_is_still_a_limit() -> None:
    nowhere = actor("tenant_admin", sites=frozenset())
    assert not nowhere.sees_site("A")
    assert not nowhere.sees_site(None)
    assert not decide(nowhere, Action.QUARANTINE_READ).allowed


def test_limited_actor_sees_its_sites_and_nothing_without_a_site() -> None:
    limited = actor("operator", sites=frozenset({"A"}))
    assert limited.sees_site("A")
    assert not limited.sees_site("B")
    assert not limited.sees_site(None)


def test_unlimited_actor_sees_every_site_and_what_has_none() -> None:
    assert actor("analyst").sees_site("A")
    assert actor("analyst").sees_site(None)


@pytest.mark.parametrize("role", Role)
def test_nobody_grants_more_than_it_may_do_itself(role: Role) -> None:
    others = role is not Role.PLATFORM_ADMIN
    assert may_grant(actor("tenant_admin"), [role]).allowed is others
    own = GRANTED["operator"]
    assert may_grant(actor("operator"), [role, Role.OPERATOR]).allowed is (others and GRANTED[role] <= own)


def test_limited_administrator_grants_no_role_without_limits() -> None:
    refused = may_grant(actor("tenant_admin", sites=frozenset({"A"})), [Role.TENANT_ADMIN])
    assert (refused.allowed, refused.reason) == (
        False,
        "role tenant_admin grants access-grant:read, which the credential may not do itself",
    )


@pytest.mark.parametrize("role", Role)
def test_who_acts_by_an_access_grant_makes_nothing_that_outlasts_it(role: Role) -> None:
    granted = replace(actor(role), grant=UUID(int=1))
    assert {action for action in Action if decide(granted, action).allowed} == GRANTED[role] - OUTLASTS
    refused = decide(replace(actor("tenant_admin"), grant=UUID(int=1)), Action.USER_WRITE).reason
    assert refused == "user:write would outlast the access grant by which the operator acts"


@pytest.mark.parametrize("role", Role)
def test_only_an_operator_who_runs_the_platform_may_do_anything_on_it(role: Role) -> None:
    operator = Operator("operator:1", frozenset({role}))
    allowed = {str(action) for action in PlatformAction if decide_on_platform(operator, action).allowed}
    assert allowed == (
        {
            "platform-tenant:read",
            "platform-tenant:write",
            "platform-log:read",
            "platform-grant:read",
            "platform-grant:use",
        }
        if role == "platform_admin"
        else set()
    )


def with_custom(*actions: str, roles: frozenset[Role] = frozenset()) -> Actor:
    role = CustomRole("own", frozenset(actions))
    return Actor("someone", TenantId(1), "acme", roles, custom_roles=frozenset({role}))


def test_custom_role_grants_its_actions_beside_the_built_in_ones() -> None:
    both = with_custom("pack:write", "no:such-action", roles=frozenset({Role.READ_ONLY}))
    assert {action for action in Action if decide(both, action).allowed} == LOOKS | {"pack:write"}
    assert decide(both, Action.PACK_WRITE).reason == "role own grants pack:write"


def test_unknown_role_grants_nothing_and_is_named() -> None:
    ghost = Actor("someone", TenantId(1), "acme", frozenset(), unknown_roles=frozenset({"ghost"}))
    assert not any(decide(ghost, action).allowed for action in Action)
    assert decide(ghost, Action.PACK_READ).reason.endswith("held (none); the tenant has no role ghost")


def test_nobody_hands_on_what_it_does_not_hold() -> None:
    require_may_hand_on(with_custom("pack:read", "pack:write"), ["pack:read"])
    with pytest.raises(ForbiddenError, match="audit:read"):
        require_may_hand_on(with_custom("pack:read"), ["pack:read", "audit:read"])
    with pytest.raises(ForbiddenError, match="limited to some"):
        require_may_hand_on(actor("tenant_admin", sites=frozenset({"A"})), ["audit:read"])


@pytest.mark.parametrize(
    ("resource", "is_allowed"),
    [(Resource("A"), True), (Resource("A", "P"), True), (Resource("B"), False), (Resource(None, "P"), False)],
)
def test_resource_elsewhere_is_denied_to_a_limited_actor(resource: Resource, is_allowed: bool) -> None:
    limited = actor("operator", sites=frozenset({"A"}))
    assert decide(limited, Action.PACK_WRITE, resource).allowed is is_allowed
    assert decide(actor("operator"), Action.PACK_WRITE, resource).allowed


def test_device_of_a_pack_sends_for_it_alone() -> None:
    device = actor("device", device_pack="P")
    assert decide(device, Action.TELEMETRY_WRITE, Resource(pack="P")).allowed
    other = decide(device, Action.TELEMETRY_WRITE, Resource(pack="Q"))
    assert (other.allowed, "that of the pack P" in other.reason) == (False, True)


@pytest.mark.parametrize(
    ("limited", "only_own"),
    [
        (actor("tenant_admin"), False),
        (actor("importer"), False),
        (actor("device", "importer"), False),
        (actor("device"), True),
        (actor("device", device_pack="P-1"), True),
        (actor("importer", device_pack="P-1"), True),
        (actor("operator", sites=frozenset({"A"})), True),
        (actor("operator", sites=frozenset()), True),
    ],
)
def test_devices_and_limited_credentials_see_their_own_batches_only(limited: Actor, only_own: bool) -> None:
    assert sees_only_own_batches(limited) is only_own
