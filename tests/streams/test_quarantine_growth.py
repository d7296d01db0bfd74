"""Rules of the growth of what is set aside: what is within their window, and what isn't any more."""

import pytest

from domain.alert_rules import QuarantineGrowth, Rule, RuleVersion, Scope, ScopeKind, Severity, TransitionKind
from domain.alerts import SetAside
from domain.tenancy import TenantId
from streams.quarantine_growth import GrowthMemory, grow
from streams.rule_book import RuleBook

TENANT = TenantId(1)
WINDOW_S = 60
BEGIN_MS = 1_800_000_000_000


def kinds(memory: GrowthMemory, *batches: tuple[float, int]) -> list[TransitionKind]:
    """What happens as batches arrive, each so many seconds after the begin with so many items set aside."""
    condition = QuarantineGrowth(items_max=2, window_s=WINDOW_S)
    version = RuleVersion(1, 0, enabled=True, severity=Severity.WARNING, condition=condition)
    book = RuleBook([Rule(7, TENANT, Scope(ScopeKind.TENANT), (version,))])
    found = []
    for after_s, items in batches:
        arrived = [SetAside(TENANT, "http", BEGIN_MS + int(after_s * 1000), items)]
        outcome = grow(arrived, memory, book)
        outcome.apply(memory)
        found += [one.kind for one in outcome.changes.transitions]
    return found


@pytest.mark.parametrize(
    ("after_s", "expected"),
    [(WINDOW_S - 1, [TransitionKind.RAISED]), (WINDOW_S, []), (WINDOW_S - 0.001, [TransitionKind.RAISED])],
)
def test_what_came_a_window_ago_counts_no_more(after_s: float, expected: list[TransitionKind]) -> None:
    assert kinds(GrowthMemory(), (0, 2), (after_s, 1)) == expected


def test_alert_is_over_when_what_raised_it_has_left_the_window() -> None:
    memory = GrowthMemory()
    assert kinds(memory, (0, 3)) == [TransitionKind.RAISED]
    assert kinds(memory, (WINDOW_S - 1, 0)) == []
    assert kinds(memory, (WINDOW_S, 0)) == [TransitionKind.CLEARED]
