"""What rules bring about: transitions of their states, and the states as they are kept."""

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from domain.alert_rules import Severity, TransitionKind, TransitionReason
from domain.security import SecurityKind
from domain.tenancy import TenantId


class RuleStatus(StrEnum):
    """Where a rule stands for a pack."""

    NORMAL = "normal"
    PENDING = "pending"
    RAISED = "raised"
    PROVISIONAL = "provisional"


@dataclass(frozen=True, slots=True)
class Subject:
    """What an alert is about: a pack, by its number; or what was set aside, of one source or (None) of all."""

    pack: int | None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class AlertTransition:
    """One thing that happened under a rule.

    rule_ms: the rule time at which. onset_ms: when the breach began; with rule, version and subject it names the
    alert. value: in the rule's unit, None where nothing was measured. batch: position of the batch in its group,
    None when no batch brought it. tenure: under which the pack was held. security_kind: of a rule of security events.
    """

    tenant_id: TenantId
    rule: int
    version: int
    subject: Subject
    kind: TransitionKind
    reason: TransitionReason
    rule_ms: int
    onset_ms: int
    value: float | None
    severity: Severity
    flapping: bool
    tenure: int | None
    batch: int | None
    silence_id: UUID | None = None
    maintenance: bool = False
    security_kind: SecurityKind | None = None


@dataclass(frozen=True, slots=True)
class SavedRuleState:
    """A rule's state for a subject, as it is kept: not normal, or raised so lately that it may flap."""

    tenant_id: TenantId
    rule: int
    version: int
    subject: Subject
    status: RuleStatus
    flapping: bool
    onset_ms: int | None
    clear_since_ms: int | None
    raises_ms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that is open, with the tenure under which it was raised; None where it is about no pack."""

    tenant_id: TenantId
    rule: int
    version: int
    subject: Subject
    onset_ms: int
    severity: Severity
    muted: bool
    tenure: int | None


@dataclass(frozen=True, slots=True)
class ClearByHand:
    """An open alert that somebody clears: which one, and who under which request, from where.

    id: of what is asked.
    """

    id: UUID
    tenant_id: TenantId
    alert_id: UUID
    rule: int
    pack: int | None
    onset_ms: int
    subject: str
    request_id: str
    client_address: str | None = None


class AlertActionKind(StrEnum):
    """What people do with an alert, besides clearing it."""

    ACKNOWLEDGED = "acknowledged"
    ASSIGNED = "assigned"
    COMMENTED = "commented"


@dataclass(frozen=True, slots=True)
class AlertAction:
    """What somebody does with an alert, under which request and from where.

    id: the client's, so that an action that is sent again counts once. assignee: who is to see to it, None for
    nobody, when it is assigned. comment: when it is commented.
    """

    id: UUID
    tenant_id: TenantId
    alert_id: UUID
    kind: AlertActionKind
    subject: str
    request_id: str
    assignee: str | None = None
    comment: str | None = None
    client_address: str | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """How many readings of one live batch were set aside."""

    tenant_id: TenantId
    source: str
    arrived_ms: int
    items: int


@dataclass(frozen=True, slots=True)
class AlertChanges:
    """What one transaction writes of rules: transitions in their order, states to keep, and those to forget."""

    transitions: tuple[AlertTransition, ...] = ()
    states: tuple[SavedRuleState, ...] = ()
    gone: tuple[tuple[int, Subject], ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.transitions or self.states or self.gone)

    def joined(self, other: "AlertChanges") -> "AlertChanges":
        """Both, one after the other; they concern different states."""
        return AlertChanges(
            self.transitions + other.transitions, self.states + other.states, self.gone + other.gone
        )
