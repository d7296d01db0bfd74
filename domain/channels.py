"""Channels that take alerts out of the building: which events each wants, when it is quiet, how it retries."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from domain.alert_rules import Severity


class ChannelKind(StrEnum):
    """How a channel reaches its receiver."""

    WEBHOOK = "webhook"
    EMAIL = "email"


class EventKind(StrEnum):
    """What is told of alerts: what rules bring about, and what people do."""

    RAISED = "raised"
    PROVISIONAL = "provisional"
    CLEARED = "cleared"
    WITHDRAWN = "withdrawn"
    LATE = "late"
    ACKNOWLEDGED = "acknowledged"
    ASSIGNED = "assigned"
    COMMENTED = "commented"


class DeliveryKind(StrEnum):
    """One event, those of quiet hours, or a message that somebody sends to try the channel."""

    EVENT = "event"
    DIGEST = "digest"
    TEST = "test"


class DeliveryState(StrEnum):
    """Dead is what was given up; somebody may replay it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Weekday(StrEnum):
    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From a local time to another, of the next day when it isn't later, on the days on which they begin.

    The clocks of `zone` count, whatever they do: hours that begin or end within one that is skipped do so as if the
    clock had not been moved yet; of one that comes twice, they begin with the first and end with the second.
    """

    zone: str
    starts: time
    ends: time
    days: frozenset[Weekday]
    hold_critical: bool = False

    def ends_after(self, moment: datetime) -> datetime | None:
        """When the quiet hours that hold at a moment end, in UTC; None when none hold.

        >>> nights = QuietHours("Europe/Zurich", time(22), time(7), frozenset(Weekday))
        >>> nights.ends_after(datetime(2026, 1, 1, 22, tzinfo=UTC)).isoformat()
        '2026-01-02T06:00:00+00:00'
        >>> nights.ends_after(datetime(2026, 1, 1, 12, tzinfo=UTC)) is None
        True
        """
        today = moment.astimezone(ZoneInfo(self.zone)).date()
        holding = [
            ends
            for day in (today - timedelta(days=1), today)
            if list(Weekday)[day.weekday()] in self.days
            for starts, ends in [self._span(day)]
            if starts <= moment < ends
        ]
        return max(holding, default=None)

    def _span(self, day: date) -> tuple[datetime, datetime]:
        last = day if self.starts < self.ends else day + timedelta(days=1)
        zone = ZoneInfo(self.zone)
        starts = datetime.combine(day, self.starts, zone)
        ends = datetime.combine(last, self.ends, zone)
        if _is_twice(ends):
            ends = ends.replace(fold=1)
        return starts.astimezone(UTC), ends.astimezone(UTC)


def _is_twice(moment: datetime) -> bool:
    """Whether the zone's clocks show this local time twice, which isn't so for one that they skip."""
    first, second = moment.utcoffset(), moment.replace(fold=1).utcoffset()
    return first is not None and second is not None and first > second


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a channel wants; None is all. rules: ids; sites: names, as they are now.

    security_alerts: those about refusals too, whatever rules are chosen.
    """

    kinds: frozenset[EventKind]
    severities: frozenset[Severity] | None = None
    rules: frozenset[UUID] | None = None
    sites: frozenset[str] | None = None
    muted: bool = False
    security_alerts: bool = False

    def holds_for(self, event: Mapping[str, Any]) -> bool:
        """Whether the event is wanted, from a row of the alert log. What is at no site belongs to no chosen one."""
        return (
            event["kind"] in self.kinds
            and (self.severities is None or event["severity"] in self.severities)
            and (self.security_alerts if event["security_kind"] is not None else self._chosen(event))
            and (self.muted or event["silence_id"] is None)
        )

    def _chosen(self, event: Mapping[str, Any]) -> bool:
        return (self.rules is None or event["rule_id"] in self.rules) and (
            self.sites is None or event["site"] in self.sites
        )


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a delivery is tried: waits grow from the first by a factor up to the longest.

    jitter_share: a wait is drawn from so much less than itself to itself, so that receivers that come back aren't
    met by all senders at once.
    """

    first_wait_s: float
    factor: float
    wait_s_max: float
    jitter_share: float
    attempts_max: int
    hours_max: float

    def wait_s(self, attempts: int, drawn: float) -> float:
        """Seconds until the next attempt after so many; `drawn` is from 0 to 1.

        >>> Patience(5, 3, 3600, 0.5, 10, 72).wait_s(2, 1.0)
        15.0
        >>> Patience(5, 3, 3600, 0.5, 10, 72).wait_s(1000, 0.0)
        1800.0
        """
        # Beyond a hundred steps the longest wait is reached, and a float would overflow.
        grown = self.first_wait_s * self.factor ** min(attempts - 1, 100)
        return min(grown, self.wait_s_max) * (1 - self.jitter_share * (1 - drawn))

    def is_over(self, attempts: int, queued_at: datetime, now: datetime) -> bool:
        """Whether it is given up after so many attempts."""
        return attempts >= self.attempts_max or now - queued_at >= timedelta(hours=self.hours_max)
