"""What tenants use, and what they may use at most."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Final

from domain.errors import QuotaExceededError


class Period(StrEnum):
    """Of what usage is summed up: a UTC day, or a month of them."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Quotas:
    """Of a tenant; None is no quota. day_readings_max, day_requests_max, day_received_bytes_max: in a UTC day."""

    packs_max: int | None = None
    day_readings_max: int | None = None
    day_requests_max: int | None = None
    day_received_bytes_max: int | None = None

    @property
    def of_days(self) -> bool:
        """Whether what a tenant uses in a day must be known."""
        return not (self.day_readings_max is self.day_requests_max is self.day_received_bytes_max is None)


NO_QUOTAS: Final = Quotas()


@dataclass(frozen=True, slots=True)
class UsedToday:
    """What a tenant has used of a day, as far as it is known. received_bytes: of bodies that were committed."""

    readings: int
    requests: int
    received_bytes: int


def require_within(quotas: Quotas, used: UsedToday, now: datetime, *, sends_readings: bool) -> None:
    """Raises QuotaExceededError, which ends with the UTC day, when no more requests or readings are taken.

    >>> require_within(Quotas(day_requests_max=2), UsedToday(9, 1, 0), datetime.now(UTC), sends_readings=False)
    """
    exceeded = []
    if quotas.day_requests_max is not None and used.requests >= quotas.day_requests_max:
        exceeded.append(("requests", quotas.day_requests_max))
    if sends_readings and quotas.day_readings_max is not None and used.readings >= quotas.day_readings_max:
        exceeded.append(("readings", quotas.day_readings_max))
    if (
        sends_readings
        and quotas.day_received_bytes_max is not None
        and used.received_bytes >= quotas.day_received_bytes_max
    ):
        exceeded.append(("bytes", quotas.day_received_bytes_max))
    for what, limit in exceeded:
        raise QuotaExceededError(
            f"the tenant's quota of {limit} {what} a day is used up until midnight UTC",
            limit=limit,
            retry_after_s=until_midnight_s(now),
        )


def until_midnight_s(now: datetime) -> int:
    """Whole seconds until the UTC day ends, at least 1.

    >>> until_midnight_s(datetime(2026, 1, 31, 23, 59, 30, tzinfo=UTC))
    30
    """
    tomorrow = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
    return max(1, int((tomorrow - now).total_seconds()))
