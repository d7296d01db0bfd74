"""Limits of the parts that take readings in, as the settings have them."""

from datetime import UTC, datetime

from api.settings import Settings
from domain.clock import to_ms
from ingest.columns import BodyLimits
from ingest.validate import TimeLimits
from streams.limits import OwnerLimits


def body_limits(settings: Settings, readings_max: int) -> BodyLimits:
    """What a body may hold at most."""
    return BodyLimits(readings_max, settings.ignored_keys_max, settings.pack_name_characters_max)


def time_limits(settings: Settings) -> TimeLimits:
    """Which times readings may have."""
    earliest = datetime(settings.import_from_year, 1, 1, tzinfo=UTC)
    return TimeLimits(settings.future_s_max, settings.late_s_max, to_ms(earliest))


def owner_limits(settings: Settings) -> OwnerLimits:
    """The limits of a partition's owner."""
    return OwnerLimits(
        close_after_s=settings.close_after_s,
        correction_slice_readings=settings.correction_slice_readings,
        silent_after_s=settings.silent_after_s,
        skew_s_max=settings.live_skew_s_max,
        save_state_s=settings.save_state_s,
        retry_after_s=settings.retry_after_s,
    )
