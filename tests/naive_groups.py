"""The slow, obvious twin of group windows: each reading's clock, and percentiles by their definition."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import TypeVar
from zoneinfo import ZoneInfo

from aggregations.groups import PERCENTILES
from tests.stored import Row

Label = TypeVar("Label")

GroupWindow = tuple[int, dict[tuple[int, str, int], float]]
"""The number of packs, and the percentiles by (measure, figure, percentile)."""

GroupDay = GroupWindow


@dataclass(frozen=True)
class Held:
    """A stay of a pack at a site, in the zone of the site as it is now."""

    pack: int
    tenant: int
    site: str | None
    zone: str
    from_ms: float
    to_ms: float


def group_days(held: Sequence[Held], rows: Sequence[Row]) -> dict[date, GroupDay]:
    """Days of the packs in the stays of one group."""
    return group_windows(held, rows, day_of)


def day_of(stay: Held, ts_ms: int) -> date:
    """A moment's day on the clock of a stay's site."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ts_ms)
    return moment.astimezone(ZoneInfo(stay.zone)).date()


def group_windows(
    held: Sequence[Held], rows: Sequence[Row], window_of: Callable[[Held, int], Label]
) -> dict[Label, GroupWindow]:
    """Windows of the packs in the stays of one group; window_of tells which one a moment of a stay lies in."""
    values: dict[Label, dict[int, dict[int, list[int]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for pack, ts_ms, measured in rows:
        for stay in held:
            if stay.pack == pack and stay.from_ms <= ts_ms < stay.to_ms:
                of_pack = values[window_of(stay, ts_ms)][pack]
                for measure, value in enumerate(measured):
                    if value is not None:
                        of_pack[measure].append(round(value * 1000))
    return {label: (len(packs), _percentiles(list(packs.values()))) for label, packs in values.items()}


def _percentiles(packs: list[dict[int, list[int]]]) -> dict[tuple[int, str, int], float]:
    found = {}
    for measure in {measure for pack in packs for measure in pack}:
        of = [pack[measure] for pack in packs if measure in pack]
        for figure, figures in (
            ("min", [Fraction(min(one), 1000) for one in of]),
            ("mean", [Fraction(sum(one), 1000 * len(one)) for one in of]),
            ("max", [Fraction(max(one), 1000) for one in of]),
        ):
            for percentile in PERCENTILES:
                found[measure, figure, percentile] = float(_percentile(sorted(figures), percentile))
    return found


def _percentile(ordered: list[Fraction], percentile: int) -> Fraction:
    place = Fraction(percentile * (len(ordered) - 1), 100)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
