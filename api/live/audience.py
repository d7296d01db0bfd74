"""Who gets what: the policy and what a client wants, decided once for all whom it concerns alike."""

from dataclasses import dataclass
from uuid import UUID

from api.live.frames import Facts
from domain.errors import ForbiddenError
from domain.policy import Action, decide, sees_security_alerts
from domain.tenancy import Actor, CustomRole, Role


@dataclass(frozen=True, slots=True)
class Filter:
    """Which alerts are wanted: those with one of each that isn't empty."""

    sites: frozenset[str] = frozenset()
    severities: frozenset[str] = frozenset()
    rules: frozenset[UUID] = frozenset()
    packs: frozenset[str] = frozenset()

    def wants(self, facts: Facts) -> bool:
        """Whether an alert of these facts is among those wanted."""
        return (
            (not self.sites or facts.site in self.sites)
            and (not self.severities or facts.severity in self.severities)
            and (not self.rules or facts.rule_id in self.rules)
            and (not self.packs or facts.pack in self.packs)
        )


AudienceKey = tuple[frozenset[Role], frozenset[CustomRole], frozenset[str] | None, Filter]


@dataclass(frozen=True, slots=True)
class Audience:
    """An actor's rights and wishes. Those of one tenant with the same key get the same frames."""

    actor: Actor
    wanted: Filter

    @property
    def key(self) -> AudienceKey:
        """All that decides what is shown, within a tenant."""
        return self.actor.roles, self.actor.custom_roles, self.actor.sites, self.wanted

    def check(self) -> None:
        """Raises ForbiddenError when the policy lets the actor see no alerts."""
        decision = decide(self.actor, Action.ALERT_READ)
        if not decision.allowed:
            raise ForbiddenError(decision.reason)

    def gets(self, facts: Facts) -> bool:
        """Whether the actor sees an alert of these facts, and wants it."""
        if facts.security and not sees_security_alerts(self.actor):
            return False
        return self.actor.sees_site(facts.site) and self.wanted.wants(facts)
